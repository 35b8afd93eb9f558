"""What the measures and curves of a run mean where a value is predicted, in place of what they mean for classes.

Values are learnt in their training values' standard deviations (SD), so that is the unit of errors, and half its square
that of losses.
"""

from __future__ import annotations

from dataclasses import replace

from attribution_core.runs.curves import Curve
from attribution_core.runs.measures import Measure

_LOSS, _ERROR = "half squared error", "SD"

_MEASURES: dict[str, dict[str, str]] = {
    "fsi": {
        "definition": (
            "How much the trained model's predictions of unseen (validation) values change when this example is "
            "removed and the linearised model is trained again. Near zero: the others already say it; large: nothing "
            "else does, so it is rare, hard or has a wrong value."
        ),
    },
    "ntk": {"unit": _LOSS},
    "contribution": {"unit": _LOSS},
    "hydra": {"unit": _LOSS},
    "sensitivity": {
        "unit": _ERROR,
        "definition": (
            "How far the prediction for this example would move if it were removed, in standard deviations of the "
            "values, estimated from the variance and the error of its prediction. Large: the model holds its "
            "prediction only because it saw this example."
        ),
        "equation": r"\lvert v_i e_i \rvert, \quad v_i = J_i \Sigma J_i^\top, \quad e_i = f_i - y_i",
    },
    "variance": {
        "definition": (
            "How uncertain the model is about its prediction for this example: its variance, in squared standard "
            "deviations of the values, under a Gaussian posterior of the weights. Large: few examples are like it."
        ),
        "equation": r"v_i = J_i \Sigma J_i^\top",
    },
    "error": {
        "unit": _ERROR,
        "definition": (
            "How far the prediction for this example is from its value, in standard deviations of the values. Variance "
            "times error is what removing the example would change."
        ),
        "equation": r"\lvert f_i - y_i \rvert",
    },
    "loo_loss": {
        "unit": _LOSS,
        "definition": (
            "Estimated loss on this example of the model trained without it. Unlike the training loss, it is large "
            "also where the model has learnt a value by heart."
        ),
        "equation": r"\tfrac12 (f_i + v_i e_i - y_i)^2",
    },
    "self_influence": {
        "unit": _LOSS,
        "definition": (
            "By how much the loss on this example would rise, to first order, had it been removed. Large where a value "
            "was learnt by heart. By influence functions: what they foretell is not retraining but the response of the "
            "trained weights while everything else is held where it is."
        ),
    },
    "influence": {"unit": _LOSS},
    "loss": {
        "unit": _LOSS,
        "definition": (
            "Half the squared error of the trained model on this training example, in standard deviations of the "
            "values; always telling their mean would come to 1/2 on average. Large: even after training on it, the "
            "model does not believe the value."
        ),
        "equation": r"\tfrac12 (f_i - y_i)^2",
    },
}

_CURVES: dict[str, dict[str, str]] = {
    "changed_among_influencers": {
        "title": "When wrong values lead",
        "y": "share with changed values",
        "definition": (
            "How many of the single most influential training examples of the validation examples are known to have a "
            "changed value, over training; the level line is their share among all training examples."
        ),
    },
    "detection": {
        "title": "Wrong values found",
        "y": "share of the wrong values found",
        "definition": (
            "How soon each score finds the values that are known to be wrong, when examples are inspected in its "
            "order: the steeper at the left, the better. Random order gives the diagonal."
        ),
    },
    "loo_nll": {"y": f"loss ({_LOSS})"},
    "loco": {
        "title": "Ranges of values the model would miss",
        "x": "range of values",
        "y": f"loss ({_LOSS})",
        "definition": (
            "Estimated loss on the training examples of each range of values after training without the range, each "
            "moved by its own removal alone, beside their loss now. The further apart, the more the model depends on "
            "that range's own examples."
        ),
    },
    "summarization": {
        "y": "test R²",
        "definition": (
            "R² on the test examples (the share of their variance that the predictions explain) of the model trained "
            "again on what is left, mean over seeds: with the least informative examples removed, all at once (bottom) "
            "or scored again after every part (bottom iterative), with the most informative removed (top), and at "
            "random."
        ),
    },
    "summarization_linear": {
        "y": "test R²",
        "definition": (
            "The same R² of the linearised model, in closed form. Where only the head is linearised its features have "
            "seen what was removed, so much removed costs it less than it costs a network."
        ),
    },
}


def measure_of_values(measure: Measure) -> Measure:
    """What a measure means where a value is predicted."""
    return replace(measure, **_MEASURES.get(measure.name, {}))  # type: ignore[arg-type]


def curve_of_values(curve: Curve) -> Curve:
    """What a curve shows where a value is predicted."""
    return replace(curve, **_CURVES.get(curve.name, {}))  # type: ignore[arg-type]
