r"""What contributions are used for: classes among each other, wrong labels without supervision, removal.

Chen et al., "HyDRA: Hypergradient data relevance analysis for interpreting deep neural networks", AAAI 2021: eq. 23 and
figure 2, tables 3 and 4. All of it works on any ``effect[i, j]``, by whatever method.
"""

from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from attribution_core.errors import InputError


def class_contributions(effects: Tensor, train_labels: Tensor, evaluation_labels: Tensor, classes: int) -> Tensor:
    """Mean effect of a training class on an evaluation class (eq. 23).

    Args:
        effects: ``effect[i, j]``, ``[n, m]``; means over evaluation classes ``[n, classes]`` go with the labels
            ``arange(classes)``.
        train_labels: ``[n]``.
        evaluation_labels: ``[m]``.
        classes: Their number.

    Returns:
        ``[classes, classes]``, rows of training; NaN where either side has no example. In the effects' precision.
    """
    by_row = class_means(effects, train_labels, classes)
    return class_means(by_row.T, evaluation_labels, classes).T


def normalised(matrix: Tensor) -> Tensor:
    """Each entry over the square root of its row sum times its column sum (figure 2).

    The paper does not say what to do when that product is negative; its absolute value is taken, which keeps the
    entry's sign. NaN counts as nothing in the sums.
    """
    rows, columns = matrix.nansum(dim=1, keepdim=True), matrix.nansum(dim=0, keepdim=True)
    return matrix / (rows * columns).abs().sqrt()


def least_useful(contribution: Tensor, share: float) -> Tensor:
    """The examples with the lowest contribution, lowest first: ``round(share n)`` indices (table 3).

    Raises:
        InputError: A share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise InputError(f"The share to remove must lie in [0, 1], not {share}.")
    return contribution.argsort(stable=True)[: round(share * len(contribution))]


@dataclass(frozen=True)
class LabelNoise:
    """Two clusters within each label.

    Attributes:
        suspect: Which examples are in the cluster that contributes less, bool ``[n]``.
        separation: For each class, how much more the other cluster contributes, in standard deviations of the class's
            contributions: ``[classes]``; near 0 where there is nothing to tell apart, NaN for fewer than two examples.
    """

    suspect: Tensor
    separation: Tensor


def label_noise_clusters(effects: Tensor, labels: Tensor, seed: int = 0) -> LabelNoise:
    """Tells wrong labels from right ones without supervision (table 4).

    The signs of an example's effects on the evaluation examples are its features; the examples of one label are split
    in two by k-means. Wrongly labelled ones help and harm others than the rightly labelled do.

    Args:
        effects: ``effect[i, j]``, ``[n, m]``; the paper takes m = 1,000.
        labels: As given, ``[n]``.
        seed: Of k-means, which starts ten times.

    Returns:
        The clusters. The paper does not say which of two is the wrong one: it is the one of lower mean effect.
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
        signs = effects[members].sign()
        if bool((signs == signs[:1]).all()):  # nothing to tell apart
            separation[label] = 0.0
            continue
        assigned = torch.from_numpy(KMeans(2, n_init=10, random_state=seed).fit(signs.numpy()).labels_).bool()
        difference = means[members][assigned].mean() - means[members][~assigned].mean()
        suspect[members] = assigned if difference < 0 else ~assigned
        separation[label] = difference.abs() / means[members].std().clamp(min=torch.finfo(torch.float64).tiny)
    return LabelNoise(suspect, separation)


def jaccard_index(found: Tensor, real: Tensor) -> float:
    """Intersection over union of two sets given as bool ``[n]``; 1 when both are empty."""
    union = int((found | real).sum())
    return int((found & real).sum()) / union if union else 1.0


def class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean of the rows of each class: ``[n, m]`` -> ``[classes, m]``."""
    labels = labels.to(values.device)
    total = values.new_zeros(classes, values.shape[1]).index_add_(0, labels, values)
    return total / torch.bincount(labels, minlength=classes)[:, None].to(values.dtype)
