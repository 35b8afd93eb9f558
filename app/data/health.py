"""What may be wrong with the data of a run, beside its scores: issues of examples, each found by a stated rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.evaluation.acceptance import share_replaced
from attribution_core.runs import Run
from attribution_core.runs.tables import IMAGE_STATISTICS, LEAKS

FAR = 3.5  # robust standard deviations, as usual for outliers by the median (Iglewicz and Hoaglin, 1993)
COPIES = "group of copies"  # column with the number of the group of copies that an example belongs to
ISSUES = "issues found"  # column with a tuple of names
NUMBERS = {  # that filters know: name -> title and column
    "copies": ("Group of copies", COPIES),
    "brightness": ("Brightness", "brightness"),
    "contrast": ("Contrast", "contrast"),
    "sharpness": ("Sharpness", "sharpness"),
    "width": ("Width in pixels", "width"),
    "height": ("Height in pixels", "height"),
}
_LEAST_SCALE = np.log(2) / FAR  # so that what differs by less than a factor of two is not far
_LEAST_PROBABILITY = 1e-3  # of a share, since its logarithm would not end


@dataclass(frozen=True)
class Health:
    """The issues of a run's examples, which are training, then validation and test examples.

    Attributes:
        issues: Name of each issue that was looked for -> which examples have it, bool ``[n]``.
        copies: Number of the group of copies of each example, float64 ``[n]``; NaN for an example without copies.
        statistics: The columns of image_statistics.parquet, ``n`` rows; None where the run has none.
        expected: Number of wrong labels to expect at the least; NaN if unknown.
    """

    issues: dict[str, np.ndarray]
    copies: np.ndarray
    statistics: pd.DataFrame | None
    expected: float


def of(run: Run) -> Health:
    """Return the issues of a run's examples; shared, so do not change them."""
    return _of(run, run.version)


def add(run: Run, frame: pd.DataFrame, start: int) -> None:
    """Add the issues, the group of copies and the statistics of images to a table of examples.

    Args:
        run: The run.
        frame: Its training examples, or its validation and test examples; changed in place. Its own columns stay.
        start: Number of examples in the tables before it.
    """
    found, part = of(run), slice(start, start + len(frame))
    names = np.empty(len(frame), dtype=object)
    names.fill(())
    for name, has in found.issues.items():
        for row in np.flatnonzero(has[part]):
            names[row] = (*names[row], name)
    columns = {ISSUES: names, COPIES: found.copies[part]}
    if found.statistics is not None:
        numbers = (column for _, column in NUMBERS.values() if column != COPIES)
        columns |= {name: found.statistics[name].to_numpy()[part] for name in numbers}
    for name, values in columns.items():
        if name not in frame:
            frame[name] = values


@st.cache_resource(max_entries=8, show_spinner=False)
def _of(_run: Run, version: str) -> Health:  # noqa: ARG001 (a cache key)
    sizes = len(_run.examples), len(_run.evaluation)
    train = np.arange(sum(sizes)) < sizes[0]
    statistics = _statistics(_run, sizes)
    issues, expected = _mislabeled(_run)
    near, leaked = _near_duplicates(_run), _leaks(_run, sizes[0])
    pairs = [near, leaked]
    if (same := _sameness(_run, statistics)) is not None:
        _, first_rows, of_each, counts = np.unique(same, return_index=True, return_inverse=True, return_counts=True)
        first, identical = first_rows[of_each], counts[of_each] > 1
        pairs.append(np.stack([np.flatnonzero(identical), first[identical]], axis=1))
        issues["identical"] = identical
        held_out = np.flatnonzero(identical & ~train & train[first])  # training examples come first
        leaked = np.concatenate([leaked, np.stack([held_out, first[held_out]], axis=1)])
    if "nearest_similarity" in _run.examples:
        issues["near-duplicate"] = _has(near, train)
        issues["outlier"] = _outliers(_run, len(train))
    issues["leak"] = _has(leaked, train)
    if statistics is not None:
        issues |= _odd_images(statistics)
    return Health(issues, _groups(np.concatenate(pairs), len(train)), statistics, expected)


def _mislabeled(run: Run) -> tuple[dict[str, np.ndarray], float]:
    """Return which labels are more likely wrong than right, and how many are to be expected at the least.

    Of classes, by the share of labels that were replaced at random which best explains all of them. Of values, those
    further from what is predicted than a single one of so many would be.
    """
    tables = [run.examples, run.evaluation]
    if "label_quality" not in run.examples:
        return {}, float("nan")
    found, expected = [], 0.0
    for table in tables:
        given = (table["label_quality"] if "label_quality" in table else pd.Series(np.nan, table.index)).to_numpy()
        known = given[~np.isnan(given)]
        if run.values is not None:
            found.append(given * len(known) < 1)
        elif len(known):
            share, others = share_replaced(known, len(run.class_names)), len(run.class_names) - 1
            found.append(share * (1 - given) / others > (1 - share) * given)
            expected += share * len(known)
        else:
            found.append(np.zeros(len(table), dtype=bool))
    return {"mislabeled": np.concatenate(found)}, expected if run.values is None else float("nan")


def _near_duplicates(run: Run) -> np.ndarray:
    """Return the pairs of near-duplicates among training examples, int64 ``[p, 2]``."""
    if not run.manifest.details.get("nearest_similarity", {}).get("near_duplicates"):
        return np.empty((0, 2), dtype=np.int64)
    rows = pd.Index(run.examples["id"])
    return np.stack([rows.get_indexer(run.near_duplicates[side]) for side in ("id", "other")], axis=1)


def _leaks(run: Run, start: int) -> np.ndarray:
    """Return the pairs of a validation or test example and its near-duplicate in training, int64 ``[p, 2]``."""
    found = LEAKS.read(run.path)
    return found[["row", "train_row"]].to_numpy(dtype=np.int64) + np.array([start, 0])


def _statistics(run: Run, sizes: tuple[int, int]) -> pd.DataFrame | None:
    """Return the statistics of all images; None where the run, such as one of an earlier version, has none."""
    found = IMAGE_STATISTICS.read(run.path)
    parts = [found[found["split"] == table] for table in ("train", "evaluation")]
    return pd.concat(parts, ignore_index=True) if tuple(map(len, parts)) == sizes else None


def _sameness(run: Run, statistics: pd.DataFrame | None) -> np.ndarray | None:
    """Return what is the same for identical examples, ``[n]``; None if the run does not keep it."""
    if "text" in run.examples and "text" in run.evaluation:
        texts = pd.concat([run.examples["text"], run.evaluation["text"]], ignore_index=True)
        return pd.factorize(texts)[0]
    return None if statistics is None else pd.factorize(statistics["pixels"])[0]


def _outliers(run: Run, count: int) -> np.ndarray:
    """Return which training examples are far from their nearest one, bool ``[count]``."""
    similarity = run.examples["nearest_similarity"].to_numpy(dtype="float64")
    distance = np.sqrt(np.maximum(2 - 2 * similarity, 1e-12))
    found = np.zeros(count, dtype=bool)
    found[: len(distance)] = _deviation(np.log(distance)) > FAR
    return found


def _odd_images(statistics: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return which images are odd among the others, bool ``[n]``: shares by their log odds, the others by their log."""
    brightness, contrast = (_deviation(_log_odds(statistics[name].to_numpy())) for name in ("brightness", "contrast"))
    sharpness = _deviation(np.log(np.maximum(statistics["sharpness"].to_numpy(), 1e-9)))
    width, height = (np.log(statistics[name].to_numpy(dtype="float64")) for name in ("width", "height"))
    return {
        "dark": brightness < -FAR,
        "bright": brightness > FAR,
        "low-contrast": contrast < -FAR,
        "blurred": sharpness < -FAR,
        "odd-size": (np.abs(_deviation(width + height)) > FAR) | (np.abs(_deviation(width - height)) > FAR),
    }


def _log_odds(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return np.log(share / (1 - share))


def _deviation(values: np.ndarray) -> np.ndarray:
    """Return how far each value, a logarithm, is from the median, in robust standard deviations; NaN stays NaN."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.full(len(values), np.nan)
    median = np.median(known)
    return np.asarray((values - median) / max(1.4826 * np.median(np.abs(known - median)), _LEAST_SCALE))


def _has(pairs: np.ndarray, train: np.ndarray) -> np.ndarray:
    found = np.zeros(len(train), dtype=bool)
    found[pairs.ravel()] = True
    return found


def _groups(pairs: np.ndarray, count: int) -> np.ndarray:
    """Return the lowest example that each of some pairs leads to, float64 ``[count]``; NaN for examples in no pair."""
    lowest = np.arange(count)
    while True:
        least = np.minimum(lowest[pairs[:, 0]], lowest[pairs[:, 1]])
        before = lowest.copy()
        np.minimum.at(lowest, pairs[:, 0], least)
        np.minimum.at(lowest, pairs[:, 1], least)
        if np.array_equal(before, lowest):
            break
    return np.where(_has(pairs, lowest), lowest, np.nan)
