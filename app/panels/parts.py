"""Pieces that several pages draw."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components import chart
from samplescope_app.components.gallery import OnPressed, gallery
from samplescope_app.data import run_library, session
from samplescope_app.wording import labels
from samplescope_app.wording.text import NOUNS, format_percentile, format_score, plain, score_help

_MOST_DIGITS = 10  # a class is relabelled to by its number, while one digit is enough
_TYPICAL = 10


def header(run: Run, page: str, explanation: str, measure: str | None = None) -> None:
    """The page's title, one quiet line about the run, and what the page shows.

    Args:
        run: The run.
        page: The title.
        explanation: What one sees and can do here, in Markdown; one paragraph.
        measure: The one that the page is about, which ends the paragraph with its definition.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(page, anchor=False, width="stretch")
        chart.format_select()
    st.caption(f"{plain(run.title)} · {plain(facts(run))}")
    if measure is not None:
        explanation += f" **{plain(run.measure(measure).title)}:** {plain(run.measure(measure).definition)}"
    st.caption(explanation)


def facts(run: Run) -> str:
    """Dataset, model and date in one line."""
    manifest = run.manifest
    parts = []
    if manifest.dataset is not None:
        sizes = manifest.dataset.sizes
        parts.append(f"{sizes.get('train', 0):,} training {noun(run)}s{_told(run)}")
    if manifest.model.get("name"):
        parts.append(str(manifest.model["name"]))
    if "test" in run.quality:
        parts.append(f"test {run.quality_name} {run.quality['test']:.1%}")
    parts.append(f"{datetime.fromisoformat(manifest.created):%d %b %Y}")
    return " · ".join(parts)


def _told(run: Run) -> str:
    """What is told of the examples: how many classes, or a value and its extremes."""
    if run.values is None:
        return f" in {len(run.class_names)} classes"
    if not run.has_examples:
        return f", {run.values.name}"
    return f", {value_range(run, run.examples['label'])}"


def value_range(run: Run, values: pd.Series) -> str:
    """The values of some examples: "strength from 2.3 to 82.6"."""
    low, high = (labels.value_text(run, value) for value in (values.min(), values.max()))
    return f"{labels.name(run)} from {low} to {high}"


def noun(run: Run) -> str:
    """What an example of the run is, for people."""
    mode = run.manifest.dataset.mode if run.manifest.dataset else ""
    return NOUNS.get(mode, "image")


def example_column(run: Run, rows: Iterable[int]) -> tuple[list[str], Any]:
    """What stands for training examples in a table, image or text, and the column's configuration."""
    if "text" in run.examples:
        texts = run.examples["text"].to_numpy()
        width = "medium" if noun(run) == "text" else "small"  # the first cells of a row tell little
        return [texts[row] for row in rows], st.column_config.TextColumn("", width=width)
    images = [run_library.thumbnail_url(run, "train", row) for row in rows]
    return images, st.column_config.ImageColumn("", width="small")


def score_select(run: Run, key: str, label: str = "Score", **options: Any) -> str:
    """Chooses one of the run's scores; its definition is the help."""
    shown = st.session_state.get(key)
    help_text = score_help(run.measure(shown if shown in run.scores else run.scores[0]))
    return st.selectbox(
        label, run.scores, key=key, format_func=lambda name: run.measure(name).title, help=help_text, **options
    )


def score_table(run: Run, row: dict[str, Any]) -> None:
    """Every score of an example with its percentile; the definition stands behind the question mark."""
    with st.container(gap=None):
        for score in run.scores:
            measure = run.measure(score)
            percentile = format_percentile(row[f"{score} percentile"])
            name, value = st.columns([5, 4], vertical_alignment="center", wrap=False)
            name.markdown(plain(measure.title), help=score_help(measure))
            value.markdown(f"**{plain(format_score(row[score]))}** {plain(measure.unit)} :gray[{percentile}]")


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


def decision_badge(row: dict[str, Any]) -> None:
    """What was decided about an example, in words, colour and a sign."""
    match row["action"]:
        case "keep":
            st.badge("kept", icon=":material/check:", color="green")
        case "drop":
            st.badge("dropped", icon=":material/close:", color="orange")
        case "relabel":
            # Not st.badge, which escapes brackets once more.
            st.markdown(
                f":blue-badge[:material/swap_horiz: relabelled {plain(row['new_label_name'])}]", width="content"
            )
        case _:
            st.badge("undecided", color="gray")


def decision_keys(run: Run, row: dict[str, Any]) -> dict[str, str]:
    """Key -> action on a page with one example: d, k, u, r for the model's prediction, a digit for each class."""
    keys = {"d": "drop", "k": "keep", "u": "undo"}
    if (suggested := labels.suggestion(run, row)) is not None:
        keys["r"] = f"relabel {suggested!r}"
    if len(run.class_names) <= _MOST_DIGITS:
        keys |= {str(label): f"relabel {label}" for label in range(len(run.class_names))}
    return keys


def decision_buttons(run: Run, row: dict[str, Any], key: str, act: OnPressed, skippable: bool = False) -> None:
    """Buttons for the same actions as the keys."""
    buttons = [("drop", "Drop `d`", "close", "secondary"), ("keep", "Keep `k`", "check", "secondary")]
    if (suggested := labels.suggestion(run, row)) is not None:
        name = plain(row["predicted_name"] if run.values is None else labels.value_text(run, suggested))
        buttons.append((f"relabel {suggested!r}", f"Relabel {name} `r`", "swap_horiz", "secondary"))
    buttons.append(("undo", "Undo `u`", "undo", "tertiary"))
    if skippable:
        buttons.append(("skip", "Skip `s`", "skip_next", "tertiary"))
    ids = [row["id"]]
    with st.container(horizontal=True, gap="small"):
        for action, label, icon, kind in buttons:
            st.button(
                label,
                icon=f":material/{icon}:",
                key=f"{key} {action}",
                type=kind,
                on_click=act,
                args=(action, ids),
            )
    if run.values is None:
        _class_buttons(run, row, key, act)
    else:
        _value_input(run, row, key, act)


def _value_input(run: Run, row: dict[str, Any], key: str, act: OnPressed) -> None:
    """A number to type, and a button that makes it the value."""
    field = f"{key} value {row['id']}"

    def take() -> None:
        # As it stands now: the button may be pressed before the page has seen what was typed.
        if (value := st.session_state[field]) is not None:
            act(f"relabel {float(value)!r}", [row["id"]])

    suggested = labels.suggestion(run, row)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        st.number_input(
            "New value",
            value=row["label"] if suggested is None else suggested,
            step=labels.step(run),
            format="%.10g",
            key=field,
            width=220,
        )
        st.button("Set value", icon=":material/edit:", key=f"{key} set value", on_click=take)


def _class_buttons(run: Run, row: dict[str, Any], key: str, act: OnPressed) -> None:
    """One button a class while each has a digit of its own, else a menu."""
    ids = [row["id"]]
    st.caption("Relabel as")
    if len(run.class_names) <= _MOST_DIGITS:
        with st.container(horizontal=True, gap="xsmall"):
            for label, name in enumerate(run.class_names):
                st.button(
                    f"{plain(name)} `{label}`",
                    key=f"{key} as {label}",
                    disabled=label == row["label"],
                    on_click=act,
                    args=(f"relabel {label}", ids),
                )
        return
    others = [label for label in range(len(run.class_names)) if label != row["label"]]
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        label = st.selectbox(
            "New label",
            others,
            index=others.index(row["predicted"]) if row["predicted"] in others else 0,
            format_func=lambda label: run.class_names[label],
            key=f"{key} menu {row['id']}",
            label_visibility="collapsed",
        )
        st.button(
            "Relabel",
            icon=":material/swap_horiz:",
            key=f"{key} menu button",
            on_click=act,
            args=(f"relabel {label}", ids),
        )


def decide(run: Run, action: str, ids: list[str]) -> None:
    """Carries out keep, drop or "relabel LABEL" on one example."""
    verb, _, label = action.partition(" ")
    new_label = labels.parsed(run, label) if label else None
    in_data = run.examples.loc[run.examples["id"] == ids[0], "label"]
    if verb == "relabel" and new_label == in_data.iloc[0]:
        session.decide(run, ids, "keep")  # its own label: that is what keep means
    else:
        session.decide(run, ids, verb, new_label)


def typical_strips(run: Run, row: dict[str, Any], score: str, key: str) -> None:
    """Clear cases of the label, and of the prediction where it differs: what the example is to be compared with."""
    frame = session.examples(run)
    compared = [row["label"], row["predicted"]] if labels.is_far(run, row) else [row["label"]]
    for number, label in enumerate(compared):
        chosen = typical(run, frame, label, score) if run.values is None else about(frame, label, row["id"])
        if chosen.empty:
            continue
        if run.values is None:
            name = f"Typical {run.class_names[label]}"
            st.caption(f"{plain(name)}: the model is right, and least informative")
        else:
            name = f"Others of about {labels.value_text(run, label)}"
            whose = "its value" if number == 0 else "what the model says of it"
            st.caption(f"{plain(name)}, {whose}: {plain(value_range(run, chosen['label']))}, predicted well")
        answer = gallery(
            run,
            chosen,
            score,
            key=f"{key} typical {number}",
            name=name,
            layout="strip",
            size=72,
            captions=run.values is not None,
        )
        if answer.opened is not None:
            session.open_example(run, answer.opened)


def typical(run: Run, frame: pd.DataFrame, label: int, score: str) -> pd.DataFrame:
    """Examples of a class that the model gets right and that are farthest from the suspicious end of a score."""
    members = frame[(frame["label"] == label) & frame["correct"]]
    return session.ranked(members, score, descending=not session.suspicious_end(run, score)).head(_TYPICAL)


def about(frame: pd.DataFrame, value: float, without: str) -> pd.DataFrame:
    """The examples whose values are nearest to a value, of that half which is predicted better; ``without`` one id."""
    off = frame["residual"].abs()
    members = frame[(off <= off.median()) & (frame["id"] != without)]
    nearest = (members["label"] - value).abs().sort_values(kind="stable").index[:_TYPICAL]
    return members.loc[nearest]
