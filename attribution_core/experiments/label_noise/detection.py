"""Find wrong labels with every score of a run and with cleanlab's confident learning, on the same model.

    samplescope reproduce wrong_label_detection --run PATH [--folds 5] [--out FOLDER]
    samplescope reproduce wrong_label_detection --data demo cifar10n text concrete --data-root DIR [--seeds 3]

With ``--data`` label quality stands beside cleanlab at its best, on the same features, with the seconds of each
(:mod:`~attribution_core.experiments.label_noise.beside_cleanlab`). ``cifar10n`` are the 3,000 images of CIFAR-10 in
``DIR/cifar10/train.parquet`` that ``DIR/cifar10n/labels.csv`` names, with the labels of one person; ``text`` 3,000 film
reviews with 10% of the labels flipped; ``concrete`` UCI Concrete with 5% of the values permuted. The last two are
planted, so ``--seeds`` of them are drawn.

With ``--run`` the scores of a run stand beside cleanlab on the run's own model. ``PATH`` is a run on data whose wrong
labels are known, with a column ``original_label``, such as that of ``samplescope demo --no-open --out PATH``.
Examples are inspected in the order of each score, most suspicious first. Printed are the area under the detection
curve, the area under the ROC curve, and the share of the wrong labels found among the first 5, 10 and 20% of the
examples.

cleanlab first receives the probabilities of the run's own model on its training examples. Its self-confidence then
ranks like the training loss, and its normalized margin like the margin. Since cleanlab expects probabilities from a
model that has not seen the example, it also receives those of ``--folds`` trainings with the run's recipe, each on the
other folds: these rows end in "held out". They cost ``--folds`` more trainings, and are the rows to judge cleanlab by.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.evaluation import detection
from attribution_core.evaluation.detection import DetectionCurve, detection_curve, suspicious_scores
from attribution_core.experiments.data import Side
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.label_noise.beside_cleanlab import PLANTED, PROBLEMS, rows
from attribution_core.experiments.label_noise.cleanlab_reference import cleanlab_scores
from attribution_core.experiments.reports import print_progress, write_with_options
from attribution_core.models import build_model, device_named, load_weights
from attribution_core.preparation.prepare_run import prepare_run
from attribution_core.progress import listening
from attribution_core.runs import MEASURES, Run
from attribution_core.runs.names import FINAL_WEIGHTS_FILE
from attribution_core.training import Recipe, outputs_of, train


def known_wrong(run: Run) -> Tensor:
    """Return which training labels are wrong, bool ``[n]``.

    Raises:
        InputError: The run does not have the original labels.
    """
    wrong = detection.known_wrong(run.examples)
    if wrong is None:
        raise InputError(
            f"The run {run.id} needs a column original_label with the right labels, but has none. Give a run on data "
            "with known wrong labels, such as the demo's."
        )
    return wrong


def training_side(run: Run) -> Side:
    """Return the run's training inputs, standardized as they were in the run, and their labels.

    Raises:
        InputError: The dataset has changed since the run.
    """
    with listening(print_progress):
        return prepare_run(run, None, "cpu").tensors_by_split()["train"]


def network(run: Run, device: torch.device) -> nn.Module:
    """Build the run's model at its initial weights."""
    model, config = run.manifest.model, run.manifest.config
    classes = len(run.class_names)
    return build_model(model["name"], classes, model["input_shape"], config["hidden"], seed=config["seed"]).to(device)


def probabilities(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the probability of each class, ``[n, k]``, float64, on the CPU."""
    return outputs_of(model, inputs).double().cpu().softmax(dim=1)


def held_out_probabilities(run: Run, data: Side, folds: int, device: torch.device) -> Tensor:
    """Return each example's class probabilities from a model trained on the other folds, ``[n, k]``.

    The folds are stratified by label, and training follows the run's recipe.
    """
    config = run.manifest.config
    recipe = Recipe.model_validate(config["recipe"]).model_copy(update={"seed": config["seed"]})
    labels = data[1].numpy()
    parts = StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels)
    found = torch.zeros(len(data[1]), len(run.class_names), dtype=torch.float64)
    for done, (others, held_out) in enumerate(parts, start=1):
        model = network(run, device)
        train(model, (data[0][others], data[1][others]), recipe)
        found[held_out] = probabilities(model, data[0][held_out])
        print_progress(done, folds, "folds")
    return found


def all_scores(run: Run, folds: int, device: torch.device) -> dict[str, Tensor]:
    """Return the run's own scores and cleanlab's, ``[n]`` each; higher is more suspicious."""
    data = training_side(run)
    model = network(run, device)
    load_weights(model, run.path / FINAL_WEIGHTS_FILE)
    given = {"": probabilities(model, data[0])}
    if folds:
        given[", held out"] = held_out_probabilities(run, data, folds, device)
    scores = suspicious_scores(run)
    for how, each in given.items():
        scores |= {f"cleanlab {name}{how}": values for name, values in cleanlab_scores(each, data[1]).items()}
    return scores


def panels(curve: DetectionCurve) -> list[Panel]:
    """Plot the detection curves of attribution scores, and of prediction scores with the best attribution score."""
    x = [share / 20 for share in range(21)]
    found = [curve.found_at(share) for share in x]
    series = {name: [each[name] for each in found] for name in curve.found} | {"random order": x}
    simple = [name for name, measure in MEASURES.items() if measure.kind == "diagnostic"]
    predictions = [name for name in curve.found if name.startswith("cleanlab") or name in simple]
    area = {name: value for name, value in curve.area.items() if name not in predictions}
    best = max(area, key=area.__getitem__)
    groups = {"Attribution": [*area, "random order"], "Predictions": [*predictions, best, "random order"]}
    label = "share inspected"
    return [Panel(title, label, {name: series[name] for name in names}, x) for title, names in groups.items()]


def beside_cleanlab(options: argparse.Namespace) -> None:
    """Print one JSON line for each judge of each dataset, and write them with a figure of the average precision."""
    lines: list[dict[str, Any]] = []
    for name in options.data:
        for seed in range(options.seeds if name in PLANTED else 1):
            for row in rows(name, options.data_root, seed):
                print(json.dumps({"experiment": "wrong_label_detection", **row}), flush=True)
                lines.append(row)
    means = pd.DataFrame(lines).groupby(["data", "judge"], sort=False)["ap"].mean()
    found = {name: means[name].to_dict() for name in options.data}
    judges = list(dict.fromkeys(judge for _, judge in means.index))
    series = {judge: [found[name].get(judge) for name in options.data] for judge in judges}
    panel = Panel(title="Wrong labels found", label="average precision", series=series, x=options.data)
    write_with_options(options, "wrong_label_detection", {"rows": lines, "mean_ap": found}, [panel])


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line for each score, the best first; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    judged = parser.add_mutually_exclusive_group(required=True)
    judged.add_argument("--run", type=Path, help="directory of a run whose wrong labels are known")
    judged.add_argument("--data", nargs="+", choices=PROBLEMS, help="data with known wrong labels")
    parser.add_argument("--data-root", type=Path, help="folder with the data; the demo needs none")
    parser.add_argument("--seeds", type=int, default=3, help="draws of planted errors, in text and concrete")
    parser.add_argument("--folds", type=int, default=5, help="trainings for held-out probabilities; 0 skips them")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args(argv)
    if options.data:
        beside_cleanlab(options)
        return 0
    run = Run.open(options.run)
    wrong = known_wrong(run)
    curve = detection_curve(all_scores(run, options.folds, device_named(options.device)), wrong)
    limits = detection_curve({"random order": torch.zeros(len(wrong)), "perfect order": wrong.double()}, wrong)
    table = {**curve.rows(), **limits.rows()}
    for name in sorted(table, key=lambda name: -table[name]["area"]):
        rounded = {what: round(value, 4) for what, value in table[name].items()}
        print(json.dumps({"experiment": "wrong_label_detection", "score": name, **rounded}), flush=True)
    results = {"examples": len(wrong), "wrong_labels": int(wrong.sum()), "rows": table}
    write_with_options(options, f"wrong_label_detection_{run.id}", results, panels(curve))
    return 0


if __name__ == "__main__":
    sys.exit(main())
