"""The stage of classes: what the examples of a class do to those of another, by each method that has effects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from typing_extensions import override

from attribution_core.methods.analysis.class_effects import ClassEffects, class_effects
from attribution_core.progress import track
from attribution_core.runs import Run, RunWriter
from attribution_core.scoring.stages.base import ScoringRun, Stage

if TYPE_CHECKING:
    import zarr

_ROWS = 4096  # of the effects, read at once: 16 MiB for a thousand evaluation examples


class ClassesStage(Stage):
    """Write class_effects.parquet and class_pairs.parquet."""

    name = "classes"
    title = "effects between classes"
    order = 100

    @override
    def write(self, scoring: ScoringRun) -> None:
        write_classes(scoring.writer, scoring.prepared.splits.train.strata_names)


def write_classes(writer: RunWriter, strata_names: list[str], methods: Iterable[str] | None = None) -> None:
    """Write class_effects.parquet and class_pairs.parquet for the run's matrices of effects.

    Args:
        writer: The run, with all its effects.
        strata_names: Names of the classes, in the order of the labels; or of the ranges of values.
        methods: Methods whose effects are taken; by default all that the run has.
    """
    run, names = Run.open(writer.path), np.array(strata_names, dtype=object)
    labels, others = (run.strata(table) for table in (run.examples, run.evaluation))
    for method in run.effect_methods if methods is None else methods:
        effects = run.effects(method)
        found = class_effects(_blocks(effects, f"classes by {method}"), labels, others[: effects.shape[1]], len(names))
        writer.write_class_effects(method, _means(found, names))
        pairs = {
            "train_class": names[labels[found.train_rows]],
            "evaluation_class": names[others[found.evaluation_rows]],
            "train_row": found.train_rows,
            "evaluation_row": found.evaluation_rows,
            "effect": found.effects,
        }
        writer.write_class_pairs(method, pd.DataFrame(pairs))


def _means(found: ClassEffects, names: np.ndarray) -> pd.DataFrame:
    """Return a row for each pair of classes."""
    k = len(names)
    return pd.DataFrame(
        {
            "train_class": np.repeat(names, k),
            "evaluation_class": np.tile(names, k),
            "effect": found.mean.ravel(),
            "normalised": found.normalised.ravel(),
        }
    )


def _blocks(
    effects: zarr.Array,
    what: str,
) -> Iterator[tuple[slice, np.ndarray]]:
    starts = range(0, effects.shape[0], _ROWS)
    for start in track(starts, len(starts), what):
        rows = slice(start, start + _ROWS)
        yield rows, np.asarray(effects[rows])
