r"""Kronecker factors of the Gauss-Newton matrix, layer by layer (KFAC, in the expand form).

For the weight of a layer with inputs ``a`` and gradients ``d`` of the outputs at positions l, the block of
``sum_i J_i^T Lambda_i J_i`` is taken as ``A kron G``:

    A = mean over examples and positions of a a^T         G = sum over examples and positions of d^T Lambda d

A is that of all examples, from a forward pass, except that convolutions, which have many positions, take it from
``CONVOLUTION_EXAMPLES``. G wants k backward passes an example, but most examples, being predicted surely, add next to
nothing: so up to ``FACTOR_EXAMPLES`` are drawn, with a chance that is for three quarters in proportion to the trace of
Lambda, and weighted by its inverse, which leaves the mean as it is.

Measured on 5,000 images, against all of them (median variance; rank correlation of the sensitivities; estimated
leave-one-out loss): MLP 500-300 on MNIST drawn evenly, 1,000: 1.085, 0.99994, 0.468 instead of 0.408; as here, 500:
1.02, 0.99998, 0.424; LeNet-5 on Fashion-MNIST: 1.01, 0.9999, 0.586 instead of 0.583.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from attribution_core.gradients.jacobian import factor_batches
from attribution_core.gradients.layers import MapFactors, layer_inputs
from attribution_core.gradients.plan import ParameterPlan, as_inputs
from attribution_core.methods.losses import Loss, hessian_root
from attribution_core.models import evaluation_mode
from attribution_core.progress import Progress

FACTOR_EXAMPLES = 1000
CONVOLUTION_EXAMPLES = 1000
# Of the chance to be drawn, the part that is the same for all.
EVEN = 0.25
_BATCH = 256


def has_kronecker_factors(layer: nn.Module | None) -> bool:
    """Whether its weight is one matrix: Linear, and Conv2d without groups."""
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def kronecker_factors(
    model: nn.Module, inputs: Tensor, plan: ParameterPlan, loss: Loss, progress: Progress | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """A ``[in, in]`` and G ``[out, out]`` of each of the plan's layers, by name.

    Args:
        model: Put in evaluation mode for the time being.
        inputs: ``[n, ...]``.
        plan: Its layers are all to have Kronecker factors.
        loss: Whose Hessian Lambda is.
        progress: Called with (done, total, what).
    """
    sums, traces = _input_covariances(model, inputs, plan, loss, progress)
    drawn, weights = _drawn(traces)
    outer: dict[str, Tensor] = {}
    done = 0
    for _, outputs, factors in factor_batches(model, inputs[drawn], plan, progress, what="posterior"):
        root = hessian_root(outputs, loss) * weights[done : done + len(outputs), None, None].sqrt().to(outputs)
        done += len(outputs)
        for layer in factors:
            if not isinstance(layer, MapFactors):
                raise TypeError(f"{layer.name} has no Kronecker factors.")
            rows = torch.einsum("bck,bclo->bklo", root, layer.output_gradients[:, :, 0]).flatten(0, 2)
            outer[layer.name] = outer[layer.name] + rows.T @ rows if layer.name in outer else rows.T @ rows
    return {name: (sums[name], outer[name]) for name in outer}


def _input_covariances(
    model: nn.Module, inputs: Tensor, plan: ParameterPlan, loss: Loss, progress: Progress | None
) -> tuple[dict[str, Tensor], Tensor]:
    """A of each layer, and the trace of each example's Lambda, ``[n]``, from a forward pass."""
    example, n = next(model.parameters()), len(inputs)
    every = max(1, n // CONVOLUTION_EXAMPLES)
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(plan.layers, 0)
    traces = []
    with evaluation_mode(model), torch.no_grad():
        for start in range(0, n, _BATCH):
            part = as_inputs(inputs[start : start + _BATCH], example)
            with _inputs_of(plan.layers) as seen:
                outputs = model(part)
            traces.append(hessian_root(outputs, loss).square().sum(dim=(1, 2)).double().cpu())
            for name, given in seen.items():
                layer = plan.layers[name]
                rows = layer_inputs(layer, given[::every] if isinstance(layer, nn.Conv2d) else given)[:, 0].flatten(
                    0, 1
                )
                counts[name] += len(rows)
                sums[name] = sums[name] + rows.T @ rows if name in sums else rows.T @ rows
            if progress:
                progress(min(start + _BATCH, n), n, "inputs of layers")
    return {name: total / counts[name] for name, total in sums.items()}, torch.cat(traces)


@contextmanager
def _inputs_of(layers: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """What each layer is given meanwhile, by its name."""
    seen: dict[str, Tensor] = {}

    def hook_of(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            seen[name] = arguments[0]

        return hook

    handles = [layer.register_forward_pre_hook(hook_of(name)) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _drawn(traces: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the examples that stand for all, and what each counts for; all, once, where there are few."""
    n = len(traces)
    if n <= FACTOR_EXAMPLES:
        return torch.arange(n), torch.ones(n)
    chances = EVEN / n + (1 - EVEN) * traces / traces.sum().clamp(min=torch.finfo(traces.dtype).tiny)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(chances, FACTOR_EXAMPLES, replacement=True, generator=generator)
    return drawn, 1 / (FACTOR_EXAMPLES * chances[drawn] / chances.sum())
