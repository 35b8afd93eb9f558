"""Warnings about given weights: outputs in another order than the classes, or nothing learned."""

import numpy as np

# A classifier has learned nothing if it closes less than this share of the gap from always guessing the largest class.
_LEARNED = 0.1
# Another order of the classes must fit better by this much; less may be noise.
_BETTER = 0.1


def weight_warnings_of_values(r2: float) -> list[str]:
    """Return the same for a regression, from the R² of the given weights on the training examples."""
    if r2 > 0:
        return []
    return [
        f"The given weights predict the training values worse than their mean does (R² {r2:.2f}): they should take the "
        "features and predict the target standardized, as the dataset's own training split has them."
    ]


def weight_warnings(predicted: np.ndarray, labels: np.ndarray, class_names: list[str]) -> list[str]:
    """Return sentences that a person should read before trusting a score of a run with given weights.

    Args:
        predicted: Predicted classes of the training examples, ``[n]``.
        labels: Their labels, ``[n]``.
        class_names: Names of the classes, in the order of the labels.
    """
    from scipy.optimize import linear_sum_assignment  # here, since only given weights need it and loading takes time

    k = len(class_names)
    counts = np.zeros((k, k), dtype=np.int64)
    np.add.at(counts, (predicted, labels), 1)
    accuracy, largest = np.trace(counts) / len(labels), counts.sum(axis=0).max() / len(labels)
    outputs, classes = linear_sum_assignment(counts, maximize=True)
    reordered = counts[outputs, classes].sum() / len(labels)
    if reordered >= accuracy + _BETTER:
        moved = [f"{class_names[a]} means {class_names[b]}" for a, b in zip(outputs, classes, strict=True) if a != b]
        return [
            f"The model's outputs seem to be in another order than the dataset's classes: {accuracy:.1%} of the "
            f"training labels are predicted, and {reordered:.1%} if {', '.join(moved)}."
        ]
    if accuracy < largest + _LEARNED * (1 - largest):
        return [
            f"The given weights predict {accuracy:.1%} of the training labels, and always guessing the largest class "
            f"{largest:.1%}: check that weights, preprocessing and classes belong together before trusting any score."
        ]
    return []
