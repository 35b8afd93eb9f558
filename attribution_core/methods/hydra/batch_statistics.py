r"""Batch normalization in HYDRA: derivatives through the statistics of a batch, and with these as constants.

BatchNorm normalizes each channel by the statistics ``S(w)`` (mean and variance) of all examples of a batch. A weight
``s_i`` multiplies the loss of example i and leaves its inputs in the batch. The contribution is thus still
``<u, grad l_i> / B`` for the adjoint u of the step's gradient (:mod:`attribution_core.methods.hydra.contributions`),
with a loss ``l_i(w, S(w))`` that depends on the whole batch through S. Along a direction u,

    <u, grad l_i> = <u, d l_i / d w> + <S'(w) u, d l_i / d S>,                                                     (1)

where the partial derivatives are those of example i alone, since with S fixed examples do not mix.

**Along given directions** (a mean, a class, the exact derivative) both terms come from one forward-mode derivative of
the whole batch, at the cost that a network without BatchNorm has (:func:`moving_statistics`).

**The exact derivative** also follows the running statistics ``r_t = (1 - a) r_{t-1} + a S(w_{t-1})``, by which the
final model normalizes. With the adjoint ``rho = d loss(w_T, r_T) / d r_T`` at the end, a step backward is

    gamma <- gamma + a S'(w)^T rho,    rho <- (1 - a) rho.                                                         (2)

``S'(w)^T rho`` costs no pass of its own: it is the tangent of the gradient of ``<rho, S(w)>`` if rho has the value 0
and the tangent rho.

**Hessian-free pairs** take the statistics of each step as constants: a layer is an affine map of each channel, and
every example has factors of its own (:func:`constant_statistics`), for one more backward pass a step. The whole
second term of equation (1) would need ``S'(w) grad l_j`` at each step, a forward-mode pass of the batch for each
evaluation example j. What the layer just before moves is added in closed form
(:mod:`attribution_core.methods.hydra.coupling`). The replayed steps themselves keep the whole gradient.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from attribution_core.errors import InputError


class Statistics(NamedTuple):
    """Statistics of one layer's inputs over a batch and its positions.

    Attributes:
        mean: Mean of each channel, ``[c]``.
        variance: Variance of each channel, without Bessel's correction, ``[c]``.
        size: Count of numbers that each is an average of.
    """

    mean: Tensor
    variance: Tensor
    size: int

    @property
    def unbiased_variance(self) -> Tensor:
        """Variance with Bessel's correction, which the running variance follows."""
        return self.variance * (self.size / max(1, self.size - 1))


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return the layers that normalize by the statistics of a batch in the model's current mode, by name."""
    return {name: each for name, each in model.named_modules() if isinstance(each, _BatchNorm) and each.training}


def running_statistics(layers: dict[str, _BatchNorm]) -> dict[str, Tensor]:
    """Return the layers' running means and variances, by the names of the model's buffers."""
    found: dict[str, Tensor] = {}
    for name, layer in layers.items():
        prefix = f"{name}." if name else ""
        found |= {f"{prefix}{kind}": layer.get_buffer(kind) for kind in ("running_mean", "running_var")}
    return found


def update_rate(layer: _BatchNorm, updates: int) -> float:
    """Return the weight of a batch in a layer's running statistics, a of equation (2).

    Args:
        layer: A layer; without a momentum, its running statistics are averages over all batches.
        updates: Number of updates including this one.
    """
    return 1 / updates if layer.momentum is None else layer.momentum


@contextmanager
def constant_statistics(
    model: nn.Module, given: dict[str, Statistics] | None = None
) -> Iterator[dict[str, Statistics]]:
    """Let BatchNorm layers in training mode normalize by constants, and leave their buffers alone.

    Args:
        model: The model, used within the block.
        given: Statistics of each layer; None takes them, without derivatives, from the first pass in the block.

    Yields:
        The statistics of each layer, by name, complete after the first pass.
    """
    with _normalizing(model, True, given) as found:
        yield found


@contextmanager
def moving_statistics(model: nn.Module) -> Iterator[dict[str, Statistics]]:
    """Let BatchNorm layers in training mode have derivatives through their statistics, and leave their buffers alone.

    In evaluation mode, they have derivatives in their running statistics, as far as these are inputs of the pass.

    Yields:
        The statistics of each layer in the last pass, by name, with their derivatives.
    """
    with _normalizing(model, False, None) as found:
        yield found


@contextmanager
def _normalizing(
    model: nn.Module, constant: bool, given: dict[str, Statistics] | None
) -> Iterator[dict[str, Statistics]]:
    layers = {name: each for name, each in model.named_modules() if isinstance(each, _BatchNorm)}
    if not layers:
        yield {}
        return
    mode = _Normalization(layers, constant, given)
    counters = {name: layer.num_batches_tracked for name, layer in layers.items()}
    with ExitStack() as stack:
        # A module that several names share is called once in a pass, as functional_call calls it.
        hook = model.register_forward_pre_hook(lambda _module, _given: mode.used.clear())
        stack.callback(hook.remove)
        for name, layer in layers.items():
            layer.num_batches_tracked = None
            stack.callback(setattr, layer, "num_batches_tracked", counters[name])
        stack.enter_context(mode)
        yield mode.found


class _Normalization(TorchFunctionMode):
    """Computes ``F.batch_norm`` by its formula, with statistics that are constants or move."""

    def __init__(self, layers: dict[str, _BatchNorm], constant: bool, given: dict[str, Statistics] | None) -> None:
        super().__init__()
        self.found: dict[str, Statistics] = dict(given or {})
        self.used: set[str] = set()
        self._constant = constant
        # Copies of a buffer that functional_call puts into its place share its memory.
        self._names = {layer.get_buffer("running_mean").data_ptr(): name for name, layer in layers.items()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (self._batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        inputs: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,  # noqa: ARG002 - buffers are left alone
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            if self._constant:
                return F.batch_norm(inputs, running_mean, running_var, weight, bias, False, 0.0, eps)
            return _normalized(inputs, running_mean, running_var, weight, bias, eps)
        statistics = self._statistics(inputs, self._names.get(running_mean.data_ptr()))
        return _normalized(inputs, statistics.mean, statistics.variance, weight, bias, eps)

    def _statistics(self, inputs: Tensor, name: str | None) -> Statistics:
        if name is None or name in self.used:
            what = "is used more than once in a pass" if name else "is called outside a layer"
            raise InputError(
                f"Batch normalization{f' in layer {name!r}' if name else ''} {what}, so its statistics cannot be told "
                "apart: use a layer of its own for each use, or GroupNorm."
            )
        self.used.add(name)
        if not self._constant or name not in self.found:
            self.found[name] = batch_statistics(inputs.detach() if self._constant else inputs)
        return self.found[name]


def batch_statistics(inputs: Tensor) -> Statistics:
    """Return the statistics of a batch ``[b, c, ...]``."""
    axes = [0, *range(2, inputs.ndim)]
    mean = inputs.mean(axes)
    variance = (inputs - _by_channel(mean, inputs.ndim)).square().mean(axes)
    return Statistics(mean, variance, inputs.numel() // max(1, inputs.shape[1]))


def _normalized(
    inputs: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    scale = torch.rsqrt(variance + eps)
    found = (inputs - _by_channel(mean, inputs.ndim)) * _by_channel(scale, inputs.ndim)
    found = found if weight is None else found * _by_channel(weight, inputs.ndim)
    return found if bias is None else found + _by_channel(bias, inputs.ndim)


def _by_channel(values: Tensor, axes: int) -> Tensor:
    """Return ``[c, 1, ...]``, for broadcasting with ``[b, c, ...]``."""
    return values.reshape(-1, *[1] * (axes - 2))
