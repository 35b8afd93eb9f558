"""The option ``samplescope verify --responses``: influence functions beside their own question."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from attribution_core.cli.output import Bars, out

Responses = Annotated[
    int,
    typer.Option(
        help="Removed examples, two or more, for which influence functions are compared with what they estimate, the "
        "proximal Bregman response, and that with retraining; 0 for none."
    ),
]
_TITLES = {"bregman": "its own question", "two-stage": "two-stage", "warm": "trained on", "cold": "trained again"}


def print_responses(run: Path, examples: int, data: str | None, device: str) -> None:
    """Compare, and print the parts of the gap and how well influence functions predict each retraining."""
    from attribution_core.workflows.responses import compare_responses

    with Bars():
        found = compare_responses(run, examples, data, device)
    table = Table(Column("influence", no_wrap=True), *(Column(title, no_wrap=True) for title in _TITLES.values()))
    for kind, correlations in found["correlations"].items():
        table.add_row(kind, *(f"{correlations[name][0]:.2f}" for name in _TITLES))
    out.print(table)
    parts = ", ".join(f"{name} {mean:.3g} ± {spread:.2g}" for name, (mean, spread) in found["parts"].items())
    out.print(
        f"Pearson's correlation with the change of each validation loss, over {len(found['rows'])} removed examples, "
        f"{found['seconds']:.0f} s each. From trained again to the influence function, the outputs on the training set "
        f"differ by: {parts}.",
        soft_wrap=True,
        highlight=False,
    )
