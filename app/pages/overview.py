"""Overview: the extremes of a score as pictures, its histogram, and the facts about the dataset."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.labels import VALUE_RANGE
from samplescope_app import figures
from samplescope_app.components import chart
from samplescope_app.components.gallery import gallery
from samplescope_app.data import session
from samplescope_app.panels import evidence, parts
from samplescope_app.wording import labels
from samplescope_app.wording.text import format_score, plain, score_help, score_title

_TILES = 24
_MOST_COLOURS = 8  # Okabe-Ito has no more
_CHANGED = "changed"
_WRONG = "prediction"
_EXPLANATION = (
    "The extremes of a score as pictures, its distribution, and what is known of the run. Choose a score to see what "
    "it ranks first and last; what it means stands below, and behind the question mark."
)


def main() -> None:
    """The page."""
    run = session.scored_run()
    parts.header(run, "Overview", _EXPLANATION)
    for note in run.manifest.dataset.notes if run.manifest.dataset else []:
        st.info(plain(note), icon=":material/info:")
    score_column, legend = st.columns([2, 5], vertical_alignment="bottom", gap="large")
    with score_column:
        score = parts.score_select(run, "overview score", persist_state="session")
    legend.caption(
        "Below each example: its score and percentile (p97: 97% of the training examples score this or less), its "
        f"{plain(labels.name(run))}, and after ≠ what the model says instead."
    )
    _extremes(run, score)
    histogram = st.container()
    left, right = st.columns(2, gap="large")
    with left:
        _dataset_facts(run)
    with right:
        _meaning(run, score)
    _further(run)
    evidence.agreement(run)
    evidence.near_duplicates(run)
    evidence.trust_in_short(run)
    with histogram:  # last: the pictures need not wait until a browser has read all of Plotly
        _histogram(run, score)


def _extremes(run: Run, score: str) -> None:
    """Three strips of tiles; opening one makes Browse follow its order."""
    measure = run.measure(score)
    word = "informative" if measure.kind == "informativeness" else f"by {measure.title_in_sentence}"
    _strip(run, f"Most {word}" if word == "informative" else f"Highest {word}", score, True)
    _strip(run, f"Least {word}" if word == "informative" else f"Lowest {word}", score, False)
    doubtful = labels.doubtful(run)
    if doubtful is not None and score != doubtful.score:
        _strip(run, doubtful.title, doubtful.score, doubtful.descending)


def _strip(run: Run, title: str, score: str, descending: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.markdown(f"**{plain(title)}**", width="stretch")
        if st.button("See all", key=f"all {score} {descending}", type="tertiary", icon=":material/arrow_forward:"):
            session.browse_by(score=score, descending=descending)
            session.go("browse", run)
    ranked = session.ranked(session.examples(run), score, descending).head(_TILES)
    answer = gallery(run, ranked, score, key=f"strip {score} {descending}", name=title, layout="strip", size=100)
    if answer.opened is not None:
        session.browse_by(score=score, descending=descending)
        session.open_example(run, answer.opened)


def _histogram(run: Run, score: str) -> None:
    frame = session.examples(run)
    frame = frame[pd.notna(frame[score])]
    if frame.empty:
        st.info("This score has no values to draw.")
        return
    st.markdown(f"**Distribution of {plain(run.measure(score).title_in_sentence)}** — click a bar to see its examples")
    plot, options = st.columns([6, 1], gap="medium")
    with options:
        categories = _colouring(run, frame)
        log_y = st.toggle("Log counts", key="overview log counts", persist_state="session")
    bins = figures.score_bins(frame[score].to_numpy(dtype="float64"))
    figure = figures.histogram(frame[score], bins, categories, score_title(run.measure(score)), log_y)
    with plot:
        event = chart.chart(
            figure,
            key=f"histogram {score}",
            on_select="rerun",
            selection_mode="points",
            alt=f"Histogram of {run.measure(score).title} over {len(frame):,} training examples",
        )
    if event.selection.points:
        clicked = event.selection.points[0]["point_index"]
        session.browse_by(score=score, low=float(bins.edges[clicked]), high=float(bins.edges[clicked + 1]))
        session.go("browse", run)


def _colouring(run: Run, frame: pd.DataFrame) -> pd.Series | None:
    """The categories to colour by; one value against grey where there are more than the palette has."""
    columns = _colourings(run)
    if st.session_state.get("overview colour") not in columns:
        st.session_state.pop("overview colour", None)  # another run's
    column = st.selectbox(
        "Colour by",
        list(columns),
        index=None,
        placeholder="nothing",
        format_func=columns.get,
        key="overview colour",
        persist_state="session",
    )
    if column is None:
        return None
    if column == _WRONG:
        return figures.as_categories(frame["correct"].map({True: "right", False: "wrong"}))
    if column == _CHANGED:
        changed = pd.Series(labels.changed(run))[frame["row"]].set_axis(frame.index)
        return figures.as_categories(changed.map({True: "changed", False: "unchanged"}))
    values = frame[column].astype("str")
    if values.nunique() <= _MOST_COLOURS:
        return figures.as_categories(values)
    return figures.as_categories(
        values, st.selectbox("Highlight", sorted(values.unique()), key=f"overview highlight {column}")
    )


def _colourings(run: Run) -> dict[str, str]:
    """What the bars can be coloured by -> for people."""
    columns = {"label_name": "class"} if run.values is None else {VALUE_RANGE: labels.group_title(run, VALUE_RANGE)}
    if "original_label" in run.groups:
        columns[_CHANGED] = f"{labels.noun(run)} changed"
    if run.values is None:
        columns[_WRONG] = _WRONG
    return columns | {group: labels.group_title(run, group) for group in labels.kinds(run)}


def _dataset_facts(run: Run) -> None:
    manifest = run.manifest
    st.markdown("**Dataset and model**")
    if manifest.dataset is None:
        st.caption("This run does not describe its dataset.")
        return
    sizes = " · ".join(f"{size:,} {split}" for split, size in manifest.dataset.sizes.items())
    st.markdown(f"{plain(manifest.dataset.name)}: {plain(sizes)}")
    st.markdown(plain(_labels_in_short(run)))
    if run.quality:
        shares = " · ".join(f"{plain(name)} {value:.1%}" for name, value in run.quality.items())
        st.markdown(f"{run.quality_name.capitalize()}: {shares}")
    for name, facts in manifest.details.items():
        if "skipped" in facts and name in run.known_measures:
            st.caption(f"Without {plain(run.measure(name).title_in_sentence)}: {plain(facts['skipped'])}")
    if manifest.dataset.unreadable:
        count = len(manifest.dataset.unreadable)
        what = parts.noun(run)
        title = f"{count:,} unreadable {f'{what} was' if count == 1 else f'{what}s were'} left out"
        folded = st.expander(title, key="unreadable folded", on_change="rerun")
        if folded.open:
            lost = pd.DataFrame([entry.model_dump() for entry in manifest.dataset.unreadable])
            folded.dataframe(lost, hide_index=True)


def _labels_in_short(run: Run) -> str:
    """The largest and the smallest class, or how the values are spread, in a sentence."""
    if run.values is None:
        counts = run.examples["label_name"].value_counts()
        return (
            f"{len(run.class_names)} classes; the largest is {counts.index[0]} with {counts.iloc[0]:,} training "
            f"examples, the smallest {counts.index[-1]} with {counts.iloc[-1]:,}"
        )
    mean, scale = (labels.value_text(run, value) for value in (run.values.mean, run.values.scale))
    spread = parts.value_range(run, run.examples["label"])
    return f"Training examples have {spread}, {mean} on average, with a standard deviation (SD) of {scale}"


def _meaning(run: Run, score: str) -> None:
    """What the score means, and how this run came by it."""
    st.markdown(f"**What {plain(run.measure(score).title_in_sentence)} means**")
    st.markdown(score_help(run.measure(score)))
    details = run.facts(score)
    if details:
        shown = {name: format_score(value) if isinstance(value, float) else value for name, value in details.items()}
        st.caption(" · ".join(f"{plain(name.replace('_', ' '))}: {plain(value)}" for name, value in shown.items()))


def _further(run: Run) -> None:
    """Where what is left to see of the run stands."""
    pages = (
        ("classes", f"What {plain(labels.strata(run))} do to each other", "grid_on"),
        ("training", "What the scores were as training went on", "timeline"),
        ("summarize", "How much of the data can go", "content_cut"),
    )
    with st.container(horizontal=True, gap="large"):
        for page, label, icon in pages:
            st.page_link(
                session.PAGES[page],
                label=label,
                icon=f":material/{icon}:",
                query_params={"run": run.id},
                width="content",
            )


main()
