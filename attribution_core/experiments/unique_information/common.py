"""What the studies of functional sample information (F-SI) share.

In all of them the linearised model is trained on the mean of half squared errors, classes as 0/1 targets, without
weight decay. F-SI is in nats, with the 1/2 of equation 8 (the authors' code leaves it out: theirs is twice ours).

**Time.** The paper's networks are pretrained ResNets of eleven million weights on images of 224 pixels. Ours are far
smaller, and so are their kernels: after the paper's ``t`` steps of its rate ``eta`` they are hardly trained, and F-SI
is then little more than the size of an example's gradient. So every study is done twice, at ``t`` and at ``LONGER``
times ``t``, and the second decides whether a statement holds; what came of the first stands beside it.
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
    """F-SI of every training example after some training times: for each ``[n]``.

    Args:
        model: At the weights about which it is linearised.
        train: Training examples.
        validation: Inputs whose predictions count.
        rate: ``eta``.
        times: Steps.
        sketched: Whether the Kronecker sketch takes the place of the exact kernel.
    """
    linear = linearize(model, train, validation, sketch="kronecker" if sketched else None)
    schedules = [GradientDescent(rate, steps, loss="mean") for steps in times]
    return [functional_sample_information(linear, schedule).cpu() for schedule in schedules]


def two_groups(scores: Tensor, marked: Tensor) -> dict[str, float]:
    """How the scores of a marked group compare with those of the others.

    Args:
        scores: ``[n]``.
        marked: Bool ``[n]``.

    Returns:
        Both means, the ratios of the means and of the medians, and ``auc``, the chance that a marked example scores
        higher than another one (area under the ROC curve).
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
    """Mean and standard deviation of every number over the seeds, four digits each; one seed has no deviation."""
    found = {}
    for name in rows[0]:
        values = torch.tensor([row[name] for row in rows], dtype=torch.float64)
        spread = float(values.std()) if len(rows) > 1 else 0.0
        found[name] = [digits(float(values.mean())), digits(spread)]
    return found


def digits(value: float) -> float:
    """Four significant ones, for print."""
    return float(f"{value:.4g}")


def histogram(title: str, groups: Mapping[str, Tensor], bins: int = 20) -> Panel:
    """The share of each group's scores in bins of equal width in the logarithm."""
    logs = {name: scores.clamp(min=1e-300).log10() for name, scores in groups.items()}
    together = torch.cat(list(logs.values()))
    low, high = float(together.min()), float(together.max())
    series = {name: (values.histc(bins, low, high) / len(values)).tolist() for name, values in logs.items()}
    middles = [low + (high - low) * (i + 0.5) / bins for i in range(bins)]
    return Panel(title, "log10 of F-SI (nats)", series, middles)


def conclude(
    name: str, options: Namespace, results: Mapping[str, Any], verdict: Mapping[str, Any], panels: Sequence[Panel]
) -> None:
    """Writes NAME.json and NAME.png into ``options.out`` and prints the verdict as the last line.

    Args:
        name: Of the experiment.
        options: What was asked for.
        results: Numbers of every row.
        verdict: ``statement``, what the paper says; ``holds``; and the numbers that decide it.
        panels: The figure.
    """
    shown = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    write_results(options.out, name, {"options": shown, **results, "verdict": verdict}, panels)
    print(json.dumps({"experiment": name, **verdict}), flush=True)
