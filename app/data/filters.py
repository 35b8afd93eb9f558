"""What Browse shows and in which order, which Example and Map share: in the session, and in the address of the page."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from samplescope_app.data import health, query, session
from samplescope_app.data.query import Category, Condition, Names, Number
from samplescope_app.wording import labels
from samplescope_app.wording.labels import DECISION_NAMES

ALL = "all"  # every split
_VIEW, _BEFORE = "view", "views before"  # session keys
_PARAMETERS = ("split", "where", "sort", "rows")  # of the address
_REMEMBERED = 50  # views that can be undone
_LONGEST_ROWS = 16_000  # characters of an address; browsers and servers take four times that


@dataclass(frozen=True)
class View:
    """The examples that Browse shows, and their order; Example steps through the same list.

    Attributes:
        order: Names to sort by and whether the highest comes first; the second counts where the first is equal.
        split: train, validation, test, or :data:`ALL`.
        conditions: What the examples must meet, all of it.
        rows: Training rows selected on a map or handed over by a page; None for all.
    """

    order: tuple[tuple[str, bool], ...]
    split: str = "train"
    conditions: tuple[Condition, ...] = ()
    rows: tuple[int, ...] | None = None

    @property
    def score(self) -> str:
        """The name that the list is sorted by first."""
        return self.order[0][0]


def default(run: Run) -> View:
    """Return all training examples, the suspicious end of the first score first."""
    return sorted_by(run, run.scores[0])


def sorted_by(run: Run, score: str, descending: bool | None = None) -> View:
    """Return all training examples sorted by a score, its suspicious end first unless told."""
    return View(((score, session.suspicious_end(run, score) if descending is None else descending),))


def current(run: Run) -> View:
    """Return the session's view, less what the run does not have (yet, or any more)."""
    view: View | None = st.session_state.get(_VIEW)
    if view is None:
        return default(run)
    known, sortable = names(run), sortable_names(run)
    order = tuple((name, descending) for name, descending in view.order if name in sortable)
    view = dataclasses.replace(
        view,
        order=order or default(run).order,
        conditions=tuple(each for each in view.conditions if _is_known(each, known)),
    )
    if view.rows is not None or view.split not in splits(run, view):
        view = dataclasses.replace(view, split="train")
    return view


def _is_known(condition: Condition, known: Names) -> bool:
    match condition:
        case query.AnyOf(name):
            return name in known.categories
        case query.Compare(name):
            return name in known.numbers
    return True


def shown_score(run: Run) -> str:
    """Return the score to show on tiles: the first that the session's view sorts by, else the run's first."""
    return next((name for name, _ in current(run).order if name in run.scores), run.scores[0])


def splits(run: Run, view: View) -> list[str]:
    """Return the splits whose examples have the score, or another number, that a view sorts by first."""
    found = ["train"]
    if view.score in run.scores:
        found = session.splits_of(run, view.score)
    elif view.score in health.NUMBERS:
        found = ["train", "validation", "test"]
    return [*found, ALL] if len(found) > 1 else found


def show(run: Run, view: View) -> None:
    """Make a view the session's, so that it can be undone, and write it into the address if the page has one there."""
    _remember(current(run))
    st.session_state[_VIEW] = view
    if "sort" in st.query_params:
        _write(run)


def undo(run: Run) -> None:
    """Return to the view before the last change."""
    if before := st.session_state.get(_BEFORE):
        st.session_state[_VIEW] = before.pop()
        _write(run)


def can_undo() -> bool:
    """Return whether a view was shown before this one."""
    return bool(st.session_state.get(_BEFORE))


def _remember(view: View) -> None:
    before = st.session_state.setdefault(_BEFORE, [])
    before.append(view)
    del before[:-_REMEMBERED]


def forget() -> None:
    """Forget the view and those before it, since another run is shown."""
    for key in (_VIEW, _BEFORE):
        st.session_state.pop(key, None)


def follow_address(run: Run) -> None:
    """Take the view from the address of the page, where it has one, else write the session's view into it.

    Raises:
        InputError: If the address asks for what the run does not have.
    """
    asked = {name: st.query_params[name] for name in _PARAMETERS if name in st.query_params}
    if asked and asked != address(run, current(run)):
        view, before = from_address(run, asked), st.session_state.get(_BEFORE)
        if before and before[-1] == view:  # the browser's Back undoes, too
            before.pop()
        elif _VIEW in st.session_state:
            _remember(current(run))
        st.session_state[_VIEW] = view
    _write(run)


def _write(run: Run) -> None:
    """Write the view into the address in one step, beside the parameters of other kinds."""
    others = {name: value for name, value in st.query_params.items() if name not in _PARAMETERS}
    written = others | address(run, current(run))
    if written != st.query_params.to_dict():
        st.query_params.from_dict(written)


def address(run: Run, view: View) -> dict[str, str]:
    """Return the parameters of an address that shows a view; a selection of very many rows has no place there."""
    parameters = {"sort": ",".join("-" * descending + name for name, descending in view.order)}
    if view.split != "train":
        parameters["split"] = view.split
    if view.conditions:
        parameters["where"] = query.written(view.conditions)
    if view.rows is not None and len(packed := _packed(view.rows, len(run.examples))) <= _LONGEST_ROWS:
        parameters["rows"] = packed
    return parameters


def from_address(run: Run, parameters: Mapping[str, str]) -> View:
    """Return the view that the parameters of an address ask for.

    Raises:
        InputError: If they ask for what the run does not have.
    """
    view, sortable = default(run), sortable_names(run)
    if asked := parameters.get("sort"):
        order = tuple((name.removeprefix("-"), name.startswith("-")) for name in asked.split(","))
        if unknown := [name for name, _ in order if name not in sortable]:
            raise InputError(f"There is no {unknown[0]} to sort by. There are {', '.join(sortable)}.")
        view = dataclasses.replace(view, order=order)
    view = dataclasses.replace(
        view,
        conditions=query.parse(parameters.get("where", ""), names(run)),
        rows=_unpacked(parameters["rows"], len(run.examples)) if "rows" in parameters else None,
    )
    split = parameters.get("split", "train")
    if split not in (known := splits(run, view)):
        raise InputError(f"No split called {split} can be sorted by {view.score}. There are {', '.join(known)}.")
    return dataclasses.replace(view, split=split)


def _packed(rows: tuple[int, ...], count: int) -> str:
    """Return rows as text for an address: a bit for each training example, compressed."""
    chosen = np.zeros(count, dtype=bool)
    chosen[[row for row in rows if row < count]] = True  # of a run that was since written anew, there may be more
    return base64.urlsafe_b64encode(zlib.compress(np.packbits(chosen).tobytes(), 9)).rstrip(b"=").decode()


def _unpacked(text: str, count: int) -> tuple[int, ...]:
    size = (count + 7) // 8
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        bits = zlib.decompressobj().decompress(packed, size + 1)  # no more than that, whatever it would expand to
    except (binascii.Error, ValueError, zlib.error):
        bits = b""
    if len(bits) != size:
        raise InputError("The selection in this address is damaged or of another run.")
    return tuple(np.flatnonzero(np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=count)).tolist())


def sortable_names(run: Run) -> dict[str, Category | Number]:
    """Return what examples can be sorted by: scores, other numbers, classes and predictions."""
    known = names(run)
    numbers = {name: number for name, number in known.numbers.items() if not name.endswith("%")}
    return numbers | {name: known.categories[name] for name in ("class", "predicted") if name in known.categories}


def names(run: Run) -> Names:
    """Return what conditions on the run's examples can be about."""
    return _names(run, run.version, tuple(run.scores), session.tags(run))


@st.cache_resource(max_entries=8, show_spinner=False)
def _names(_run: Run, version: str, scores: tuple[str, ...], tags: tuple[str, ...]) -> Names:  # noqa: ARG001 (a cache key)
    categories: dict[str, Category] = {}
    numbers = {score: Number(_run.measure(score).title, score) for score in scores}
    numbers |= {
        f"{score}%": Number(f"{_run.measure(score).title}, percentile", f"{score} percentile") for score in scores
    }
    if _run.values is None:
        categories["class"] = Category("Class", "label_name", _run.class_names)
        if _run.has_predictions:
            categories["predicted"] = Category("Predicted", "predicted_name", _run.class_names)
            stored = {"right": True, "wrong": False}
            categories["prediction"] = Category("Prediction", "correct", list(stored), stored)
        if "suggested_name" in _run.examples:
            categories["suggested"] = Category("Suggested", "suggested_name", _run.class_names)
            numbers["suggested_confidence"] = Number("Confidence in the suggestion", "suggested_confidence")
    else:
        numbers["value"] = Number(labels.name(_run), "label")
        if _run.has_predictions:
            numbers["predicted"] = Number(f"Predicted {labels.name(_run)}", "predicted")
    found = health.of(_run)
    numbers |= {
        name: Number(title, column)
        for name, (title, column) in health.NUMBERS.items()
        if name not in {*numbers, *_run.groups} and (column == health.COPIES or found.statistics is not None)
    }
    categories["issue"] = Category("Issue", health.ISSUES, list(found.issues), several=True)
    decisions = {name: action for action, name in DECISION_NAMES.items()}
    categories["decision"] = Category("Decision", "action", list(decisions), decisions)
    categories["tag"] = Category("Tag", "tags", tags, several=True)
    frame, groups = session.examples(_run), labels.kinds(_run)
    for group in groups:
        title = labels.group_title(_run, group).capitalize()
        categories.setdefault(group, Category(title, group, sorted(frame[group].unique())))
    return Names(categories, numbers, ["id", *groups, "text"])


def table(run: Run, split: str) -> pd.DataFrame:
    """Return the table that :func:`matching` gives positions in: in both, training examples come first."""
    return session.examples(run) if split == "train" else session.everything(run)


def matching(run: Run, view: View) -> np.ndarray:
    """Return the positions of the examples that a view shows, in order, int64; shared, so do not change the array.

    Returns:
        Positions in ``session.everything``, which are rows for training examples.
    """
    return _matching(run, run.version, run.decisions.version(), view)


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs={View: repr})
def _matching(_run: Run, version: str, decisions: int, view: View) -> np.ndarray:  # noqa: ARG001 (a cache key)
    frame, known = table(_run, view.split), names(_run)
    keep = np.ones(len(frame), dtype=bool) if view.split == ALL else np.array(frame["split"] == view.split)
    for condition in view.conditions:
        keep &= query.meets(frame, condition, known)
    if view.rows is not None:
        keep &= np.isin(frame["row"], view.rows) & np.array(frame["split"] == "train")
    *first, (name, descending) = view.order
    found = _sorted(_run, version, view.split == "train", name, descending)
    found = found[keep[found]]
    for name, descending in reversed(first):
        found = found[_order(frame.iloc[found], known, name, descending)]
    return found


@st.cache_resource(max_entries=16, show_spinner=False)
def _sorted(_run: Run, version: str, of_training: bool, name: str, descending: bool) -> np.ndarray:  # noqa: ARG001 (a cache key)
    """Return the positions of all examples in an order that no decision changes."""
    return _order(table(_run, "train" if of_training else ALL), names(_run), name, descending)


def _order(frame: pd.DataFrame, known: Names, name: str, descending: bool) -> np.ndarray:
    """Return the positions of examples sorted by a name; equal ones stay in their order, missing ones come last."""
    if name in known.numbers:
        key = frame[known.numbers[name].column].to_numpy(dtype="float64")
    else:
        key = pd.factorize(frame[known.categories[name].column], sort=True)[0]
    return np.argsort(-key if descending else key, kind="stable")
