r"""Which delta of the memory-perturbation equation predicts real removals: the objective's, or that plus ``1 / time``.

    samplescope reproduce memory_training_time [--examples 300] [--removed 24] [--seeds 2] [--out FOLDER]

The paper's delta is that of the objective, n times the weight decay of the mean loss. A network that was stopped early
is not at the minimum of its objective, though, and depends less on an example than one at the minimum. Early stopping
acts as a weight decay of one over the training time, the sum of the learning rates over ``1 - momentum``
(:func:`attribution_core.methods.sensitivity.evolution.regularization_at`), so n times that may be added to delta.

Both are compared with real retraining on the demo, the digits and the breast-cancer table, with the model and the
recipe of a run's defaults. The removed examples are evenly spaced in the order of the trained model's error. Each is
removed alone, with several seeds; that model is compared with the one trained on all examples with the same seed and
batches. Printed for each problem and delta: the rank correlation with the real leave-one-out loss and with the
real change of the predicted probabilities, the mean leave-one-out loss beside the real one, and ``log_error``, the mean
absolute log of the ratio of estimated to real leave-one-out loss (with 0.01 nats added to each, since smaller losses do
not matter).
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer
from torch import Tensor

from attribution_core.evaluation.retraining import retrain_without
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.reports import print_progress, write_with_options
from attribution_core.methods.sensitivity.evolution import regularization_at
from attribution_core.methods.sensitivity.perturbation import MemorySensitivity, memory_sensitivity
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.prepare import Prepared, prepare
from attribution_core.progress import listening
from attribution_core.training import loss_values, train

# Losses below it, in nats, count as small.
_SMALL = 0.01


def problems(folder: Path, examples: int) -> dict[str, Prepared]:
    """Return the datasets and models, by name."""
    table = load_breast_cancer(as_frame=True)
    frame = table.data.assign(label=table.target_names[table.target])
    frame.to_csv(folder / "cancer.csv", index=False)
    data = {"demo": "fashion-demo", "digits": "digits", "breast cancer": str(folder / "cancer.csv")}
    return {name: prepare(ScoreConfig(data=each, max_train=examples)) for name, each in data.items()}


def measured(given: Prepared, removed: int, seeds: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Return both deltas, and estimated and real leave-one-out losses and changes of the removed examples, by name."""
    tensors, recipe = given.tensors_by_split(), given.config.recipe
    data, evaluation = tensors["train"], tensors["validation"]
    estimates: dict[str, list[MemorySensitivity]] = {"objective": [], "with training time": []}
    deltas: dict[str, float] = {}
    for seed in range(seeds):
        trajectory = train(given.build(seed), data, recipe.model_copy(update={"seed": seed}))
        decays = recipe.weight_decay, regularization_at(trajectory, trajectory.steps)
        for name, decay in zip(estimates, decays, strict=True):
            deltas[name] = decay * len(data[0])
            estimates[name].append(
                memory_sensitivity(trajectory.model, data, deltas[name], recipe.loss, variance="none")
            )
    error = torch.stack([each.error.norm(dim=1) for each in estimates["objective"]]).mean(dim=0)
    chosen = error.argsort()[torch.linspace(0, len(error) - 1, removed).round().long()]
    removals: list[list[int]] = [[], *([i] for i in chosen.tolist())]
    with listening(print_progress):
        found = retrain_without(given.build, data, removals, recipe, evaluation, seeds)
    everything = [outputs[chosen].double() for outputs in found.own_outputs[0]]
    losses, changes = torch.zeros(removed).double(), torch.zeros(removed).double()
    for row, i in enumerate(chosen.tolist()):
        for seed in range(seeds):
            without = found.own_outputs[row + 1][seed].double()
            losses[row] += loss_values(without, data[1][[i]], recipe.loss)[0] / seeds
            moved = without.softmax(dim=1)[0] - everything[seed][row].softmax(dim=0)
            changes[row] += moved.abs().sum() / seeds
    columns = {"real loss": losses, "real change": changes}
    for name, each in estimates.items():
        columns[f"loss, {name}"] = torch.stack([one.loo_loss[chosen] for one in each]).double().mean(dim=0)
        columns[f"change, {name}"] = torch.stack([one.sensitivity[chosen] for one in each]).double().mean(dim=0)
    return deltas, columns


def compared(deltas: dict[str, float], columns: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Return a row for each delta."""
    rows = []
    for name, delta in deltas.items():
        loss, change = columns[f"loss, {name}"], columns[f"change, {name}"]
        logs = ((loss + _SMALL) / (columns["real loss"] + _SMALL)).log()
        values = {
            "delta": delta,
            "rank_loss": float(spearmanr(loss, columns["real loss"]).statistic),
            "rank_change": float(spearmanr(change, columns["real change"]).statistic),
            "mean_loss": float(loss.mean()),
            "real_mean_loss": float(columns["real loss"].mean()),
            "log_error": float(logs.abs().mean()),
        }
        rows.append({"delta_of": name, **{key: round(value, 3) for key, value in values.items()}})
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, one JSON line for each problem and delta."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=300, help="training examples")
    parser.add_argument("--removed", type=int, default=24, help="examples to remove one by one")
    parser.add_argument("--seeds", type=int, default=2, help="trainings for each removal")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    options = parser.parse_args(argv)
    rows, panels, values = [], [], {}
    with tempfile.TemporaryDirectory() as folder:
        for problem, given in problems(Path(folder), options.examples).items():
            deltas, columns = measured(given, options.removed, options.seeds)
            for row in compared(deltas, columns):
                rows.append({"experiment": "memory_training_time", "problem": problem, **row})
                print(json.dumps(rows[-1]), flush=True)
            order = columns["real loss"].argsort()
            series = {name: each[order].tolist() for name, each in columns.items() if "loss" in name}
            title = f"Leave-one-out loss, {problem}"
            panels.append(Panel(title, "examples in order of their real loss", series, range(len(order)), log=True))
            values[problem] = {name: each.tolist() for name, each in columns.items()}
    means = {name: [row["log_error"] for row in rows if row["delta_of"] == name] for name in deltas}
    print(json.dumps({"mean_log_error": {name: round(math.fsum(each) / len(each), 3) for name, each in means.items()}}))
    write_with_options(options, "memory_training_time", {"rows": rows, "columns": values}, panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
