"""How much of MNIST can be removed? Figures 2c and 7b of unique information (Harutyunyan et al. 2021).

    samplescope reproduce summarization --data-root DIR [--out FOLDER]

A network with one hidden layer of 1,024 units and one output is trained on 1,000 images of the digits 4 and 9 by
full-batch gradient descent on half the squared error, for the time of 2,000 steps at a rate of 0.001 (appendix A.8).
Examples are removed in the order of their F-SI at the initial weights, measured on 1,000 validation images: least
informative first, scored once or again after every 5%; most informative first; at random; and the same within the
classes. After each tenth, the accuracy on 2,000 test images is measured, both of a really trained network, with another
seed each time, and of the linearized one, in closed form. ``--hidden 1024 1024`` trains a network with two hidden
layers on the examples that the scores of the first network leave, as in figure 7b.

Training takes momentum 0.9 and a tenth of the steps, which is the same time of gradient flow: 40 minutes on two cores.
``--momentum 0`` is the paper's own setting: a few minutes on a GPU, many hours without.

Statement: "recomputing the information scores after each removal greatly improves the performance when many samples are
removed", and removing the least informative does little harm where removing the most informative does most. The
statement **holds** if, with half of the examples removed, the mean accuracy of ``bottom iterative`` is above that of
``random`` by more than the 95% interval of their difference over the seeds, and the mean of ``top`` is not above any
other.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attribution_core.evaluation.retraining import Trainer
from attribution_core.evaluation.summarization import (
    STRATEGIES,
    SummarizationCurve,
    linear_accuracies,
    removal_order,
    retrained_accuracies,
    scores_by_information,
    summarization_curve,
)
from attribution_core.experiments.data import Side, two_classes
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.reports import print_progress, write_with_options
from attribution_core.methods.linearized.build import linearize
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.models import build_model, device_named
from attribution_core.progress import listening
from attribution_core.training import Recipe

TIME = GradientDescent(0.001, 2000, dynamics="discrete", loss="mean")
HALF = 0.5


def build(hidden: tuple[int, ...], device: torch.device, seed: int) -> nn.Module:
    """Build a network with one output and fresh weights."""
    return build_model("mlp", 1, (1, 28, 28), hidden, seed=seed).to(device)


def linearized(model: nn.Module, data: Side, evaluation: Side) -> LinearizedModel:
    """Linearize the network at its initial weights, with targets 0 and 1."""
    train, others = ((inputs, labels[:, None].float()) for inputs, labels in (data, evaluation))
    return linearize(model, train, others)


def orders_by_strategy(models: Sequence[LinearizedModel], labels: Tensor, step: float) -> dict[str, list[Tensor]]:
    """Return an order of removal for each network, for each strategy, both overall and balanced by class."""
    orders = {}
    for balanced in (False, True):
        for strategy in STRATEGIES:
            name = f"{strategy}, balanced" if balanced else strategy
            with listening(print_progress):
                orders[name] = [
                    removal_order(scores_by_information(model, TIME), labels, strategy, balanced, step, seed)
                    for seed, model in enumerate(models)
                ]
    return orders


def summary(curve: SummarizationCurve) -> dict[str, Any]:
    """Return means and intervals, and whether the paper's statement holds."""
    intervals = {name: [each.tolist() for each in curve.interval(name)] for name in curve.accuracy}
    gain, width = curve.advantage("bottom iterative", "random", HALF)
    half = {name: means[curve.fractions.index(HALF)] for name, (means, _) in intervals.items()}
    holds = gain > width and half["top"] <= min(half.values())
    return {
        "fractions": curve.fractions,
        "mean_and_interval": {
            name: [[round(value, 4) for value in each] for each in pair] for name, pair in intervals.items()
        },
        "iterative_over_random_at_half": [round(gain, 4), round(width, 4)],
        "holds": holds,
    }


def print_table(kind: str, found: dict[str, Any]) -> None:
    """Print the accuracy in percent for each share removed."""
    print(f"{kind}: test accuracy (%) after removing a share of the examples, mean +- 95% interval")
    print(f"  {'':26}" + "".join(f"{fraction:>12.0%}" for fraction in found["fractions"]))
    for name, (means, widths) in found["mean_and_interval"].items():
        cells = (f"{100 * mean:.1f}+-{100 * width:.1f}" for mean, width in zip(means, widths, strict=True))
        print(f"  {name:26}" + "".join(f"{cell:>12}" for cell in cells))


def main(argv: Sequence[str] | None = None) -> int:
    """Print each table with its JSON line; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds mnist/")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--examples", type=int, default=1000, help="training images; as many for validation")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--step", type=float, default=0.05, help="share to remove before scoring again")
    parser.add_argument(
        "--hidden", type=int, nargs="+", default=[1024], help="units in each hidden layer of the trained network"
    )
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument(
        "--processes", type=int, default=0, help="processes that train in parallel; 0 trains in this one"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args(argv)
    device, n, hidden = device_named(options.device), options.examples, tuple(options.hidden)
    inputs, labels = (each.to(device) for each in two_classes(options.data_root, "mnist", 4 * n))
    data, validation, test = ((inputs[part], labels[part]) for part in (slice(n), slice(n, 2 * n), slice(2 * n, None)))
    scored = [build((1024,), device, seed) for seed in range(options.seeds)]
    orders = orders_by_strategy([linearized(model, data, validation) for model in scored], data[1], options.step)
    steps = round(TIME.steps * (1 - options.momentum))
    recipe = Recipe(
        loss="mse", learning_rate=TIME.learning_rate, momentum=options.momentum, weight_decay=0.0, batch_size=n,
        epochs=steps, schedule="constant",
    )  # fmt: skip
    tested = [linearized(build(hidden, device, seed), data, test) for seed in range(options.seeds)]
    results_file = options.out / f"summarization_{'-'.join(map(str, hidden))}_{options.momentum:g}.parquet"
    train_side, test_side = ((x.cpu(), y.cpu()) for x, y in (data, test))  # they may be sent to other processes
    trainer = Trainer(partial(build, hidden, device), train_side, test_side, recipe, None)
    with listening(print_progress):
        kinds = {
            "linearized": linear_accuracies(tested, TIME, test[1]),
            "retrained": retrained_accuracies(trainer, options.processes, results_file),
        }
    results, panels = {}, []
    for kind, accuracies_of in kinds.items():
        curve = summarization_curve(orders, accuracies_of)
        results[kind] = summary(curve)
        print_table(kind, results[kind])
        print(json.dumps({"experiment": "summarization", "kind": kind, **results[kind]}), flush=True)
        means = {name: pair[0] for name, pair in results[kind]["mean_and_interval"].items()}
        panels.append(Panel(f"Test accuracy, {kind}", "share removed", means, curve.fractions))
    write_with_options(options, "summarization", results, panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
