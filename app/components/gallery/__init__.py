"""The gallery component: grids and strips of clickable tiles, and one large example with keys."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pandas as pd
import streamlit as st

from attribution_core.runs import Run
from attribution_core.runs.store import SplitName, table_of
from samplescope_app.components import modules
from samplescope_app.data import filters, navigation, reviewing, run_library, selection, session
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row
from samplescope_app.wording.text import format_percentile, format_score, plain

_HERE = Path(__file__).parent
# Streamlit imports a component's script from a blob, where a relative import finds nothing; it serves a folder of
# scripts for installed packages with a manifest only. So the script that it gets imports the modules from an address of
# this server (samplescope_app.routes), as they are: with no build, no joining of files, and line numbers that hold.
_component = st.components.v2.component(
    "samplescope.gallery",
    html=(_HERE / "gallery.html").read_text(encoding="utf-8"),
    css=(_HERE / "gallery.css").read_text(encoding="utf-8"),
    js=f"""
const {{ default: draw }} = await import(new URL("{modules.address("index.js")}", location.origin).href);
export default draw;
""",
)

# Values for the script that a layout does not use.
_PLAIN = {
    **{"name": "", "size": 0, "keys": {}, "page_keys": False, "selectable": False, "reports_focus": False},
    **{"selected": [], "selection": 0, "elsewhere": False, "returns": 0},
    **{"decisions": "", "reviewer": "", "undoes_own": False, "version": 0, "query": ""},
}
_SECONDS_TO_OPEN = 5.0  # after which a click is forgotten, since the user has left the page
_BADGES = {"keep": "✓ keep", "drop": "✕ drop", "relabel": "⇄"}

_LONGEST_ON_TILE, _LEAST_FOR_TEXT = 240, 168  # characters of a text on a tile, and the pixels that they need

# Called with the action of a pressed key that decides nothing, and the ids that it applies to: the selected tiles, else
# the focused one. It runs before the page, so that the page is drawn once and not twice. In a picture or a queue, keys
# that decide (keep, drop, relabel LABEL, undo) are not among them: these go to the run's log at once.
OnPressed = Callable[[str, list[str]], None]


@dataclass(frozen=True)
class Answer:
    """The user's actions in a gallery since the last run of the page.

    Attributes:
        opened: Id of the tile to open, "" for a mosaic, None when nothing was opened.
        selected: Ids of the selected tiles.
        focused: Id of the tile with the keyboard focus.
        by_keys: Whether it got the focus by a key, not by the pointer.
    """

    opened: str | None = None
    selected: list[str] = field(default_factory=list)
    focused: str | None = None
    by_keys: bool = False


@dataclass(frozen=True)
class Tile:
    """The contents of one tile.

    Attributes:
        id: Id of the tile in answers: the key of its example, see :func:`samplescope_app.data.session.key`.
        src: Address of the image; "" for a text or a row of a table.
        alt: Description of the whole tile.
        text: Text shown in place of an image.
        href: Address of the page that the tile opens; "" if it opens none.
        label: Name of its label.
        predicted: The prediction; "" if it is the label.
        score: Score or effect, as text.
        aside: A percentile or a unit beside the score.
        tone: Whether the score is a helpful or harmful effect, which an arrow shows.
        note: A few words over the bottom of the image.
        decision: kept, dropped or relabeled.
        badge: The decision in a corner of the image.
        split: Split of an example that is not one of training, in the other corner.
        tags: Tags of the example, below the caption.
        full: Address of the original of the image, "" if it is not there.
        source: What the image at full size is.
    """

    id: str
    src: str
    alt: str
    text: str = ""
    href: str = ""
    label: str = ""
    predicted: str = ""
    score: str = ""
    aside: str = ""
    tone: Literal["", "helpful", "harmful"] = ""
    note: str = ""
    decision: str = ""
    badge: str = ""
    split: str = ""
    tags: str = ""
    full: str = ""
    source: str = ""


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
    returns: int = 0,
    view: filters.View | None = None,
) -> Answer:
    """Draw tiles of examples, each with one of its scores.

    Args:
        run: The run of the examples.
        examples: Rows of ``session.examples(run)`` or ``session.everything(run)``, in the order of the tiles.
        score: The score to show on each tile.
        key: Streamlit's key.
        name: Name of the gallery for screen readers.
        layout: A grid that wraps, or a strip that scrolls.
        size: Width of a tile in pixels; in a grid, the minimum width.
        keys: Key -> action.
        on_pressed: Called with the action of a pressed key.
        selectable: Whether tiles can be selected (see :mod:`samplescope_app.data.selection`) and the focused tile is
            reported.
        captions: Whether to show score, label and prediction below each image.
        returns: A number that changes when the keyboard's focus is to come back to the tiles.
        view: The list that an opened example is stepped through in, if it is not the session's.

    Returns:
        The user's actions.
    """
    return tiles(
        run,
        [example_tile(run, row, score) for row in examples.to_dict("records")],
        key=key,
        name=name,
        layout=layout,
        size=size,
        keys=keys,
        on_pressed=on_pressed,
        selectable=selectable,
        captions=captions,
        returns=returns,
        view=view,
    )


def tiles(
    run: Run,
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
    returns: int = 0,
    view: filters.View | None = None,
) -> Answer:
    """Draw one or more tiles of any kind; the arguments are those of :func:`gallery`."""
    data: dict[str, Any] = {
        "items": [asdict(replace(item, text=_shortened(item.text))) for item in items],
        "layout": layout,
        "name": name,
        "size": max(size, _LEAST_FOR_TEXT) if any(item.text for item in items) else size,
        "captions": captions,
        "keys": keys or {},
        "selectable": selectable,
        "reports_focus": selectable,
        "query": navigation.shared_query(run, view),
    }
    ids = {item.id for item in items}
    if not selectable:
        return _mount(data, key, ids, on_pressed)
    selected = selection.among(run, (item.id for item in items))
    data |= {"selected": selected, "selection": selection.changes(run)}
    elsewhere = len(selected) < len(selection.keys(run))
    data |= {"elsewhere": elsewhere, "returns": returns, **_to_decide(run)}
    answer = _mount(data, key, ids, on_pressed, functools.partial(selection.choose, run, ids))
    return replace(answer, selected=selection.among(run, (item.id for item in items)))


def picture(
    run: Run,
    row: Row,
    score: str,
    *,
    key: str,
    size: int,
    keys: dict[str, str] | None = None,
    on_pressed: OnPressed | None = None,
) -> None:
    """Draw one example large; its keys work wherever the focus is on the page, and undo is about this example only."""
    item = with_original(run, row, example_tile(run, row, score))
    data = {"items": [asdict(item)], "layout": "picture", "size": size, "keys": keys or {}, "page_keys": True}
    data |= {**_to_decide(run), "undoes_own": True}
    _mount(data, key, {item.id}, on_pressed)


def with_original(run: Run, row: Row, tile: Tile) -> Tile:
    """Return the tile of a large picture with the address of its original, or with why there is none."""
    full = run_library.original_url(run, table_of(row["split"]), row["row"])
    source = f"The original, {row['id']}:" if full else "The picture that the run keeps; it does not know a larger one:"
    return replace(tile, full=full, source=source) if tile.src else tile


def queue(
    run: Run,
    examples: Sequence[tuple[Tile, dict[str, str]]],
    *,
    key: str,
    size: int,
    version: int,
    on_skipped: Callable[[list[str]], None],
) -> None:
    """Draw the first of some examples large; once a key has decided about it, the browser shows the next one at once.

    Args:
        run: The run of the examples.
        examples: Their tiles and keys, at least one; the keys work wherever the focus is on the page.
        key: Streamlit's key.
        size: Height of the picture.
        version: Version of the decisions before the examples were listed; what is newer, the browser shows itself.
        on_skipped: Called with the keys of skipped examples, maybe more than once.
    """
    (first, keys), *others = ((asdict(tile), keys) for tile, keys in examples)
    data = {"items": [first], "layout": "picture", "size": size, "keys": keys, "page_keys": True, "version": version}
    data |= {"queue": [{"item": item, "keys": keys} for item, keys in others], **_to_decide(run)}
    _mount(data, key, {first["id"]}, on_skipped=on_skipped)


def mosaic(run: Run, rows: Sequence[int], *, key: str) -> Answer:
    """Draw a few small training images that are one button; ``opened`` is "" after a click."""
    shown = run.examples.iloc[list(rows)].to_dict("records")
    items = [
        {"id": str(row), "alt": "", **pictured(run, "train", {**values, "row": row})}
        for row, values in zip(rows, shown, strict=True)
    ]
    data = {"items": items, "layout": "mosaic"}
    return _mount(data, key, set())


def pictured(run: Run, split: SplitName, row: Row) -> dict[str, Any]:
    """Return ``src`` and ``text`` of an example's tile: the address of its image, or its text."""
    if "text" not in row:
        return {"src": run_library.thumbnail_url(run, split, row["row"])}
    return {"src": "", "text": row["text"]}


def example_tile(run: Run, row: Row, score: str) -> Tile:
    """Return the tile of a row of ``session.everything(run)`` with one of its scores."""
    action, of_training = row["action"], row["split"] == "train"
    label, predicted = labels.on_tile(run, row)
    return Tile(
        id=session.key(row),
        alt=labels.describe(run, row, labels.score_in_words(row, run.measure(score))),
        **pictured(run, table_of(row["split"]), row),
        href=navigation.address_of(run, row),
        label=label,
        predicted=predicted,
        score=format_score(row.get(score, math.nan)),
        aside=format_percentile(row.get(f"{score} percentile", math.nan)),
        decision=labels.DECISION_NAMES[action] if action else "",
        badge=_badge(row),
        split="" if of_training else row["split"],
        tags=" · ".join(row["tags"]),
    )


def _badge(row: Row) -> str:
    """Return the decision about an example, with a sign where reviewers differ."""
    badge = _BADGES.get(row["action"], "")
    if row["action"] == "relabel":
        badge = f"{badge} {row['new_label_name']}"
    return f"{badge} (disputed)" if row["disagreement"] else badge


def _mount(
    data: dict[str, Any],
    key: str,
    ids: set[str],
    on_pressed: OnPressed | None = None,
    on_selected: Callable[[list[str], bool], None] | None = None,
    on_skipped: Callable[[list[str]], None] | None = None,
) -> Answer:
    def take(told: dict[str, Any] | None) -> None:
        if on_selected is not None and told and st.session_state.get(f"selected in {key}") != told["number"]:
            st.session_state[f"selected in {key}"] = told["number"]
            on_selected(told["ids"], told["everywhere"])

    def selected() -> None:
        state = st.session_state.get(key)
        take(None if state is None else state.selected)

    def pressed() -> None:
        selected()  # a key acts on what was selected before it, also where one message brings both
        # A key pressed during a change of page may belong to a component that no longer exists.
        state = st.session_state.get(key)
        if state is not None and state.pressed and on_pressed is not None:
            on_pressed(state.pressed["action"], state.pressed["ids"])

    def opened() -> None:
        # Noted here, since the run of the page may be interrupted by another message before it comes to this gallery.
        if (state := st.session_state.get(key)) is not None and state.opened:
            st.session_state[f"opened in {key}"] = state.opened["id"], time.monotonic()

    def skipped() -> None:
        if on_skipped is not None:
            on_skipped(st.session_state[key].skipped["ids"])

    def tell(decided: dict[str, Any] | None) -> None:
        known = st.session_state.setdefault(f"told in {key}", set())
        for told in decided["told"] if decided else []:
            if told["id"] not in known:
                known.add(told["id"])
                st.toast(plain(told["text"]), icon=told["icon"])

    result = _component(
        key=key,
        data=_PLAIN | data,
        on_opened_change=opened,
        on_pressed_change=pressed,
        on_skipped_change=skipped,
        on_decided_change=_nothing,
        on_selected_change=selected,
        on_focused_change=_nothing,
    )
    tell(result.decided)
    take(result.selected)  # where the run before this one was interrupted, no callback could
    id_, when = st.session_state.pop(f"opened in {key}", ("", -math.inf))
    # A tile that was focused before a change may no longer be on the page.
    focused = result.focused if result.focused and result.focused["id"] in ids else None
    return Answer(
        opened=id_ if time.monotonic() - when < _SECONDS_TO_OPEN else None,
        focused=focused["id"] if focused else None,
        by_keys=bool(focused and focused["keys"]),
    )


def _to_decide(run: Run) -> dict[str, str]:
    """Return where the script sends decisions about a run, and in whose name."""
    return {"decisions": f"/api/decisions/{quote(run.id, safe='')}", "reviewer": reviewing.reviewer()}


def _shortened(text: str) -> str:
    """Return as much of a text as fits on a tile."""
    return text if len(text) <= _LONGEST_ON_TILE else text[:_LONGEST_ON_TILE].rstrip() + "…"


def _nothing() -> None:
    """Do nothing: Streamlit reports only values that have a callback."""
