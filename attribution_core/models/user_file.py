"""A model in a Python file of one's own: ``FILE.py:FUNCTION``, where the function returns the module.

The file is run, as ``python FILE.py`` would run it. It may say what the model expects of its data::

    PREPROCESSING = {"mean": [0.49, 0.48, 0.45], "std": [0.25, 0.24, 0.26], "size": 32}
    CLASS_NAMES = ["cat", "dog"]


    def build(num_classes):
        return Net(num_classes)
"""

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from attribution_core.errors import InputError, first_problem
from attribution_core.models.preprocessing import Preprocessing
from attribution_core.models.weights import digest_of_file, load_weights

_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<function>[^\W\d]\w*)")


@dataclass(frozen=True)
class UserModel:
    """Builds a module from a seed by calling a function of a file; can be sent to other processes.

    Attributes:
        file: Absolute.
        function: Its name there.
        num_outputs: Of the module, as many as there are classes.
        input_shape: Of one example.
        class_names: In the dataset's order.
        weights: A file to load into what the function returns.
    """

    file: Path
    function: str
    num_outputs: int
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    weights: Path | None

    def __call__(self, seed: int) -> nn.Module:
        """The module on the CPU; PyTorch's global generator is left as it was.

        Raises:
            InputError: The function fails, asks for what there is not, or returns something else.
        """
        offered = {
            "num_outputs": self.num_outputs,
            "num_classes": self.num_outputs,
            "input_shape": self.input_shape,
            "class_names": list(self.class_names),
            "seed": seed,
        }
        where, function = f"{self.file}:{self.function}", load_function(self.file, self.function)
        with torch.random.fork_rng(devices=[]), _beside(self.file), _told_of(where):
            torch.manual_seed(seed)
            model = function(**_asked_for(function, offered, where))
        if not isinstance(model, nn.Module):
            raise InputError(f"{where} should return a torch.nn.Module, and returned a {type(model).__name__}.")
        if self.weights is not None:
            load_weights(model, self.weights)
        return model


def is_user_model(model: str) -> bool:
    """Whether a model's name means a file of one's own."""
    return ".py" in model and (model.endswith(".py") or _REFERENCE.fullmatch(model) is not None)


def parse_user_model(reference: str) -> tuple[Path, str]:
    """The absolute file and the function that ``FILE.py:FUNCTION`` names.

    Raises:
        InputError: No function is named, or there is no such file.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise InputError(f"Which function of {reference} returns the model? Give it as {reference}:FUNCTION.")
    file = Path(found["file"]).expanduser()
    if not file.is_file():
        raise InputError(f"There is no file {file}: give the model as FILE.py:FUNCTION.")
    return file.resolve(), found["function"]


def load_function(file: Path, name: str) -> Callable[..., Any]:
    """A function of a file by its name.

    Raises:
        InputError: The file fails, or has no such function.
    """
    function = getattr(_module_of(file), name, None)
    if not callable(function):
        raise InputError(f"{file} has no function {name!r}: give the one that returns the model, as {file}:FUNCTION.")
    return function


def load_preprocessing(file: Path) -> Preprocessing | None:
    """What a file says of its model's images, where it does.

    Raises:
        InputError: The file fails, or says it in another form.
    """
    given = getattr(_module_of(file), "PREPROCESSING", None)
    if given is None:
        return None
    try:
        return Preprocessing.model_validate(given)
    except ValidationError as error:
        where, why = first_problem(error)
        raise InputError(
            f"{'.'.join(filter(None, ['PREPROCESSING', where]))} in {file} should be like "
            f'{{"mean": [0.5], "std": [0.25], "size": 28}}, and is not: {why}.'
        ) from error


def require_class_names(file: Path, class_names: Sequence[str]) -> None:
    """Raises InputError where a file names the classes of its outputs, and the dataset has others or another order."""
    given = getattr(_module_of(file), "CLASS_NAMES", None)
    if given is None or list(given) == list(class_names):
        return
    own, theirs = ", ".join(map(str, given)), ", ".join(class_names)
    if sorted(map(str, given)) != sorted(class_names):
        raise InputError(f"{file} is for the classes {own}, and the dataset has {theirs}: they must be the same.")
    order = [list(given).index(name) for name in class_names]
    raise InputError(
        f"The outputs of {file} come in the order {own}, and the dataset's classes in the order {theirs}: take the "
        f"rows {order} of the last layer's weight and bias, and write CLASS_NAMES in that order."
    )


def _module_of(file: Path) -> ModuleType:
    """The file, run once for each content: its module's name is that of its digest."""
    name = f"samplescope_model_{digest_of_file(file)[:16]}_{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is not a Python file: give the model as FILE.py:FUNCTION.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        with _beside(file), _told_of(str(file)):
            spec.loader.exec_module(module)
    except InputError:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Lets a file import what lies beside it, as when Python runs it."""
    folder = str(file.parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


@contextmanager
def _told_of(where: str) -> Iterator[None]:
    """Turns whatever another's code raises into a sentence; --debug shows the rest."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{where} failed with {type(error).__name__}: {error} (--debug shows where).") from error


def _asked_for(function: Callable[..., Any], offered: dict[str, Any], where: str) -> dict[str, Any]:
    """Of what is offered, the arguments that a function has."""
    parameters = inspect.signature(function).parameters.values()
    named = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    unknown = [each.name for each in named if each.name not in offered and each.default is each.empty]
    if unknown or any(each.kind is each.POSITIONAL_ONLY for each in named):
        raise InputError(
            f"{where} asks for {', '.join(unknown) or 'arguments without names'}, and is offered "
            f"{', '.join(offered)}: give the others a default."
        )
    return {each.name: offered[each.name] for each in named if each.name in offered}
