"""Turn a module as programs build it into one whose layers can be watched, copied and differentiated."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter, is_lazy
from torch.nn.utils import parametrizations, remove_weight_norm
from torch.nn.utils.weight_norm import WeightNorm

from attribution_core.errors import InputError
from attribution_core.models.runtime import evaluation_mode

# Attributes under which wrappers keep the module within, and the wrappers' names.
_WITHIN = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
}
_NARROW = (torch.float16, torch.bfloat16)


def plain_copy(model: nn.Module, shape: tuple[int, ...], name: str) -> nn.Module:
    """Return a copy of a module without wrappers and lazy layers, made plain.

    Args:
        model: Any module; not changed.
        shape: Shape of one example.
        name: What the model is called in an error.

    Raises:
        InputError: It cannot be made plain; see :func:`unwrapped` and :func:`make_plain`.
    """
    copied = copy_of(unwrapped(model, name))
    unwrap_layers(copied)
    materialize(copied, shape)
    make_plain(copied, name)
    return copied


def unwrapped(model: nn.Module, name: str) -> nn.Module:
    """Return the module within ``torch.compile``, ``DataParallel`` and their like.

    Args:
        model: Any module; not changed.
        name: What the model is called in an error.

    Raises:
        InputError: It is or holds a TorchScript module.
    """
    while type(model).__name__ in _WITHIN:
        model = getattr(model, _WITHIN[type(model).__name__])
    for layer, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"its layer {layer!r} is" if layer else "it is"
            raise InputError(
                f"{name} cannot be scored because {what} a TorchScript module, whose layers cannot be watched: return "
                "the Python module that it was made from."
            )
    return model


def unwrap_layers(model: nn.Module) -> None:
    """Replace wrapped layers within a model by what they wrap, and take off compilation."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            setattr(module, name, unwrapped(child, name))
    for module in model.modules():
        module._compiled_call_impl = None
        original = getattr(type(module).forward, "_torchdynamo_orig_callable", None)
        if original is not None:
            module.forward = original.__get__(module)


def materialize(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Give lazy layers their sizes, by a pass of two examples of a shape; draws from PyTorch's generator."""
    if any(isinstance(module, LazyModuleMixin) for module in model.modules()):
        with evaluation_mode(model), torch.no_grad():
            model(torch.zeros(2, *shape, dtype=_dtype_of(model)))


def make_plain(model: nn.Module, name: str) -> None:
    """Prepare a module with its weights to be differentiated, in place, without changing what it computes.

    Parameters of half precision are widened to float32. Weight normalization by hooks is replaced by that of
    :mod:`torch.nn.utils.parametrizations`, since hooks leave a tensor that can be neither copied nor replaced.

    Raises:
        InputError: Parameters are complex or lazy, or another hook computes a weight.
    """
    for parameter, value in model.named_parameters():
        if is_lazy(value):
            raise InputError(f"{name} has a lazy parameter {parameter!r} that its forward never uses: remove it.")
        if value.is_complex() or not value.is_floating_point():
            raise InputError(
                f"The parameters of {name} must be real numbers, but {parameter!r} is "
                f"{str(value.dtype).removeprefix('torch.')}: keep its real and imaginary parts as two parameters, or "
                "as one by torch.view_as_real."
            )
    if any(value.dtype in _NARROW for value in model.parameters()):
        model.float()
    for layer, module in model.named_modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                _parametrize(module, hook)
            elif isinstance(module.__dict__.get(getattr(hook, "name", "")), Tensor):
                raise InputError(
                    f"Layer {layer!r} of {name} computes its {hook.name} in a hook ({type(hook).__name__}), which "
                    "derivatives cannot pass: use torch.nn.utils.parametrizations, or make the weight permanent."
                )


def copy_of(model: nn.Module) -> nn.Module:
    """Return a deep copy of a module, also if its layers keep tensors of their last pass."""
    kept = {id(each): each.detach() for each in _kept_tensors(model) if not each.is_leaf}
    return copy.deepcopy(model, kept)


def _kept_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors among the modules' attributes, also within their lists and dictionaries."""
    for module in model.modules():
        waiting = [value for name, value in vars(module).items() if not name.startswith("_")]
        waiting += list(module._buffers.values())
        while waiting:
            value = waiting.pop()
            if isinstance(value, Tensor):
                yield value
            elif isinstance(value, list | tuple):
                waiting += value
            elif isinstance(value, dict):
                waiting += value.values()


def _parametrize(module: nn.Module, hook: WeightNorm) -> None:
    magnitude, direction = (getattr(module, f"{hook.name}_{part}").detach().clone() for part in ("g", "v"))
    remove_weight_norm(module, hook.name)
    parametrizations.weight_norm(module, hook.name, hook.dim)
    made = dict(module.named_parameters())
    with torch.no_grad():
        made[f"parametrizations.{hook.name}.original0"].copy_(magnitude)
        made[f"parametrizations.{hook.name}.original1"].copy_(direction)


def _dtype_of(model: nn.Module) -> torch.dtype:
    found = (value.dtype for value in model.parameters() if not isinstance(value, UninitializedParameter))
    return next((dtype for dtype in found if dtype.is_floating_point), torch.get_default_dtype())
