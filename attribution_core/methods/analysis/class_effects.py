"""Effects of training classes on evaluation classes, from any matrix of effects, one block of rows at a time.

Chen et al., "HyDRA: Hypergradient data relevance analysis for interpreting deep neural networks", AAAI 2021: eq. 23 and
figure 2. The strongest single effects behind each mean are kept too.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from attribution_core.errors import InputError
from attribution_core.methods.analysis.label_noise import class_contributions, class_means, normalised

# Maximum number of pairs of either sign for each pair of classes, and of pairs in total.
PAIRS = 8
MOST_PAIRS = 100_000

# Training rows, evaluation rows and effects of pairs of examples.
_Pairs = tuple[np.ndarray, ...]
_NONE: _Pairs = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True)
class ClassEffects:
    """Effects of training classes on evaluation classes.

    Attributes:
        mean: Mean of ``effect[i, j]`` over the examples of both classes, ``[k, k]``, with a row per training class; NaN
            if either class has no example.
        normalised: Each mean divided by the square root of its row sum times its column sum (figure 2), ``[k, k]``,
            with larger sums where help and harm cancel out.
        train_rows: Training rows of the strongest pairs, ``[p]``, sorted by training class, evaluation class, strength.
        evaluation_rows: Evaluation rows of these pairs, ``[p]``.
        effects: Effects of these pairs, ``[p]``; helpful ones are positive, harmful ones negative, and none is zero.
    """

    mean: np.ndarray
    normalised: np.ndarray
    train_rows: np.ndarray
    evaluation_rows: np.ndarray
    effects: np.ndarray


def pairs_per_cell(classes: int) -> int:
    """Return the number of pairs of either sign to keep for each pair of classes: 8 up to 79 classes, then fewer."""
    return max(1, min(PAIRS, MOST_PAIRS // (2 * classes**2)))


def class_effects(
    blocks: Iterable[tuple[slice, np.ndarray]],
    train_labels: np.ndarray,
    evaluation_labels: np.ndarray,
    classes: int,
    most: int | None = None,
) -> ClassEffects:
    """Return the means by class, and the strongest helpful and harmful pairs within each pair of classes.

    A training example is listed once per cell and sign, with the evaluation example on which its effect is strongest
    (the first one if several are equal), so that one example does not fill the list. Only one block and a few numbers
    per example and class are held in memory, never the whole matrix.

    Args:
        blocks: (rows, ``effect[rows, :]``), with each row once and in order.
        train_labels: Training labels, ``[n]``.
        evaluation_labels: Evaluation labels, ``[m]``.
        classes: Number of classes.
        most: Number of pairs of either sign to list per cell; None uses :func:`pairs_per_cell`. If there are more than
            ``MOST_PAIRS`` in total, only the strongest are kept.

    Raises:
        InputError: The numbers of labels and effects differ.
    """
    most = pairs_per_cell(classes) if most is None else most
    by_class, kept = [torch.empty(0, classes, dtype=torch.float64)], _NONE
    others = torch.tensor(evaluation_labels)
    for rows, values in blocks:
        if values.shape != (len(train_labels[rows]), len(evaluation_labels)):
            raise InputError(
                f"A block of effects {list(values.shape)} at row {rows.start} does not match {len(train_labels)} "
                f"training and {len(evaluation_labels)} evaluation labels."
            )
        by_class.append(class_means(torch.from_numpy(values.astype(np.float64)).T, others, classes).T)
        found = _strongest_of_each(values, rows.start, evaluation_labels, classes)
        pairs = tuple(np.concatenate(each) for each in zip(kept, found, strict=True))
        cells = train_labels[pairs[0]] * classes + evaluation_labels[pairs[1]]
        chosen = _first_in_cells(cells, pairs[2], most)
        kept = tuple(each[chosen] for each in pairs)
    means = torch.cat(by_class)
    if len(means) != len(train_labels):
        raise InputError(
            f"Expected effects of {len(train_labels)} training examples, one per label, not of {len(means)}."
        )
    mean = class_contributions(means, torch.tensor(train_labels), torch.arange(classes), classes)
    strength = np.abs(kept[2])
    if len(strength) > MOST_PAIRS:
        strongest = np.argsort(-strength, kind="stable")[:MOST_PAIRS]
        kept, strength = tuple(each[strongest] for each in kept), strength[strongest]
    order = np.lexsort((-strength, evaluation_labels[kept[1]], train_labels[kept[0]]))
    return ClassEffects(mean.numpy(), normalised(mean).numpy(), *(each[order] for each in kept))


def _strongest_of_each(values: np.ndarray, start: int, labels: np.ndarray, classes: int) -> _Pairs:
    """Return each row's most helpful and most harmful pair in each evaluation class; rows count from ``start``."""
    found, rows = [_NONE], np.arange(len(values))
    for label in range(classes):
        columns = np.flatnonzero(labels == label)
        if len(columns) == 0:
            continue
        part = values[:, columns]
        for sign, place in ((1, part.argmax(axis=1)), (-1, part.argmin(axis=1))):
            effects = part[rows, place]
            signed = effects * sign > 0
            found.append((rows[signed] + start, columns[place[signed]], effects[signed]))
    return tuple(np.concatenate(each) for each in zip(*found, strict=True))


def _first_in_cells(cells: np.ndarray, effects: np.ndarray, most: int) -> np.ndarray:
    """Return the positions of the ``most`` strongest effects of either sign in each cell; ties keep their order."""
    groups = 2 * cells + (effects < 0)
    order = np.lexsort((-np.abs(effects), groups))
    places = np.arange(len(order))
    begins = np.diff(groups[order], prepend=-1) != 0
    return order[places - np.maximum.accumulate(np.where(begins, places, 0)) < most]
