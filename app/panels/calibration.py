"""How far the probabilities that label quality states can be trusted, and which model states them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from attribution_core.evaluation.calibration import BINS, Calibration, label_calibration
from attribution_core.runs import Run
from attribution_core.runs.labels import changed_labels
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.table import height_of
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_SCORE = "label_quality"


def draw(run: Run) -> None:
    """Draw the reliability diagram of label quality, its numbers, and the models that were candidates."""
    st.markdown("#### Calibration of label quality")
    found = _curves(run)
    if _SCORE not in run.scores or not found:
        reason = run.facts(_SCORE).get("skipped", "this run did not compute it")
        st.caption(f"No label quality: {plain(reason)}.")
        return
    values = run.values is not None
    what = "interval" if values else "stated probability"
    plot, numbers = st.columns(2, gap="large")
    with plot:
        x, y = (
            ("chance that the interval states", "share of the values within it")
            if values
            else ("stated probability of the suggested label", f"share with that {labels.noun(run)}")
        )
        figure = figures.reliability(_points(found), x, y)
        chart.chart(figure, key="calibration", alt=f"{y.capitalize()} against the {x}, for each split")
    with numbers:
        table = _table(found, values)
        st.dataframe(table, height=height_of(len(table)), alt=f"Share and number of examples for each {what}")
        stated = "stated chances" if values else "stated probabilities"
        lines = [
            f"{name}: {stated} are off by **{100 * each.error:.1f} points** on average" for name, each in found.items()
        ]
        st.markdown("  \n".join(lines))
        st.caption(_explanation(run, any("true" in name for name in found)))
        if judged_by := _judged_by(run):
            st.caption(judged_by)


def _curves(run: Run) -> dict[str, Calibration]:
    """Return the calibration on each table, by the given labels and, where some differ from these, by the true ones."""
    tables = {"Training": run.examples, "Validation and test": run.evaluation}
    found = {name: label_calibration(table) for name, table in tables.items()}
    for name, table in tables.items():
        changed = changed_labels(table)
        if changed is not None and changed.any():
            found[f"{name}, true {labels.noun(run)}s"] = label_calibration(table, true_labels=True)
    return {name: each for name, each in found.items() if each is not None}


def _points(found: dict[str, Calibration]) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"series": name, "stated": each.stated, "observed": each.observed, "count": each.counts})
        for name, each in found.items()
    ]
    return pd.concat(frames, ignore_index=True)


def _table(found: dict[str, Calibration], values: bool) -> pd.DataFrame:
    """Return a row for each chance, or each tenth of probabilities, with the share and the number of examples."""
    columns = {}
    for name, each in found.items():
        cells = [f"{share:.0%} of {count:,}" for share, count in zip(each.observed, each.counts, strict=True)]
        stated = [f"{chance:.0%}" if values else _tenth(chance) for chance in each.stated]
        columns[name] = pd.Series(cells, index=stated)
    return pd.DataFrame(columns).sort_index().fillna("").rename_axis("Stated")


def _tenth(stated: float) -> str:
    """Return the tenth that a probability is in, as texts that are in the order of the probabilities when sorted."""
    start = min(int(BINS * stated + 1e-9), BINS - 1)
    return f"{start / BINS:.0%} to {(start + 1) / BINS:.0%}"


def _explanation(run: Run, true_labels: bool) -> str:
    noun = labels.noun(run)
    if run.values is not None:
        first = (
            "An interval around the prediction states the chance that the value lies within it. On the dashed line, "
            "intervals that state 80% hold 80% of the values."
        )
    else:
        first = (
            f"On the dashed line, suggested {noun}s that are stated with 80% are the given {noun} of 80% of the "
            "examples. Larger markers stand for more examples."
        )
    known = f" True {noun}s are those of the column original_label." if true_labels else ""
    return (
        f"{first} No example had a part in the model that judges it. The mean distance from the line is the expected "
        f"calibration error.{known}"
    )


def _judged_by(run: Run) -> str:
    """Return which model judges the labels and the losses of the others, in a sentence; empty for earlier runs."""
    details = run.facts(_SCORE)
    chosen = details.get("chosen")
    if chosen is None:
        return ""
    losses = details["candidates"]
    others = [f"{plain(name)} {loss:.3f}" for name, loss in sorted(losses.items(), key=lambda item: item[1])]
    listed = f" Candidates: {'; '.join(others)} nats." if len(others) > 1 else ""
    shares = details.get("shares", {})
    weights = f" (weights {', '.join(f'{share:.0%}' for share in shares.values())})" if len(shares) > 1 else ""
    return f"Judged by **{plain(chosen)}**{weights}, whose held-out loss is {details['loss']:.3f} nats.{listed}"
