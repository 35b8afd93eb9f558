"""The command ``samplescope without``: what if some training examples were gone."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from attribution_core.cli.arguments import Device, MovedData, Processes, RunFolder
from attribution_core.cli.output import Bars, out, with_interval
from attribution_core.errors import InputError
from attribution_core.jobs.jobs import usable_cores
from attribution_core.runs import Run
from attribution_core.runs.retraining import measured_without

if TYPE_CHECKING:
    from attribution_core.workflows.group_removal import GroupEstimate, GroupFidelity

_SIZES = (10, 100)


def without(
    run: RunFolder,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of training examples.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Retrain without them too.")] = False,
    groups: Annotated[
        int, typer.Option(min=0, help="Random groups of 10 and of 100 examples to compare with retraining instead.")
    ] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each.")] = 2,
    processes: Processes = None,
    data: MovedData = None,
    device: Device = "auto",
) -> None:
    """Estimate what would change if some training examples were gone, and retrain without them to check it."""
    from attribution_core.workflows.group_removal import GroupEstimator, verify_group, verify_groups

    if bool(ids) == bool(groups):
        raise InputError("Give either the ids of training examples, or --groups N to test the estimates.")
    how = {"seeds": seeds, "processes": processes or usable_cores(), "data": data, "device": device}
    opened = Run.open(run)
    if groups:
        sizes = [size for size in _SIZES if size < len(opened.examples)]
        with Bars():
            found = verify_groups(run, groups, sizes, **how)  # type: ignore[arg-type]  # a dict of options
        _print_fidelity(found, groups, seeds)
        return
    rows = _rows_of(opened, ids or [])
    _print_estimate(opened, GroupEstimator.open(opened).without(rows))
    if verify:
        with Bars():
            verify_group(run, rows, **how)  # type: ignore[arg-type]  # as above
    _print_measured(opened, rows)


def _rows_of(run: Run, ids: list[str]) -> list[int]:
    unknown = sorted(set(ids) - set(run.examples["id"]))
    if unknown:
        raise InputError(f"The run {run.id} has no training example {unknown[0]}.")
    return np.flatnonzero(run.examples["id"].isin(ids)).tolist()


def _print_estimate(run: Run, estimate: "GroupEstimate") -> None:
    table = Table("estimate", "mean validation loss", "unit", "examples that suffer", "gain")
    for method, change in estimate.changes.items():
        unit = "half squared error" if method == "linearized" else run.measure(method).unit
        suffer, gain = int((change > 0).sum()), int((change < 0).sum())
        table.add_row(method, f"{change.mean():+.3g}", unit, f"{suffer:,}", f"{gain:,}")
    out.print(table)
    if estimate.accuracy is not None:
        before, after = estimate.accuracy
        out.print(
            f"Validation accuracy of the linearized model: {before:.1%} to {after:.1%}; it predicts "
            f"{len(estimate.flipped):,} validation examples otherwise.",
            soft_wrap=True,
            highlight=False,
        )
    if estimate.own is not None:
        out.print(
            f"On these examples themselves, by memory perturbation: mean loss {estimate.own.loss:.3g} to "
            f"{estimate.own.loss_without:.3g}.",
            soft_wrap=True,
            highlight=False,
        )


def _print_measured(run: Run, rows: list[int]) -> None:
    measured = measured_without(run.path, rows)
    if measured is None:
        return
    means, (before, after) = measured.changes.mean(axis=1), measured.accuracy.mean(axis=0)
    out.print(
        f"Measured by retraining, {len(means)} seeds: mean validation loss {means.mean():+.3g} ({means.min():+.3g} to "
        f"{means.max():+.3g}), {run.quality_name} {before:.1%} to {after:.1%}.",
        soft_wrap=True,
        highlight=False,
    )


def _print_fidelity(found: "list[GroupFidelity]", groups: int, seeds: int) -> None:
    table = Table("examples", "estimate", "Pearson, mean losses", "at most", "Pearson, single losses", "at most")
    for each in found:
        limits = ["" if most is None else f"{most:.2f}" for most in (each.means_ceiling, each.pairs_ceiling)]
        means, pairs = (with_interval(fidelity.pearson) for fidelity in (each.means, each.pairs))
        table.add_row(f"{each.size:,}", each.method, means, limits[0], pairs, limits[1])
    out.print(table)
    out.print(
        f"Changes of validation losses without {groups} random groups of each size, estimated and measured by "
        f"retraining with {seeds} seeds each. Brackets are 95% intervals; at most: what the noise of retraining allows "
        "to a rank correlation.",
        soft_wrap=True,
        highlight=False,
    )
