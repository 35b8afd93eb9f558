"""Stratified drawing: a share of each class, or of each range of values, the same for the same seed."""

import numpy as np

from attribution_core.errors import InputError

_PARTS = 10  # of the values of a regression


def stratified_subset(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws examples so that each class (or tenth of the values) keeps its share, and at least one example.

    Args:
        labels: Classes, int64 ``[n]``, or values, float64 ``[n]``.
        count: How many to draw, at most ``n``.
        seed: Of the drawing.

    Returns:
        Their positions, ascending, int64 ``[count]``.

    Raises:
        InputError: If there are more classes than examples to draw.
    """
    labels = _strata(labels, count)
    classes, sizes = np.unique(labels, return_counts=True)
    if count < len(classes):
        raise InputError(
            f"At least one training example of each of the {len(classes)} classes is needed, and {count} were asked "
            f"for: ask for {len(classes)} or more."
        )
    return _draw(labels, classes, 1 + _shares(sizes - 1, count - len(classes)), seed)


def hold_out(labels: np.ndarray, count: int, seed: int | list[int]) -> np.ndarray:
    """Draws examples to set aside, from each class (or tenth of the values) its share, leaving one of each behind.

    Args:
        labels: Classes, int64 ``[n]``, or values, float64 ``[n]``.
        count: How many to set aside; fewer where classes of one example leave fewer to take.
        seed: Of the drawing; a list gives several drawings of one seed their own streams.

    Returns:
        Their positions, ascending, int64 ``[<= count]``.
    """
    labels = _strata(labels, count)
    classes, sizes = np.unique(labels, return_counts=True)
    spare = sizes - 1
    return _draw(labels, classes, _shares(spare, min(count, int(spare.sum()))), seed)


def _strata(labels: np.ndarray, count: int) -> np.ndarray:
    """Classes as they are; of values the tenth of each, or as many parts as examples are drawn where these are fewer.

    Equal values are in the same part.
    """
    if not np.issubdtype(labels.dtype, np.floating):
        return labels
    parts = max(1, min(_PARTS, count))
    edges = np.quantile(labels, np.linspace(0, 1, parts + 1)[1:-1])
    return np.searchsorted(edges, labels, side="right")


def _shares(sizes: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers in proportion to ``sizes`` that sum to ``total`` (largest remainder, ties to the first)."""
    if total == 0:
        return np.zeros_like(sizes)
    shares, remainders = np.divmod(sizes * total, sizes.sum())
    shares[np.argsort(-remainders, kind="stable")[: total - shares.sum()]] += 1
    return shares


def _draw(labels: np.ndarray, classes: np.ndarray, counts: np.ndarray, seed: int | list[int]) -> np.ndarray:
    """Draws ``counts[c]`` examples of each of the classes."""
    generator = np.random.default_rng(seed)
    drawn = [
        generator.permutation(np.flatnonzero(labels == c))[:count] for c, count in zip(classes, counts, strict=True)
    ]
    return np.sort(np.concatenate(drawn))
