"""What classes do to classes, from any matrix of effects, a block of its rows at a time.

Chen et al., "HyDRA: Hypergradient data relevance analysis for interpreting deep neural networks", AAAI 2021: eq. 23 and
figure 2. The single effects behind a mean are kept too, as far as a person looks at them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from attribution_core.errors import InputError
from attribution_core.methods.analysis.label_noise import class_contributions, class_means, normalised

# Pairs of either sign for each pair of classes, and how many there may be in all.
PAIRS = 8
MOST_PAIRS = 100_000

# Training rows, evaluation rows and effects of pairs.
_Pairs = tuple[np.ndarray, ...]
_NONE: _Pairs = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True)
class ClassEffects:
    """Effects of training classes on evaluation classes.

    Attributes:
        mean: Of ``effect[i, j]`` over the examples of both classes, ``[k, k]``, rows of training; NaN where either side
            has no example.
        normalised: Each mean over the root of its row sum times its column sum (figure 2), ``[k, k]``.
        train_rows: Of the strongest pairs, ``[p]``, by training class, evaluation class, then strength.
        evaluation_rows: Likewise.
        effects: Likewise; helpful ones are positive, harmful ones negative, and none is zero.
    """

    mean: np.ndarray
    normalised: np.ndarray
    train_rows: np.ndarray
    evaluation_rows: np.ndarray
    effects: np.ndarray


def pairs_per_cell(classes: int) -> int:
    """How many pairs of either sign are kept for each pair of classes: 8 up to 79 classes, then fewer."""
    return max(1, min(PAIRS, MOST_PAIRS // (2 * classes**2)))


def class_effects(
    blocks: Iterable[tuple[slice, np.ndarray]],
    train_labels: np.ndarray,
    evaluation_labels: np.ndarray,
    classes: int,
    most: int | None = None,
) -> ClassEffects:
    """Means by classes, and the strongest helpful and harmful pairs within each pair of classes.

    A training example is listed once within a cell and sign, with the evaluation example on which it is strongest (the
    first of equal ones), so that one example does not fill the list. One block and a few numbers for each example and
    class are held, never the matrix.

    Args:
        blocks: (rows, ``effect[rows, :]``), each row once and in order.
        train_labels: ``[n]``.
        evaluation_labels: ``[m]``.
        classes: Their number.
        most: How many pairs of either sign a cell lists; by default :func:`pairs_per_cell`. Of more than
            ``MOST_PAIRS`` in all only the strongest are kept.

    Raises:
        InputError: Labels that do not go with the effects.
    """
    most = pairs_per_cell(classes) if most is None else most
    by_class, kept = [torch.empty(0, classes, dtype=torch.float64)], _NONE
    others = torch.tensor(evaluation_labels)
    for rows, values in blocks:
        if values.shape != (len(train_labels[rows]), len(evaluation_labels)):
            raise InputError(
                f"Effects of {len(train_labels)} training on {len(evaluation_labels)} evaluation examples do not hold "
                f"a block {list(values.shape)} at row {rows.start}."
            )
        by_class.append(class_means(torch.from_numpy(values.astype(np.float64)).T, others, classes).T)
        found = _strongest_of_each(values, rows.start, evaluation_labels, classes)
        pairs = tuple(np.concatenate(each) for each in zip(kept, found, strict=True))
        cells = train_labels[pairs[0]] * classes + evaluation_labels[pairs[1]]
        chosen = _first_in_cells(cells, pairs[2], most)
        kept = tuple(each[chosen] for each in pairs)
    means = torch.cat(by_class)
    if len(means) != len(train_labels):
        raise InputError(f"{len(train_labels)} training labels do not go with effects of {len(means)} examples.")
    mean = class_contributions(means, torch.tensor(train_labels), torch.arange(classes), classes)
    strength = np.abs(kept[2])
    if len(strength) > MOST_PAIRS:
        strongest = np.argsort(-strength, kind="stable")[:MOST_PAIRS]
        kept, strength = tuple(each[strongest] for each in kept), strength[strongest]
    order = np.lexsort((-strength, evaluation_labels[kept[1]], train_labels[kept[0]]))
    return ClassEffects(mean.numpy(), normalised(mean).numpy(), *(each[order] for each in kept))


def _strongest_of_each(values: np.ndarray, start: int, labels: np.ndarray, classes: int) -> _Pairs:
    """Each row's most helpful and most harmful pair within each evaluation class, if any; rows count from ``start``."""
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
    """Places of the ``most`` strongest of either sign in each cell, earlier ones first among equals."""
    groups = 2 * cells + (effects < 0)
    order = np.lexsort((-np.abs(effects), groups))
    places = np.arange(len(order))
    begins = np.diff(groups[order], prepend=-1) != 0
    return order[places - np.maximum.accumulate(np.where(begins, places, 0)) < most]
