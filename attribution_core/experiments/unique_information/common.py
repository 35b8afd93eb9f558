"""Share what the studies of functional sample information (F-SI) have in common.

In all of them the linearized model is trained on the mean of half squared errors, with classes as 0/1 targets and
without weight decay. F-SI is in nats, with the 1/2 of equation 8 (the authors' code omits it, so their values are twice
ours).

**Time.** The paper's networks are pretrained ResNets of eleven million weights on images of 224 pixels. Ours are far
smaller, and so are their kernels: after the paper's ``t`` steps at its rate ``eta`` they are hardly trained, and F-SI
is then little more than the size of an example's gradient. So every study runs at two times, ``t`` and ``LONGER`` times
``t``. The second decides whether a statement holds; the results at the first are printed beside it.
"""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from attribution_core.experiments.data import Side
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.reports import write_results
from attribution_core.methods.linearized.build import linearize
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent

LONGER = 100


def information(
    model: nn.Module, train: Side, validation: Side, rate: float, times: Sequence[float], sketched: bool = False
) -> list[Tensor]:
    """Return the F-SI of every training example, ``[n]`` for each of several training times.

    Args:
        model: The model at the weights where it is linearized.
        train: Training examples.
        validation: Examples whose predictions F-SI measures.
        rate: Learning rate ``eta``.
        times: Numbers of steps.
        sketched: Whether to use the Kronecker sketch instead of the exact kernel.
    """
    linear = linearize(model, train, validation, sketch="kronecker" if sketched else None)
    schedules = [GradientDescent(rate, steps, loss="mean") for steps in times]
    return [functional_sample_information(linear, schedule).cpu() for schedule in schedules]


def two_groups(scores: Tensor, marked: Tensor) -> dict[str, float]:
    """Compare the scores of a marked group with those of the others.

    Args:
        scores: Scores, ``[n]``.
        marked: Mask of the group, bool ``[n]``.

    Returns:
        Both means, the ratios of the means and of the medians, and ``auc``, the probability that a marked example
        scores higher than an unmarked one (area under the ROC curve).
    """
    first, second = scores[marked], scores[~marked]
    return {
        "mean": float(first.mean()),
        "mean_of_others": float(second.mean()),
        "ratio": float(first.mean() / second.mean()),
        "ratio_of_medians": float(first.median() / second.median()),
        "auc": float(roc_auc_score(marked, scores)),
    }


def over_seeds(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return the mean and standard deviation of every number over the seeds, to four digits; 0 for one seed."""
    found = {}
    for name in rows[0]:
        values = torch.tensor([row[name] for row in rows], dtype=torch.float64)
        spread = float(values.std()) if len(rows) > 1 else 0.0
        found[name] = [digits(float(values.mean())), digits(spread)]
    return found


def digits(value: float) -> float:
    """Round to four significant digits for printing."""
    return float(f"{value:.4g}")


def histogram(title: str, groups: Mapping[str, Tensor], bins: int = 20) -> Panel:
    """Plot the share of each group's scores in bins of equal width in the logarithm."""
    logs = {name: scores.clamp(min=1e-300).log10() for name, scores in groups.items()}
    together = torch.cat(list(logs.values()))
    low, high = float(together.min()), float(together.max())
    series = {name: (values.histc(bins, low, high) / len(values)).tolist() for name, values in logs.items()}
    middles = [low + (high - low) * (i + 0.5) / bins for i in range(bins)]
    return Panel(title, "log10 of F-SI (nats)", series, middles)


def conclude(
    name: str, options: Namespace, results: Mapping[str, Any], verdict: Mapping[str, Any], panels: Sequence[Panel]
) -> None:
    """Write NAME.json and NAME.png into ``options.out`` and print the verdict as the last line.

    Args:
        name: Name of the experiment.
        options: Options of the command line.
        results: Numbers of every row.
        verdict: ``statement``, what the paper says; ``holds``; and the numbers that decide it.
        panels: Panels of the figure.
    """
    shown = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    write_results(options.out, name, {"options": shown, **results, "verdict": verdict}, panels)
    print(json.dumps({"experiment": name, **verdict}), flush=True)
