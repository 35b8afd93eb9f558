"""Retraining on the cleaned set: the offer on Review, and what a cleaned run did to accuracy or R²."""

from __future__ import annotations

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.jobs.jobs import Job, jobs_in
from attribution_core.runs import Run
from attribution_core.runs.cleaned import changes, cleaned_folder
from samplescope_app.data import comparison, navigation, run_library
from samplescope_app.panels import jobs as job_panel
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_KIND = "clean"


def panel(run: Run) -> None:
    """Draws the panel: what would be trained on and what it takes, a running retraining, and the latest finished."""
    st.markdown("**Retrain on the cleaned set**")
    running = _running(run)
    if running is not None:
        job_panel.watch(running, key="clean")
    else:
        _offer(run)
    for child in comparison.relatives(run)[:1]:
        _outcome(run, child)


def difference(before: Run, after: Run) -> str:
    """What became of the test accuracy or R², as a sentence in Markdown; it says how sure that is."""
    found = comparison.qualities(before, after)["test"]
    low, high = found.interval
    changed = (
        f"{found.gained:,} became right and {found.lost:,} wrong"
        if before.values is None
        else f"the prediction came closer for {found.gained:,} and went farther for {found.lost:,}"
    )
    return (
        f"Test {before.quality_name} **{found.before:.1%} → {found.after:.1%}**, a difference of "
        f"**{100 * found.difference:+.1f} points** (standard error {100 * found.standard_error:.1f}; 95% interval "
        f"{100 * low:+.1f} to {100 * high:+.1f}) on the same {found.examples:,} test examples, which retraining left "
        f"untouched: {changed}."
    )


def _running(run: Run) -> Job | None:
    jobs = (job for job in jobs_in(run_library.folder()) if job.kind == _KIND and job.options.get("parent") == run.id)
    return next((job for job in jobs if job.status == "running"), None)


def _offer(run: Run) -> None:
    try:
        target = cleaned_folder(run)
    except InputError:
        st.caption(
            "Drop or relabel some examples: then the model can be trained again without them or with their new "
            f"{labels.noun(run)}s, and its {run.quality_name} on the untouched test examples compared."
        )
        return
    if _is_whole(target.name):
        st.caption(":material/check: Trained with exactly these decisions.")
        return
    counts = changes(run)
    st.markdown(
        f"A new run on {counts['kept']:,} training examples, **{counts['dropped']:,} dropped** and "
        f"**{counts['relabelled']:,} relabelled**; validation and test stay as they are."
    )
    label = "Retrain on the cleaned set"
    job_panel.offer(target.name, _KIND, {"parent": run.id}, label=label, key="clean", cost=_cost(run), primary=True)


def _is_whole(run_id: str) -> bool:
    try:
        run = run_library.open_run(run_id)
    except InputError:
        return False
    return run.status == "complete" and comparison.parent_of(run) is not None


def _cost(run: Run) -> str:
    """In words, from what this run's own stages took."""
    seconds = job_panel.seconds_of(run)
    return f"about {job_panel.duration(seconds)}, as this run took" if seconds else ""


def _outcome(run: Run, child: Run) -> None:
    try:
        sentence = difference(run, child)
    except InputError as error:
        st.error(plain(error), icon=":material/error:")
        return
    counts = child.manifest.details["cleaning"]
    with st.container(border=True):
        st.markdown(
            f"Latest: **{plain(child.id)}**, {counts['dropped']:,} dropped, {counts['relabelled']:,} relabelled"
        )
        st.markdown(sentence)
        st.caption(
            "The interval is of the choice of the test examples. Both numbers are of one training each, and another "
            "seed would move them too."
        )
        with st.container(horizontal=True):
            if st.button("Compare the two", icon=":material/compare_arrows:"):
                st.switch_page(navigation.PAGES["compare"], query_params={"run": run.id, "other": child.id})
            if st.button("Open the new run", icon=":material/arrow_forward:", type="tertiary"):
                navigation.go("overview", child)
