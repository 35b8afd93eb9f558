"""A few examples side by side: their pictures, labels and scores."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.gallery import example_tile, tiles, with_original
from samplescope_app.data import navigation, session
from samplescope_app.panels import decisions, example_facts, scores
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import format_percentile, format_score, plain

MOST = 4  # examples that have room beside each other
_WIDTHS = {2: 320, 3: 230, 4: 170}  # pixels of a picture
_STYLE = """<style>
.beside { width: 100%; table-layout: fixed; font-size: 0.875rem; border-collapse: collapse; }
.beside th { text-align: left; font-weight: inherit; }
.beside th:first-child { width: 28%; }
.beside thead th { font-weight: 600; }
.beside th, .beside td { padding: 0.2rem 0.5rem 0.2rem 0; }
.beside td { font-variant-numeric: tabular-nums; }
.beside td small { color: light-dark(#555867, #b4b6c1); }
</style>"""


def fits(run: Run, keys: Sequence[str]) -> bool:
    """Return whether the run's examples with these keys can be shown beside each other."""
    return 2 <= len(session.positions(run, keys)) <= MOST


def draw(run: Run, keys: Sequence[str]) -> None:
    """Draw two to :data:`MOST` examples, each in a column, and a table of the percentiles of their scores."""
    rows: list[Row] = session.everything(run).iloc[session.positions(run, keys)].to_dict("records")
    for column, row in zip(st.columns(len(rows)), rows, strict=True):
        with column:
            _example(run, row, _WIDTHS[len(rows)])
    st.html(f"{scores.TRACK_STYLE}{_STYLE}{_table(run, rows)}")


def _example(run: Run, row: Row, size: int) -> None:
    tile = with_original(run, row, example_tile(run, row, run.scores[0]))
    key = f"beside {session.key(row)}"
    name = f"Example {labels.place(row)}"
    answer = tiles(run, [tile], key=key, name=name, layout="strip", size=size, captions=False)
    if answer.opened is not None:
        navigation.open_tile(run, answer.opened)
    with st.container(horizontal=True, gap="xsmall"):
        st.markdown(f"**{plain(row['id'])}**", width="content")
        decisions.badge(row)
    example_facts.label_lines(run, row)


def _table(run: Run, rows: Sequence[Row]) -> str:
    """Return the scores as HTML, those in which the examples differ most first; titles and ids are texts from data."""

    def spread(score: str) -> float:
        percentiles = [row[f"{score} percentile"] for row in rows]
        known = [each for each in percentiles if math.isfinite(each)]
        return max(known) - min(known) if len(known) == len(rows) else -1.0

    head = "".join(f'<th scope="col">{html.escape(labels.place(row))}</th>' for row in rows)
    body = "".join(_line(run, rows, score) for score in sorted(run.scores, key=spread, reverse=True))
    return (
        f'<table class="beside"><thead><tr><th scope="col">Score</th>{head}</tr></thead><tbody>{body}</tbody></table>'
    )


def _line(run: Run, rows: Sequence[Row], score: str) -> str:
    split = next((row["split"] for row in rows if row["split"] != "train"), "train")
    unit = f" ({run.measure(score).unit})" if run.measure(score).unit else ""
    cells = "".join(_cell(row, score) for row in rows)
    return f'<tr><th scope="row">{html.escape(scores.title(run, score, split) + unit)}</th>{cells}</tr>'


def _cell(row: Row, score: str) -> str:
    percentile = row[f"{score} percentile"]
    if not math.isfinite(percentile):
        return "<td><small>none</small></td>"
    return (
        f"<td>{format_percentile(percentile)} <small>{html.escape(format_score(row[score]))}</small>"
        f"{scores.track(percentile)}</td>"
    )
