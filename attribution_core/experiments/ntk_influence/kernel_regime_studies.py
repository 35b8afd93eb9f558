"""NTK influence, figures 2, 3, 5 and 7: the error of influence functions, its causes, and sample complexity.

    samplescope reproduce kernel_regime_studies --data-root DIR [--data mnist] [--out FOLDER]

Two classes, 1,000 training and 1,000 evaluation images of norm 1, targets -1 and 1, and the two-layer ReLU network of
infinite width. One JSON line for each figure:

* ``figure_2``: for weight decays from 2^-4 to 2^4, the error rate of the inverse-Hessian-vector-product estimate and
  its lower bound (theorem 3). Both must fall as the weight decay grows, with the bound below the rate.
* ``figure_3``: at the weight decays 1/16, 1 and 16, the rank correlation of each training example's error rate with its
  density (theorem 4: negative), and the mean error rate in each tenth of the examples, from the rarest to the densest.
* ``figure_5``: complexity (eq. 19) of ten groups from the most harmful to the most helpful; largest at both ends.
* ``figure_7``: with 40% of the labels flipped, the share of flipped ones among the most influential training examples
  of the evaluation images, over training time (in steps of one over the largest eigenvalue).

Half a minute on two cores.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from attribution_core.experiments.data import PAIRS, infinitely_wide, unit_norm_problem
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.reports import write_with_options
from attribution_core.methods.linearized.kernel_studies import (
    complexity_by_influence,
    estimate_error,
    estimate_error_by_example,
    feature_density,
    marked_share_over_time,
)
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent

FLIPPED = 0.4


def figure_2(linear: LinearizedModel) -> dict[str, list[float]]:
    """Return the error rate and its lower bound for nine weight decays."""
    decays = [2.0**power for power in range(-4, 5)]
    error = estimate_error(linear, decays)
    bound = torch.zeros_like(error.rate) if error.lower_bound is None else error.lower_bound
    return {"weight_decay": decays, "error_rate": rounded(error.rate), "lower_bound": rounded(bound)}


def figure_3(linear: LinearizedModel) -> dict[str, dict[str, object]]:
    """Compare density with error rate, for three weight decays."""
    density = feature_density(linear)
    tenths = density.argsort().tensor_split(10)
    result: dict[str, dict[str, object]] = {}
    for decay in (1 / 16, 1.0, 16.0):
        rate = estimate_error_by_example(linear, decay)
        result[f"weight_decay_{decay:g}"] = {
            "spearman": round(float(spearmanr(density, rate)[0]), 3),
            "by_tenth": rounded(torch.stack([rate[members].mean() for members in tenths])),
        }
    return result


def figure_5(linear: LinearizedModel) -> dict[str, list[float]]:
    """Return the complexity of ten groups by influence."""
    influence = linear.removal_effects(GradientDescent(1.0, math.inf, 1.0)).mean(dim=1)
    return {"complexity": rounded(complexity_by_influence(linear, GradientDescent(1.0, math.inf), influence))}


def figure_7(sides: tuple[Tensor, Tensor, Tensor, Tensor]) -> dict[str, list[float]]:
    """Return the share of flipped labels among the most influential examples over time; chance is 0.4."""
    inputs, targets, evaluation_inputs, evaluation_targets = sides
    flipped = torch.rand(len(targets), generator=torch.Generator().manual_seed(0)) < FLIPPED
    noisy = torch.where(flipped[:, None], -targets, targets)
    linear = infinitely_wide(inputs, noisy, evaluation_inputs, evaluation_targets)
    times = [10 ** (half / 2) for half in range(13)]
    schedule = GradientDescent(1 / float(linear.eigenvalues[-1]), 1)
    return {"times": rounded(times), "flipped_share": rounded(marked_share_over_time(linear, schedule, times, flipped))}


def rounded(values: Tensor | list[float]) -> list[float]:
    """Round values for printing."""
    return [round(float(value), 4) for value in values]


def panels(found: Mapping[str, Any]) -> list[Panel]:
    """Plot the four figures from the results of each study."""
    error, shares = found["figure_2"], found["figure_7"]
    decays = [math.log2(decay) for decay in error["weight_decay"]]
    rates = {name: error[name] for name in ("error_rate", "lower_bound")}
    tenths = {name: each["by_tenth"] for name, each in found["figure_3"].items()}
    groups, times = {"complexity": found["figure_5"]["complexity"]}, [math.log10(time) for time in shares["times"]]
    flipped = {"flipped labels": shares["flipped_share"]}
    return [
        Panel("Error of the estimate (figure 2)", "log2 of the weight decay", rates, decays),
        Panel("Error rate by density (figure 3)", "tenth, the rarest examples first", tenths, range(1, 11), log=True),
        Panel("Complexity (figure 5)", "group, the most harmful first", groups, range(1, 11)),
        Panel("Most influential (figure 7)", "log10 of the steps", flipped, times, {"chance": FLIPPED}),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line for each figure; write them with a figure of four panels."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds mnist/ and cifar10/")
    parser.add_argument("--data", choices=sorted(PAIRS), default="mnist")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    options = parser.parse_args(argv)
    sides = unit_norm_problem(options.data_root, options.data, 1000, 1000)
    linear = infinitely_wide(*sides)
    studies: dict[str, Callable[[], Mapping[str, object]]] = {
        "figure_2": lambda: figure_2(linear),
        "figure_3": lambda: figure_3(linear),
        "figure_5": lambda: figure_5(linear),
        "figure_7": lambda: figure_7(sides),
    }
    found: dict[str, Mapping[str, object]] = {}
    for name, study in studies.items():
        found[name] = study()
        line = {"experiment": "kernel_regime_studies", "data": options.data, "figure": name, **found[name]}
        print(json.dumps(line), flush=True)
    write_with_options(options, f"kernel_regime_studies_{options.data}", found, panels(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
