r"""Near-duplicates among embeddings: redundant examples, told apart from typical ones.

A low F-SI has two causes: an example may be typical, its neighbourhood being dense, or it may be there twice. What
tells them apart is how near an example's nearest other one is beside the other distances around it.

Where examples are spread evenly about a point, ``d`` dimensions wide, the distance to the nearest over that to the k-th
nearest, raised to the power ``d``, is the least of ``k - 1`` uniform numbers:
``P(r_1 / r_k <= x) = 1 - (1 - x^d)^(k-1)`` (for k = 2 it is the law of Facco et al. 2017, "Estimating the intrinsic
dimension of datasets by a minimal neighborhood information").
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linalg.blocked import blocks, inner
from attribution_core.progress import track

# How far an example looks around: groups of up to so many near-duplicates are found.
NEIGHBOURS = 10
# How many examples of a dataset without near-duplicates would be expected to seem to have one.
FALSE_REPORTS = 1.0
# The law is fitted where near-duplicates do not reach as long as less than half of the examples have any.
_FITTED_AT = (0.5, 0.9)
_ROUNDING = 1e-12  # of a cosine


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of examples that are nearly the same. Similarities are cosines, in float64.

    Attributes:
        pairs: The most similar ones, ``[p, 2]``, the lower index first, most similar first.
        similarity: Of each pair, ``[p]``.
        count: How many pairs there are, of which ``most`` are listed at most.
        nearest: For every example the nearest other one, ``[n]``.
        nearest_similarity: Their similarity, ``[n]``.
        least: How similar another example must be to be each one's near-duplicate, ``[n]``: two are a pair where each
            is for the other.
    """

    pairs: Tensor
    similarity: Tensor
    count: int
    nearest: Tensor
    nearest_similarity: Tensor
    least: Tensor


def near_duplicates(
    embeddings: Tensor,
    threshold: float | None = None,
    most: int = 10_000,
) -> NearDuplicates:
    """Finds all pairs of near-duplicates, exactly: n^2 d multiplications, a block of rows against all at a time.

    Beside a float64 copy of the embeddings that takes a quarter of a GiB, or what one row takes where that is more.

    Args:
        embeddings: Such as the inputs of a trained network's last layer, ``[n, d]``. A row of zeros is like no other.
        threshold: The least cosine similarity of a pair, for all examples alike. By default it follows the data around
            each example: the distance between two is to be less than ``c`` times that from either to its tenth nearest,
            where ``c`` is such that without near-duplicates one example in the whole dataset would be expected to have
            a nearer neighbour than that. The law is fitted to the median and the 90% quantile of ``r_1 / r_10``, so
            it holds as long as less than half of the examples have near-duplicates; beyond that, exact copies
            are found.
        most: How many pairs to list.

    Returns:
        The pairs and every example's nearest other one, on the embeddings' device.

    Raises:
        InputError: Embeddings that are not ``[n, d]`` or not finite, too few examples, or a threshold that is no
            cosine.
    """
    fewest = 2 if threshold is not None else NEIGHBOURS + 1
    if embeddings.ndim != 2 or len(embeddings) < fewest or not bool(embeddings.isfinite().all()):
        raise InputError(
            f"Near-duplicates are sought among finite embeddings [n, d] of {fewest} examples or more; given are "
            f"{list(embeddings.shape)}, {int((~embeddings.isfinite()).sum())} numbers of which are not finite."
        )
    if most < 1 or (threshold is not None and not -1 <= threshold <= 1):
        raise InputError(f"Expected a cosine from -1 to 1 as threshold and 1 pair or more, not {threshold} and {most}.")
    unit = torch.nn.functional.normalize(embeddings.detach().double(), dim=1)
    similarity, nearest = _neighbours(unit, min(NEIGHBOURS, len(unit) - 1))
    least = _least(similarity) if threshold is None else torch.full_like(similarity[:, 0], threshold)
    pairs, of_pairs, count = _pairs(unit, least, similarity[:, 0], most)
    return NearDuplicates(pairs, of_pairs, count, nearest, similarity[:, 0], least)


def _neighbours(
    unit: Tensor,
    k: int,
) -> tuple[Tensor, Tensor]:
    """The k highest similarities of each example with others, ``[n, k]``, and the nearest other one, ``[n]``."""
    highest, nearest = [], []
    parts = list(blocks(len(unit), 3 * unit.element_size() * len(unit)))
    for rows in track(parts, len(parts), "looking for near-duplicates"):
        similarity = inner(unit[rows], unit).clamp_(-1, 1)
        similarity.diagonal(rows.start).fill_(-torch.inf)  # nobody is their own neighbour
        values, indices = similarity.topk(k, dim=1)
        highest.append(values)
        nearest.append(indices[:, 0])
    return torch.cat(highest), torch.cat(nearest)


def _least(similarity: Tensor) -> Tensor:
    """The default threshold of each example, ``[n]``, from its highest similarities, ``[n, k]``."""
    n, k = similarity.shape
    distances = (2 - 2 * similarity).clamp(min=0).sqrt()  # between points of the unit sphere
    farthest = distances[:, -1]
    ratio = distances[:, 0] / farthest.clamp(min=torch.finfo(farthest.dtype).tiny)
    probability = torch.tensor([*_FITTED_AT, min(FALSE_REPORTS / n, 1.0)], dtype=torch.float64)
    power = 1 - (1 - probability) ** (1 / (k - 1))  # x^d where P(r_1 / r_k <= x) is each probability
    low, high = (float(value) for value in ratio.quantile(probability[:2].to(ratio.device)))
    if not 0 < low < high:  # half of the examples are exact copies, or all distances are alike
        return torch.ones_like(farthest)
    dimension = math.log(power[1] / power[0]) / math.log(high / low)
    factor = low * float(power[2] / power[0]) ** (1 / dimension)
    return 1 - (factor * farthest) ** 2 / 2


def _pairs(unit: Tensor, least: Tensor, nearest_similarity: Tensor, most: int) -> tuple[Tensor, Tensor, int]:
    """The listed pairs, their similarities, and how many there are; an example far from its nearest is in none."""
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
