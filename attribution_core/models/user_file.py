"""A model in your own Python file: ``FILE.py:FUNCTION``, where the function returns the module.

The file is run as ``python FILE.py`` would run it. It may state what the model expects of its data::

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
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn
from typing_extensions import override

from attribution_core.errors import InputError, first_problem
from attribution_core.models.plain import make_plain, materialize, unwrap_layers, unwrapped
from attribution_core.models.preprocessing import Preprocessing
from attribution_core.models.weights import digest_of_file, load_weights

_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<function>[^\W\d]\w*)")


@dataclass(frozen=True)
class UserModel:
    """Builder of a module that calls a function of the user's file; can be sent to other processes.

    Attributes:
        file: Absolute path of the file.
        function: Name of the function.
        num_outputs: Number of outputs of the module, as many as there are classes.
        input_shape: Shape of one example.
        class_names: Names of the classes, in the dataset's order.
        weights: File of weights to load into the module.
    """

    file: Path
    function: str
    num_outputs: int
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    weights: Path | None

    def __call__(self, seed: int) -> nn.Module:
        """Build the module on the CPU; PyTorch's global generator keeps its state.

        Raises:
            InputError: The function fails, has an unknown argument, or does not return a module.
        """
        offered = {
            "num_outputs": self.num_outputs,
            "num_classes": self.num_outputs,
            "input_shape": self.input_shape,
            "class_names": list(self.class_names),
            "seed": seed,
        }
        where, function = f"{self.file}:{self.function}", load_function(self.file, self.function)
        with torch.random.fork_rng(devices=[]), _siblings_importable(self.file), errors_reported(where):
            torch.manual_seed(seed)
            model = function(**_matching_arguments(function, offered, where))
            if not isinstance(model, nn.Module):
                raise InputError(
                    f"{where} must return a torch.nn.Module, but it returned a {type(model).__name__}: return the "
                    "model."
                )
            model = unwrapped(model, where)
            unwrap_layers(model)
            materialize(model, self.input_shape)
        if self.weights is not None:
            load_weights(model, self.weights)
        make_plain(model, where)
        return model


def is_user_model(model: str) -> bool:
    """Return whether a model's name refers to the user's own file."""
    return ".py" in model and (model.endswith(".py") or _REFERENCE.fullmatch(model) is not None)


def parse_user_model(reference: str) -> tuple[Path, str]:
    """Split ``FILE.py:FUNCTION`` into the absolute path and the function's name.

    Raises:
        InputError: No function is named, or there is no such file.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise InputError(
            f"{reference} does not name the function that returns the model. Give it as {reference}:FUNCTION."
        )
    file = Path(found["file"]).expanduser()
    if not file.is_file():
        raise InputError(f"There is no file {file}: give the model as FILE.py:FUNCTION.")
    return file.resolve(), found["function"]


def load_function(file: Path, name: str) -> Callable[..., Any]:
    """Return a function of a file by its name.

    Raises:
        InputError: The file fails, or has no such function.
    """
    function = getattr(_run_module(file), name, None)
    if not callable(function):
        raise InputError(
            f"{file} has no function {name!r}: name the function that returns the model, as {file}:FUNCTION."
        )
    return function


def load_preprocessing(file: Path) -> Preprocessing | None:
    """Return a file's ``PREPROCESSING``; None if it has none.

    Raises:
        InputError: The file fails, or ``PREPROCESSING`` has another form.
    """
    given = getattr(_run_module(file), "PREPROCESSING", None)
    if given is None:
        return None
    try:
        return Preprocessing.model_validate(given)
    except ValidationError as error:
        field, problem = first_problem(error)
        raise InputError(
            f"{'.'.join(filter(None, ['PREPROCESSING', field]))} in {file} must look like "
            f'{{"mean": [0.5], "std": [0.25], "size": 28}}, but it does not: {problem}.'
        ) from error


def require_class_names(file: Path, class_names: Sequence[str]) -> None:
    """Raise InputError if a file's ``CLASS_NAMES`` are not those of the dataset, in the same order."""
    given = getattr(_run_module(file), "CLASS_NAMES", None)
    if given is None or list(given) == list(class_names):
        return
    own, theirs = ", ".join(map(str, given)), ", ".join(class_names)
    if sorted(map(str, given)) != sorted(class_names):
        raise InputError(f"{file} is for the classes {own}, but the dataset has {theirs}: they must be the same.")
    order = [list(given).index(name) for name in class_names]
    raise InputError(
        f"The outputs of {file} have the order {own}, but the dataset's classes have the order {theirs}: take the "
        f"rows {order} of the last layer's weight and bias, and write CLASS_NAMES in that order."
    )


def _run_module(file: Path) -> ModuleType:
    """Run a file once for each content, and return its module, which is named by the digest of the content."""
    name = f"samplescope_model_{digest_of_file(file)[:16]}_{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    loader = _SourceLoader(name, str(file))
    module = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=str(file)))
    module.__file__ = str(file)
    sys.modules[name] = module  # dataclasses look up their module there
    try:
        with _siblings_importable(file), errors_reported(str(file)):
            loader.exec_module(module)
    except InputError:
        del sys.modules[name]
        raise
    return module


class _SourceLoader(SourceFileLoader):
    """Compile a file's source each time: a compiled file is taken to be current if second and size are the source's."""

    @override
    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


@contextmanager
def _siblings_importable(file: Path) -> Iterator[None]:
    """Let a file import the modules in its folder, as when Python runs it, and leave no compiled ones there."""
    folder, writes_nothing = str(file.parent), sys.dont_write_bytecode
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path.remove(folder)
        sys.dont_write_bytecode = writes_nothing


@contextmanager
def errors_reported(where: str) -> Iterator[None]:
    """Turn any exception of the user's code into one sentence; --debug shows the traceback."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{where} failed with {type(error).__name__}: {error} (run with --debug to see where)."
        ) from error


def _matching_arguments(function: Callable[..., Any], offered: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the offered arguments that a function takes."""
    parameters = inspect.signature(function).parameters.values()
    named = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    unknown = [each.name for each in named if each.name not in offered and each.default is each.empty]
    if unknown or any(each.kind is each.POSITIONAL_ONLY for each in named):
        raise InputError(
            f"{where} requires {', '.join(unknown) or 'positional-only arguments'}, but it can only be given "
            f"{', '.join(offered)}: give all other arguments a default."
        )
    return {each.name: offered[each.name] for each in named if each.name in offered}
