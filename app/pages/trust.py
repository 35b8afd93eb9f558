"""Trust: what the scores foretold against what really happened, and all else that says how far to believe them."""

from __future__ import annotations

import functools

import pandas as pd
import streamlit as st

from attribution_core.runs import CURVES, Run
from samplescope_app import figures
from samplescope_app.components import chart as charts
from samplescope_app.data import comparison, session
from samplescope_app.panels import curves, evidence, parts, verification
from samplescope_app.wording import labels
from samplescope_app.wording.text import plain

_BEST = 5  # scores in the figure of wrong labels found
# The curves that stand on other pages, and damping and detection, which have sections of their own here.
_ELSEWHERE = (
    "changed_among_influencers",
    "loo_nll",
    "loco",
    "sensitivity_groups",
    "summarization",
    "summarization_linear",
    "damping",
    "detection",
)
_EXPLANATION = (
    "Every score is an estimate of what would happen without an example. Here the model is really trained again, "
    "without some of them, and each estimate is laid beside what happened. A score that agrees well on this run may be "
    "trusted on this run; none is right everywhere."
)


def main() -> None:
    """The page."""
    run = session.scored_run()
    parts.header(run, "Trust", _EXPLANATION)
    _verification(run)
    left, right = st.columns(2, gap="large")
    with left:
        _damping(run)
    with right:
        _other_seeds(run)
    _detection(run)
    _studies(run)


def _verification(run: Run) -> None:
    details = run.manifest.details.get("verification")
    st.markdown("#### Foretold and happened")
    if details is None:
        st.info(
            "Not verified yet: nobody has trained this model again without some of its examples. Choose how many "
            "below; more give narrower intervals, and what is done is kept.",
            icon=":material/verified:",
        )
    else:
        verification.summary(run, details)
        verification.scatter(run, details)
    verification.more(run)
    if details is not None:
        st.markdown("**How much the truth differs between seeds**")
        verification.seeds(run, details)


def _damping(run: Run) -> None:
    st.markdown("#### Damping")
    if curves.points(run, "damping").empty:
        reason = run.manifest.details.get("self_influence", {}).get("skipped")
        st.caption(
            f"This run has no influence functions: {plain(reason)}."
            if reason
            else "This run has no influence functions, so no damping to choose."
        )
        return
    curves.draw(run, "damping")


def _other_seeds(run: Run) -> None:
    """How alike the scores rank the examples in runs that differ by the seed alone."""
    st.markdown("#### Another seed")
    siblings = [other for other in comparison.partners(run) if _differs_by_seed(run, other)]
    if not siblings:
        st.caption(
            "How far a score depends on the seed of the training shows when the same data are scored again with "
            "another: start a new run that differs by the seed alone. How alike both rank the examples is then shown."
        )
        st.page_link(session.PAGES["new"], label="New run", icon=":material/add:")
        return
    rows = {
        f"seed {other.manifest.config.get('seed', 0)}": {
            run.measure(name).title: value
            for name, (value, _) in comparison.agreements(*comparison.in_order(run, other)).items()
        }
        for other in siblings
    }
    st.dataframe(
        pd.DataFrame(rows).rename_axis("Score").style.format("{:.2f}"), alt="Rank correlation of the scores over seeds"
    )
    st.caption(
        f"Spearman's correlation of this run's scores (seed {run.manifest.config.get('seed', 0)}) with those of the "
        "same run from another seed. What differs between seeds says more about a training than about an example."
    )


def _differs_by_seed(run: Run, other: Run) -> bool:
    one, two = comparison.settings(run), comparison.settings(other)
    differing = {name for name in {**one, **two} if one.get(name, "") != two.get(name, "")}
    return bool(differing) and differing <= {"seed", "recipe: seed"}


def _detection(run: Run) -> None:
    """How soon each score finds the labels that are known to be wrong."""
    wrong = f"wrong {labels.noun(run)}s"
    st.markdown(f"#### {wrong.capitalize()}")
    details = run.manifest.details.get("detection", {})
    if "scores" not in details:
        reason = details.get("skipped", "this run did not look")
        st.caption(
            f"How soon each score finds {wrong} can't be told: {plain(reason)}. A dataset with a column "
            "original_label says which they are."
        )
        return
    rows = pd.DataFrame(details["scores"]).T.sort_values("area", ascending=False)
    st.caption(f"How soon each score finds the {details['wrong_labels']:,} that are known.")
    chart, table = st.columns([5, 4], gap="large")
    curve, points = run.curve("detection"), curves.points(run, "detection")
    best = [*rows.index[:_BEST], "random order"]
    titles = functools.partial(evidence.title, run)
    drawn = points[points["series"].isin(best)].sort_values(
        "series", key=lambda names: names.map(best.index), kind="stable"
    )
    with chart:
        titled = drawn.assign(series=drawn["series"].map(titles))
        figure = figures.lines(titled, curve.x, curve.y, curve.log_x).update_layout(height=380)
        charts.chart(figure, key="curve detection", alt=curve.definition)
        st.caption(f"The {min(_BEST, len(rows))} best. {plain(curve.definition)} *{plain(curve.paper)}*")
    with table:
        shown = rows.rename(index=titles).rename_axis("Score").rename(columns={"area": "Area", "auc": "AUC"})
        number, percent = (st.column_config.NumberColumn(format=form) for form in ("%.3f", "percent"))
        formats = {name: number if name in ("Area", "AUC") else percent for name in shown.columns}
        height = 38 + 35 * len(shown)
        st.dataframe(shown, height=height, column_config=formats, alt=f"How soon each score finds the {wrong}")
        st.caption(
            f"Area under the curve (random order: 0.5), area under the ROC curve, and the share of the {wrong} found "
            "among the first 5, 10 and 20% inspected."
        )


def _studies(run: Run) -> None:
    """The other curves of the run: what influence costs, and how wrong faster estimates would be."""
    names = [name for name in CURVES if name not in _ELSEWHERE and len(curves.points(run, name))]
    if not names:
        return
    st.markdown("#### Studies of this run")
    for first in range(0, len(names), 2):
        for column, name in zip(st.columns(2, gap="large"), names[first : first + 2], strict=False):
            with column:
                curves.draw(run, name)


main()
