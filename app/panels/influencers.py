"""The influences of and on an example, and its nearest training examples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import NOT_CREDIBLE, Run, why_not_credible
from samplescope_app.components.gallery import Tile, example_tile, tiles
from samplescope_app.data import effects, live_effects, navigation, session
from samplescope_app.data.effects import Ranked, SplitName
from samplescope_app.panels import damping, jobs, training_time
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import format_score, plain, score_help

COUNT = 12  # tiles of each kind
_MORE = 60  # similar examples that Browse is opened with
_SIZE = 92
_SHORT_UNIT = 4  # characters; longer units appear in the heading only
_METHOD = "effect method"  # session key


def chosen_method(run: Run) -> str:
    """Return the method that :func:`method_select` has chosen on this page or another."""
    chosen: str = st.session_state.get(_METHOD, "")
    return chosen if chosen in run.effect_methods else run.effect_methods[0]


def method_select(run: Run) -> str:
    """Draw the menu of methods of effects and return the chosen one, which every page shares."""
    if st.session_state.get(_METHOD) not in run.effect_methods:
        st.session_state.pop(_METHOD, None)  # another run's
    shown = chosen_method(run)
    return st.selectbox(
        "Method",
        run.effect_methods,
        format_func=lambda name: f"{effects.title(run, name)} ({effects.unit(run, name)})",
        key=_METHOD,
        persist_state="session",
        help=score_help(run.measure(shown)) if shown in run.known_measures else None,
    )


def _adjusted(run: Run, stored: Callable[[], np.ndarray], live: Callable[[str, float], np.ndarray]) -> np.ndarray:
    """Return effects as stored, or at the time or damping of a slider, drawn where the run keeps what they follow from.

    Args:
        run: The run.
        stored: Reads them.
        live: Computes them by a method at a time or damping.
    """
    method = chosen_method(run)
    if not live_effects.can_change(run, method):
        return stored()
    if method == live_effects.NTK:
        own = training_time.own_time(run)
        setting = training_time.select(run, f"effect time {run.id}", own)
    else:
        own, setting = 1.0, damping.select(run, f"effect damping {run.id}")
    if setting == own:
        return stored()
    try:
        with st.spinner("Computing the effects"):
            return live(method, setting)
    except InputError as error:
        st.info(plain(error), icon=":material/info:")
        return stored()


def of_training_example(run: Run, row: Row) -> None:
    """Draw the validation examples that a training example helps and harms most."""
    if not run.effect_methods:
        _without_effects(run)
        return
    method, of_one = method_select(run), row["row"]
    values = _adjusted(
        run,
        functools.partial(effects.of_training_example, run, method, of_one),
        lambda chosen, setting: live_effects.of_training_example(run, chosen, of_one, setting),
    )
    beyond = effects.not_credible(run, method, values)
    helped, harmed = effects.strongest(values, COUNT, beyond)
    unit = effects.unit(run, method)
    quantity = f"Effect of #{row['row']} on" if method in run.imported else _removing(f"#{row['row']}")
    st.caption(
        f"{quantity} each of {len(values):,} validation examples: it helps "
        f"{(values > 0).sum():,} of them and harms {(values < 0).sum():,}; mean effect "
        f"{plain(format_effect(float(values.mean())))} {plain(unit)}. {_definition(run, method)}"
    )
    for ranked, verb, key in ((helped, "helps", "helped"), (harmed, "harms", "harmed")):
        name = f"{verb.capitalize()} most"
        shown = evaluation_tiles(run, ranked, unit)
        strip(run, shown, name, unit, key, f"It {verb} no validation example.")
    say_not_credible(run, method, int(beyond.sum()))


def _why_no_effects(run: Run, row: Row) -> str:
    measured = f"they are measured on {effects.columns(run):,} validation examples"
    if row["split"] == "validation":
        return f"This validation example has no effects: {measured}, a sample of all (**--max-evaluation**)."
    return f"This test example has no effects: {measured} only, so that the test examples stay for the final check."


def on_evaluation_example(run: Run, row: Row) -> None:
    """Draw the training examples that help and harm an evaluation example most."""
    if not run.effect_methods:
        _without_effects(run)
        return
    if row["row"] >= effects.columns(run):
        st.info(f"{_why_no_effects(run, row)} Its nearest training examples are below.", icon=":material/info:")
        return
    method, on_one = method_select(run), row["row"]
    values = _adjusted(
        run,
        functools.partial(effects.on_evaluation_example, run, method, on_one),
        lambda chosen, setting: live_effects.on_evaluation_example(run, chosen, on_one, setting),
    )
    beyond = effects.not_credible(run, method, values, row["row"])
    helpful, harmful = effects.strongest(values, COUNT, beyond)
    unit = effects.unit(run, method)
    one = f"one of {len(values):,} training examples"
    quantity = f"Effect of {one} on" if method in run.imported else _removing(one)
    st.caption(
        f"{quantity} this one: {(values > 0).sum():,} help and {(values < 0).sum():,} harm. {_definition(run, method)}"
    )
    for ranked, word in ((helpful, "helpful"), (harmful, "harmful")):
        shown = effect_tiles(run, ranked, unit)
        strip(run, shown, f"Most {word}", unit, word, f"No training example is {word} to it.")
    say_not_credible(run, method, int(beyond.sum()))


def say_not_credible(run: Run, method: str, count: int) -> None:
    """Say why effects are marked as not credible, and how many are; nothing if none is."""
    if count:
        reason = why_not_credible(effects.largest_credible_rise(run, method))
        st.caption(
            f"{plain(reason)} They are {count:,} of the effects listed here and "
            f"{plain(f'{run.share_not_credible(method):.1%}')} of all by this method."
        )


def neighbors(run: Run, split: SplitName, row: Row) -> None:
    """Draw the training examples most similar to an example for the trained network, and compare their labels."""
    try:
        found = effects.nearest(run, split, row["row"], COUNT)
    except InputError as error:
        reason = run.manifest.details.get("embeddings", {}).get("skipped")
        st.markdown("**Nearest training examples**")
        st.caption(plain(f"Embeddings skipped: {reason}." if reason else error))
        return
    shown = []
    for other, cosine in _rows(session.examples(run), found):
        words, note = f"similarity {cosine:.3f}", ""
        if run.values is None:  # values nearly always differ
            same = other["label"] == row["label"]
            words += f", {'same label' if same else 'another label'}"
            note = "" if same else "other label"
        shown.append(_with(run, other, words, score=f"{cosine:.3f}", aside="", note=note))
    name = "Nearest training examples"
    strip(run, shown, name, "cosine", "nearest", "No training example is similar to it.")
    if shown:
        st.caption(
            "Cosine similarity of the inputs of the trained network's last layer; 1 is identical. "
            f"{_their_labels(run, found, row)}"
        )
        _more(run, split, row)


def _more(run: Run, split: SplitName, row: Row) -> None:
    """Draw a button that opens the most similar training examples in Browse, an example of training among them."""
    if st.button(f"Browse the {_MORE} most similar", key=f"more like {split}", icon=":material/grid_view:"):
        rows = effects.nearest(run, split, row["row"], _MORE).rows.tolist() + [row["row"]] * (split == "train")
        navigation.browse_rows(run, sorted(rows))


def _their_labels(run: Run, found: Ranked, row: Row) -> str:
    """Return how the labels of the nearest examples compare with that of an example, as a sentence."""
    near = run.examples["label"].iloc[found.rows]
    if run.values is None:
        differing = int((near != row["label"]).sum())
        return f"{differing} of {len(near)} have another label." if differing else "All have its label."
    low, high = (labels.value_text(run, value) for value in (near.min(), near.max()))
    return f"Their {plain(run.values.name)} ranges from {plain(low)} to {plain(high)}."


def strip(run: Run, shown: list[Tile], name: str, unit: str, key: str, nothing: str) -> None:
    """Draw a heading and tiles, each of which opens its example, or why there are none.

    Args:
        run: The run.
        shown: The tiles.
        name: The heading.
        unit: Unit of their numbers.
        key: Distinguishes the strip from others of the page.
        nothing: What to say where there are no tiles.
    """
    st.markdown(f"**{plain(name)}** :gray[{plain(unit)}]")
    if not shown:
        st.caption(nothing)
        return
    answer = tiles(run, shown, key=f"influence {key}", name=name, layout="strip", size=_SIZE)
    if answer.opened is not None:
        navigation.open_tile(run, answer.opened)


def evaluation_tiles(run: Run, ranked: Ranked, unit: str) -> list[Tile]:
    """Return tiles of evaluation examples with the effects on them."""
    return _effect_tiles(run, session.evaluation(run), ranked, unit)


def effect_tiles(run: Run, ranked: Ranked, unit: str) -> list[Tile]:
    """Return tiles of training examples with their effects on one evaluation example."""
    return _effect_tiles(run, session.examples(run), ranked, unit)


def _effect_tiles(run: Run, frame: pd.DataFrame, ranked: Ranked, unit: str) -> list[Tile]:
    shown = [
        _with(run, row, _effect_words(value, unit), **_effect_text(value, unit)) for row, value in _rows(frame, ranked)
    ]
    return _marked(shown, ranked)


def _marked(shown: list[Tile], ranked: Ranked) -> list[Tile]:
    """Mark the tiles of effects that are not credible."""
    if ranked.beyond is None:
        return shown
    return [
        replace(tile, note=NOT_CREDIBLE, alt=f"{tile.alt}, {NOT_CREDIBLE}") if beyond else tile
        for tile, beyond in zip(shown, ranked.beyond, strict=True)
    ]


def format_effect(value: float) -> str:
    """Return an effect as text, with its sign."""
    return f"{'+' if value > 0 else ''}{format_score(value)}"


def _rows(frame: pd.DataFrame, ranked: Ranked) -> Iterable[tuple[Row, float]]:
    records = frame.iloc[ranked.rows].to_dict("records")
    return zip(records, ranked.values.tolist(), strict=True)


def _with(run: Run, row: Row, words: str, **values: Any) -> Tile:
    """Return the tile of an example with another number in place of its score."""
    return replace(example_tile(run, row, run.scores[0]), alt=labels.describe(run, row, words), **values)


def _effect_words(value: float, unit: str) -> str:
    return f"effect {format_effect(value)} {unit}, {_tone(value)}"


def _effect_text(value: float, unit: str) -> dict[str, Any]:
    return {
        "score": format_effect(value),
        "aside": unit if len(unit) <= _SHORT_UNIT else "",
        "tone": _tone(value),
    }


def _tone(value: float) -> Literal["helpful", "harmful"]:
    return "helpful" if value > 0 else "harmful"


def _removing(what: str) -> str:
    """Return what our own effects measure; of imported ones, only the sign is known."""
    return f"Effect of removing {what} on the loss of"


def _definition(run: Run, method: str) -> str:
    return plain(run.measure(method).definition) if method in run.known_measures else ""


def _without_effects(run: Run) -> None:
    """Show why the run has no effects of single examples, and offer to compute them."""
    st.info(
        "This run has no effects between examples, so it cannot show which examples help or harm this one.",
        icon=":material/link_off:",
    )
    for name in ("contribution", "self_influence"):
        reason = run.manifest.details.get(name, {}).get("skipped")
        if reason:
            st.caption(f"{plain(run.measure(name).title)} skipped: {plain(reason)}.")
    finish(run, "effects")


def finish(run: Run, missing: str) -> None:
    """Show the command that computes what a run is missing, and a button that does the same."""
    seconds = jobs.seconds_of(run)
    st.markdown(f"To add the {missing}, score the run again with the same options. Finished stages are kept.")
    data = run.manifest.config.get("data", "DATA")
    st.code(f"samplescope score {data} --out {run.path}", language=None, wrap_lines=True)
    jobs.offer(
        run.id,
        "score",
        run.manifest.config,
        label="Resume",
        key=f"finish {missing}",
        cost=f"The run took {jobs.duration(seconds)} so far.",
    )
