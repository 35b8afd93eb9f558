"""The command ``samplescope contributions``: their mean over several trainings."""

from typing import Annotated

import typer

from attribution_core.cli.arguments import Device, MovedData, RunFolder
from attribution_core.cli.output import Bars, out


def contributions(
    run: RunFolder,
    seeds: Annotated[int, typer.Option(min=2, help="Trainings to average over, with the run's own.")] = 5,
    data: MovedData = None,
    device: Device = "auto",
) -> None:
    """Train again from other seeds and average the contributions (HYDRA). Give it again to resume."""
    from attribution_core.workflows.contributions import average_contributions

    with Bars():
        found = average_contributions(run, seeds, data, device)
    out.print(
        f"Contributions are now means over {found.trainings} trainings. Between trainings they differ by a standard "
        f"deviation of {found.spread:.2g} (median over the examples); 90% of the means are from {found.low:.2g} to "
        f"{found.high:.2g}.",
        soft_wrap=True,
        highlight=False,
    )
