"""The health of a dataset: how many examples have which issue, each a link to their tiles in Browse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from attribution_core.runs import Run
from samplescope_app.data import filters, health, navigation
from samplescope_app.data.filters import View
from samplescope_app.data.query import AnyOf
from samplescope_app.wording import labels

_FAR = f"more than {health.FAR} robust standard deviations of its logarithm from the median, and by a factor of two"
_WRONG_VALUE = (
    "The value is further from what label quality expects than a single one of so many would be, if all were right."
)


@dataclass(frozen=True)
class _Shown:
    """How an issue is shown: its title for one and for several, its rule, what Browse sorts by, and of which splits."""

    one: str
    several: str
    rule: str
    sort: str
    descending: bool = False
    split: str = filters.ALL


_ISSUES = {
    "mislabeled": _Shown(
        "likely wrong {label}",
        "likely wrong {label}s",
        "The given {label} is more likely wrong than right, by label quality and the share of wrong ones that best "
        "explains all {label}s.",
        "label_quality",
    ),
    "leak": _Shown(
        "leak into validation or test",
        "leaks into validation or test",
        "Validation and test examples that are identical to, or near-duplicates of, training examples; each is listed "
        "beside its copies.",
        "copies",
    ),
    "near-duplicate": _Shown(
        "near-duplicate",
        "near-duplicates",
        "Training examples that are nearly identical to another one to the trained network.",
        "nearest_similarity",
        descending=True,
        split="train",
    ),
    "outlier": _Shown(
        "outlier",
        "outliers",
        f"Training examples whose distance to the nearest one, to the trained network, is {_FAR}.",
        "nearest_similarity",
        split="train",
    ),
    "identical": _Shown(
        "identical {example}", "identical {example}s", "All {contents} are equal to those of another.", "copies"
    ),
    "dark": _Shown("dark image", "dark images", f"The odds of the mean gray level are low: {_FAR}.", "brightness"),
    "bright": _Shown(
        "bright image", "bright images", f"The odds of the mean gray level are high: {_FAR}.", "brightness", True
    ),
    "low-contrast": _Shown(
        "low-contrast image",
        "low-contrast images",
        f"The odds of the standard deviation of the gray levels are low: {_FAR}.",
        "contrast",
    ),
    "blurred": _Shown(
        "blurred image",
        "blurred images",
        f"The variance of the Laplacian, relative to that of the gray levels, is low: {_FAR}.",
        "sharpness",
    ),
    "odd-size": _Shown(
        "oddly sized image", "oddly sized images", f"The number of pixels or the aspect ratio is {_FAR}.", "width", True
    ),
}


def draw(run: Run) -> None:
    """Draw a link for each issue that examples have, and name in a line those that none has."""
    found = health.of(run)
    train = np.arange(len(found.copies)) < len(run.examples)
    counts = {
        name: int((has & ~train).sum() if name == "leak" else has.sum())
        for name, has in found.issues.items()
        if _can_be_listed(run, name)
    }
    with st.container(gap="xxsmall", key="health"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown("**Health of the data**", width="content")
            for name in _ISSUES:
                if counts.get(name):
                    _link(run, name, counts[name])
        if quiet := _quiet(run, counts, found.expected):
            st.caption(quiet)


def _quiet(run: Run, counts: dict[str, int], expected: float) -> str:
    """Return what there is none of, and how many labels are wrong beside those that can be told, in a line."""
    none = [_words(run, shown.several) for name, shown in _ISSUES.items() if counts.get(name) == 0]
    parts = [f"At least {expected:,.0f} wrong {labels.noun(run)}s expected in all"] if expected >= 1 else []
    if none:
        parts.append("No " + ", ".join(none).replace(" images,", ","))  # images come last
    return ". ".join(parts)


def _can_be_listed(run: Run, name: str) -> bool:
    return _ISSUES[name].sort in filters.sortable_names(run)


def _link(run: Run, name: str, count: int) -> None:
    """Draw the number of examples with an issue, as a link that can be opened in another tab."""
    shown = _ISSUES[name]
    view = View(((shown.sort, shown.descending),), split=shown.split, conditions=(AnyOf("issue", (name,)),))
    if view.split not in filters.splits(run, view):  # label quality of training examples only
        view = View(view.order, conditions=view.conditions)
    st.page_link(
        navigation.PAGES["browse"],
        label=f"{count:,} {_words(run, shown.one if count == 1 else shown.several)}",
        query_params={"run": run.id, **filters.address(run, view)},
        icon=":material/grid_view:",
        help=_WRONG_VALUE if name == "mislabeled" and run.values is not None else _words(run, shown.rule),
        width="content",
    )


def _words(run: Run, text: str) -> str:
    noun = labels.example_noun(run)
    contents = {"image": "pixels", "text": "characters", "row": "columns"}[noun]
    return text.format(label=labels.noun(run), example=noun, contents=contents)
