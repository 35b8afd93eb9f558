"""Which training examples support and contradict a training example, and which of them it supports."""

from __future__ import annotations

import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from samplescope_app.data import effects, live_effects
from samplescope_app.panels import influencers, training_time
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import plain


def draw(run: Run, row: Row) -> None:
    """Draw a switch, since the first answer waits for libraries to load, and the answer where it is on."""
    time = training_time.own_time(run)
    if time is None or not live_effects.can_change(run, live_effects.NTK):
        return
    if not st.toggle(
        "Influence between training examples",
        key="among training",
        persist_state="session",
        help="Effects on the loss of training examples, by the linearized model that the run keeps, exactly.",
    ):
        return
    try:
        with st.spinner("Computing the effects"):
            on_it, of_it = live_effects.between_training_examples(run, row["row"], time)
    except InputError as error:
        st.info(plain(error), icon=":material/info:")
        return
    (support, contradict), (supported, contradicted) = (
        effects.strongest(each, influencers.COUNT) for each in (on_it, of_it)
    )
    label = "label" if run.values is None else "value"
    st.caption(
        "By NTK influence: without those that support it, the loss on this training example rises; without those that "
        f"contradict it, it falls. Where its neighbors contradict it, look at its {label}."
    )
    unit = effects.unit(run, live_effects.NTK)
    for name, ranked in (
        ("Support it most", support),
        ("Contradict it most", contradict),
        ("It supports most", supported),
        ("It contradicts most", contradicted),
    ):
        shown = influencers.effect_tiles(run, ranked, unit)
        influencers.strip(run, shown, name, unit, f"training {name}", "No training example.")
