"""The form of the New run page: the settings of a run, made from the fields of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from attribution_core.jobs.requests import (
    DATASETS,
    GROUPS,
    MODELS,
    SETTINGS,
    Setting,
    configuration_from,
)
from samplescope_app.panels import folder_picker
from samplescope_app.wording.text import plain

_OWN = "own"
_SOURCES = {**{name: name for name in DATASETS}, _OWN: "your own data"}
_SOURCE, _PATH = "new source", "new path"  # keys of the two widgets that together give the setting ``data``
_FORM = tuple(each for each in SETTINGS if each.name != "data")
# The settings that each group shows at once; the others are folded under its heading of further settings.
_FIRST = {
    "Data": ("target", "task", "encoder", "image_size", "max_train"),
    "Model": ("model",),
    "Training": ("optimizer", "learning_rate", "weight_decay", "epochs", "batch_size", "seed", "device"),
    "Measures": (),
}
_FURTHER = {
    "Data": "More data settings",
    "Model": "More model settings",
    "Training": "More training settings",
    "Measures": "Measure settings",
}
_OF_OWN_DATA = {"target", "task", "encoder"}  # the built-in datasets need none of these
_CHOICES: dict[str, tuple[str, ...]] = {"model": tuple(MODELS), "device": ("auto", "cpu", "cuda")}
_PLACEHOLDERS = {
    "target": "label, target, class or y",
    "image_size": "original",
    "max_train": "all",
    "damping": "automatic",
    "learning_rate": "automatic",
    "weights": "/data/weights.safetensors",
    "hidden": "for example 256, 128",
}
_OFF = "off"
_COLUMNS = 3


def fill_in(options: Mapping[str, Any] | None, replace: bool = False) -> None:
    """Give the widgets their first values: those of the options of a run, or else the defaults.

    Args:
        options: Options of a run.
        replace: Whether to replace what the form holds already, as a link from another page does.
    """
    given = options or {}
    data = given.get("data", next(iter(DATASETS)))
    values: dict[str, Any] = {_SOURCE: data if data in DATASETS else _OWN, _PATH: "" if data in DATASETS else data}
    for setting in _FORM:
        part = given.get("recipe", {}) if setting.in_recipe else given
        value = part.get(setting.name, _default(setting))
        if _can_be_off(setting):
            values[_switch_key(setting)] = value != _OFF
            value = _default(setting) if value == _OFF else value
        values[_key(setting)] = _as_shown(setting, value)
    for key, value in values.items():
        if replace or key not in st.session_state:
            st.session_state[key] = value


def turn_off(measure: str) -> None:
    """Turn the switch of a measure off; the form must be filled in and not be drawn yet."""
    st.session_state[_switch_of(measure)] = False


def is_off(measure: str) -> bool:
    """Return whether the switch of a measure is off."""
    return not st.session_state[_switch_of(measure)]


def draw(costs: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Draw the form.

    Args:
        costs: What a measure costs, in words for the place beside its switch, by the name of its setting.

    Returns:
        The options of a run that the form holds.
    """
    for group in GROUPS:
        _draw_group(group, costs or {})
    return _options()


def _draw_group(group: str, costs: Mapping[str, str]) -> None:
    st.markdown(f"**{group}**")
    if group == "Data":
        _draw_source()
    settings = [each for each in _FORM if each.group == group]
    if st.session_state[_SOURCE] != _OWN:
        settings = [each for each in settings if each.name not in _OF_OWN_DATA]
    first = [each for each in settings if each.name in _FIRST[group]]
    _draw_in_columns(sorted(first, key=lambda each: _FIRST[group].index(each.name)))
    if group == "Model":
        st.caption(plain(MODELS[st.session_state[_key(first[0])]]))
    if group == "Measures":
        st.caption("Every run computes F-SI, SI and NTK influence. These are computed where the model allows it.")
    for setting in filter(_can_be_off, settings):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.toggle(setting.title, help=plain(setting.description), **_widget(_switch_key(setting)))
            if setting.name in costs:
                st.caption(costs[setting.name], width="content")
    further = [each for each in settings if each not in first and not (_can_be_off(each) and len(_choices(each)) < 2)]
    with st.expander(_FURTHER[group]):
        _draw_in_columns(further)


def _draw_source() -> None:
    st.segmented_control(
        "Data",
        list(_SOURCES),
        format_func=_SOURCES.__getitem__,
        required=True,
        label_visibility="collapsed",
        **_widget(_SOURCE),
    )
    source = st.session_state[_SOURCE]
    if source != _OWN:
        st.caption(plain(DATASETS[source]))
        return
    folder_picker.take_picked(_PATH)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Path on this machine", placeholder="/data/my-images", **_widget(_PATH))
        folder_picker.button(_PATH)
    st.caption(
        "Images: a folder with one subfolder for each class, a CSV or JSONL of paths and labels, Parquet, .npz, "
        "IDX files or a saved Hugging Face dataset. Texts: CSV, JSONL or Parquet with text and label, or a "
        "folder of text files for each class. Tables: CSV, JSONL or Parquet with a target column and the columns "
        "to predict it from."
    )


def _draw_in_columns(settings: list[Setting]) -> None:
    for start in range(0, len(settings), _COLUMNS):
        row = settings[start : start + _COLUMNS]
        for setting, column in zip(row, st.columns(_COLUMNS if len(settings) > 1 else 1), strict=False):
            with column:
                _draw_setting(setting)


def _draw_setting(setting: Setting) -> None:
    """Draw the widget that suits a setting's kind."""
    label = f"{setting.title}: method" if _can_be_off(setting) else setting.title
    shared = {"help": plain(setting.description), **_widget(_key(setting))}
    if _choices(setting):
        st.selectbox(label, _choices(setting), **shared)
        return
    if setting.kind is bool:
        st.toggle(label, **shared)
        return
    placeholder = _PLACEHOLDERS.get(setting.name, str(setting.default or ""))
    if setting.kind not in (int, float) or setting.several:
        st.text_input(label, placeholder=placeholder, **shared)
        return
    # With bounds of its own the field would keep a number beyond them to itself, and the run would use the one before.
    step: dict[str, Any] = {"step": 1} if setting.kind is int else {"step": 0.01, "format": "%g"}
    st.number_input(label, placeholder=placeholder, **step, **shared)
    if wrong := _what_is_wrong(setting):
        st.markdown(f":material/error: :red[{plain(wrong)}]")


def wrong_numbers() -> list[str]:
    """Return a sentence for each number in the form that its setting does not allow."""
    return [
        wrong for each in _FORM if each.kind in (int, float) and not each.several if (wrong := _what_is_wrong(each))
    ]


def _what_is_wrong(setting: Setting) -> str:
    """Return which numbers a setting allows, in a sentence; empty if the form holds one of them, or none."""
    number = st.session_state[_key(setting)]
    if number is None:
        return ""
    least, most = setting.minimum, setting.maximum
    above, below = setting.above, setting.below
    if setting.kind is int and least is None and above is None:
        least = 0
    wrong = (
        (least is not None and number < least)
        or (most is not None and number > most)
        or (above is not None and number <= above)
        or (below is not None and number >= below)
    )
    if not wrong:
        return ""
    bounds = [
        f"{words} {bound:,g}"
        for words, bound in (("at least", least), ("more than", above), ("at most", most), ("less than", below))
        if bound is not None
    ]
    kind = "a whole number" if setting.kind is int else "a number"
    return f"{setting.title}: enter {kind} of {' and '.join(bounds)}."


def _options() -> dict[str, Any]:
    """Return the options that the form holds: the data, and every setting that is not at its default."""
    source = st.session_state[_SOURCE]
    values = {each: _value(each) for each in _FORM if source == _OWN or each.name not in _OF_OWN_DATA}
    chosen = {each: value for each, value in values.items() if value != _default(each)}
    return {"data": source if source != _OWN else st.session_state[_PATH].strip(), **configuration_from(chosen)}


def _value(setting: Setting) -> Any:
    """Return the value of a setting; None where a widget is empty."""
    if _can_be_off(setting) and not st.session_state[_switch_key(setting)]:
        return _OFF
    shown = st.session_state[_key(setting)]
    if not isinstance(shown, str) or _choices(setting):
        return shown
    text = shown.strip()
    if setting.several:
        return [int(part) if part.strip().isdigit() else part.strip() for part in text.split(",") if part.strip()]
    return text or _default(setting)


def _as_shown(setting: Setting, value: Any) -> Any:
    """Return what a setting's widget holds for a value."""
    if choices := _choices(setting):
        return value if value in choices else _default(setting)
    if setting.several:
        return ", ".join(map(str, value))
    if setting.kind is bool:
        return bool(value)
    if setting.kind in (int, float):
        return None if value is None else setting.kind(value)
    return "" if value is None or value == setting.default else str(value)


def _default(setting: Setting) -> Any:
    """Return the value at which a setting need not be given."""
    return list(setting.default) if setting.several else setting.default


def _choices(setting: Setting) -> tuple[str, ...]:
    return tuple(each for each in _CHOICES.get(setting.name, setting.choices) if each != _OFF)


def _can_be_off(setting: Setting) -> bool:
    return _OFF in setting.choices


def _key(setting: Setting) -> str:
    return f"new recipe.{setting.name}" if setting.in_recipe else f"new {setting.name}"


def _switch_key(setting: Setting) -> str:
    return f"{_key(setting)} on"


def _switch_of(measure: str) -> str:
    return next(_switch_key(each) for each in _FORM if each.name == measure)


def _widget(key: str) -> dict[str, Any]:
    return {"key": key, "persist_state": "session"}
