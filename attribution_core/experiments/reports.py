"""Report the progress of experiments, and write their results."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attribution_core.experiments.figures import Panel, write_figure


def print_progress(done: int, total: int, what: str) -> None:
    """Print progress on standard error, four times for each activity."""
    if done % max(1, total // 4) == 0:
        print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)


def write_results(folder: Path, name: str, results: Any, panels: Sequence[Panel]) -> None:
    """Write NAME.json and its figure NAME.png into a folder, which is created if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    write_figure(folder / f"{name}.png", panels)


def write_with_options(options: Namespace, name: str, results: Mapping[str, Any], panels: Sequence[Panel]) -> None:
    """Write results into ``options.out`` as :func:`write_results` does, with the options under ``"options"``."""
    shown = {key: str(value) for key, value in vars(options).items()}
    write_results(options.out, name, {"options": shown, **results}, panels)
