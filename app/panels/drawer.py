"""The drawer of Browse: the details of one tile, beside the tiles or, in a narrow window, below them."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.components.gallery import OnPressed, Tile, picture, tiles
from samplescope_app.data import effects, navigation, session
from samplescope_app.panels import decisions, example_facts, influencers, scores
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import plain

AREA = "browse_area"  # key of the horizontal container of the tiles and the drawer
TOGGLE, CLOSE = "details", "close details"  # actions of keys
_OPEN, _UNWANTED, _RETURNS = "drawer is open", "drawer is unwanted", "returns from the drawer"  # session keys
_WIDTH, _PICTURE, _ABOUT, _SMALL = 320, 200, 290, 56  # pixels: the drawer, its picture, its facts, and small tiles
_COUNT = 8  # small tiles of each kind
_STYLE = f"""<style>
.st-key-{AREA} > :first-child {{ min-width: 0; flex: 1 1 0; }}
[data-testid="stLayoutWrapper"]:has(> .st-key-drawer) {{
  position: sticky; top: 4.5rem; align-self: flex-start;
  max-height: calc(100dvh - 9rem); overflow-y: auto; scrollbar-width: thin;
}}
.st-key-drawer {{
  padding: 0.5rem 0.75rem 0.75rem; border-radius: 0.5rem;
  border: 1px solid color-mix(in srgb, currentColor 25%, transparent);
  background: light-dark(#ffffff, #242422);
}}
@media (max-width: 999px) {{
  .st-key-{AREA} {{ flex-direction: column; --covered: 40dvh; }}
  .st-key-{AREA} > :first-child {{ flex: none; width: 100%; }}
  [data-testid="stLayoutWrapper"]:has(> .st-key-drawer) {{
    top: auto; bottom: 0; z-index: 90; width: 100%; max-height: 40dvh;
    background: light-dark(#ffffff, #242422);
  }}
  .st-key-drawer {{ width: 100%; }}
}}
</style>"""


def is_open(shown: str | None, by_keys: bool) -> bool:
    """Return whether to draw the drawer: it comes with the keyboard's focus, unless it was closed, or when asked for.

    It does not come with the pointer: the tiles would move from under it.

    Args:
        shown: Key of the example that it would be about, None for none.
        by_keys: Whether that has the focus by a key.
    """
    if shown is None:
        st.session_state.pop(_OPEN, None)
    elif by_keys and not st.session_state.get(_UNWANTED):
        st.session_state[_OPEN] = True
    return bool(st.session_state.get(_OPEN))


def act(action: str) -> None:
    """Answer a key about the drawer."""
    if action == TOGGLE or _was_open():
        toggle()


def _was_open() -> bool:
    """Return whether the drawer was there when the page was drawn before."""
    return bool(st.session_state.get(_OPEN))


def toggle() -> None:
    """Open the drawer, or close it, after which it comes only when asked for."""
    closes = _was_open()
    st.session_state[_OPEN], st.session_state[_UNWANTED] = not closes, closes
    st.session_state[_RETURNS] = returns() + closes


def returns() -> int:
    """Return how often the drawer was closed, which gives the keyboard's focus back to the tiles."""
    return int(st.session_state.get(_RETURNS, 0))


def button(shown: str | None) -> None:
    """Draw the button that opens the drawer about a tile, or closes it."""
    st.button(
        "Details `i`",
        key="details",
        icon=":material/right_panel_close:" if _was_open() else ":material/right_panel_open:",
        type="tertiary",
        disabled=shown is None,
        on_click=toggle,
    )


def draw(run: Run, row: Row, score: str, on_pressed: OnPressed) -> None:
    """Draw the details of an example, with what closes them.

    Args:
        run: The run.
        row: A row of a table of :mod:`samplescope_app.data.session`.
        score: The score that the tiles show.
        on_pressed: Called with the action of a pressed key, as :func:`samplescope_app.components.gallery.picture` does.
    """
    st.html(_STYLE)
    with st.container(key="drawer", width=_WIDTH, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            opens = st.button("Open", icon=":material/open_in_full:", key="drawer open", type="tertiary")
            st.space("stretch")
            st.button("Close details", icon=":material/close:", key="drawer close", type="tertiary", on_click=toggle)
        with st.container(horizontal=True, gap="small"):
            with st.container(width=_PICTURE):
                picture(
                    run, row, score, key="browse picture", size=_PICTURE, keys={"Escape": CLOSE}, on_pressed=on_pressed
                )
            with st.container(width=_ABOUT, gap="xsmall"):
                st.markdown(f"**{plain(row['id'])}**")
                with st.container(horizontal=True, gap="xsmall"):
                    decisions.badge(row)
                example_facts.label_lines(run, row)
        _influences(run, row)
        with st.expander("Scores"):
            scores.table(run, row)
    if opens:
        navigation.open_tile(run, session.key(row))


def _influences(run: Run, row: Row) -> None:
    """Draw the examples that have the strongest effects with this one, as two short strips."""
    if not run.effect_methods:
        return
    method, number = influencers.chosen_method(run), row["row"]
    unit = effects.unit(run, method)
    if row["split"] == "train":
        values, of_tiles = effects.of_training_example(run, method, number), influencers.evaluation_tiles
        beyond, names = effects.not_credible(run, method, values), ("Helps most", "Harms most")
    elif number < effects.columns(run):
        values, of_tiles = effects.on_evaluation_example(run, method, number), influencers.effect_tiles
        beyond, names = effects.not_credible(run, method, values, number), ("Most helpful", "Most harmful")
    else:
        return
    for ranked, name in zip(effects.strongest(values, _COUNT, beyond), names, strict=True):
        _strip(run, of_tiles(run, ranked, unit), name)


def _strip(run: Run, shown: list[Tile], name: str) -> None:
    shown = [replace(tile, split="") for tile in shown]  # it would cover most of a small picture
    st.caption(name if shown else f"{name}: none")
    if not shown:
        return
    answer = tiles(run, shown, key=f"drawer {name}", name=name, layout="strip", size=_SMALL, captions=False)
    if answer.opened is not None:
        navigation.open_tile(run, answer.opened)
