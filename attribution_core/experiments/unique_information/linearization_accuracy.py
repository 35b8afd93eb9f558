"""Unique information, table 1 (MNIST MLP): changes of the linearized model against those of really retrained networks.

    samplescope reproduce linearization_accuracy --data-root DIR [--examples 40] [--weight-decay 1] [--out FOLDER]

MNIST 4 against 9, 1,000 + 1,000 images, one output, one hidden layer of 1,024 ReLU units, 2,000 full-batch steps of
rate 0.001 on the mean of half squared errors plus ``l2 / 2 |w - w_0|^2`` (the paper's lambda = 10^3 is l2 = 1 at
n = 1,000). Printed is Pearson's correlation over the examples, between the linearized model and the network, of
``|w - w_{-i}|^2`` and of ``sum_j |f(x_j) - f_{-i}(x_j)|^2`` (paper: weights 0.987 without and 0.977 with weight decay,
predictions 0.993 and 0.993). Values named ``..._authors`` are those of the authors' code, where the decay of the sum
stays ``n l2`` after a removal; the retrained networks keep l2, so without example i it is ``(n - 1) l2``.

Each retraining takes 2,000 steps of about 2.4 * 10^9 operations, about a minute on one core, so 40 examples take most
of an hour. (Pixels that are zero in every image are dropped, which changes nothing.)
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from attribution_core.experiments.data import two_classes
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.reports import write_with_options
from attribution_core.methods.linearized.build import linearize
from attribution_core.methods.linearized.sample_information import functional_sample_information, sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.models import build_model
from attribution_core.training import outputs_of

STEPS, RATE, UNITS = 2000, 0.001, 1024


def trained(model: nn.Module, inputs: Tensor, labels: Tensor, decay: float) -> nn.Module:
    """Train in place by full-batch gradient descent on the mean loss, with decay towards the initial weights."""
    start = [p.detach().clone() for p in model.parameters()]
    for _ in range(STEPS):
        loss = 0.5 * (model(inputs)[:, 0] - labels).square().mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g, origin in zip(model.parameters(), gradients, start, strict=True):
                p.sub_(RATE * (g + decay * (p - origin)))
    return model


def changes(inputs: Tensor, labels: Tensor, held_out: Tensor, examples: int, decay: float) -> Tensor:
    """Return the squared changes of weights and held-out predictions from real retraining, ``[examples, 2]``."""
    # The weight of a pixel that is zero in every image has no gradient and no effect, with or without decay to w_0.
    live = (torch.cat([inputs, held_out]) != 0).any(dim=0).flatten()
    inputs, held_out = inputs.flatten(1)[:, live], held_out.flatten(1)[:, live]

    def network() -> nn.Module:
        model = build_model("mlp", 1, (len(live),), hidden=[UNITS])
        first = next(layer for layer in model.modules() if isinstance(layer, nn.Linear))
        first.weight = nn.Parameter(first.weight.detach()[:, live].clone())
        return model

    full = trained(network(), inputs, labels, decay)
    weights, outputs = nn.utils.parameters_to_vector(full.parameters()).detach(), outputs_of(full, held_out)
    rows = []
    for i in range(examples):
        start = time.perf_counter()
        kept = [j for j in range(len(inputs)) if j != i]
        other = trained(network(), inputs[kept], labels[kept], decay)
        moved = (nn.utils.parameters_to_vector(other.parameters()).detach() - weights).double().square().sum()
        rows.append(torch.stack([moved, (outputs_of(other, held_out) - outputs).double().square().sum()]))
        print(f"retrained {i + 1} of {examples} in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return torch.stack(rows)


def panel(name: str, estimated: Tensor, real: Tensor, pearson: object) -> Panel:
    """Plot the estimated and the real change of each example, in order of the real one."""
    order = real.argsort()
    series = {"retrained": real[order].tolist(), "linearized": estimated[order].tolist()}
    title = f"Squared change of {name} (Pearson {pearson})"
    return Panel(title, "examples in order of their real change", series, range(len(order)), log=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the correlations as one JSON line; write them with the correlated values and a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds mnist/")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--examples", type=int, default=40, help="training examples to remove, one by one")
    parser.add_argument("--weight-decay", type=float, default=0.0, help="weight decay (l2) of the mean loss")
    options = parser.parse_args(argv)
    inputs, labels = two_classes(options.data_root, "mnist", 2000)
    train, held_out = (inputs[:1000], labels[:1000]), (inputs[1000:], labels[1000:])
    linear = linearize(build_model("mlp", 1, (1, 28, 28), hidden=[UNITS]), train, held_out)
    estimated = {}
    real_form = GradientDescent(RATE, STEPS, 1000 * options.weight_decay, "discrete", "mean")
    for suffix, schedule in {"": real_form, "_authors": replace(real_form, decay_after_removal="fixed")}.items():
        estimated["weights" + suffix] = 2 * sample_information(linear, schedule)
        estimated["predictions" + suffix] = 2 * len(held_out[0]) * functional_sample_information(linear, schedule)
    real = changes(*train, held_out[0], options.examples, options.weight_decay)
    line: dict[str, object] = {
        "experiment": "linearization_accuracy",
        "examples": options.examples,
        "weight_decay": options.weight_decay,
    }
    panels, columns = [], {}
    for name, values in estimated.items():
        pair = torch.stack([values[: options.examples].cpu(), real[:, int(name.startswith("predictions"))]])
        line[f"pearson_{name}"] = round(float(torch.corrcoef(pair)[0, 1]), 4)
        line[f"ratio_{name}"] = round(float(pair[0].sum() / pair[1].sum()), 4)
        panels.append(panel(name, pair[0], pair[1], line[f"pearson_{name}"]))
        columns[name] = {"linearized": pair[0].tolist(), "retrained": pair[1].tolist()}
    print(json.dumps(line))
    write_with_options(options, "linearization_accuracy", {**line, "columns": columns}, panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
