"""The command ``samplescope regularization``: the weight decay of least estimated leave-one-out loss."""

from typing import Annotated

import typer
from rich.table import Table

from attribution_core.cli.arguments import Device, MovedData, RunFolder
from attribution_core.cli.output import Bars, out
from attribution_core.runs import CURVES
from attribution_core.runs.regularization import CURVE, Regularization


def regularization(
    run: RunFolder,
    values: Annotated[
        list[float] | None,
        typer.Argument(help="Weight decays to try. Default: nine in half decades around the run's own."),
    ] = None,
    data: MovedData = None,
    device: Device = "auto",
) -> None:
    """Train a run's model with other weight decays, and choose one by its leave-one-out loss, without a test set."""
    from attribution_core.workflows.regularization import choose_regularization

    with Bars():
        found = choose_regularization(run, values or (), data, device)
    _print(found)


def _print(found: Regularization) -> None:
    titles = CURVES[CURVE].series_titles
    table = Table("weight decay", *titles.values(), "")
    for value, losses in found.losses.iterrows():
        notes = [note for note, marked in (("best", found.best), ("the run's", found.own)) if value == marked]
        table.add_row(f"{value:g}", *(f"{losses[name]:.4f}" for name in titles), ", ".join(notes))
    out.print(table)
    out.print(found.sentence, soft_wrap=True, highlight=False)
