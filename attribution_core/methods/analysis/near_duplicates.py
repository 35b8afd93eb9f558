r"""Near-duplicates among embeddings, which separates redundant examples from typical ones.

A low F-SI has two causes: an example may be typical, in a dense neighborhood, or it may occur twice. The distance to an
example's nearest neighbor, compared with the other distances around it, separates the two.

If examples are spread evenly about a point in ``d`` dimensions, the ratio of the distances to the nearest and to the
k-th nearest, raised to the power ``d``, is distributed as the minimum of ``k - 1`` uniform numbers:
``P(r_1 / r_k <= x) = 1 - (1 - x^d)^(k-1)`` (for k = 2 this is the law of Facco et al. 2017, "Estimating the intrinsic
dimension of datasets by a minimal neighborhood information").
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linalg.blocked import blocks, inner
from attribution_core.progress import track

# Number of neighbors compared, which limits the size of the groups of near-duplicates that are found.
NEIGHBORS = 10
# Expected number of examples that appear to have a near-duplicate in a dataset without any.
FALSE_REPORTS = 1.0
# Quantiles that the law is fitted to; near-duplicates do not affect them if less than half of the examples have one.
_FITTED_AT = (0.5, 0.9)
_ROUNDING = 1e-12  # of a cosine
_SPARE = 6  # neighbors that are compared in float64 besides those wanted


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of examples that are nearly the same. Similarities are cosines, in float64.

    Attributes:
        pairs: Indices of the pairs, ``[p, 2]``, the lower index first, sorted from the most similar pair.
        similarity: Similarity of each pair, ``[p]``.
        count: Number of pairs, of which at most ``most`` are listed.
        nearest: Index of each example's nearest other example, ``[n]``.
        nearest_similarity: Similarity to the nearest example, ``[n]``.
        least: Minimum similarity of each example to a near-duplicate, ``[n]``; two examples are a pair if their
            similarity reaches both minimums.
        factor: ``c`` of :func:`near_duplicates`, by which the minimums follow from the data; NaN if they do not.
    """

    pairs: Tensor
    similarity: Tensor
    count: int
    nearest: Tensor
    nearest_similarity: Tensor
    least: Tensor
    factor: float


def near_duplicates(
    embeddings: Tensor,
    threshold: float | None = None,
    most: int = 10_000,
) -> NearDuplicates:
    """Find all pairs of near-duplicates: n^2 d multiplications, one block of rows against all rows at a time.

    Besides copies of the embeddings in float64 and float32, this takes a quarter of a GiB, or the size of one row if
    that is larger.

    Args:
        embeddings: Embeddings ``[n, d]``, such as the inputs of a trained network's last layer. A row of zeros is
            similar to no other row.
        threshold: Minimum cosine similarity of a pair, for all examples. None derives it from the data around each
            example: the distance between two must be less than ``c`` times that from either to its tenth nearest
            neighbor, where ``c`` is such that without near-duplicates one example in the whole dataset would be
            expected to have a nearer neighbor than that. The law is fitted to the median and the 90% quantile of
            ``r_1 / r_10``, so it holds if less than half of the examples have near-duplicates; otherwise only exact
            copies are found.
        most: Maximum number of pairs to list.

    Returns:
        The pairs and each example's nearest other example, on the embeddings' device.

    Raises:
        InputError: The embeddings are not ``[n, d]`` or not finite, there are too few examples, or the threshold is not
            a cosine.
    """
    fewest = 2 if threshold is not None else NEIGHBORS + 1
    if embeddings.ndim != 2 or len(embeddings) < fewest or not bool(embeddings.isfinite().all()):
        raise InputError(
            f"Near-duplicates need finite embeddings [n, d] of {fewest} examples or more; these are "
            f"{list(embeddings.shape)}, with {int((~embeddings.isfinite()).sum())} numbers that are not finite."
        )
    if most < 1 or (threshold is not None and not -1 <= threshold <= 1):
        raise InputError(
            f"Expected a cosine from -1 to 1 as threshold and at least 1 pair to list, not {threshold} and {most}."
        )
    unit = torch.nn.functional.normalize(embeddings.detach().double(), dim=1)
    similarity, nearest = _neighbors(unit, min(NEIGHBORS, len(unit) - 1))
    factor = _factor(similarity) if threshold is None else math.nan
    least = _least(similarity, factor) if threshold is None else torch.full_like(similarity[:, 0], threshold)
    pairs, of_pairs, count = _pairs(unit, least, similarity[:, 0], most)
    return NearDuplicates(pairs, of_pairs, count, nearest, similarity[:, 0], least, factor)


def near_duplicates_in(embeddings: Tensor, others: Tensor, found: NearDuplicates) -> tuple[Tensor, Tensor, Tensor]:
    """Find other examples that are near-duplicates of examples, such as test examples of training examples.

    The rule is that of :func:`near_duplicates`: the distance between the two must be less than ``c`` times that from
    either to the tenth nearest of the examples.

    Args:
        embeddings: Embeddings of the examples, ``[n, d]``.
        others: Embeddings of the others, ``[m, d]``.
        found: What :func:`near_duplicates` found among the examples, with the threshold that it derives.

    Returns:
        Index of each such other, the index of the example nearest to it, and their similarity (cosine), each ``[p]``.
    """
    unit, others = (torch.nn.functional.normalize(each.detach().double(), dim=1) for each in (embeddings, others))
    rows, nearest, similar = [], [], []
    single = unit.float()
    for part in blocks(len(others), _bytes_each(unit)):
        similarity, indices = _most_similar(others[part], unit, single, NEIGHBORS)
        least = torch.maximum(_least(similarity, found.factor), found.least[indices[:, 0]])
        near = (similarity[:, 0] >= least - _ROUNDING).nonzero()[:, 0]
        rows.append(near + part.start)
        nearest.append(indices[near, 0])
        similar.append(similarity[near, 0])
    if not rows:
        return torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long), unit.new_empty(0)
    return torch.cat(rows), torch.cat(nearest), torch.cat(similar)


def _neighbors(
    unit: Tensor,
    k: int,
) -> tuple[Tensor, Tensor]:
    """Return each example's k highest similarities to others, ``[n, k]``, and its nearest other example, ``[n]``."""
    highest, nearest, single = [], [], unit.float()
    slices = list(blocks(len(unit), _bytes_each(unit)))
    for rows in track(slices, len(slices), "searching for near-duplicates"):
        values, indices = _most_similar(unit[rows], unit, single, k, itself=rows.start)
        highest.append(values)
        nearest.append(indices[:, 0])
    return torch.cat(highest), torch.cat(nearest)


def _bytes_each(unit: Tensor) -> int:
    """Return the bytes that the search needs for each example: its similarities, and its candidates."""
    return 3 * 4 * len(unit) + 8 * (NEIGHBORS + _SPARE) * unit.shape[1]


def _most_similar(
    rows: Tensor, unit: Tensor, single: Tensor, k: int, itself: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the k highest similarities of rows to examples, and the indices of these, ``[b, k]`` each.

    All similarities are computed in float32, those of the k highest and some more again in float64, which takes 0.7 of
    the time for 12,000 rows of 1,024 numbers. A neighbor is missed only if more than ``_SPARE`` others are as near to
    within the rounding of float32.

    Args:
        rows: Unit vectors, ``[b, d]``, float64.
        unit: Those of the examples, ``[n, d]``, float64.
        single: The same in float32.
        k: Number of neighbors, at most ``n``.
        itself: Index of the first row among the examples, which are not their own neighbors; None for other rows.
    """
    similarity = rows.float() @ single.T
    if itself is not None:
        similarity.diagonal(itself).fill_(-torch.inf)
    candidates = similarity.topk(min(k + _SPARE, len(unit) - (itself is not None)), dim=1).indices
    exact = (unit[candidates] @ rows[:, :, None])[:, :, 0].clamp_(-1, 1)
    values, order = exact.topk(k, dim=1)
    return values, candidates.gather(1, order)


def _distances(similarity: Tensor) -> Tensor:
    """Return the distances between points of the unit sphere."""
    return (2 - 2 * similarity).clamp(min=0).sqrt()


def _least(similarity: Tensor, factor: float) -> Tensor:
    """Return the default threshold of each example, ``[n]``, from its highest similarities, ``[n, k]``."""
    return 1 - (factor * _distances(similarity)[:, -1]) ** 2 / 2


def _factor(similarity: Tensor) -> float:
    """Return ``c`` of :func:`near_duplicates`, from the highest similarities of each example, ``[n, k]``."""
    n, k = similarity.shape
    distances = _distances(similarity)
    farthest = distances[:, -1]
    ratio = distances[:, 0] / farthest.clamp(min=torch.finfo(farthest.dtype).tiny)
    probability = torch.tensor([*_FITTED_AT, min(FALSE_REPORTS / n, 1.0)], dtype=torch.float64)
    power = 1 - (1 - probability) ** (1 / (k - 1))  # x^d where P(r_1 / r_k <= x) is each probability
    low, high = (float(value) for value in ratio.quantile(probability[:2].to(ratio.device)))
    if not 0 < low < high:  # half of the examples are exact copies, or all distances are equal
        return 0.0
    dimension = math.log(power[1] / power[0]) / math.log(high / low)
    return low * float(power[2] / power[0]) ** (1 / dimension)


def _pairs(unit: Tensor, least: Tensor, nearest_similarity: Tensor, most: int) -> tuple[Tensor, Tensor, int]:
    """Return the listed pairs, their similarities, and the number of pairs."""
    # An example that is far from its nearest neighbor is in no pair.
    among = (nearest_similarity >= least - _ROUNDING).nonzero()[:, 0]
    rows, limit = unit[among], least[among] - _ROUNDING
    pairs, similarities, count = among.new_empty(0, 2), unit.new_empty(0), 0
    for part in blocks(len(among), 4 * unit.element_size() * max(len(among), 1)):
        similarity = inner(rows[part], rows).clamp_(-1, 1)
        near = similarity >= torch.maximum(limit[part, None], limit)
        first, second = near.triu(part.start + 1).nonzero(as_tuple=True)
        count += len(first)
        similarities, order = torch.cat([similarities, similarity[first, second]]).sort(descending=True, stable=True)
        pairs = torch.cat([pairs, torch.stack([among[part][first], among[second]], dim=1)])[order][:most]
        similarities = similarities[:most]
    return pairs, similarities, count
