"""The label, prediction and groups of an example, and its cell in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.store import table_of
from samplescope_app.data import run_library
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import format_score, plain


def label_lines(run: Run, row: Row, without: Sequence[str] = ()) -> None:
    """Draw the label, prediction, groups and note of an example, but for some groups."""
    title = "Label" if run.values is None else plain(run.values.name)
    lines = [f"{title} **{plain(row['label_name'])}**"]
    if run.has_predictions:
        lines.append(_prediction(run, row))
    if labels.is_judged(row):
        lines.append(_suggestion(run, row))
    shown = [group for group in run.groups if group in row and group not in without]
    lines += [f":gray[{plain(labels.group_title(run, group))}: {plain(row[group])}]" for group in shown]
    if row["note"]:
        lines.append(f":material/edit_note: {plain(row['note'])}")
    st.markdown("  \n".join(lines))


def _prediction(run: Run, row: Row) -> str:
    """Return the prediction for an example, as a line of Markdown."""
    sign = ":material/warning: " if labels.is_far(run, row) else ""
    if run.values is None:
        predicted = f"Predicted **{plain(row['predicted_name'])}**" if sign else "Predicted as labeled"
        return f"{sign}{predicted}, confidence {row['confidence']:.0%}"
    off, side = abs(row["residual"]), "higher" if row["residual"] > 0 else "lower"
    return (
        f"{sign}Predicted **{plain(labels.value_text(run, row['predicted']))}**, {plain(format_score(off))} {side} "
        f"({off / run.values.scale:.2f} SD)"
    )


def _suggestion(run: Run, row: Row) -> str:
    """Return what a model that never saw the example says of its label, as a line of Markdown."""
    suggested = labels.suggestion(run, row)
    if suggested is None:
        return "A model without this example agrees"
    if run.values is not None:
        return f"A model without this example says **{plain(labels.value_text(run, suggested))}**"
    name = plain(run.class_names[int(suggested)])
    return f"A model without this example says **{name}**, {row['suggested_confidence']:.0%} sure"


def column(run: Run, examples: pd.DataFrame) -> tuple[list[str], Any]:
    """Return the images or texts of examples for a table, and the configuration of their column.

    Args:
        run: The run.
        examples: Rows of ``session.examples(run)`` or ``session.everything(run)``.
    """
    if "text" in examples:
        # The first cells of a row are not informative, so a table needs no width for them.
        width: Literal["medium", "small"] = "medium" if labels.example_noun(run) == "text" else "small"
        return examples["text"].tolist(), st.column_config.TextColumn("", width=width)
    tables = [table_of(split) for split in examples["split"]]
    images = [run_library.thumbnail_url(run, *each) for each in zip(tables, examples["row"], strict=True)]
    return images, st.column_config.ImageColumn("", width="small")
