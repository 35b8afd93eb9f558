"""The language of filters: conditions on examples, how they are written, and which examples meet them.

``class:Shirt,Coat predicted:Coat confidence>0.9 -decision:dropped 0123`` lists the examples of two classes that the
model takes for coats with a confidence above 0.9, that are not dropped, and that have 0123 in their id, group or text.
Values with a space, a comma or a colon stand in double quotes. Browse's field, its address and saved views share this
language.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from attribution_core.errors import InputError

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_NAME = rf'(?:{_QUOTED}|[^\s":<>=-][^\s":<>=]*)'
_VALUE = rf'(?:{_QUOTED}|[^\s",]+)'
_TERM = re.compile(
    rf"\s*(?P<minus>-)?(?:(?P<name>{_NAME})(?P<sign>:\s*|\s*[<>]=?\s*)(?P<values>{_VALUE}(?:,{_VALUE})*)"
    rf"|(?P<word>{_QUOTED}|\S+))"
)
_ONE_VALUE = re.compile(_VALUE)
_PLAIN = re.compile(r'[^\s",:<>=\\-][^\s",:<>=\\]*')  # needs no quotes
_SIGNS = {">=": np.greater_equal, ">": np.greater, "<=": np.less_equal, "<": np.less}


@dataclass(frozen=True)
class AnyOf:
    """The value of a category is one of some, or, if excluded, none of them."""

    name: str
    values: tuple[str, ...]
    excluded: bool = False


@dataclass(frozen=True)
class Compare:
    """A number is at least, more than, at most or less than a bound; a missing number meets no bound."""

    name: str
    sign: str
    bound: float


@dataclass(frozen=True)
class Contains:
    """The id, a group or the text of the example contains some characters in either case, or, if excluded, does not."""

    text: str
    excluded: bool = False


Condition = AnyOf | Compare | Contains


@dataclass(frozen=True)
class Category:
    """A column of names.

    Attributes:
        title: What pages call it.
        column: Its column in the table of examples.
        values: The names that a condition may ask for, as people write them.
        stored: Name -> value in the column, where they differ.
        several: Whether an example has any number of names, so that the column holds sequences.
    """

    title: str
    column: str
    values: Sequence[str]
    stored: Mapping[str, object] = field(default_factory=dict)
    several: bool = False


@dataclass(frozen=True)
class Number:
    """A column of numbers, by the title that pages give it."""

    title: str
    column: str


@dataclass(frozen=True)
class Names:
    """What conditions can be about: name -> column; and the columns that words are looked for in."""

    categories: Mapping[str, Category]
    numbers: Mapping[str, Number]
    searched: Sequence[str]


def parse(text: str, names: Names) -> tuple[Condition, ...]:
    """Return the conditions that a text asks for, in its order.

    Raises:
        InputError: If it asks for a name, a value or a comparison that does not exist; the sentence says what does.
    """
    found: list[Condition] = []
    for term in _TERM.finditer(text):
        excluded, name, sign = term["minus"] is not None, term["name"], (term["sign"] or "").strip()
        if name is None:
            if word := _unquoted(term["word"]):
                found.append(Contains(word, excluded))
        elif sign == ":":
            values = tuple(_unquoted(value) for value in _ONE_VALUE.findall(term["values"]))
            found += _colon(_unquoted(name), values, excluded, names)
        else:
            if excluded:
                raise InputError(f"{term[0].strip()}: turn the comparison around instead of excluding it.")
            found.append(Compare(_number(_unquoted(name), names), sign, _bound(_unquoted(term["values"]))))
    return tuple(dict.fromkeys(found))


def written(conditions: Sequence[Condition]) -> str:
    """Return the text that :func:`parse` turns into these conditions."""
    return " ".join(map(_written, conditions))


def _written(condition: Condition) -> str:
    match condition:
        case AnyOf(name, values, excluded):
            return f"{'-' * excluded}{_quoted(name)}:{','.join(map(_quoted, values))}"
        case Compare(name, sign, bound):
            return f"{_quoted(name)}{sign}{bound!r}"
        case Contains(text, excluded):
            return "-" * excluded + _quoted(text)


def meets(frame: pd.DataFrame, condition: Condition, names: Names) -> np.ndarray:
    """Return which examples of a table meet a condition, bool ``[n]``; an example without the column does not."""
    match condition:
        case AnyOf(name, values, excluded):
            return _has_any(frame, names.categories[name], values) != excluded
        case Compare(name, sign, bound):
            column = names.numbers[name].column
            if column not in frame:
                return np.zeros(len(frame), dtype=bool)
            return np.asarray(_SIGNS[sign](frame[column].to_numpy(dtype="float64"), bound))
        case Contains(text, excluded):
            found = np.zeros(len(frame), dtype=bool)
            for column in names.searched:
                if column in frame:
                    contained = frame[column].str.contains(text, case=False, regex=False)
                    found |= contained.fillna(False).to_numpy(dtype=bool)
            return found != excluded


def _has_any(frame: pd.DataFrame, category: Category, values: Sequence[str]) -> np.ndarray:
    if category.column not in frame:
        return np.zeros(len(frame), dtype=bool)
    column, wanted = frame[category.column], [category.stored.get(value, value) for value in values]
    if category.several:
        return column.map(lambda own: not set(wanted).isdisjoint(own)).to_numpy(dtype=bool)
    return column.isin(wanted).to_numpy(dtype=bool)


def _colon(name: str, values: tuple[str, ...], excluded: bool, names: Names) -> list[Condition]:
    """Return the conditions of ``name:values``: names of a category, or a range such as ``loss:0.1..0.5``."""
    if name in names.categories:
        category = names.categories[name]
        return [AnyOf(name, tuple(_known(value, category, name) for value in values), excluded)]
    number, (low, dots, high) = _number(name, names), values[0].partition("..")
    if excluded or len(values) > 1 or not dots:
        raise InputError(f"{name} is a number: write {name}>0.5, or {name}:0.1..0.5 for a range.")
    bounds = ((">=", low), ("<=", high))
    return [Compare(number, sign, _bound(bound)) for sign, bound in bounds if bound]


def _known(value: str, category: Category, name: str) -> str:
    """Return a value of a category as it is spelled there."""
    by_fold = {known.casefold(): known for known in reversed(category.values)}
    if value in category.values or (value := by_fold.get(value.casefold(), value)) in category.values:
        return value
    raise InputError(f"No {name} is called {value}. There are {_some(category.values)}.")


def _number(name: str, names: Names) -> str:
    if name in names.numbers:
        return name
    if name in names.categories:
        raise InputError(f"{name} is no number: write {name}:{_quoted(next(iter(names.categories[name].values), ''))}.")
    known = _some([*names.categories, *names.numbers], 40)
    raise InputError(f"There is no {name} to filter by. There are {known}. Text with a colon goes in double quotes.")


def _some(values: Sequence[str], most: int = 12) -> str:
    listed = ", ".join(list(values)[:most])
    return listed + (f" and {len(values) - most:,} more" if len(values) > most else "")


def _bound(text: str) -> float:
    try:
        bound = float(text)
    except ValueError:
        bound = math.nan
    if math.isnan(bound):
        raise InputError(f"{text} is no number.")
    return bound


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text
