"""Two runs of the same data: the choice of runs, their quality, shared examples and settings."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import comparison, navigation, run_library
from samplescope_app.panels import jobs
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain


def nothing_to_compare(run: Run) -> None:
    """Show why there is no run to compare with, and the ways to get one."""
    others = [entry for entry in run_library.runs() if entry.run is not None and entry.id != run.id]
    if len(others) > 1:
        reason = (
            f"The other {len(others):,} runs in this folder are of other data: none shares an example with this run."
        )
    elif others:
        reason = "The other run in this folder is of other data: it shares no training example with this one."
    else:
        reason = "This is the only run in its folder."
    seconds = jobs.seconds_of(run)
    cost = f" Either takes about as long as this run, {jobs.duration(seconds)}." if seconds else ""
    st.info(
        f"{reason} Drop or relabel examples on Review and retrain there on the cleaned set, or score the same data "
        f"with another model or seed.{cost}",
        icon=":material/compare_arrows:",
    )
    with st.container(horizontal=True):
        st.page_link(navigation.PAGES["review"], label="Review", icon=":material/rule:", query_params={"run": run.id})
        st.page_link(navigation.PAGES["new"], label="New run", icon=":material/add:")


def partner_select(run: Run, others: list[Run]) -> Run:
    """Draw the menus of both runs, and return the run to compare with; the address names both."""
    by_id = {each.id: each for each in [run, *others]}
    asked = st.query_params.get("other")
    other = by_id[asked] if asked in by_id and asked != run.id else comparison.default_partner(run, others)
    left, right = st.columns(2, gap="large")
    names = {name: f"{each.title} · {name}" for name, each in by_id.items()}
    # The keys contain the runs of the address, so that a link and the menus never disagree.
    with left:
        one = st.selectbox(
            "Run", list(names), list(names).index(run.id), names.__getitem__, key=f"compare run {run.id}"
        )
    rest = [name for name in names if name != one]
    with right:
        at = rest.index(other.id) if other.id in rest else 0
        two = st.selectbox("Compare with", rest, at, names.__getitem__, key=f"compare {one} {other.id}")
    st.query_params["other"] = two
    if one != run.id:
        st.query_params["run"] = one
        st.rerun()
    return by_id[two]


def qualities(before: Run, after: Run) -> None:
    """Draw the accuracy or R² of both runs by split."""
    quality = before.quality_name.capitalize()
    st.markdown(f"**{quality} on the shared examples with the same {labels.noun(before)}**")
    changed = "Became right, wrong" if before.values is None else "Became closer, farther"
    rows = []
    for split, found in comparison.qualities(before, after).items():
        if found.examples:
            low, high = found.interval
            rows.append(
                {
                    "Split": split.capitalize(),
                    "Examples": found.examples,
                    "Before": f"{found.before:.1%}",
                    "After": f"{found.after:.1%}",
                    "Difference": _points(found.difference),
                    "95% interval": f"{_points(low)} to {_points(high)}",
                    changed: f"{found.gained:,}, {found.lost:,}",
                }
            )
    counts = {"Examples": st.column_config.NumberColumn(format="localized")}
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=counts, alt=f"{quality} of both runs by split")
    st.caption(
        f"Before: {plain(before.title)} ({plain(before.id)}). After: {plain(after.title)} ({plain(after.id)}). "
        "Differences are in percentage points, after minus before. The intervals are from the pairs that differ: they "
        "cover the choice of test examples, but not the choice of seed."
    )


def _points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def examples(before: Run, after: Run) -> None:
    """Draw the numbers of shared and unshared training examples."""
    both = comparison.shared(before, after)
    relabeled = int(both.relabeled.sum())
    st.markdown(
        f"**{len(both.before):,}** training examples in both ({relabeled:,} with another {labels.noun(before)}), "
        f"**{both.only_before:,}** before only, **{both.only_after:,}** after only"
    )


def settings(before: Run, after: Run) -> None:
    """Draw a table of the settings that differ."""
    st.markdown("**Settings that differ**")
    one, other = comparison.settings(before), comparison.settings(after)
    names = [name for name in {**one, **other} if one.get(name, "") != other.get(name, "")]
    if not names:
        st.caption("None.")
        return
    values = {
        "Setting": names,
        **{side: [of.get(n, "") for n in names] for side, of in (("Before", one), ("After", other))},
    }
    st.dataframe(pd.DataFrame(values), hide_index=True, alt="Settings that differ between the runs")
