"""Factors of per-example gradients from one forward pass and k backward passes through activations.

Since examples do not mix in evaluation mode, a backward pass of ``sum_b f_c(x_b)`` gives every example's gradient in
every layer's result at once. Per-example weight gradients are formed only on request
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
    """Return the outputs and factors of one batch.

    Args:
        model: Model in evaluation mode.
        inputs: Inputs ``[b, ...]``, on the model's device.
        layers: Layers to differentiate, by name, each of a kind in ``MAKERS``.
        mixture: Weights of the outputs ``[b, k]``, for the factors of the single output ``sum_c mixture_bc f_c(x_b)``,
            in one backward pass; None gives the factors of all k outputs.

    Returns:
        ``f(x)`` ``[b, k]`` and one :class:`LayerFactors` for each layer, in the order of ``layers``.

    Raises:
        InputError: A layer is not used exactly once in a pass, or the outputs are not ``[b, k]``.
    """
    outputs, seen = _passed(model, inputs, layers)
    if not layers:
        return outputs.detach(), []
    totals = outputs.sum(dim=0) if mixture is None else _mixed(outputs, mixture)[None]
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
    """Return the gradients of ``sum_c mixture_bc f_c(x_b)`` in each layer's output, by name and in the output's shape.

    Arguments and errors are those of :func:`layer_factors`.
    """
    outputs, seen = _passed(model, inputs, layers)
    results = [result for _, result in seen.values()]
    return dict(zip(seen, torch.autograd.grad(_mixed(outputs, mixture), results, materialize_grads=True), strict=True))


def loss_factors(
    model: nn.Module,
    inputs: Tensor,
    layers: dict[str, nn.Module],
    loss: Callable[[Tensor], Tensor],
    parameters: Sequence[Tensor] = (),
) -> tuple[list[LayerFactors], tuple[Tensor | None, ...]]:
    """Return the factors of each example's share of a loss gradient, and that gradient, from one backward pass.

    Args:
        model: The model, used in its current mode, in which it must not mix examples.
        inputs: Inputs ``[b, ...]``, on the model's device.
        layers: Layers to differentiate, by name, each of a kind in ``MAKERS``.
        loss: Function from outputs ``[b, k]`` to a scalar that is a sum over examples.
        parameters: Parameters whose gradients of the loss to return as well.

    Returns:
        Factors of a single output, the loss, in the order of ``layers``; and the parameters' gradients, None for a
        parameter that the loss does not depend on, as ``backward`` leaves it.

    Raises:
        InputError: A layer is not used exactly once in a pass, or the outputs are not ``[b, k]``.
    """
    outputs, seen = _passed(model, inputs, layers)
    results = [result for _, result in seen.values()]
    with torch.enable_grad():
        total = loss(outputs)
    gradients = torch.autograd.grad(total, [*results, *parameters], allow_unused=True)
    own = [torch.zeros_like(result) if each is None else each for result, each in zip(results, gradients, strict=False)]
    factors = [
        MAKERS[type(layers[name])](name, layers[name], given, gradient[:, None])
        for (name, (given, _)), gradient in zip(seen.items(), own, strict=True)
    ]
    return factors, gradients[len(results) :]


class Energy(NamedTuple):
    """Result of :func:`energy_of` for a batch.

    Attributes:
        outputs: Outputs ``f(x)``, ``[b, k]``.
        mixture: Weights u of the outputs, ``[b, k]``.
        value: Energy of each example, ``[b]``.
        gradient: Its gradient in u, ``[b, k]``; None if not requested.
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
    """Return an energy of each example's gradient ``J^T u`` of the mixture ``u . f(x)``, and its gradient in u.

    With the energy ``|P J^T u|^2 / 2`` the gradient is ``J P^T P J^T u``: products with each example's own kernel in
    the metric ``P^T P``, for a forward pass, a backward pass and its backward pass, for any number of outputs.

    Args:
        model: Model in evaluation mode.
        inputs: Inputs ``[b, ...]``, on the model's device.
        layers: Layers that count, by name, each of a kind in ``MAKERS``.
        mixture: Function from outputs ``[b, k]`` to u ``[b, k]``.
        energy: Differentiable function from the factors of the single output ``u . f(x)`` to energies ``[b]``.
        gradient: Whether to compute the gradient, which doubles the time.

    Raises:
        InputError: A layer is not used exactly once in a pass, or the outputs are not ``[b, k]``.
    """
    outputs, seen = _passed(model, inputs, layers)
    weights = mixture(outputs.detach()).requires_grad_(gradient)
    if not layers:
        return Energy(outputs.detach(), weights.detach(), torch.zeros_like(weights[:, 0]), torch.zeros_like(weights))
    results = [result for _, result in seen.values()]
    with torch.set_grad_enabled(gradient):
        mixed = _mixed(outputs, weights)
        gradients = torch.autograd.grad(mixed, results, create_graph=gradient, materialize_grads=True)
        factors = [
            MAKERS[type(layers[name])](name, layers[name], given, each[:, None])
            for (name, (given, _)), each in zip(seen.items(), gradients, strict=True)
        ]
        value = energy(factors)
    product = torch.autograd.grad(value.sum(), weights, materialize_grads=True)[0] if gradient else None
    return Energy(outputs.detach(), weights.detach(), value.detach(), product)


class Watch:
    """Context manager that records the inputs and gradients of some layers during an unchanged training loop.

    Attributes:
        layers: Recorded layers, by name, each of a kind in ``MAKERS``.
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
        """Return the factors of the loss of the last backward pass, as :func:`loss_factors` does; discard that pass.

        Raises:
            InputError: There was no backward pass, or a layer was not used exactly once in it.
        """
        found = []
        for name, uses in self._seen.items():
            passed = [(given, result.grad) for given, result in uses if result.grad is not None]
            if len(passed) != 1:
                raise InputError(
                    f"Layer {name!r} had {len(passed)} backward passes since the last step, not one: call this once "
                    "after each, within the with block, with batches that fit into memory whole."
                )
            given, gradient = passed[0]
            found.append(MAKERS[type(self.layers[name])](name, self.layers[name], given, gradient[:, None]))
            uses.clear()
        return found


def _mixed(outputs: Tensor, mixture: Tensor) -> Tensor:
    """Return the sum of ``mixture . f(x)`` over examples; as ``grad_outputs`` it would make PyTorch load SymPy."""
    with torch.enable_grad():
        return (outputs * mixture).sum()


def _passed(
    model: nn.Module, inputs: Tensor, layers: dict[str, nn.Module]
) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """Return outputs, with their graph, and the input and output of each layer."""
    # Modules known to change their input in place get a copy; if others turn out to do so, a second pass copies for
    # all.
    for copies in (True,) if any(getattr(module, "inplace", False) for module in model.modules()) else (False, True):
        seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}
        with _recording(layers, seen, copies=copies), torch.enable_grad():
            outputs = model(inputs)
        if all(result._version == 0 for uses in seen.values() for _, result in uses):
            break
    if outputs.ndim != 2 or len(outputs) != len(inputs):
        raise InputError(
            f"The outputs of a model must be [examples, outputs]; those of this one are {list(outputs.shape)}."
        )
    for name, uses in seen.items():
        if len(uses) != 1:
            raise InputError(
                f"Layer {name!r} is used {len(uses)} times in a pass; per-example gradients need exactly one use."
            )
    return outputs, {name: uses[0] for name, uses in seen.items()}


@contextmanager
def _recording(
    layers: dict[str, nn.Module],
    seen: dict[str, list[tuple[Tensor, Tensor]]],
    retain: bool = False,
    copies: bool = True,
) -> Iterator[None]:
    """Record each layer's input and output; ``copies`` passes on a copy, which an in-place ReLU may change."""

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
