"""What is known of how far a run's scores can be trusted, and what stands beside them: sections of a page."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from attribution_core.runs import CURVES, FORETOLD, MEASURES, Run
from samplescope_app import charts, figures, state
from samplescope_app.components.gallery import gallery
from samplescope_app.text import plain

_DRAWN = 5  # scores in a figure
_PAIRS = 30


def detection(run: Run) -> None:
    """How soon each score finds the labels that are known to be wrong; nothing where none is known."""
    details = run.manifest.details.get("detection", {})
    if "scores" not in details:
        return
    rows = pd.DataFrame(details["scores"]).T.sort_values("area", ascending=False)
    with st.expander(f"Wrong labels: how soon each score finds the {details['wrong_labels']:,} that are known"):
        chart, table = st.columns([5, 4], gap="large")
        curve = CURVES["detection"]
        points = run.curves[run.curves["curve"] == curve.name]
        best = [*rows.index[:_DRAWN], "random order"]
        drawn = points[points["series"].isin(best)].sort_values(
            "series", key=lambda names: names.map(best.index), kind="stable"
        )
        titled = drawn.assign(series=drawn["series"].map(_title))
        with chart:
            figure = figures.lines(titled, curve.x, curve.y, curve.log_x).update_layout(height=360)
            charts.chart(figure, key="curve detection", alt=curve.definition)
            st.caption(f"The {_DRAWN} best. {plain(curve.definition)} *{plain(curve.paper)}*")
        with table:
            shown = rows.rename(index=_title).rename_axis("Score").rename(columns={"area": "Area", "auc": "AUC"})
            number, percent = (st.column_config.NumberColumn(format=form) for form in ("%.3f", "percent"))
            columns = {name: number if name in ("Area", "AUC") else percent for name in shown.columns}
            st.dataframe(shown, column_config=columns)
            st.caption(
                "Area under the curve (random order: 0.5), area under the ROC curve, and the share of the wrong labels "
                "found among the first 5, 10 and 20% inspected."
            )


def verification(run: Run) -> None:
    """Scores against really training again, or what that would take."""
    details = run.manifest.details.get("verification")
    with st.expander("Trust: the scores against really training again"):
        if details is None:
            once = run.manifest.stages["training"].seconds if "training" in run.manifest.stages else None
            cost = f" 182 trainings of about {once:.0f} s each, side by side on all cores." if once else ""
            st.markdown(f"Not verified yet. In a terminal:{cost}")
            st.code(f"samplescope verify {run.path}", language="bash")
            return
        rows = []
        for name, method in details["methods"].items():
            single = method["single"]
            rows.append(
                {
                    "Score": _title(name),
                    "Against": FORETOLD[method["truth"]].capitalize(),
                    "Pearson": _interval(single["pearson"]),
                    "Spearman": _interval(single["spearman"]),
                    "At most": method["ceiling"],
                    "LDS": _interval(method["lds"]),
                }
            )
        st.dataframe(
            pd.DataFrame(rows), hide_index=True, column_config={"At most": st.column_config.NumberColumn(format="%.2f")}
        )
        ceiling = details["lds_ceiling"]
        limit = f" Retraining noise leaves at most an LDS of {ceiling:.2f}." if ceiling is not None else ""
        st.caption(
            f"{len(details['chosen']):,} examples were removed one by one and {details['halves']:,} random halves "
            f"trained on, {details['seeds']} seeds each. Correlation of what each score foretells with what happened, "
            "with 95% intervals; *at most* is the rank correlation that retraining noise leaves possible. LDS, the "
            "linear datamodelling score, is the rank correlation over the halves, for scores that foretell losses on "
            f"other examples.{limit}"
        )


def near_duplicates(run: Run) -> None:
    """Pairs that are nearly the same, side by side; nothing where none was found."""
    count = run.manifest.details.get("nearest_similarity", {}).get("near_duplicates", 0)
    if not count:
        return
    pairs = run.near_duplicates.head(_PAIRS)
    ids = list(dict.fromkeys(pairs[["id", "other"]].to_numpy().ravel()))
    with st.expander(f"Near-duplicates: {count:,} {'pair' if count == 1 else 'pairs'}"):
        frame = state.examples(run).set_index("id", drop=False).loc[ids]
        answer = gallery(
            run, frame, "nearest_similarity", key="duplicates", name="Near-duplicates", layout="strip", size=100
        )
        differing = int((~run.near_duplicates["same_label"]).sum())
        st.caption(
            "Examples that look the same to the trained network, partners side by side, most alike first. Low "
            "information has two reasons, being typical and being there twice; these are there twice. "
            f"{differing:,} of the pairs have different labels."
        )
    if answer.opened is not None:
        state.open_example(run, answer.opened)


def _title(name: str) -> str:
    return MEASURES[name].title if name in MEASURES else name.capitalize()


def _interval(estimate: dict[str, float] | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"
