"""Factors of per-example gradients from one forward pass and k backward passes through activations.

Since examples do not meet in evaluation mode, a backward pass of ``sum_b f_c(x_b)`` gives the gradient of every example
in every layer's result at once; no per-example weight gradient is formed unless asked for
(:mod:`attribution_core.gradients.layers`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.layers import MAKERS, LayerFactors


def layer_factors(
    model: nn.Module, inputs: Tensor, layers: dict[str, nn.Module], mixture: Tensor | None = None
) -> tuple[Tensor, list[LayerFactors]]:
    """Outputs and factors of one batch.

    Args:
        model: In evaluation mode.
        inputs: ``[b, ...]``, on the model's device.
        layers: The layers wanted, by name, each of a kind in ``MAKERS``.
        mixture: ``[b, k]``: the factors are those of the one output ``sum_c mixture_bc f_c(x_b)``, for a single
            backward pass; None gives those of all k outputs.

    Returns:
        ``f(x)`` ``[b, k]`` and one :class:`LayerFactors` for each layer, in the order of ``layers``.

    Raises:
        InputError: A layer that is not used exactly once in a pass, or outputs that are not ``[b, k]``.
    """
    outputs, seen = _passed(model, inputs, layers)
    if not layers:
        return outputs.detach(), []
    totals = outputs.sum(dim=0) if mixture is None else (outputs * mixture).sum()[None]
    results = [result for _, result in seen.values()]
    gradients = [
        torch.autograd.grad(total, results, retain_graph=c + 1 < len(totals), materialize_grads=True)
        for c, total in enumerate(totals)
    ]
    factors = []
    for position, (name, (given, _)) in enumerate(seen.items()):
        stacked = torch.stack([each[position] for each in gradients], dim=1)
        factors.append(MAKERS[type(layers[name])](name, layers[name], given, stacked))
    return outputs.detach(), factors


def output_gradients(
    model: nn.Module, inputs: Tensor, layers: dict[str, nn.Module], mixture: Tensor
) -> dict[str, Tensor]:
    """Gradients of ``sum_c mixture_bc f_c(x_b)`` in each layer's output, of its own shape, by name.

    Arguments and errors are those of :func:`layer_factors`.
    """
    outputs, seen = _passed(model, inputs, layers)
    results = [result for _, result in seen.values()]
    return dict(zip(seen, torch.autograd.grad(outputs, results, mixture, materialize_grads=True), strict=True))


def loss_factors(
    model: nn.Module,
    inputs: Tensor,
    layers: dict[str, nn.Module],
    loss: Callable[[Tensor], Tensor],
    parameters: Sequence[Tensor] = (),
) -> tuple[list[LayerFactors], tuple[Tensor, ...]]:
    """Factors of each example's part in the gradient of a loss, and that gradient itself, from one backward pass.

    Args:
        model: Trained as it is: examples must not meet in it.
        inputs: ``[b, ...]``, on the model's device.
        layers: The layers wanted, by name, each of a kind in ``MAKERS``.
        loss: Outputs ``[b, k]`` to a scalar that is a sum over examples.
        parameters: Whose gradients of the loss are wanted as well.

    Returns:
        Factors of one output, which is the loss, in the order of ``layers``; and the parameters' gradients.

    Raises:
        InputError: A layer that is not used exactly once in a pass, or outputs that are not ``[b, k]``.
    """
    outputs, seen = _passed(model, inputs, layers)
    results = [result for _, result in seen.values()]
    with torch.enable_grad():
        total = loss(outputs)
    gradients = torch.autograd.grad(total, [*results, *parameters], materialize_grads=True)
    factors = [
        MAKERS[type(layers[name])](name, layers[name], given, gradient[:, None])
        for (name, (given, _)), gradient in zip(seen.items(), gradients, strict=False)
    ]
    return factors, gradients[len(results) :]


class Energy(NamedTuple):
    """What :func:`energy_of` finds for a batch.

    Attributes:
        outputs: ``f(x)``, ``[b, k]``.
        mixture: u, ``[b, k]``.
        value: The energy, ``[b]``.
        gradient: Its gradient in u, ``[b, k]``; None if not asked for.
    """

    outputs: Tensor
    mixture: Tensor
    value: Tensor
    gradient: Tensor | None


def energy_of(
    model: nn.Module,
    inputs: Tensor,
    layers: dict[str, nn.Module],
    mixture: Callable[[Tensor], Tensor],
    energy: Callable[[list[LayerFactors]], Tensor],
    gradient: bool = True,
) -> Energy:
    """An energy of the gradients ``J^T u`` of the mixture ``u . f(x)``, for every example, and its gradient in u.

    With the energy ``|P J^T u|^2 / 2`` the gradient is ``J P^T P J^T u``: products with each example's own kernel in
    the metric ``P^T P``, for a forward pass, a backward pass and that one's backward pass, however many outputs.

    Args:
        model: In evaluation mode.
        inputs: ``[b, ...]``, on the model's device.
        layers: The layers that count, by name, each of a kind in ``MAKERS``.
        mixture: Outputs ``[b, k]`` to u ``[b, k]``.
        energy: Factors of the one output ``u . f(x)`` to ``[b]``, differentiable.
        gradient: Whether the gradient is wanted, for about as much time again.

    Raises:
        InputError: A layer that is not used exactly once in a pass, or outputs that are not ``[b, k]``.
    """
    outputs, seen = _passed(model, inputs, layers)
    weights = mixture(outputs.detach()).requires_grad_(gradient)
    if not layers:
        return Energy(outputs.detach(), weights.detach(), torch.zeros_like(weights[:, 0]), torch.zeros_like(weights))
    results = [result for _, result in seen.values()]
    with torch.set_grad_enabled(gradient):
        gradients = torch.autograd.grad(outputs, results, weights, create_graph=gradient, materialize_grads=True)
        factors = [
            MAKERS[type(layers[name])](name, layers[name], given, each[:, None])
            for (name, (given, _)), each in zip(seen.items(), gradients, strict=True)
        ]
        value = energy(factors)
    product = torch.autograd.grad(value.sum(), weights, materialize_grads=True)[0] if gradient else None
    return Energy(outputs.detach(), weights.detach(), value.detach(), product)


class Watch:
    """Records what passes through some layers while a training loop runs as it always does; a context manager.

    Attributes:
        layers: By name, each of a kind in ``MAKERS``.
    """

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        self.layers = layers
        self._seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}
        self._recording = ExitStack()

    def __enter__(self) -> "Watch":
        self._recording.enter_context(_recording(self.layers, self._seen, retain=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._recording.close()

    def factors(self) -> list[LayerFactors]:
        """Of the loss whose backward pass came last, as :func:`loss_factors` gives them; forgets that pass.

        Raises:
            InputError: No backward pass, or a layer that was not used exactly once in it.
        """
        found = []
        for name, uses in self._seen.items():
            passed = [(given, result.grad) for given, result in uses if result.grad is not None]
            if len(passed) != 1:
                raise InputError(
                    f"Layer {name!r} had {len(passed)} backward passes since the last step; call this once for each, "
                    "within the with block, with batches small enough for memory to hold them whole."
                )
            given, gradient = passed[0]
            found.append(MAKERS[type(self.layers[name])](name, self.layers[name], given, gradient[:, None]))
            uses.clear()
        return found


def _passed(
    model: nn.Module, inputs: Tensor, layers: dict[str, nn.Module]
) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """Outputs, with their graph, and what each layer took and gave on the way."""
    # What is known to change its input in place gets a copy; what turns out to have done so gets one in a second pass.
    for copies in (True,) if any(getattr(module, "inplace", False) for module in model.modules()) else (False, True):
        seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}
        with _recording(layers, seen, copies=copies), torch.enable_grad():
            outputs = model(inputs)
        if all(result._version == 0 for uses in seen.values() for _, result in uses):
            break
    if outputs.ndim != 2 or len(outputs) != len(inputs):
        raise InputError(f"A model must give [examples, outputs]; this one gives {list(outputs.shape)}.")
    for name, uses in seen.items():
        if len(uses) != 1:
            raise InputError(f"Layer {name!r} is used {len(uses)} times in a pass; per-example gradients need one use.")
    return outputs, {name: uses[0] for name, uses in seen.items()}


@contextmanager
def _recording(
    layers: dict[str, nn.Module],
    seen: dict[str, list[tuple[Tensor, Tensor]]],
    retain: bool = False,
    copies: bool = True,
) -> Iterator[None]:
    """Record each layer's input and output; with copies, what follows gets one, which an in-place ReLU may change."""

    def hook_of(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            recorded = output if output.requires_grad else output.detach().requires_grad_()
            if retain and not recorded.is_leaf:
                recorded.retain_grad()
            seen[name].append((arguments[0].detach(), recorded))
            return recorded.clone() if copies or recorded.is_leaf else recorded

        return hook

    handles = [layer.register_forward_hook(hook_of(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
