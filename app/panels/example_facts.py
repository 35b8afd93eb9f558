"""The label, prediction and groups of an example, and its cell in a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import run_library
from samplescope_app.wording import labels
from samplescope_app.wording.text import format_score, plain


def label_lines(run: Run, row: dict[str, Any]) -> None:
    """Label, prediction and groups of an example."""
    title = "Label" if run.values is None else plain(run.values.name)
    lines = [f"{title} **{plain(row['label_name'])}**", _prediction(run, row)]
    shown = [group for group in run.groups if group in row]
    lines += [f":gray[{plain(labels.group_title(run, group))}: {plain(row[group])}]" for group in shown]
    st.markdown("  \n".join(lines))


def _prediction(run: Run, row: dict[str, Any]) -> str:
    """What the model says of an example, in a line of Markdown."""
    sign = ":material/warning: " if labels.is_far(run, row) else ""
    if run.values is None:
        said = f"says **{plain(row['predicted_name'])}**" if sign else "agrees"
        return f"{sign}The model {said}, with confidence {row['confidence']:.0%}."
    off, side = abs(row["residual"]), "higher" if row["residual"] > 0 else "lower"
    return (
        f"{sign}The model says **{plain(labels.value_text(run, row['predicted']))}**, {plain(format_score(off))} "
        f"{side} ({off / run.values.scale:.2f} SD)."
    )


def column(run: Run, rows: Iterable[int]) -> tuple[list[str], Any]:
    """What stands for training examples in a table, image or text, and the column's configuration."""
    if "text" in run.examples:
        texts = run.examples["text"].to_numpy()
        width = "medium" if labels.example_noun(run) == "text" else "small"  # the first cells of a row tell little
        return [texts[row] for row in rows], st.column_config.TextColumn("", width=width)
    images = [run_library.thumbnail_url(run, "train", row) for row in rows]
    return images, st.column_config.ImageColumn("", width="small")
