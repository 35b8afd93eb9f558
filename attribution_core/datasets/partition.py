"""Draw stratified samples: a share of each class, or of each range of values, repeatable by seed."""

import numpy as np

from attribution_core.errors import InputError

_RANGES = 10  # strata of the values of a regression


def stratified_subset(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw examples so that each class (or tenth of the values) keeps its share, and at least one example.

    Args:
        labels: Classes, int64 ``[n]``, or values, float64 ``[n]``.
        count: Number of examples to draw, at most ``n``.
        seed: Seed of the draw.

    Returns:
        Positions of the drawn examples, ascending, int64 ``[count]``.

    Raises:
        InputError: There are more classes than examples to draw.
    """
    labels = _strata(labels, count)
    classes, sizes = np.unique(labels, return_counts=True)
    if count < len(classes):
        raise InputError(
            f"At least one training example of each of the {len(classes)} classes is needed, but only {count} were "
            f"requested: ask for {len(classes)} or more."
        )
    return _draw(labels, classes, 1 + _shares(sizes - 1, count - len(classes)), seed)


def sample(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw examples so that each class (or tenth of the values) keeps its share, as far as there are enough for that.

    Args:
        labels: Classes, int64 ``[n]``, or values, float64 ``[n]``.
        count: Number of examples to draw, at most ``n``.
        seed: Seed of the draw.

    Returns:
        Positions of the drawn examples, ascending, int64 ``[count]``; of more classes than that, any examples.
    """
    if len(np.unique(_strata(labels, count))) <= count:
        return stratified_subset(labels, count, seed)
    return np.sort(np.random.default_rng(seed).permutation(len(labels))[:count])


def hold_out(labels: np.ndarray, count: int, seed: int | list[int]) -> np.ndarray:
    """Draw each class's (or tenth's of the values) share of the examples to set aside, leaving at least one behind.

    Args:
        labels: Classes, int64 ``[n]``, or values, float64 ``[n]``.
        count: Number of examples to set aside; fewer are drawn if classes of one example leave too few.
        seed: Seed of the draw; a list gives each of several draws with one seed its own stream.

    Returns:
        Positions of the drawn examples, ascending, int64 ``[<= count]``.
    """
    labels = _strata(labels, count)
    classes, sizes = np.unique(labels, return_counts=True)
    spare = sizes - 1
    return _draw(labels, classes, _shares(spare, min(count, int(spare.sum()))), seed)


def _strata(labels: np.ndarray, count: int) -> np.ndarray:
    """Return classes unchanged, and for values the tenth of each (or of ``count`` ranges if fewer are drawn).

    Equal values share a range.
    """
    if not np.issubdtype(labels.dtype, np.floating):
        return labels
    parts = max(1, min(_RANGES, count))
    edges = np.quantile(labels, np.linspace(0, 1, parts + 1)[1:-1])
    return np.searchsorted(edges, labels, side="right")


def _shares(sizes: np.ndarray, total: int) -> np.ndarray:
    """Return whole numbers proportional to ``sizes`` that sum to ``total`` (largest remainder, ties to the first)."""
    if total == 0:
        return np.zeros_like(sizes)
    shares, remainders = np.divmod(sizes * total, sizes.sum())
    shares[np.argsort(-remainders, kind="stable")[: total - shares.sum()]] += 1
    return shares


def _draw(labels: np.ndarray, classes: np.ndarray, counts: np.ndarray, seed: int | list[int]) -> np.ndarray:
    """Draw ``counts[c]`` examples of each class."""
    generator = np.random.default_rng(seed)
    drawn = [
        generator.permutation(np.flatnonzero(labels == c))[:count] for c, count in zip(classes, counts, strict=True)
    ]
    return np.sort(np.concatenate(drawn))
