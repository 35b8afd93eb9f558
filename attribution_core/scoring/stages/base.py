"""What the stages of a run share."""

from collections.abc import Callable, Sequence

import pandas as pd
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.preparation.config import ScoreConfig
from attribution_core.runs import RunWriter
from attribution_core.runs.tables import curve_points


def points_of(x: Sequence[float], series: dict[str, Tensor]) -> pd.DataFrame:
    """Columns series, x, y of one curve, from the values of each series at x."""
    return curve_points(x, {name: values.cpu().numpy() for name, values in series.items()})


def skipped_by_choice(config: ScoreConfig, choice: str, what: str) -> str:
    """Why a run has none of something, known from its configuration alone; empty where it may have them.

    Args:
        config: What to score, and how.
        choice: What was chosen about it there.
        what: Its name for people, in the plural.
    """
    if choice == "off":
        return f"{what} were turned off"
    if config.recipe.epochs == 0 and config.training != "none":
        return "the model was not trained"
    return ""


def write_or_skip(writer: RunWriter, name: str, reason: str, asked_for: bool, write: Callable[[], None]) -> None:
    """Writes what not every model allows, or says in the run's details why it was left out.

    Args:
        writer: The run.
        name: Under which its details stand.
        reason: Why it is left out, where that is known beforehand; else empty.
        asked_for: Whether a person asked for it, so that an error is one.
        write: Writes it, or raises InputError with the reason.
    """
    if not reason:
        try:
            write()
        except InputError as error:
            if asked_for:
                raise
            reason = str(error)
    if reason:
        writer.describe(name, {"skipped": reason})


def why_not_embedded(writer: RunWriter) -> str:
    """Why the run has no embeddings; empty where it has."""
    return str(writer.manifest.details.get("embeddings", {}).get("skipped", ""))
