"""The clickable grid of examples, and the single one: one component, since they share pictures, keys and theme."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.store import SplitName
from samplescope_app.data import run_library
from samplescope_app.wording import labels
from samplescope_app.wording.text import format_percentile, format_score

_HERE = Path(__file__).parent
_component = st.components.v2.component(
    "samplescope.gallery",
    html=(_HERE / "gallery.html").read_text(encoding="utf-8"),
    css=(_HERE / "gallery.css").read_text(encoding="utf-8"),
    js=(_HERE / "gallery.js").read_text(encoding="utf-8"),
)

# What the script is given where a layout has no use for it.
_PLAIN = {"name": "", "size": 0, "keys": {}, "page_keys": False, "selectable": False, "reports_focus": False}
_BADGES = {"keep": "✓ keep", "drop": "✕ drop", "relabel": "⇄"}
_STATES = {"keep": "kept", "drop": "dropped", "relabel": "relabelled"}


_LONGEST_ON_TILE, _LEAST_FOR_TEXT = 240, 168  # letters, and the pixels that they want

# Called with the action of a pressed key and the ids that it is about: the selected tiles, else the focused one.
# It runs before the page does, so that the page is drawn once and not twice.
OnPressed = Callable[[str, list[str]], None]


@dataclass(frozen=True)
class Answer:
    """What the user did in a gallery since the last run of the page.

    Attributes:
        opened: Id of the tile to open, "" for a mosaic, None when nothing was opened.
        selected: Ids of the selected tiles.
        focused: Id of the tile with the keyboard focus.
    """

    opened: str | None = None
    selected: list[str] = field(default_factory=list)
    focused: str | None = None


@dataclass(frozen=True)
class Tile:
    """What one tile shows.

    Attributes:
        id: What the answers call it.
        src: Address of the image; "" where the example is a text or a row of a table.
        alt: The whole tile in words.
        text: What stands in the image's place then.
        label: Name of its label.
        predicted: What the model says instead of it; "" where it says the same.
        score: The number, as text.
        aside: What stands small beside the number: a percentile or a unit.
        tone: Whether the number is an effect that helps or harms; an arrow says so.
        note: A few words over the foot of the image.
        decision: kept, dropped or relabelled.
        badge: The decision in a corner of the image.
    """

    id: str
    src: str
    alt: str
    text: str = ""
    label: str = ""
    predicted: str = ""
    score: str = ""
    aside: str = ""
    tone: Literal["", "helpful", "harmful"] = ""
    note: str = ""
    decision: str = ""
    badge: str = ""


def gallery(
    run: Run,
    examples: pd.DataFrame,
    score: str,
    *,
    key: str,
    name: str,
    layout: Literal["grid", "strip"] = "grid",
    size: int = 104,
    keys: dict[str, str] | None = None,
    on_pressed: OnPressed | None = None,
    selectable: bool = False,
    captions: bool = True,
) -> Answer:
    """Draws tiles for training examples, each with one of its scores.

    Args:
        run: The run they belong to.
        examples: Rows of ``state.examples(run)``, in the order of the tiles.
        score: The score to show on each tile.
        key: Streamlit's key.
        name: What the grid is called for a screen reader.
        layout: A grid that wraps, or one strip that scrolls.
        size: Width of a tile in pixels; in a grid the least width.
        keys: Key -> action.
        on_pressed: What to do about the actions.
        selectable: Whether tiles can be selected, and the focused one is reported.
        captions: Whether score, label and prediction stand below each image.

    Returns:
        What the user did.
    """
    return tiles(
        [training_tile(run, row, score) for row in examples.to_dict("records")],
        key=key,
        name=name,
        layout=layout,
        size=size,
        keys=keys,
        on_pressed=on_pressed,
        selectable=selectable,
        captions=captions,
    )


def tiles(
    items: Sequence[Tile],
    *,
    key: str,
    name: str,
    layout: Literal["grid", "strip"] = "grid",
    size: int = 104,
    keys: dict[str, str] | None = None,
    on_pressed: OnPressed | None = None,
    selectable: bool = False,
    captions: bool = True,
) -> Answer:
    """Draws any tiles, one at least; the arguments are those of :func:`gallery`."""
    data = {
        "items": [asdict(replace(item, text=_shortened(item.text))) for item in items],
        "layout": layout,
        "name": name,
        "size": max(size, _LEAST_FOR_TEXT) if any(item.text for item in items) else size,
        "captions": captions,
        "keys": keys or {},
        "selectable": selectable,
        "reports_focus": selectable,
    }
    return _mount(data, key, {item.id for item in items}, on_pressed)


def picture(
    run: Run,
    row: dict[str, Any],
    score: str,
    *,
    key: str,
    size: int,
    keys: dict[str, str] | None = None,
    on_pressed: OnPressed | None = None,
) -> None:
    """Draws one training example large; its keys answer wherever the focus is on the page."""
    large(training_tile(run, row, score), key=key, size=size, keys=keys, on_pressed=on_pressed)


def large(
    item: Tile, *, key: str, size: int, keys: dict[str, str] | None = None, on_pressed: OnPressed | None = None
) -> None:
    """Draws the image of any tile as :func:`picture` does."""
    data = {"items": [asdict(item)], "layout": "picture", "size": size, "keys": keys or {}, "page_keys": True}
    _mount(data, key, {item.id}, on_pressed)


def mosaic(run: Run, rows: Sequence[int], *, key: str) -> Answer:
    """Draws a few small training images as one thing to click; its answer's ``opened`` is then ""."""
    shown = run.examples.iloc[list(rows)].to_dict("records")
    items = [
        {"id": str(row), "alt": "", **pictured(run, "train", {**values, "row": row})}
        for row, values in zip(rows, shown, strict=True)
    ]
    data = {"items": items, "layout": "mosaic"}
    return _mount(data, key, set())


def pictured(run: Run, split: SplitName, row: dict[str, Any]) -> dict[str, str]:
    """What stands for an example: ``src`` of its image, or its ``text``, as a tile takes them."""
    if "text" not in row:
        return {"src": run_library.thumbnail_url(run, split, row["row"])}
    return {"src": "", "text": row["text"]}


def training_tile(run: Run, row: dict[str, Any], score: str) -> Tile:
    """A row of ``state.examples(run)`` with one of its scores."""
    action = row["action"]
    badge = _BADGES.get(action, "")
    label, predicted = labels.on_tile(run, row)
    return Tile(
        id=row["id"],
        alt=labels.describe(run, row, run.measure(score)),
        **pictured(run, "train", row),
        label=label,
        predicted=predicted,
        score=format_score(row[score]),
        aside=format_percentile(row[f"{score} percentile"]),
        decision=_STATES.get(action, ""),
        badge=f"{badge} {row['new_label_name']}" if action == "relabel" else badge,
    )


def _mount(data: dict[str, Any], key: str, ids: set[str], on_pressed: OnPressed | None = None) -> Answer:
    def pressed() -> None:
        # A key pressed while the page was changing may belong to a component that is gone.
        state = st.session_state.get(key)
        if state is not None and state.pressed and on_pressed is not None:
            on_pressed(state.pressed["action"], state.pressed["ids"])

    result = _component(
        key=key,
        data=_PLAIN | data,
        on_opened_change=_nothing,
        on_pressed_change=pressed,
        on_selected_change=_nothing,
        on_focused_change=_nothing,
    )
    return Answer(
        opened=result.opened["id"] if result.opened else None,
        # What was selected or focused before the tiles changed is no longer on the page.
        selected=[id_ for id_ in result.selected or [] if id_ in ids],
        focused=result.focused if result.focused in ids else None,
    )


def _shortened(text: str) -> str:
    """As much of a text as a tile has room for."""
    return text if len(text) <= _LONGEST_ON_TILE else text[:_LONGEST_ON_TILE].rstrip() + "…"


def _nothing() -> None:
    """Streamlit reports only the values that have a callback."""
