r"""NTK influence, table 1 and figure 1: predicted influence against that of really retrained wide networks.

    samplescope reproduce ntk_influence_accuracy --data-root DIR [--data mnist] [--widths 2500 10000] [--out FOLDER]

Two classes, images of norm 1, targets -1 and 1, the two-layer ReLU network of eq. 1 (only the first layer is trained,
its weights drawn with standard deviation ``KAPPA``), and the objective of eq. 2 with weight decay 1 towards those
weights. Full-batch gradient descent with a step of one over the largest curvature stops when 1% of the slowest
direction is left. The prediction is that of the infinitely wide network (eqs. 4, 8, 14) after the same steps; it does
not use the initial weights.

The network is retrained without each of the 40 training examples that the prediction calls most influential on one
evaluation image, the one with the median prediction error. Printed for each width are Pearson's R and Spearman's rho
over these 40 (the paper's table 1: MNIST 0.977, 0.980, 0.987, 0.993 at widths 10, 20, 40, 80 thousand, CIFAR-10 0.968,
0.981, 0.990, 0.996), and Pearson's R over all pairs of the 40 with the evaluation images. The paper does not print the
number of examples, the weight decay or the initial scale. The scale matters: if it is much smaller, training turns
units on and off; if it is much larger, the initial outputs, which the kernel does not know, are no longer small.

Cost: the weights remain ``W_0 + C^T X``, so a step is one product of the ``n x n`` Gram matrix of the inputs with C,
``2 n^2 width`` operations for any number of pixels: 2 * 10^9 at 300 examples and width 10,000, a few hundred times for
each network.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from attribution_core.experiments.data import PAIRS, infinitely_wide, unit_norm_problem
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.reports import write_with_options
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.models import TwoLayerReLU

WEIGHT_DECAY, KAPPA, EVALUATED = 1.0, 0.05, 100


def retrained_outputs(
    network: TwoLayerReLU, inputs: Tensor, targets: Tensor, evaluation_inputs: Tensor, schedule: GradientDescent
) -> Tensor:
    """Return the outputs ``[m]`` after gradient descent on the first layer, leaving the network's weights unchanged.

    ``W_t = W_0 + C_t^T X`` with ``C_0 = 0``; the gradient adds ``error_i a_r [unit r is on] / sqrt(width)`` to C.

    Args:
        network: A network with one output, at its initial weights.
        inputs: Training inputs, ``[n, d]``.
        targets: Training targets, ``[n, 1]``.
        evaluation_inputs: Evaluation inputs, ``[m, d]``.
        schedule: Discrete schedule whose weight decay pulls towards the initial weights.
    """
    readout = network.second[0] / math.sqrt(network.second.shape[1])
    with torch.no_grad():
        start, evaluation_start = network.first(inputs), network.first(evaluation_inputs)
        gram, moved, rate = inputs @ inputs.T, torch.zeros_like(start), schedule.learning_rate
        for _ in range(int(schedule.steps)):
            units = torch.addmm(start, gram, moved).relu_()
            error = units @ readout - targets[:, 0]
            gradient = units.sign_().mul_(readout).mul_(rate * error[:, None])
            moved.mul_(1 - rate * schedule.weight_decay).sub_(gradient)
        return torch.relu(torch.addmm(evaluation_start, evaluation_inputs @ inputs.T, moved)) @ readout


def near_end(eigenvalues: Tensor) -> GradientDescent:
    """Return the schedule of gradient descent until 1% of the slowest direction is left."""
    rate = 1.0 / float(eigenvalues[-1] + WEIGHT_DECAY)
    slowest = 1 - rate * float(eigenvalues[0] + WEIGHT_DECAY)
    return GradientDescent(rate, math.ceil(math.log(0.01) / math.log(slowest)), WEIGHT_DECAY, "discrete")


def really_retrained(
    width: int, sides: tuple[Tensor, Tensor, Tensor, Tensor], removed: list[int], schedule: GradientDescent, seed: int
) -> Tensor:
    """Return ``effect[i, j]`` for each removed example from retraining without it, ``[len(removed), m]``."""
    inputs, targets, evaluation_inputs, evaluation_targets = sides
    torch.manual_seed(seed)
    network = TwoLayerReLU(inputs.shape[1], width, kappa=KAPPA)

    def losses(kept: list[int]) -> Tensor:
        outputs = retrained_outputs(network, inputs[kept], targets[kept], evaluation_inputs, schedule)
        return 0.5 * (outputs - evaluation_targets[:, 0]).double().square()

    everything = list(range(len(inputs)))
    before, rows = losses(everything), []
    for count, i in enumerate(removed):
        start = time.perf_counter()
        rows.append(losses([j for j in everything if j != i]) - before)
        seconds = time.perf_counter() - start
        print(f"width {width}: retrained {count + 1} of {len(removed)} in {seconds:.1f} s", file=sys.stderr, flush=True)
    return torch.stack(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line for each width; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds mnist/ and cifar10/")
    parser.add_argument("--data", choices=sorted(PAIRS), default="mnist")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--train", type=int, default=300, help="number of training examples")
    parser.add_argument("--examples", type=int, default=40, help="number of them to remove, one by one")
    parser.add_argument("--widths", type=int, nargs="+", default=[2500, 5000, 10_000], help="widths to retrain")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights")
    options = parser.parse_args(argv)
    sides = unit_norm_problem(options.data_root, options.data, options.train, EVALUATED)
    linear = infinitely_wide(*sides)
    schedule = near_end(linear.eigenvalues)
    effects = linear.removal_effects(schedule)
    error = (linear.predictions(schedule) - linear.evaluation_targets)[:, 0].abs()
    image = int(error.argsort()[len(error) // 2])
    removed = effects[:, image].abs().topk(options.examples).indices.tolist()
    rows: list[dict[str, Any]] = []
    for width in options.widths:
        real = really_retrained(width, sides, removed, schedule, options.seed)
        row = {
            "experiment": "ntk_influence_accuracy",
            "data": options.data,
            "train": options.train,
            "width": width,
            "examples": options.examples,
            "steps": int(schedule.steps),
            "pearson": round(float(pearsonr(effects[removed, image], real[:, image])[0]), 4),
            "spearman": round(float(spearmanr(effects[removed, image], real[:, image])[0]), 4),
            "pearson_all_pairs": round(float(pearsonr(effects[removed].flatten(), real.flatten())[0]), 4),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    series = {name: [row[name] for row in rows] for name in ("pearson", "spearman", "pearson_all_pairs")}
    panel = Panel("Correlation of predicted and real influence (table 1)", "width", series, options.widths)
    write_with_options(options, f"ntk_influence_accuracy_{options.data}", {"rows": rows}, [panel])
    return 0


if __name__ == "__main__":
    sys.exit(main())
