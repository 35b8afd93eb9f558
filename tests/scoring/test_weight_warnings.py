import numpy as np

from attribution_core.scoring.weight_warnings import weight_warnings

NAMES = ["ant", "bee", "cat"]
LABELS = np.repeat([0, 1, 2], 20)


def test_a_model_that_has_learned_raises_no_warning():
    predicted = LABELS.copy()
    predicted[::7] = 0
    assert weight_warnings(predicted, LABELS, NAMES) == []


def test_outputs_in_another_order_are_named():
    assert weight_warnings(np.array([1, 0, 2])[LABELS], LABELS, NAMES) == [
        "The model's outputs seem to be in another order than the dataset's classes: 33.3% of the training labels "
        "are predicted, and 100.0% if ant means bee, bee means ant."
    ]


def test_a_model_at_chance_is_named():
    (warning,) = weight_warnings(np.zeros(60, dtype=int), LABELS, NAMES)
    assert warning.startswith(
        "The given weights predict 33.3% of the training labels, and always guessing the largest class"
    )
