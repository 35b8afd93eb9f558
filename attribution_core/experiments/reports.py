"""What experiments say as they run, and what they leave behind."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attribution_core.experiments.figures import Panel, write_figure


def print_progress(done: int, total: int, what: str) -> None:
    """On standard error, four times for each activity."""
    if done % max(1, total // 4) == 0:
        print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)


def write_results(folder: Path, name: str, results: Any, panels: Sequence[Panel]) -> None:
    """Writes NAME.json and its figure NAME.png into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    write_figure(folder / f"{name}.png", panels)


def write_with_options(options: Namespace, name: str, results: Mapping[str, Any], panels: Sequence[Panel]) -> None:
    """The same into ``options.out``, with what was asked for under ``"options"``."""
    shown = {key: str(value) for key, value in vars(options).items()}
    write_results(options.out, name, {"options": shown, **results}, panels)
