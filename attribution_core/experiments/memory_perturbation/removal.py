"""Memory-perturbation equation, figures 1(c), 2 and 3(c): estimates against networks really trained without the data.

    samplescope reproduce memory_removal_examples --data-root DIR [--data mnist] [--out FOLDER]
    samplescope reproduce memory_removal_classes --data-root DIR [--data fashion-mnist] [--out FOLDER]

A network (MNIST: MLP 500-300; Fashion-MNIST: LeNet-5) is trained by SGD with momentum 0.9, batches of 256 and a cosine
schedule, as in appendix G.1 and G.2, on ``--examples`` images, with delta in proportion to their number. An example or
class is removed by continuing training without it from the trained weights.

``examples``: for ``--removed`` examples, evenly spaced in the order of their estimated sensitivity, the sum over
classes of the absolute change of the predicted probability. The change is measured twice: against the trained weights,
as in the paper (``real``), and against continued training with all examples in the same order of batches (``paired``),
which excludes the effect of continued training itself. Printed are its rank correlations with the sensitivity under
each posterior and with two baselines that need no posterior (error, loss), and the median ratio of the estimated to the
paired change.

``classes``: the mean leave-one-out loss of each class (eq. 20) against the test loss after continued training without
the class, on all test images as in the paper, and on those of the class; the baseline is the class's training loss
alone. Continued training is short, as the paper's rates make it: after long training without a class, its examples are
lost in any case, and the order is another (on 2,500 images after 200 epochs the rank correlation was 0.43 on MNIST,
-0.27 on Fashion-MNIST).
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from attribution_core.experiments.data import Side, images_and_labels
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.memory_perturbation.problems import CLASSES, DELTA_PER_IMAGE, NETWORKS, network
from attribution_core.experiments.reports import print_progress, write_results
from attribution_core.methods.sensitivity.groups import leave_one_class_out
from attribution_core.methods.sensitivity.perturbation import MemorySensitivity, memory_sensitivity
from attribution_core.models.weights import StateDict
from attribution_core.training import Recipe, loss_values, mean_loss, outputs_of, train

# For what is removed and the dataset: images, epochs, rate, epochs of continued training, its rate. About the largest
# number of images with which ``examples`` takes ten minutes on two cores.
SETTINGS = {
    ("examples", "mnist"): (5000, 100, 0.05, 60, 0.05),
    ("examples", "fashion-mnist"): (1500, 200, 0.05, 60, 0.02),
    ("classes", "mnist"): (20_000, 40, 0.05, 5, 0.001),
    ("classes", "fashion-mnist"): (10_000, 40, 0.05, 5, 0.001),
}
ESTIMATES: dict[str, dict[str, Any]] = {
    "kfac": {"posterior": "kfac"},
    "kfac, downdated": {"posterior": "kfac", "covariance": "downdated"},
    "diagonal": {"posterior": "diagonal"},
}


def trained_on(model: nn.Module, start: StateDict, data: Side, recipe: Recipe, kept: Tensor) -> nn.Module:
    """Continue training the model from ``start`` on the kept examples, bool ``[n]``, in unchanged batches.

    The batch mean remains a sum divided by ``batch_size``, so the sum of losses loses only the removed terms and delta
    does not change.
    """
    model.load_state_dict(start)
    train(model, data, recipe, sample_weights=kept.float())
    return model


def example_removals(
    model: nn.Module, data: Side, recipe: Recipe, found: dict[str, MemorySensitivity], count: int
) -> dict[str, Tensor]:
    """Return the estimated and real changes of the removed examples, by name, ``[count]`` each."""
    n = len(data[0])
    order = found["kfac"].sensitivity.argsort()
    chosen = order[torch.linspace(0, n - 1, count).round().long()]
    start = {name: value.clone() for name, value in model.state_dict().items()}
    probabilities = {"real": outputs_of(model, data[0][chosen]).double().softmax(dim=1)}
    everything = torch.ones(n, dtype=torch.bool)
    other = trained_on(model, start, data, recipe, everything)
    probabilities["paired"] = outputs_of(other, data[0][chosen]).double().softmax(dim=1)
    changes: dict[str, list[float]] = {"real": [], "paired": []}
    for done, i in enumerate(chosen.tolist()):
        kept = everything.clone()
        kept[i] = False
        without = outputs_of(trained_on(model, start, data, recipe, kept), data[0][[i]]).double().softmax(dim=1)[0]
        for name, values in changes.items():
            values.append(float((without - probabilities[name][done]).abs().sum()))
        print_progress(done + 1, count, "training without an example")
    model.load_state_dict(start)
    columns = {name: torch.tensor(values, dtype=torch.float64) for name, values in changes.items()}
    columns |= {name: each.sensitivity[chosen].double() for name, each in found.items()}
    any_ = found["kfac"]
    columns["error alone"] = any_.error[chosen].abs().sum(dim=1).double()
    columns["loss alone"] = loss_values(any_.outputs, data[1], "cross_entropy")[chosen].double()
    return columns


def class_removals(
    model: nn.Module, data: Side, test: Side, recipe: Recipe, found: dict[str, MemorySensitivity]
) -> dict[str, Tensor]:
    """Return the estimated losses and test losses of each class, by name, ``[classes]`` each."""
    start = {name: value.clone() for name, value in model.state_dict().items()}
    everywhere, own = [], []
    for removed in range(CLASSES):
        trained_on(model, start, data, recipe, data[1] != removed)
        losses = loss_values(outputs_of(model, test[0]), test[1], "cross_entropy").double()
        everywhere.append(float(losses.mean()))
        own.append(float(losses[test[1] == removed].mean()))
        print_progress(removed + 1, CLASSES, "training without a class")
    model.load_state_dict(start)
    columns = {"real": torch.tensor(everywhere).double(), "own": torch.tensor(own).double()}
    columns |= {name: leave_one_class_out(each, data[1], CLASSES).double() for name, each in found.items()}
    losses = loss_values(found["kfac"].outputs, data[1], "cross_entropy").double()
    columns["loss alone"] = torch.stack([losses[data[1] == c].mean() for c in range(CLASSES)])
    return columns


def compared(columns: dict[str, Tensor], reals: tuple[str, str]) -> list[dict[str, Any]]:
    """Return, for each estimate, Spearman's correlation with both real columns and the median ratio to the second."""
    rows = []
    for name in (name for name in columns if name not in reals):
        row: dict[str, Any] = {"estimate": name}
        row |= {real: round(float(spearmanr(columns[name], columns[real]).statistic), 4) for real in reals}
        row["median_ratio"] = round(float((columns[name] / columns[reals[1]]).median()), 3)
        rows.append(row)
    return rows


def panels(what: str, columns: dict[str, Tensor]) -> list[Panel]:
    """Plot figure 2, with the examples in order of their real change, or figure 3(c)."""
    if what == "classes":
        names = [str(c) for c in range(CLASSES)]
        series = {name: columns[name].tolist() for name in ("real", "kfac", "diagonal", "loss alone")}
        return [Panel("Loss without the class (real: on all test images)", "nats", series, names, log=True)]
    order = columns["paired"].argsort()
    series = {name: columns[name][order].tolist() for name in ("paired", "kfac", "diagonal")}
    return [
        Panel("Change of probabilities", "examples in order of their real change", series, range(len(order)), log=True)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, one JSON line for each row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["examples", "classes"])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds mnist/ and fashion-mnist/")
    parser.add_argument("--data", choices=list(NETWORKS), default="mnist")
    parser.add_argument("--examples", type=int, help="training images")
    parser.add_argument("--removed", type=int, default=60, help="examples to remove one by one")
    parser.add_argument("--delta", type=float, help="strength of regularization; by default 1/200 for each image")
    parser.add_argument("--epochs", type=int, help="epochs of training")
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument("--epochs-on", type=int, help="epochs of continued training without the data")
    parser.add_argument("--rate-on", type=float, help="learning rate of continued training")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the figure")
    options = parser.parse_args(argv)
    examples, epochs, rate, epochs_on, rate_on = SETTINGS[options.what, options.data]
    examples, epochs, rate = options.examples or examples, options.epochs or epochs, options.rate or rate
    epochs_on, rate_on = options.epochs_on or epochs_on, options.rate_on or rate_on
    delta = options.delta or DELTA_PER_IMAGE * examples
    data, _, test = images_and_labels(options.data_root / options.data, examples, 1)
    recipe = Recipe(learning_rate=rate, epochs=epochs, batch_size=256, weight_decay=delta / len(data[0]))
    start = time.perf_counter()
    model = network(options.data)
    trajectory = train(model, data, recipe)
    found = {name: memory_sensitivity(model, data, delta, **options_) for name, options_ in ESTIMATES.items()}
    again = recipe.model_copy(update={"learning_rate": rate_on, "epochs": epochs_on, "seed": 1})
    outputs = outputs_of(model, test[0])
    header = {
        "experiment": "memory_removal", "what": options.what, "data": options.data, "examples": len(data[0]),
        "epochs": epochs, "rate": rate, "epochs_on": epochs_on, "rate_on": rate_on, "delta": round(delta, 3),
        "final_training_loss": round(trajectory.epoch_losses[-1], 4),
        "test_loss": round(mean_loss(model, test, "cross_entropy"), 4),
        "test_accuracy": round(float((outputs.argmax(dim=1) == test[1]).double().mean()), 4),
    }  # fmt: skip
    print(json.dumps(header), flush=True)
    if options.what == "examples":
        columns, reals = example_removals(model, data, again, found, options.removed), ("real", "paired")
    else:
        columns, reals = class_removals(model, data, test, again, found), ("real", "own")
    rows = compared(columns, reals)
    for row in rows:
        print(json.dumps(row), flush=True)
    print(json.dumps({"seconds": round(time.perf_counter() - start, 1)}))
    if options.out:
        results = {**header, "rows": rows, "columns": {name: values.tolist() for name, values in columns.items()}}
        name = f"memory_removal_{options.what}_{options.data}"
        write_results(options.out, name, results, panels(options.what, columns))
    return 0


if __name__ == "__main__":
    sys.exit(main())
