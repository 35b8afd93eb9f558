"""The curves of a run about influence in the kernel regime; each that cannot be computed is skipped with the reason.

Zhang and Zhang, "Rethinking influence functions of neural networks in the over-parameterized regime", AAAI 2022.
"""

import math

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linearized.kernel_studies import (
    complexity_by_influence,
    estimate_error,
    estimate_error_by_example,
    feature_density,
    marked_share_over_time,
)
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.runs import RunWriter
from attribution_core.scoring.linearization import mean_squared_norm
from attribution_core.scoring.stages.base import curve_rows, write_or_skip

GROUPS = 10  # of training examples that are removed together
# Up to this many training examples the curve over density is drawn, whose cost is their square.
DENSITY_EXAMPLES = 10_000
_DECAYS = [2.0**power for power in range(-4, 5)]  # weight decays at which the classical estimate is compared
# Rows squared times features, above which removing a tenth of the examples takes many seconds.
_LARGEST_REMOVAL = 10**9
_NO_CHANGES = "the data do not record which labels were changed (a column original_label)"


def decays_of(rows: int) -> list[float]:
    """Return the weight decays at which influence functions are compared, given the feature rows of an example.

    Outputs with features of their own have k rows, and leaving out an example costs the square of that: three decays.
    """
    return _DECAYS if rows == 1 else _DECAYS[:: len(_DECAYS) // 2]


def times_of(schedule: GradientDescent, rows: int = 1) -> list[float]:
    """Return times from a hundredth to a hundred times the schedule's, two a decade; one if examples have many rows."""
    middle = schedule.steps if math.isfinite(schedule.steps) and schedule.steps > 0 else 1000.0
    return [middle * 10 ** (half / 2) for half in range(-4, 5)][:: 1 if rows == 1 else 2]


def write_kernel_curves(
    writer: RunWriter,
    linear: LinearizedModel,
    schedule: GradientDescent,
    influence: Tensor,
    changed: Tensor | None,
) -> None:
    """Write the kernel regime's studies on this run (NTK influence, figures 2, 3, 5, 7), or why there are none.

    Args:
        writer: The run.
        linear: The linearized model, on the evaluation examples that the curves are of.
        schedule: How it is trained.
        influence: Mean effect of each training example, ``[n]``.
        changed: Which training labels are known to be changed, bool ``[n]``; None where nothing is known.
    """
    unit = mean_squared_norm(linear.eigenvalues, linear.num_train)

    def write_changed() -> None:
        if changed is None:
            raise InputError(_NO_CHANGES)
        _write_changed(writer, linear, schedule, changed)

    writes = {
        "ihvp_error": lambda: _write_error(writer, linear, unit),
        "ihvp_error_by_density": lambda: _write_error_by_density(writer, linear, unit),
        "complexity_by_influence": lambda: _write_complexity(writer, linear, schedule, influence),
        "changed_among_influencers": write_changed,
    }
    for name, write in writes.items():
        write_or_skip(writer, name, write)


def _write_error(writer: RunWriter, linear: LinearizedModel, unit: float) -> None:
    decays = decays_of(linear.features.shape[1])
    error = estimate_error(linear, [unit * decay for decay in decays])
    series = {"error rate": error.rate}
    if error.lower_bound is None:
        note = "Theorem 3 bounds the error only where the outputs share their features, as with parameters=head."
    elif not bool((error.lower_bound > 0).any()):
        note = (
            f"The lower bound of theorem 3 is zero here, since {linear.num_train:,} examples have only "
            f"{len(linear.eigenvalues):,} features."
        )
    else:
        note, series = "", {**series, "lower bound": error.lower_bound}
    writer.write_curve("ihvp_error", curve_rows(decays, series))
    if note:
        writer.describe("ihvp_error", {"note": note})


def _write_error_by_density(writer: RunWriter, linear: LinearizedModel, unit: float) -> None:
    n = linear.num_train
    if n > DENSITY_EXAMPLES:
        raise InputError(
            f"a density costs the square of the number of examples, so it is estimated up to {DENSITY_EXAMPLES:,}, "
            f"not for {n:,}"
        )
    density = feature_density(linear, components=max(1, min(20, n // 10)))
    groups = min(GROUPS, n)
    rate = estimate_error_by_example(linear, unit)
    by_density = torch.stack([rate[group].mean() for group in density.argsort().tensor_split(groups)])
    writer.write_curve("ihvp_error_by_density", curve_rows(range(1, groups + 1), {"error rate": by_density}))


def _write_complexity(writer: RunWriter, linear: LinearizedModel, schedule: GradientDescent, influence: Tensor) -> None:
    n, rows, features = linear.features.shape
    groups = min(GROUPS, n)
    if rows > 1 and min(n // groups * rows, features) ** 2 * features > _LARGEST_REMOVAL:
        raise InputError(
            f"the outputs have features of their own, so removing a tenth of the {n:,} examples changes "
            f"{n // groups * rows:,} rows of {features:,} features, which would take minutes: score fewer examples, or "
            "the head"
        )
    complexity = complexity_by_influence(linear, schedule, influence, groups)
    writer.write_curve("complexity_by_influence", curve_rows(range(1, groups + 1), {"added norm": complexity}))


def _write_changed(writer: RunWriter, linear: LinearizedModel, schedule: GradientDescent, changed: Tensor) -> None:
    times = times_of(schedule, linear.features.shape[1])
    share = marked_share_over_time(linear, schedule, times, changed)
    level = torch.full_like(share, float(changed.double().mean()))
    series = {"among the most influential": share, "among all": level}
    writer.write_curve("changed_among_influencers", curve_rows(times, series))
