"""What help and forms need to know of a configuration's fields: title, description, kind, choices, bounds, default."""

import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from attribution_core.preparation.config import GROUPS, ScoreConfig, usual_rate
from attribution_core.training.recipe import Recipe

# Fields that no command line and no form offers: ``out`` and ``decisions`` have commands and pages that set them; the
# labels decide the loss, and the run's seed is the recipe's too; a preprocessing needs Python.
_NOT_OFFERED = {
    ScoreConfig: {"out", "decisions", "preprocessing", "recipe"},
    Recipe: {"loss", "seed"},
}
# Defaults that the labels or the model decide, in words.
_DEFAULTS = {
    "learning_rate": f"Default: {{}} with sgd, {usual_rate('adam', False)} with adam and adamw, "
    f"{usual_rate('iblr', False)} with iblr; for regression {usual_rate('sgd', True)}, and {usual_rate('iblr', True)} "
    "with iblr; for a head on frozen layers trained with sgd, what their features allow.",
    "weight_decay": "Default: {}; for a head on frozen layers, the decay of least leave-one-out loss.",
}


@dataclass(frozen=True)
class Setting:
    """A field of :class:`ScoreConfig`, or of its recipe.

    Attributes:
        name: Its name in the model.
        title: A short label for it.
        description: What it means, in plain words without markup.
        kind: Type of its values; of each entry where there are several.
        choices: The values it allows; empty where the kind alone decides.
        several: Whether it holds any number of values of the kind.
        minimum: Smallest value.
        maximum: Largest value.
        above: A value that it must exceed.
        below: A value that it must stay under.
        default: Its default; None where it may stay empty.
        in_recipe: Whether it is a field of the recipe.
        group: The heading it belongs to, one of :data:`GROUPS`.
    """

    name: str
    title: str
    description: str
    kind: type
    choices: tuple[str, ...] = ()
    several: bool = False
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    default: Any = None
    in_recipe: bool = False
    group: str = ""


def _setting(name: str, field: FieldInfo, group: str, in_recipe: bool = False) -> Setting:
    """Describe a field."""
    kind, choices, several = _kind_of(field.annotation)
    bounds = {type(each): each for each in field.metadata}
    return Setting(
        name=name,
        title=field.title or name.replace("_", " ").capitalize(),
        description=" ".join((field.description or "").split()),
        kind=kind,
        choices=choices,
        several=several,
        minimum=bounds[Ge].ge if Ge in bounds else None,
        maximum=bounds[Le].le if Le in bounds else None,
        above=bounds[Gt].gt if Gt in bounds else None,
        below=bounds[Lt].lt if Lt in bounds else None,
        default=None if field.is_required() else field.default,
        in_recipe=in_recipe,
        group=group,
    )


def _kind_of(annotation: Any) -> tuple[type, tuple[str, ...], bool]:
    """Return the type of a field's values, its choices, and whether it holds several values."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _kind_of(next(each for each in arguments if each is not types.NoneType))
    if origin is Literal:
        return str, arguments, False
    if origin is tuple:
        return arguments[0], (), True
    return annotation, (), False


def _offered(model: type[BaseModel], names: tuple[str, ...], group: str) -> list[Setting]:
    fields = model.model_fields
    found = [_setting(name, fields[name], group, model is Recipe) for name in names if name not in _NOT_OFFERED[model]]
    return [_without_default(each) if each.name in _DEFAULTS else each for each in found]


def _without_default(setting: Setting) -> Setting:
    """Return a setting that may stay empty, since the labels or the model decide its default."""
    default = _DEFAULTS[setting.name].format(setting.default)
    return replace(setting, default=None, description=f"{setting.description} {default}")


def _all_settings() -> tuple[Setting, ...]:
    found: list[Setting] = []
    for group, names in GROUPS.items():
        for name in names:
            if name == "recipe":
                found += _offered(Recipe, tuple(Recipe.model_fields), group)
            else:
                found += _offered(ScoreConfig, (name,), group)
    return tuple(found)


SETTINGS = _all_settings()
OUT = _setting("out", ScoreConfig.model_fields["out"], "Data")


def configuration_from(values: dict[Setting, Any], **others: Path | None) -> dict[str, Any]:
    """Return the fields of a :class:`ScoreConfig`, with those of the recipe in its place.

    Args:
        values: Value of each setting; None leaves a setting at its default.
        others: Fields of :class:`ScoreConfig` that are not settings.
    """
    given = {setting: value for setting, value in values.items() if value is not None}
    recipe = {setting.name: value for setting, value in given.items() if setting.in_recipe}
    own = {setting.name: value for setting, value in given.items() if not setting.in_recipe}
    return {**own, "recipe": recipe, **{name: value for name, value in others.items() if value is not None}}
