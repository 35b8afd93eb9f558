"""Retraining on the cleaned set, and its effect on accuracy or R²."""

from __future__ import annotations

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.jobs.jobs import Job, Kind, jobs_in
from attribution_core.runs import Run
from attribution_core.runs.cleaned import changes, cleaned_folder
from samplescope_app.data import comparison, navigation, run_library
from samplescope_app.panels import jobs as job_panel
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_KIND: Kind = "clean"


def panel(run: Run) -> None:
    """Draw the panel: the offer to retrain with its cost, a running retraining, and the latest result."""
    st.markdown("**Retrain on the cleaned set**")
    running = _running(run)
    if running is not None:
        job_panel.watch(running, key="clean")
    else:
        _offer(run)
    for child in comparison.relatives(run)[:1]:
        _outcome(run, child)


def difference(before: Run, after: Run) -> str:
    """Return the change of the test accuracy or R² with its uncertainty, as a sentence in Markdown."""
    found = comparison.qualities(before, after)["test"]
    low, high = found.interval
    changed = (
        f"{found.gained:,} became right and {found.lost:,} wrong"
        if before.values is None
        else f"the prediction moved closer for {found.gained:,} and farther for {found.lost:,}"
    )
    cleaned = after.manifest.details.get("cleaning", {}).get("evaluation", {}).get("test", {})
    which = "which cleaning does not change"
    if cleaned.get("dropped") or cleaned.get("relabelled"):
        which = f"which both runs have with the same {labels.noun(before)}"
    return (
        f"Test {before.quality_name} **{found.before:.1%} → {found.after:.1%}**, a difference of "
        f"**{100 * found.difference:+.1f} points** (standard error {100 * found.standard_error:.1f}; 95% interval "
        f"{100 * low:+.1f} to {100 * high:+.1f}) on the same {found.examples:,} test examples, {which}: {changed}."
    )


def _running(run: Run) -> Job | None:
    jobs = (job for job in jobs_in(run_library.folder()) if job.kind == _KIND and job.options.get("parent") == run.id)
    return next((job for job in jobs if job.status == "running"), None)


def _offer(run: Run) -> None:
    try:
        target = cleaned_folder(run)
    except InputError:
        st.caption(
            f"Drop or relabel some examples first. Then retrain without them or with their new {labels.noun(run)}s, "
            f"and compare the {run.quality_name} on the same test examples."
        )
        return
    if _is_whole(target.name):
        st.caption(":material/check: Retrained with the current decisions.")
        return
    counts = changes(run)
    train = counts.pop("train")
    others = "; ".join(_of_split(split, of) for split, of in counts.items() if of["dropped"] or of["relabelled"])
    st.markdown(
        f"A new run on {train['kept']:,} training examples, **{train['dropped']:,} dropped** and "
        f"**{train['relabelled']:,} relabeled**; {others or 'validation and test do not change'}."
    )
    label = "Retrain on the cleaned set"
    job_panel.offer(target.name, _KIND, {"parent": run.id}, label=label, key="clean", cost=_cost(run), primary=True)


def _of_split(split: str, counts: dict[str, int]) -> str:
    return f"{counts['kept']:,} {split} examples, {counts['dropped']:,} dropped and {counts['relabelled']:,} relabeled"


def _is_whole(run_id: str) -> bool:
    try:
        run = run_library.open_run(run_id)
    except InputError:
        return False
    return run.status == "complete" and comparison.parent_of(run) is not None


def _cost(run: Run) -> str:
    """Return the time that this run took, in words."""
    seconds = job_panel.seconds_of(run)
    return f"about {job_panel.duration(seconds)}, like this run" if seconds else ""


def _outcome(run: Run, child: Run) -> None:
    try:
        sentence = difference(run, child)
    except InputError as error:
        st.error(plain(error), icon=":material/error:")
        return
    counts = child.manifest.details["cleaning"]
    with st.container(border=True):
        st.markdown(f"Latest: **{plain(child.id)}**, {counts['dropped']:,} dropped, {counts['relabelled']:,} relabeled")
        st.markdown(sentence)
        st.caption(
            "The interval covers the choice of test examples only. Each number is from one training, and would differ "
            "with another seed."
        )
        with st.container(horizontal=True):
            if st.button("Compare runs", icon=":material/compare_arrows:"):
                st.switch_page(navigation.PAGES["compare"], query_params={"run": run.id, "other": child.id})
            if st.button("Open new run", icon=":material/arrow_forward:", type="tertiary"):
                navigation.go("overview", child)
