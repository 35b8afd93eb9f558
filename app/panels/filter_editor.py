"""The editor of filters: the values of a category, the range of a number, and what to sort by next."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import filters
from samplescope_app.data.filters import View
from samplescope_app.data.query import AnyOf, Compare, Condition
from samplescope_app.wording import labels

_IN_BAR = ("class", "predicted", "decision")  # categories with a menu of their own
_EXAMPLES = 'class:Shirt,Coat predicted:"Ankle boot" confidence>0.9\nloss:0.1..0.5 fsi%>=95 -decision:dropped 0123'
_SORTED = 4  # names to sort by at most


def draw(run: Run, view: View) -> None:
    """Draw the filters that have no menu in the bar, and the order of what is equal in the first name."""
    known = filters.names(run)
    offered = [name for name in (*known.numbers, *known.categories) if name not in _IN_BAR and not name.endswith("%")]
    titles = {name: (known.numbers.get(name) or known.categories[name]).title for name in offered}
    name = st.selectbox("Filter by", offered, format_func=titles.__getitem__, key="browse filter by")
    if name in known.categories:
        category(run, view, name)
    else:
        _range(run, view, name)
    _then_by(run, view)
    with st.expander("Write filters"):
        st.markdown(
            "The field beside the menus takes a text that an id, a group or the text of an example contains, or "
            "conditions:"
        )
        st.code(_EXAMPLES, language=None)
        st.markdown("A score with `%` is its percentile; `-` in front excludes. Quote names with a space. There are:")
        st.caption(", ".join(f"`{name}`" for name in (*known.categories, *known.numbers) if not name.endswith("%")))


def show(key: str, value: object) -> None:
    """Make a widget that is about to be drawn show a value; one that does is left alone: somebody may type there."""
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def category(run: Run, view: View, name: str, hint: str = "any", **options: Any) -> None:
    """Draw the values of a category, of which an example must have one; nothing if the run does not have it.

    Args:
        run: The run.
        view: The view to show.
        name: Name of the category.
        hint: Text where no value is chosen.
        **options: Options of ``st.multiselect``.
    """
    known = filters.names(run).categories.get(name)
    if known is None:
        return
    key = f"browse filter {name}"

    def choose() -> None:
        values, view = tuple(st.session_state[key]), filters.current(run)
        _replace(run, view, _any_of(view, name), [AnyOf(name, values)] if values else [])

    chosen = [value for each in _any_of(view, name) for value in each.values]
    show(key, list(dict.fromkeys(chosen)))
    st.multiselect(known.title, list(known.values), key=key, on_change=choose, placeholder=hint, **options)


def _any_of(view: View, name: str) -> list[AnyOf]:
    return [each for each in view.conditions if isinstance(each, AnyOf) and each.name == name and not each.excluded]


def _range(run: Run, view: View, name: str) -> None:
    """Draw the lowest and the highest value of a number, or of its percentile."""
    if f"{name}%" in filters.names(run).numbers and st.toggle("As percentiles", key="browse percentiles"):
        name += "%"
    step = labels.step(run) if name == "value" else None
    low, high = st.columns(2)
    for column, label, signs in ((low, "From", (">=", ">")), (high, "To", ("<=", "<"))):
        key = f"browse {label} {name}"
        bounds = _bounds(view, name, signs)
        show(key, bounds[0].bound if bounds else None)
        column.number_input(
            label, value=None, step=step, format="%.10g", key=key, on_change=_bound, args=(run, name, key, signs)
        )


def _bound(run: Run, name: str, key: str, signs: tuple[str, str]) -> None:
    """Take a bound from its field, in place of the one that there was."""
    bound, view = st.session_state[key], filters.current(run)
    _replace(run, view, _bounds(view, name, signs), [] if bound is None else [Compare(name, signs[0], float(bound))])


def _bounds(view: View, name: str, signs: tuple[str, str]) -> list[Compare]:
    return [each for each in view.conditions if isinstance(each, Compare) and each.name == name and each.sign in signs]


def _replace(run: Run, view: View, old: Sequence[Condition], new: Sequence[Condition]) -> None:
    """Replace some conditions of the view by others, at the end."""
    kept = [each for each in view.conditions if each not in old]
    filters.show(run, dataclasses.replace(view, conditions=(*kept, *new)))


def _then_by(run: Run, view: View) -> None:
    """Draw the names to sort by where those before are equal, each with its direction."""
    sortable, first = filters.sortable_names(run), view.order[0]
    choices = [(name, descending) for name in sortable if name != first[0] for descending in (True, False)]

    def choose() -> None:
        later = dict(st.session_state["browse then by"])  # a name counts once
        filters.show(run, dataclasses.replace(filters.current(run), order=(first, *later.items())))

    show("browse then by", list(view.order[1:]))
    st.multiselect(
        "Then sort by",
        choices,
        format_func=lambda pair: f"{sortable[pair[0]].title}, {'highest' if pair[1] else 'lowest'} first",
        key="browse then by",
        max_selections=_SORTED - 1,
        on_change=choose,
        placeholder="nothing",
    )
