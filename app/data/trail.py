"""The trail in Example's address: the page where a chain of examples began, and the examples passed since."""

from __future__ import annotations

import re
from dataclasses import dataclass

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import session
from samplescope_app.wording import labels
from samplescope_app.wording.labels import Row

_HERE = "page"  # session key of the page that is shown
_SHOWN = "place"  # session key of the example that is shown
_QUERY = "via"
_ITS_OWN = ("id", "evaluation", _QUERY)  # what only Example's address has
_SEPARATOR = "."
_PLACE = re.compile(r"e?\d{1,9}")  # the row of a training or, with an e, of an evaluation example
_LONGEST = 30


@dataclass(frozen=True)
class Stop:
    """A stop on the way to an example.

    Attributes:
        page: Name of its page.
        label: Its name: a page, or the number of an example.
        query: What its address has beside the run.
    """

    page: str
    label: str
    query: dict[str, str]


def arrive(page: str) -> None:
    """Note which page is shown, and take out of its address what only Example's has."""
    st.session_state[_HERE] = page
    if page == "example":
        # A link of the trail to another example is a link to the same page, which Streamlit runs without a new address.
        st.query_params.from_dict(st.query_params.to_dict())
        return
    for name in _ITS_OWN:
        st.query_params.pop(name, None)


def stops(run: Run, known: frozenset[str]) -> list[Stop]:
    """Return the stops before the example that is shown, the first one first; Browse if the address names none.

    Args:
        run: The run.
        known: Names of the pages.
    """
    first, *places = st.query_params.get(_QUERY, "").split(_SEPARATOR)
    begin = first if first in known and first != "example" else "browse"
    found = [Stop(begin, begin.capitalize(), {})]
    passed = [begin]
    for place in places:
        if (row := _row(run, place)) is None:
            continue
        found.append(Stop("example", labels.place(row), {**query_of(row), _QUERY: _SEPARATOR.join(passed)}))
        passed.append(place)
    return found


def query_of(row: Row) -> dict[str, str]:
    """Return what names an example in the address of its page."""
    return {"id": row["id"]} if row["split"] == "train" else {"evaluation": str(row["row"])}


def onward() -> dict[str, str]:
    """Return what the address of an example has of the trail if it is opened from the page that is shown."""
    here = st.session_state.get(_HERE, "browse")
    if here != "example":
        return {_QUERY: here}
    first, *places = st.query_params.get(_QUERY, "browse").split(_SEPARATOR)
    shown = st.session_state.get(_SHOWN)
    places = [*places, *([shown] if shown else [])][-_LONGEST:]
    return {_QUERY: _SEPARATOR.join([first, *places])}


def stand(row: Row) -> None:
    """Note which example is shown, from which others are opened."""
    st.session_state[_SHOWN] = f"{'' if row['split'] == 'train' else 'e'}{row['row']}"


def _row(run: Run, place: str) -> Row | None:
    """Return the example at a place, None if the run has none there: an address may say anything."""
    if not _PLACE.fullmatch(place):
        return None
    table, row = (session.evaluation(run), int(place[1:])) if place[0] == "e" else (session.examples(run), int(place))
    return table.iloc[row].to_dict() if row < len(table) else None
