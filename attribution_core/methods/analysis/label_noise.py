r"""Uses of contributions: effects between classes, wrong labels without supervision, and removal.

Chen et al., "HyDRA: Hypergradient data relevance analysis for interpreting deep neural networks", AAAI 2021: eq. 23 and
figure 2, tables 3 and 4. All functions accept ``effect[i, j]`` of any method.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attribution_core.errors import InputError

# Smallest size of a sum of effects that others are divided by, as a share of the sum of their absolute values.
SMALLEST_SUM = 0.1
_STARTS = 10  # of k-means
_MOST_ITERATIONS = 100


def class_contributions(effects: Tensor, train_labels: Tensor, evaluation_labels: Tensor, classes: int) -> Tensor:
    """Return the mean effect of each training class on each evaluation class (eq. 23).

    Args:
        effects: ``effect[i, j]``, ``[n, m]``; or means over evaluation classes, ``[n, classes]``, with the labels
            ``arange(classes)``.
        train_labels: Training labels, ``[n]``.
        evaluation_labels: Evaluation labels, ``[m]``.
        classes: Number of classes.

    Returns:
        Means ``[classes, classes]``, with a row per training class, in the effects' precision; NaN if either class has
        no example.
    """
    by_row = class_means(effects, train_labels, classes)
    return class_means(by_row.T, evaluation_labels, classes).T


def normalised(matrix: Tensor) -> Tensor:
    """Divide each entry by the square root of its row sum times its column sum (figure 2).

    The paper does not say what to do if that product is negative; its absolute value is used, which keeps the entry's
    sign. Nor does it say what to do where help and harm cancel out in a sum, so that the entry measures little but the
    cancellation and has no limit. There, ``SMALLEST_SUM`` times the sum of the absolute values takes the place of the
    sum. Since an entry exceeds neither its row's nor its column's sum of absolute values, no result exceeds
    ``1 / SMALLEST_SUM``. The sums ignore NaN.

    Args:
        matrix: Effects between classes, ``[k, k]``.

    Returns:
        Normalized effects ``[k, k]``; NaN only where the matrix is.
    """
    rows, columns = (_size_of_sum(matrix, dim) for dim in (1, 0))
    return matrix / (rows.sqrt() * columns.sqrt()).clamp(min=torch.finfo(matrix.dtype).tiny)


def _size_of_sum(matrix: Tensor, dim: int) -> Tensor:
    """Return the absolute sums over a dimension, which is kept; larger where help and harm cancel out."""
    sizes = matrix.abs().nansum(dim=dim, keepdim=True)
    return matrix.nansum(dim=dim, keepdim=True).abs().maximum(SMALLEST_SUM * sizes)


def least_useful(contribution: Tensor, share: float) -> Tensor:
    """Return the ``round(share n)`` examples with the lowest contribution, lowest first (table 3).

    Raises:
        InputError: The share is outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise InputError(f"The share to remove must be in [0, 1], not {share}.")
    return contribution.argsort(stable=True)[: round(share * len(contribution))]


@dataclass(frozen=True)
class LabelNoise:
    """Two clusters within each label.

    Attributes:
        suspect: Whether each example is in the cluster that contributes less, bool ``[n]``.
        separation: For each class, how much more the other cluster contributes, in standard deviations of the class's
            contributions, ``[classes]``; near 0 if the clusters do not differ, NaN for fewer than two examples.
    """

    suspect: Tensor
    separation: Tensor


def label_noise_clusters(
    effects: Tensor, labels: Tensor, seed: int = 0, features: Literal["signs", "standardised"] = "signs"
) -> LabelNoise:
    """Separate wrong labels from correct ones without supervision (table 4).

    The features of an example are the signs of its effects on the evaluation examples, and k-means splits the examples
    of each label into two clusters. Mislabeled examples help and harm different examples than correctly labeled ones.

    Args:
        effects: ``effect[i, j]``, ``[n, m]``; the paper uses m = 1,000.
        labels: Given labels, ``[n]``.
        seed: Seed of k-means, which starts ten times.
        features: ``"signs"``, as in the paper, or ``"standardised"``, as in the authors' code: the effects on each
            evaluation example minus their mean over the label's examples, divided by their standard deviation.

    Returns:
        The clusters. The paper does not say which of the two is suspect; here it is the one with the lower mean effect.
    """
    effects, labels = effects.cpu(), labels.cpu()
    classes = int(labels.max()) + 1
    suspect = torch.zeros(len(labels), dtype=torch.bool)
    separation = torch.full((classes,), torch.nan, dtype=torch.float64)
    means = effects.double().mean(dim=1)
    for label in range(classes):
        members = (labels == label).nonzero()[:, 0]
        if len(members) < 2:
            continue
        points = effects[members].sign() if features == "signs" else _standardised(effects[members])
        if bool((points == points[:1]).all()):  # all examples have the same features
            separation[label] = 0.0
            continue
        assigned = _second_of_two(points.float(), seed)
        difference = means[members][assigned].mean() - means[members][~assigned].mean()
        suspect[members] = assigned if difference < 0 else ~assigned
        separation[label] = difference.abs() / means[members].std().clamp(min=torch.finfo(torch.float64).tiny)
    return LabelNoise(suspect, separation)


def _standardised(effects: Tensor) -> Tensor:
    spread = effects.std(dim=0, unbiased=False)
    return (effects - effects.mean(dim=0)) / torch.where(spread > 0, spread, 1)


def label_noise_score(effects: Tensor, labels: Tensor) -> Tensor:
    """Rank examples by their cluster and then by their contribution, from the least suspicious to the most.

    Args:
        effects: ``effect[i, j]``, ``[n, m]``.
        labels: Given labels, ``[n]``.

    Returns:
        Suspects (see :func:`label_noise_clusters`) in (0, 1] and other examples in (-1, 0], in both the lowest mean
        effect highest, ``[n]``, float64.
    """
    suspect = label_noise_clusters(effects, labels).suspect
    rank = effects.double().mean(dim=1).cpu().unique(return_inverse=True)[1]
    return suspect.double() - rank / len(rank)


def _second_of_two(points: Tensor, seed: int) -> Tensor:
    """Return which points ``[n, m]`` are in the second of two clusters, bool ``[n]``: the tightest of ten k-means.

    All ten run together, by Lloyd's iterations from k-means++ starts, for ``40 n m`` multiplications an iteration.
    SciPy's k-means alone takes longer to load than the demo's ten classes take here.
    """
    generator = torch.Generator().manual_seed(seed)
    n, total, squares = len(points), points.sum(dim=0), points.square().sum(dim=1)
    first = torch.randint(n, (_STARTS,), generator=generator)
    apart = (squares[:, None] + squares[first] - 2 * points @ points[first].T).clamp(min=0)
    second = torch.multinomial(apart.T, 1, generator=generator)[:, 0]
    low, high = points[first], points[second]
    in_high = torch.zeros(n, _STARTS, dtype=torch.bool)
    for _ in range(_MOST_ITERATIONS):
        before = in_high
        in_high = points @ (high - low).T > (high.square() - low.square()).sum(dim=1) / 2
        if torch.equal(before, in_high):
            break
        counts, sums = in_high.sum(dim=0)[:, None], in_high.T.to(points) @ points
        high = torch.where(counts > 0, sums / counts, high)  # an empty cluster stays where it is
        low = torch.where(counts < n, (total - sums) / (n - counts), low)
    sizes = in_high.sum(dim=0)
    between = sizes * high.square().sum(dim=1) + (n - sizes) * low.square().sum(dim=1)
    return in_high[:, between.argmax()]


def jaccard_index(found: Tensor, real: Tensor) -> float:
    """Return the intersection over union of two sets given as bool ``[n]``; 1 if both are empty."""
    union = int((found | real).sum())
    return int((found & real).sum()) / union if union else 1.0


def class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean of the rows of each class: ``[n, m]`` -> ``[classes, m]``."""
    labels = labels.to(values.device)
    total = values.new_zeros(classes, values.shape[1]).index_add_(0, labels, values)
    return total / torch.bincount(labels, minlength=classes)[:, None].to(values.dtype)
