"""The labels of examples in words: names of classes, or values rounded to their meaningful digits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attribution_core.runs import Measure, Run
from attribution_core.runs.labels import VALUE_RANGE, changed_labels, label_names
from samplescope_app.wording.text import NOUNS, format_score

Row = dict[Any, Any]  # of ``run.examples`` or ``run.evaluation``: column -> value

DECISION_NAMES = {"": "undecided", "keep": "kept", "drop": "dropped", "relabel": "relabeled"}
_FAR = 0.5  # standard deviations of the values beyond which a prediction is far off


@dataclass(frozen=True)
class SuspectRanking:
    """A ranking of the examples that are most likely mislabeled.

    Attributes:
        title: Title of the ranking.
        score: Column of the score that ranks them.
        descending: Whether the highest score comes first.
    """

    title: str
    score: str
    descending: bool


def noun(run: Run) -> str:
    """Return the noun for a label: ``"label"`` in a classification, ``"value"`` in a regression."""
    return "label" if run.values is None else "value"


def name(run: Run) -> str:
    """Return ``"label"``, or the name of the target column in a regression."""
    return "label" if run.values is None else run.values.name


def strata(run: Run) -> str:
    """Return the name of the groups that training examples fall into: ``"classes"``, or ranges of the values."""
    return "classes" if run.values is None else f"ranges of {run.values.name}"


def example_noun(run: Run) -> str:
    """Return what an example of the run is: ``"image"``, ``"text"`` or ``"row"``."""
    mode = run.manifest.dataset.mode if run.manifest.dataset else ""
    return NOUNS.get(mode, "image")


def value_range(run: Run, values: pd.Series) -> str:
    """Return the range of some values, such as "strength from 2.3 to 82.6"."""
    low, high = (value_text(run, value) for value in (values.min(), values.max()))
    return f"{name(run)} from {low} to {high}"


def decision(row: Row) -> str:
    """Return the decision about an example, such as "dropped" or "relabeled cat"; empty if there is none."""
    if not row["action"]:
        return ""
    new_label = f" {row['new_label_name']}" if row["action"] == "relabel" else ""
    return DECISION_NAMES[row["action"]] + new_label


def action_in_words(run: Run, action: str) -> str:
    """Return an action such as "relabel 3" with the name of the label, or the value as text."""
    verb, _, label = action.partition(" ")
    if verb != "relabel":
        return action
    return f"relabel {label_text(run, float(label))}"


def label_text(run: Run, label: float) -> str:
    """Return the name of a class by its number, or a value as text."""
    return run.class_names[int(label)] if run.values is None else value_text(run, label)


def value_text(run: Run, value: float) -> str:
    """Return a value rounded to between a hundredth and a thousandth of the values' standard deviation."""
    return f"{round(value, _digits(run)) + 0.0:.10g}"  # + 0 turns minus zero into zero


def on_tile(run: Run, row: Row) -> tuple[str, str]:
    """Return the label that a tile shows, and the prediction, which is "" if it is the same or not made yet.

    Args:
        run: The run.
        row: A row of ``run.examples`` or ``run.evaluation``.
    """
    if not run.has_predictions:
        return row["label_name"] if run.values is None else value_text(run, row["label"]), ""
    if run.values is None:
        return row["label_name"], "" if row["correct"] else row["predicted_name"]
    label, predicted = value_text(run, row["label"]), value_text(run, row["predicted"])
    return label, "" if predicted == label else predicted


def in_words(run: Run, row: Row) -> str:
    """Return label and prediction, such as "labeled cat, predicted dog" or "strength 34.2, predicted 28.1"."""
    label, predicted = on_tile(run, row)
    labeled = f"{'labeled' if run.values is None else name(run)} {label}"
    return f"{labeled}, predicted {predicted}" if predicted else labeled


def place(row: Row) -> str:
    """Return the position of an example in its table, such as "#12", or "#12 of test" outside the training split."""
    return f"#{row['row']}" if row["split"] == "train" else f"#{row['row']} of {row['split']}"


def describe(run: Run, row: Row, words: str) -> str:
    """Return the alt text of an example's tile, with what it shows beside label and prediction, in words."""
    disputed = f"reviewers disagree: {row['disagreement']}" if row["disagreement"] else ""
    tags = f"tagged {', '.join(row['tags'])}" if row["tags"] else ""
    return ", ".join(part for part in (place(row), in_words(run, row), words, decision(row), disputed, tags) if part)


def score_in_words(row: Row, measure: Measure) -> str:
    """Return a score of an example with its name; empty if it has none."""
    value = row.get(measure.name, math.nan)
    return "" if math.isnan(value) else f"{measure.title_in_sentence} {format_score(value)}"


def is_judged(row: Row) -> bool:
    """Return whether an example has a suggestion of a model that never saw it."""
    return not math.isnan(row.get("suggested_label", math.nan))


def suggestion(run: Run, row: Row) -> float | None:
    """Return the label to suggest, rounded if it is a value; None if that is the example's label.

    It is that of a model which never saw the example, where the run has label quality; else the trained model's.
    """
    suggested = row["suggested_label"] if is_judged(row) else row.get("predicted")
    if suggested is None:  # nothing is predicted yet
        return None
    if run.values is None:
        return None if suggested == row["label"] else int(suggested)
    digits = _data_digits(run)
    value = round(float(suggested), digits)
    return None if value == round(row["label"], digits) else value


def suggestions(run: Run, examples: pd.DataFrame) -> np.ndarray:
    """Return the :func:`suggestion` of each of some rows, float64 ``[n]``; NaN where there is none."""
    given = examples["label"].to_numpy(dtype="float64")
    found = np.full(len(examples), np.nan)
    for column in ("predicted", "suggested_label"):
        if column in examples:
            values = examples[column].to_numpy(dtype="float64", na_value=np.nan)
            found = np.where(np.isnan(values), found, values)
    if run.values is not None:
        digits = _data_digits(run)
        found, given = np.round(found, digits), np.round(given, digits)
    return np.where(found == given, np.nan, found)


def _data_digits(run: Run) -> int:
    """Return the decimal places of a suggested value: no finer than the data, so that whole years stay whole."""
    digits, values = _digits(run), run.examples["label"]
    return next((fewer for fewer in range(digits) if (values == values.round(fewer)).all()), digits)


def step(run: Run) -> float:
    """Return the step of a number input for a value."""
    return 10.0 ** -_digits(run)


def is_far(run: Run, row: Row) -> bool:
    """Return whether the model predicts another class, or a value that is far off."""
    if not run.has_predictions:
        return False
    if run.values is None:
        return not row["correct"]
    return abs(row["residual"]) > _FAR * run.values.scale


def parsed(run: Run, text: str) -> float:
    """Return the label at the end of an action such as "relabel 3": the number of a class, or a value."""
    return int(text) if run.values is None else float(text)


def changed(run: Run) -> np.ndarray:
    """Return which training examples are known to have a changed label, bool ``[n]``."""
    found = changed_labels(run.examples)
    return np.zeros(len(run.examples), dtype=bool) if found is None else found


def suspect_ranking(run: Run) -> SuspectRanking | None:
    """Return the ranking to look for wrong labels by; None if the run has no score for it."""
    if "label_quality" in run.scores:
        return SuspectRanking("Most suspicious: lowest label quality", "label_quality", descending=False)
    if run.values is None:
        prefers_another = SuspectRanking("Most suspicious: the model prefers another label", "margin", descending=False)
        return prefers_another if "margin" in run.scores else None
    scores = [score for score in ("error", "loss") if score in run.scores]
    return SuspectRanking("Largest prediction errors", scores[0], descending=True) if scores else None


def kinds(run: Run) -> list[str]:
    """Return the group columns with few distinct values: all except the original values of a regression."""
    return [group for group in run.groups if run.values is None or group != "original_label"]


def group_names(run: Run, values: pd.Series) -> pd.Series:
    """Return a group column as texts: ``original_label`` as class names or rounded values, the others as they are."""
    if values.name == "original_label" and (run.values is not None or pd.api.types.is_integer_dtype(values)):
        return pd.Series(label_names(values.to_numpy(), run.class_names), index=values.index)
    return values.astype("str")


def group_title(run: Run, group: str) -> str:
    """Return the title of a group column."""
    if run.values is not None and group in (VALUE_RANGE, "original_label"):
        return f"{'range of' if group == VALUE_RANGE else 'original'} {run.values.name}"
    return group.replace("_", " ")


def _digits(run: Run) -> int:
    """Return the number of decimal places; negative for whole tens, hundreds and so on."""
    scale = 1.0 if run.values is None else run.values.scale
    return 2 - math.floor(math.log10(scale))
