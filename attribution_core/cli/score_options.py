"""The options of ``samplescope score`` and ``estimate``, made from the fields of ScoreConfig and its recipe."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.settings import OUT, SETTINGS, Setting, configuration_from

# Options whose names differ from their fields'.
_OPTION_NAMES = {"trainable": "--train"}
_RECIPE_OPTION_NAMES = {
    "weight_decay": "--train-weight-decay",
    "patience": "--plateau-patience",
    "factor": "--schedule-factor",
}
# What the help of a recipe's option says besides.
_MORE_HELP = {"weight_decay": " For the linearized model, give --weight-decay."}

Out = Annotated[Path | None, typer.Option("--out", help=OUT.description)]


def takes_configuration(command: Callable[[ScoreConfig], None]) -> Callable[..., None]:
    """Wrap a command that takes a configuration into one that takes its options."""

    @functools.wraps(command)
    def with_options(out: Path | None = None, **given: Any) -> None:
        values = {_parameter_name(each): each for each in SETTINGS}
        fields = configuration_from({values[name]: value for name, value in given.items()}, out=out)
        command(ScoreConfig.model_validate(fields))

    del with_options.__wrapped__  # Typer reads the signature below, not that of the wrapped command
    parameters = [_parameter(each) for each in SETTINGS]
    out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Out)
    parameters.insert(1, out)
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


def _parameter_name(setting: Setting) -> str:
    return f"recipe_{setting.name}" if setting.in_recipe else setting.name


def _option_name(setting: Setting) -> str:
    names = _RECIPE_OPTION_NAMES if setting.in_recipe else _OPTION_NAMES
    return names.get(setting.name, f"--{setting.name.replace('_', '-')}")


def _parameter(setting: Setting) -> inspect.Parameter:
    """Return the command's parameter for a setting: the argument ``data``, or an option."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    if setting.name == "data":
        argument = Annotated[str, typer.Argument(help=setting.description)]
        return inspect.Parameter("data", keyword, annotation=argument)
    kind: Any = Literal[setting.choices] if setting.choices else setting.kind
    default = setting.default
    if setting.several:
        kind, default = list[kind], list(default) or None
    more = _MORE_HELP.get(setting.name, "") if setting.in_recipe else " Can be repeated." if setting.several else ""
    # Bounds that a value must not reach are left to ScoreConfig: Typer knows only those that it may reach.
    bounds: dict[str, Any] = {"min": setting.minimum, "max": setting.maximum} if setting.kind in (int, float) else {}
    option = typer.Option(
        _option_name(setting), help=setting.description + more, rich_help_panel=setting.group, **bounds
    )
    if default is None:
        kind = kind | None
    return inspect.Parameter(_parameter_name(setting), keyword, default=default, annotation=Annotated[kind, option])
