"""Watch a model while it runs: in which layer it is, and what draws random numbers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass
class RunningLayers:
    """The layers that are running, outermost first, by name.

    Attributes:
        names: Names of the modules; an error leaves those in which it was raised.
        model: The whole model.
    """

    model: nn.Module
    names: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Name the innermost one."""
        return described(self.model, self.names[-1] if self.names else "")


@contextmanager
def running_layers(model: nn.Module) -> Iterator[RunningLayers]:
    """Follow which layers run within the block."""
    running = RunningLayers(model)

    def enter(name: str) -> Any:
        return lambda _module, _given: running.names.append(name)

    def leave(_module: nn.Module, _given: object, _result: object) -> None:
        running.names.pop()

    handles = []
    for name, module in model.named_modules():
        handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()


def random_calls(model: nn.Module, inputs: Tensor) -> list[str]:
    """Return the calls that draw random numbers in a pass, with the layers that make them; the model keeps its mode."""
    found: dict[str, None] = {}
    calls: list[str] = []

    class Calls(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(getattr(func, "__name__", str(func)))
            try:
                return func(*args, **(kwargs or {}))
            finally:
                calls.pop()

    class Draws(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if torch.Tag.nondeterministic_seeded in func.tags:
                found[f"{calls[0] if calls else func.overloadpacket.__name__} in {running}"] = None
            return func(*args, **(kwargs or {}))

    with torch.random.fork_rng(devices=[]), torch.no_grad(), running_layers(model) as running, Draws(), Calls():
        model(inputs)
    return list(found)


def last_operation(outputs: Tensor) -> str:
    """Return the name of the operation that gave these outputs, such as ``"softmax"``; empty where a leaf did.

    Operations that only change the shape or the type are passed over.
    """
    node = outputs.grad_fn
    while node is not None:
        name = re.sub(r"Backward\d*$", "", node.name()).strip("_")
        if name.endswith("AccumulateGrad"):
            return ""
        if name not in _SHAPES:
            return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
        node = node.next_functions[0][0] if node.next_functions else None
    return ""


# Operations that pass their values on.
_SHAPES = {
    "View", "UnsafeView", "Reshape", "ReshapeAlias", "Squeeze", "Unsqueeze", "Clone", "Alias", "ToCopy", "Permute",
    "Transpose", "T", "Slice", "Select", "Expand", "Identity",
}  # fmt: skip


def passed(model: nn.Module, inputs: Tensor) -> tuple[object, dict[str, Tensor]]:
    """Return the outputs, and the last result of each layer that gives a tensor, in the order in which they end."""
    results: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _given: object, result: object) -> None:
            if isinstance(result, Tensor):
                results.pop(name, None)
                results[name] = result.detach().clone()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules()]
    try:
        return model(inputs), results
    finally:
        for handle in handles:
            handle.remove()


def described(model: nn.Module, name: str) -> str:
    """Return a layer's name and kind, as an error gives them."""
    kind = type(model.get_submodule(name)).__name__
    return f"layer {name!r} ({kind})" if name else f"its forward ({kind})"
