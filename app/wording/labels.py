"""The label of an example in words: the name of a class, or a value with as many digits as say something."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attribution_core.runs import Measure, Run
from attribution_core.runs.labels import VALUE_RANGE, changed_labels, label_names
from samplescope_app.wording.text import NOUNS, format_score

DECISION_NAMES = {"": "undecided", "keep": "kept", "drop": "dropped", "relabel": "relabeled"}
_FAR = 0.5  # standard deviations of the values from which a prediction is far off


@dataclass(frozen=True)
class SuspectRanking:
    """The end of a score where the model contradicts the labels most.

    Attributes:
        title: For people.
        score: A column of scores.
        descending: Whether the highest come first.
    """

    title: str
    score: str
    descending: bool


def noun(run: Run) -> str:
    """What a label is: ``"label"`` of a class, or ``"value"``."""
    return "label" if run.values is None else "value"


def name(run: Run) -> str:
    """What a label is called: ``"label"``, or the name of the column of values."""
    return "label" if run.values is None else run.values.name


def strata(run: Run) -> str:
    """What the training examples are divided into: ``"classes"``, or ranges of the values."""
    return "classes" if run.values is None else f"ranges of {run.values.name}"


def example_noun(run: Run) -> str:
    """Return what an example of the run is: ``"image"``, ``"text"`` or ``"row"``."""
    mode = run.manifest.dataset.mode if run.manifest.dataset else ""
    return NOUNS.get(mode, "image")


def value_range(run: Run, values: pd.Series) -> str:
    """Return the range of some values, such as "strength from 2.3 to 82.6"."""
    low, high = (value_text(run, value) for value in (values.min(), values.max()))
    return f"{name(run)} from {low} to {high}"


def decision(row: dict[str, Any]) -> str:
    """Return the decision about an example, such as "dropped" or "relabeled cat"; empty if there is none."""
    if not row["action"]:
        return ""
    new_label = f" {row['new_label_name']}" if row["action"] == "relabel" else ""
    return DECISION_NAMES[row["action"]] + new_label


def value_text(run: Run, value: float) -> str:
    """A value, rounded to between a hundredth and a thousandth of a standard deviation of the values."""
    return f"{round(value, _digits(run)) + 0.0:.10g}"  # + 0: there is no minus zero to people


def on_tile(run: Run, row: dict[str, Any]) -> tuple[str, str]:
    """The label of a row as its tile shows it, and what the model says instead; "" where it says the same.

    Args:
        run: The run.
        row: Of ``run.examples`` or ``run.evaluation``.
    """
    if run.values is None:
        return row["label_name"], "" if row["correct"] else row["predicted_name"]
    label, said = value_text(run, row["label"]), value_text(run, row["predicted"])
    return label, "" if said == label else said


def in_words(run: Run, row: dict[str, Any]) -> str:
    """Label and prediction of a row: "labelled cat, predicted dog", "strength 34.2, predicted 28.1"."""
    label, said = on_tile(run, row)
    return f"{'labelled' if run.values is None else name(run)} {label}" + (f", predicted {said}" if said else "")


def describe(run: Run, row: dict[str, Any], measure: Measure) -> str:
    """Alt text of a training example's tile, with one of its scores."""
    parts = [f"#{row['row']}", in_words(run, row), f"{measure.title_in_sentence} {format_score(row[measure.name])}"]
    if row["action"]:
        parts.append(decision(row))
    return ", ".join(parts)


def suggestion(run: Run, row: dict[str, Any]) -> float | None:
    """The label that the model would give an example, rounded where it is a value; None where that is its own."""
    if run.values is None:
        return None if row["predicted"] == row["label"] else int(row["predicted"])
    digits, values = _digits(run), run.examples["label"]
    # No finer than the data themselves are: of years, a year.
    digits = next((fewer for fewer in range(digits) if (values == values.round(fewer)).all()), digits)
    told = round(float(row["predicted"]), digits)
    return None if told == round(row["label"], digits) else told


def step(run: Run) -> float:
    """By how much a value is moved by one press of an arrow."""
    return 10.0 ** -_digits(run)


def is_far(run: Run, row: dict[str, Any]) -> bool:
    """Whether the model says another class, or a value that is far off."""
    if run.values is None:
        return not row["correct"]
    return abs(row["residual"]) > _FAR * run.values.scale


def parsed(run: Run, text: str) -> float:
    """The label that an action such as "relabel 3" ends with: the number of a class, or a value."""
    return int(text) if run.values is None else float(text)


def changed(run: Run) -> np.ndarray:
    """Which training examples are known to have another label than they had, bool ``[n]``."""
    found = changed_labels(run.examples)
    return np.zeros(len(run.examples), dtype=bool) if found is None else found


def doubtful(run: Run) -> SuspectRanking | None:
    """Where to look for wrong labels first, whatever scores the run has; None where it has none to look by."""
    if run.values is None:
        prefers_another = SuspectRanking("Most suspicious: the model prefers another label", "margin", descending=False)
        return prefers_another if "margin" in run.scores else None
    scores = [score for score in ("error", "loss") if score in run.scores]
    return SuspectRanking("Predicted worst", scores[0], descending=True) if scores else None


def kinds(run: Run) -> list[str]:
    """The group columns that tell a few kinds of examples apart: all, but for the original values of a regression."""
    return [group for group in run.groups if run.values is None or group != "original_label"]


def group_names(run: Run, values: pd.Series) -> pd.Series:
    """A group column for people: ``original_label`` as class names or rounded values, others as text."""
    if values.name == "original_label" and (run.values is not None or pd.api.types.is_integer_dtype(values)):
        return pd.Series(label_names(values.to_numpy(), run.class_names), index=values.index)
    return values.astype("str")


def group_title(run: Run, group: str) -> str:
    """A group column, for people."""
    if run.values is not None and group in (VALUE_RANGE, "original_label"):
        return f"{'range of' if group == VALUE_RANGE else 'original'} {run.values.name}"
    return group.replace("_", " ")


def _digits(run: Run) -> int:
    """Behind the point; negative for whole tens, hundreds and so on."""
    return 2 - math.floor(math.log10(run.values.scale))
