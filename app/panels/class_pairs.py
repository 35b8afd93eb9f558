"""The pairs of examples behind a cell of the class matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.gallery import tiles
from samplescope_app.data import effects, navigation
from samplescope_app.data.effects import Ranked
from samplescope_app.panels import influencers
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import plain

_PAIRS = 6  # of each sign
_SIZE = 84


def draw(run: Run, method: str, cell: tuple[str, str]) -> None:
    """Draw the strongest effects in a cell: training examples with the validation examples they help or harm."""
    pairs = run.class_pairs
    pairs = pairs[
        (pairs["method"] == method) & (pairs["train_class"] == cell[0]) & (pairs["evaluation_class"] == cell[1])
    ]
    one, other = (plain(name) for name in cell)
    st.markdown(f"##### Strongest pairs: {one} in training → {other} in validation")
    if pairs.empty:
        st.caption("This run has no single pairs for this cell. Score it again to add them.")
        return
    beyond = [
        bool(effects.not_credible(run, method, np.array(effect), row))
        for row, effect in zip(pairs["evaluation_row"], pairs["effect"], strict=True)
    ]
    pairs = pairs.assign(beyond=beyond)
    signs = {"Most helpful": pairs[pairs["effect"] > 0], "Most harmful": pairs[pairs["effect"] < 0]}
    for column, (title, members) in zip(st.columns(2, gap="large"), signs.items(), strict=True):
        with column:
            st.markdown(f"**{title}** :gray[{plain(effects.unit(run, method))}]")
            if members.empty:
                st.caption("None among the strongest pairs.")
            with st.container(horizontal=True, gap="small"):
                for place, pair in enumerate(members.head(_PAIRS).to_dict("records")):
                    name = f"{title} {place + 1}"
                    _pair(run, pair, effects.unit(run, method), name)
    influencers.say_not_credible(run, method, sum(beyond))


def _pair(run: Run, pair: Row, unit: str, name: str) -> None:
    """Draw two tiles in one frame; each opens its example."""
    train_row, evaluation_row = pair["train_row"], pair["evaluation_row"]
    effect, beyond = np.array([pair["effect"]]), np.array([pair["beyond"]])
    one = influencers.effect_tiles(run, Ranked(np.array([train_row]), effect, beyond), unit)[0]
    other = influencers.evaluation_tiles(run, Ranked(np.array([evaluation_row]), effect), unit)[0]
    shown = [
        replace(one, id="train", aside="", note=one.note or "training"),
        replace(other, id="evaluation", aside="", score="", tone="", note="validation", split=""),
    ]
    with st.container(border=True, width=2 * _SIZE + 56):
        answer = tiles(run, shown, key=f"pair {name}", name=name, size=_SIZE)
    if answer.opened == "train":
        navigation.open_example(run, run.examples["id"].iloc[train_row])
    elif answer.opened == "evaluation":
        navigation.open_evaluation(run, evaluation_row)
