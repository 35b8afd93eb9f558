"""Measure how well predicted effects agree with retraining."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from attribution_core.errors import InputError


def linear_datamodelling_score(effects: Tensor, removed: Tensor, losses: Tensor) -> Tensor:
    """Return the LDS (Park et al. 2023, TRAK, definition 2.3): rank correlations of predicted with real losses.

    The prediction for a subset is the sum of the effects of the examples that it lacks.

    Args:
        effects: ``effect[i, j]``, ``[n, m]``.
        removed: Which training examples each retraining lacks, bool ``[subsets, n]``.
        losses: Loss on each evaluation example after each retraining, ``[subsets, m]``, preferably averaged over seeds.

    Returns:
        Spearman's correlation over the subsets for each evaluation example, ``[m]``, float64; 0 if the prediction or
        the loss does not vary.

    Raises:
        InputError: There are fewer than three subsets, or the shapes do not match.
    """
    subsets, n = removed.shape
    if subsets < 3 or effects.shape != (n, losses.shape[1]) or len(losses) != subsets:
        raise InputError(
            f"Expected effects [n, m], removed [subsets, n] and losses [subsets, m] with 3 subsets or more; given "
            f"{list(effects.shape)}, {list(removed.shape)} and {list(losses.shape)}."
        )
    predicted = removed.double().cpu() @ effects.double().cpu()
    ranks = (rankdata(values.numpy(), axis=0) for values in (predicted, losses.double().cpu()))
    return torch.from_numpy(_by_column(*ranks))


STRONGEST = 0.01  # share of the pairs that count as the strongest
_FEWEST_PAIRS = 10


@dataclass(frozen=True)
class Correlation:
    """Hold a correlation with its 95% interval.

    Attributes:
        value: Correlation over all data.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fidelity:
    """Hold how well predicted effects agree with real ones.

    Attributes:
        pearson: Correlation of the values.
        spearman: Correlation of the ranks.
        examples: Number of removed examples compared.
    """

    pearson: Correlation
    spearman: Correlation
    examples: int


def fidelity(predicted: Tensor, real: Tensor, resamples: int = 500, seed: int = 0) -> Fidelity:
    """Correlate predicted with real effects over all pairs, with 95% intervals.

    The pairs of one removed example share its retraining, so the bootstrap resamples whole examples, not pairs.

    Args:
        predicted: Predicted effects of each removed example on each evaluation example ``[e, m]``, or one number each
            ``[e]``.
        real: The same effects from real retraining.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        InputError: The shapes differ, there are fewer than three examples, or values are not finite.
    """
    one, other = (values.detach().double().cpu().reshape(len(values), -1).numpy() for values in (predicted, real))
    if predicted.shape != real.shape or len(one) < 3 or not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise InputError(
            "Expected finite predicted and real effects of the same shape, for at least three examples; given "
            f"{list(one.shape)} and {list(other.shape)}."
        )
    found = [correlations(one, other)]
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = rng.integers(len(one), size=len(one))
        found.append(correlations(one[drawn], other[drawn]))
    pearson, spearman = (_with_interval(list(values)) for values in zip(*found, strict=True))
    return Fidelity(pearson, spearman, len(one))


@dataclass(frozen=True)
class StrongestPairs:
    """Hold how well the strongest predicted effects agree with retraining: those that a person looks at.

    Most examples do nothing to most others, so that over all pairs a rank correlation mostly compares noise.

    Attributes:
        pairs: Number of pairs of a removed and an evaluation example.
        spearman: Rank correlation over these pairs.
        signs: Share of these pairs whose real effect has the predicted sign.
        ceiling: The largest rank correlation that retraining noise allows; None for a single seed.
    """

    pairs: int
    spearman: float
    signs: float
    ceiling: float | None


def fidelity_of_strongest(predicted: Tensor, real: Tensor, share: float = STRONGEST) -> StrongestPairs:
    """Compare the strongest predicted effects with the real ones.

    Args:
        predicted: Predicted effects of each removed example on each evaluation example, ``[e, m]``.
        real: The same effects from real retraining, by seed, ``[seeds, e, m]``.
        share: Share of the pairs, those with the largest absolute prediction, at least ten.
    """
    flat, by_seed = predicted.double().cpu().flatten(), real.double().cpu().flatten(1)
    count = min(len(flat), max(_FEWEST_PAIRS, round(share * len(flat))))
    chosen = flat.abs().topk(count).indices
    truth = by_seed[:, chosen]
    mean = truth.mean(dim=0)
    spearman = correlations(flat[chosen].numpy(), mean.numpy())[1]
    signs = float((flat[chosen].sign() == mean.sign()).double().mean())
    return StrongestPairs(count, spearman, signs, ceiling_between_seeds(truth))


def lds_with_interval(effects: Tensor, removed: Tensor, losses: Tensor) -> Correlation:
    """Return the mean of :func:`linear_datamodelling_score` over the evaluation examples, with its 95% interval.

    The interval is 1.96 jackknife errors to either side, leaving out each subset once. (The bootstrap is of no use
    here: a resample holds some subsets twice, and the ties move a rank correlation over few subsets by more than its
    error.)

    Arguments and errors are those of the score, except that it needs one more subset.
    """
    value = float(linear_datamodelling_score(effects, removed, losses).mean())
    subsets = len(removed)
    others = [torch.arange(subsets) != left_out for left_out in range(subsets)]
    found = [float(linear_datamodelling_score(effects, removed[rest], losses[rest]).mean()) for rest in others]
    error = 1.96 * float(np.std(found)) * (subsets - 1) ** 0.5
    return Correlation(value, max(-1.0, value - error), min(1.0, value + error))


def ceiling_between_seeds(values: Tensor) -> float | None:
    """Return the largest correlation with the mean over seeds that any prediction can reach, given retraining noise.

    With r the mean correlation of one seed's values with another's, the mean of S seeds has the reliability
    ``S r / (1 + (S - 1) r)`` (Spearman and Brown); its root is the correlation of that mean with the mean over
    infinitely many seeds.

    Args:
        values: Real effects or losses by seed, ``[seeds, ...]``; correlated over the second dimension, separately for
            each index of any further dimensions, and averaged over those.

    Returns:
        The ceiling, in 0..1; None for a single seed, which does not show the noise.
    """
    seeds = len(values)
    if seeds < 2:
        return None
    columns = values.double().cpu().reshape(seeds, values.shape[1], -1).numpy()
    pairs = [(one, other) for one in range(seeds) for other in range(one)]
    between = [_by_column(rankdata(columns[a], axis=0), rankdata(columns[b], axis=0)).mean() for a, b in pairs]
    r = max(0.0, float(np.mean(between)))
    return (seeds * r / (1 + (seeds - 1) * r)) ** 0.5


def correlations(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return Pearson's and Spearman's correlation over all values; 0 if one side does not vary."""
    flat = one.reshape(-1, 1), other.reshape(-1, 1)
    ranks = tuple(rankdata(values, axis=0) for values in flat)
    return float(_by_column(*flat)[0]), float(_by_column(*ranks)[0])


def _by_column(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of each column, ``[s, m]`` and ``[s, m]`` -> ``[m]``; 0 if a side does not vary."""
    one, other = (values - values.mean(axis=0) for values in (one, other))
    sizes = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    return np.divide((one * other).sum(axis=0), sizes, out=np.zeros_like(sizes), where=sizes > 0)


def _with_interval(found: Sequence[float]) -> Correlation:
    """Make a correlation from its value over all data, the first one, and those of the resamples."""
    low, high = np.quantile(found[1:], [0.025, 0.975])
    return Correlation(found[0], float(low), float(high))
