"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Port of the app. Default: the first free port from 8501.")
]
RunFolder = Annotated[Path, typer.Argument(help="Directory of a run.")]
MovedData = Annotated[str | None, typer.Option("--data", help="Present path of the dataset, if it was moved.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda; auto uses a GPU if there is one.")]
Processes = Annotated[
    int | None, typer.Option(min=1, help="Trainings that run at the same time. Default: one for each core.")
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Print the address without opening a browser.")]
