"""Check that a model gives every example finite outputs of its own, which measures of single examples need."""

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.models.watching import described, passed, random_calls

# How much outputs may change with the size of a batch, by rounding, as a share of the largest; TF32 rounds on a GPU.
_ROUNDING, _ROUNDING_ON_GPU = 1e-4, 1e-2
# What to do about random numbers, in evaluation mode and in training mode.
_WITHOUT_DRAWS = (
    "draw random numbers only while self.training is true, as F.dropout(x, p, self.training) does",
    "use a model that draws no random numbers, such as one with dropout of 0",
)


def require_own_outputs(model: nn.Module, two: Tensor) -> Tensor:
    """Return the outputs ``[2, k]`` of a model in its current mode for two examples, which must be theirs alone.

    Raises:
        InputError: They have another shape or type, are not finite, change from call to call, or with the batch; the
            message names the layer.
    """
    mode = "in training mode" if model.training else "even in evaluation mode"
    with torch.no_grad():
        given, results = passed(model, two)
        outputs = _tensor(given, len(two))
        if not outputs.isfinite().all():
            first = next((name for name, each in results.items() if not _is_finite(each)), "")
            raise InputError(
                f"The outputs of this model are not finite numbers: {described(model, first)} is the first to give NaN "
                "or infinity; check its weights and what it divides by."
            )
        if _differ(model(two), outputs):
            calls = random_calls(model, two)
            raise InputError(
                f"The outputs for an example change from call to call, {mode} ({_listed(calls)}), so it has no "
                f"gradient of its own: {_WITHOUT_DRAWS[model.training]}."
            )
        alone, own = passed(model, two[:1])
        if isinstance(alone, Tensor) and alone.shape != outputs[:1].shape:
            raise InputError(
                f"The outputs of a model must be [examples, outputs], but for one example this one gives "
                f"{list(alone.shape)} instead of {list(outputs[:1].shape)}: keep the axis of the "
                "examples, by flatten(1) in place of squeeze()."
            )
        if not isinstance(alone, Tensor) or _differ(alone, outputs[:1]):
            raise InputError(
                f"The outputs for an example change with its batch, {mode}, so it has no gradient of its own "
                f"({_first_change(model, own, results)} is the first whose results change): remove what mixes "
                "examples, such as statistics of the batch."
            )
    return outputs


def _tensor(outputs: object, examples: int) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise InputError(f"A model must return a tensor [examples, outputs], but this one returns {_form(outputs)}.")
    if outputs.ndim != 2 or len(outputs) != examples:
        raise InputError(
            f"The outputs of a model must be [examples, outputs]; those of this one are {list(outputs.shape)}."
        )
    if outputs.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"The outputs of a model must be float32 or float64, but those of this one are "
            f"{str(outputs.dtype).removeprefix('torch.')}: return real numbers in full precision, without autocast."
        )
    return outputs


def _form(outputs: object) -> str:
    if isinstance(outputs, dict):
        return f"a dictionary of {', '.join(map(str, outputs))}: return its logits alone"
    if isinstance(outputs, list | tuple):
        return f"{len(outputs)} values: return the outputs alone"
    return f"a {type(outputs).__name__}"


def _differ(one: Tensor, other: Tensor) -> bool:
    rounding = _ROUNDING if one.device.type == "cpu" else _ROUNDING_ON_GPU
    return not torch.allclose(one, other, rtol=0.0, atol=rounding * float(other.abs().max()), equal_nan=True)


def _is_finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())


def _listed(calls: list[str]) -> str:
    return ", ".join(calls[:3]) or "an unknown call draws random numbers"


def _first_change(model: nn.Module, alone: dict[str, Tensor], together: dict[str, Tensor]) -> str:
    for name, value in alone.items():
        other = together.get(name)
        comparable = other is not None and other.shape[1:] == value.shape[1:] and value.is_floating_point()
        if other is not None and comparable and _differ(value, other[: len(value)]):
            return described(model, name)
    return described(model, "")
