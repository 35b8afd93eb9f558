"""A menu of scores, and a table of one example's scores."""

from __future__ import annotations

import html
import math
from typing import Any

import streamlit as st

from attribution_core.runs import NOT_CREDIBLE, Run, why_not_credible
from attribution_core.runs.store import table_of
from samplescope_app.data import effects, session
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import format_percentile, format_score, plain, score_help

TRACK_STYLE = """<style>
.track {
  display: block; height: 0.55em; border-radius: 0.3em; background: light-dark(#00000014, #ffffff26); overflow: hidden;
}
.track > span { display: block; height: 100%; background: light-dark(#0072b2, #56b4e9); }
</style>"""
_STYLE = """<style>
.scores { font-size: 0.875rem; }
.scores summary {
  display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 3fr) 2.2em minmax(0, 3.4fr);
  gap: 0.5em; align-items: center; padding: 0.2em 0; cursor: pointer;
}
.scores summary::-webkit-details-marker { display: none; }
.scores summary:hover { background: light-dark(#0000000d, #ffffff14); }
.scores summary > :nth-child(n + 3) { font-variant-numeric: tabular-nums; color: light-dark(#555867, #b4b6c1); }
.scores p { margin: 0.2em 0 0.6em; color: light-dark(#555867, #b4b6c1); }
</style>"""
_EFFECTS = {"self_influence": "influence", "contribution": "hydra"}  # score that is an effect -> method of its kind


def select(run: Run, key: str, label: str = "Score", **options: Any) -> str:
    """Draw a menu of the run's scores, with the definition as help, and return the chosen one."""
    shown = st.session_state.get(key)
    help_text = score_help(run.measure(shown if shown in run.scores else run.scores[0]))
    return st.selectbox(
        label, run.scores, key=key, format_func=lambda name: run.measure(name).title, help=help_text, **options
    )


def table(run: Run, row: Row) -> None:
    """Draw every score of an example as a bar of its percentile, with the value; a click opens its definition."""
    shown = session.scores_of(run, table_of(row["split"]))
    marked = {
        score: method for score, method in _EFFECTS.items() if score in shown and _is_beyond(run, row, score, method)
    }
    rows = "".join(_bar(run, row, score, score in marked) for score in shown)
    st.html(f'{TRACK_STYLE}{_STYLE}<div class="scores">{rows}</div>')
    for method in marked.values():
        st.caption(plain(why_not_credible(effects.largest_credible_rise(run, method))))


def _bar(run: Run, row: Row, score: str, is_marked: bool) -> str:
    """Return the HTML of one score; titles, units and definitions of imported measures are texts from data."""
    measure, percentile = run.measure(score), row[f"{score} percentile"]
    definition = f"{measure.definition} {measure.paper}".strip()
    if score == "loss" and row["split"] != "train":
        definition = "Loss of the trained model on this example, which it was not trained on."
    value = " ".join(part for part in (format_score(row[score]), measure.unit) if part)
    name, value, definition = (html.escape(text) for text in (title(run, score, row["split"]), value, definition))
    mark = f" <small>{NOT_CREDIBLE}</small>" if is_marked else ""
    return (
        f"<details><summary><span>{name}</span>"
        f"{track(percentile)}"
        f"<span>{format_percentile(percentile)}</span><span>{value}{mark}</span></summary>"
        f"<p>{definition}</p></details>"
    )


def title(run: Run, score: str, split: str) -> str:
    """Return the title of a score of an example, whose loss is a training loss only if the model was trained on it."""
    return "Loss" if score == "loss" and split != "train" else run.measure(score).title


def track(percentile: float) -> str:
    """Return the HTML of a bar filled to a percentile, empty for NaN; it needs :data:`TRACK_STYLE`."""
    filled = percentile if math.isfinite(percentile) else 0.0
    return f'<span class="track"><span style="width:{filled:.1f}%"></span></span>'


def _is_beyond(run: Run, row: Row, score: str, method: str) -> bool:
    """Return whether a score that is the effect of removing the example is more than a removal can do."""
    if method not in run.effect_methods:
        return False
    credible = effects.credible(run, method)
    if credible is None:
        return False
    before = row["loss"] if score == "self_influence" else float(credible.losses.mean())
    return bool(row[score] < -before or row[score] > credible.highest)
