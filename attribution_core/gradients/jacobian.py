"""Jacobians of a model's outputs in its parameters, whole or sketched, with a bounded memory.

Layers of the kinds in :mod:`attribution_core.gradients.layers` go through their factors; every other parameter goes
through ``torch.func``. Cost of a batch: one forward and k backward passes, plus the products that the chosen
coordinates need: for a Linear layer one multiplication each.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from attribution_core.errors import InputError, is_out_of_memory
from attribution_core.gradients.layers import LayerFactors
from attribution_core.gradients.per_example import Energy, energy_of, layer_factors
from attribution_core.gradients.plan import ParameterPlan, as_inputs
from attribution_core.memory import AdaptiveBatchSize
from attribution_core.models import evaluation_mode
from attribution_core.progress import report

# What a batch may take; one that does not fit into memory all the same is halved.
BATCH_BYTES = 256 * 2**20

Result = TypeVar("Result")


class Mixture(Protocol):
    """What :func:`energies` mixes the outputs of a batch with."""

    def __call__(self, outputs: Tensor, where: slice) -> Tensor:
        """``[b, k]`` from the outputs ``[b, k]`` and the batch's place among the inputs."""
        ...


def factor_batches(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixture: Tensor | None = None,
    what: str = "gradients",
    formed: int = 0,
) -> Iterator[tuple[Tensor, Tensor, list[LayerFactors]]]:
    """Inputs, outputs ``[b, k]`` and layer factors, batch by batch, with the model in evaluation mode meanwhile.

    Args:
        model: The model.
        inputs: ``[n, ...]``.
        plan: Whose layers are wanted.
        mixture: ``[n, k]`` as in :func:`layer_factors`.
        what: For the progress.
        formed: Numbers that the caller forms of each example and output (or mixture) beside the factors; they and the
            factors decide how many examples a batch has.

    Yields:
        ``(inputs, outputs, factors)`` of each batch, on the model's device.
    """

    def of_batch(part: Tensor, where: slice) -> tuple[Tensor, Tensor, list[LayerFactors]]:
        return part, *layer_factors(model, part, plan.layers, None if mixture is None else mixture[where])

    yield from _bounded_batches(of_batch, model, inputs, plan, mixture is not None, formed, what)


def energies(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixture: Mixture,
    energy: Callable[[list[LayerFactors]], Tensor],
    gradient: bool = True,
    what: str = "gradients",
) -> Iterator[tuple[Tensor, Energy]]:
    """As :func:`factor_batches`, with :func:`energy_of` each batch.

    Args:
        model: The model.
        inputs: ``[n, ...]``.
        plan: Whose layers count.
        mixture: Outputs of a batch and its place among the inputs to u, ``[b, k]``.
        energy: As in :func:`energy_of`.
        gradient: As in :func:`energy_of`.
        what: For the progress.

    Yields:
        Inputs, on the model's device, and what was found, of each batch.
    """
    formed = (4 if gradient else 1) * max(chosen.numel for chosen in plan.coordinates.values())

    def of_batch(part: Tensor, where: slice) -> tuple[Tensor, Energy]:
        return part, energy_of(model, part, plan.layers, functools.partial(mixture, where=where), energy, gradient)

    yield from _bounded_batches(of_batch, model, inputs, plan, True, formed, what)


def jacobian(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixture: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Outputs and the Jacobian ``d f_c(x_b) / d w`` at the chosen coordinates.

    Args:
        model: Put in evaluation mode for the time being.
        inputs: ``[n, ...]``, ``n >= 1``.
        plan: From :func:`plan_parameters`.
        mixture: ``[n, k]``: the one row of each example is that of ``sum_c mixture_bc f_c(x_b)`` instead.

    Returns:
        ``(outputs [n, k], jacobian [n, k, p])``, or ``[n, 1, p]``, in the model's own dtype.

    Raises:
        InputError: No input, or a layer that cannot be differentiated per example, by its name.
    """
    whole: Tensor | None = None
    outputs: list[Tensor] = []
    for where, values, blocks in block_batches(model, inputs, plan, mixture):
        if whole is None:  # filled in place: parts and their concatenation would take twice the memory
            whole = values.new_empty(len(inputs), values.shape[1] if mixture is None else 1, plan.width)
        torch.cat(list(blocks.values()), dim=2, out=whole[where])
        outputs.append(values)
    if whole is None:
        raise InputError("There are no inputs to differentiate at: give at least one example.")
    return torch.cat(outputs), whole


def block_batches(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixture: Tensor | None = None,
    what: str = "gradients",
) -> Iterator[tuple[slice, Tensor, dict[str, Tensor]]]:
    """The rows of :func:`jacobian` a batch and a parameter at a time: nothing is kept.

    Arguments and errors are those of :func:`jacobian`; ``what`` is for the progress.

    Yields:
        The batch's place, its outputs ``[b, k]``, and by parameter, in the plan's order, ``[b, k or 1, chosen]``.
    """
    formed = plan.width + max(chosen.numel for chosen in plan.coordinates.values())

    def of_batch(part: Tensor, where: slice) -> tuple[slice, Tensor, dict[str, Tensor]]:
        outputs, factors = layer_factors(model, part, plan.layers, None if mixture is None else mixture[where])
        blocks = factor_blocks(factors, plan)
        for name, gradients in function_gradients(model, part, plan.rest).items():
            mixed = gradients if mixture is None else mixture[where, None] @ gradients
            blocks[name] = plan.coordinates[name].of_gradients(mixed)
        return where, outputs, {name: blocks[name] for name in plan.coordinates}

    yield from _bounded_batches(of_batch, model, inputs, plan, mixture is not None, formed, what)


def function_gradients(model: nn.Module, inputs: Tensor, names: list[str]) -> dict[str, Tensor]:
    """Jacobians in the named parameters, by reverse mode over a vectorised forward pass: name -> ``[b, k, numel]``."""
    if not names:
        return {}
    every = {name: value.detach() for name, value in (*model.named_parameters(), *model.named_buffers())}

    def output(chosen: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(model, every | chosen, (x[None],))[0]

    try:
        whole = vmap(jacrev(output), in_dims=(None, 0))({name: every[name] for name in names}, inputs)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        layers = ", ".join(sorted({name.rpartition(".")[0] or "the model" for name in names}))
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        raise InputError(
            f"No per-example gradients for layer {layers}, which has no fast route and which torch.func refuses "
            f"({reason}): linearise other layers through parameters=..., or write it without what is named there."
        ) from error
    return {name: value.flatten(2) for name, value in whole.items()}


def factor_blocks(factors: Sequence[LayerFactors], plan: ParameterPlan) -> dict[str, Tensor]:
    """Chosen coordinates of the layers that have factors: parameter name -> ``[b, k, chosen]``."""
    blocks = {}
    for layer in factors:
        for kind, name in layer.parameters():
            if name in plan.coordinates:
                blocks[name] = plan.coordinates[name].of_layer(layer, kind)
    return blocks


def _bounded_batches(
    work: Callable[[Tensor, slice], Result],
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixed: bool,
    formed: int,
    what: str,
) -> Iterator[Result]:
    """What ``work`` gives for inputs on the model's device and their place, in evaluation mode.

    So many at once as ``BATCH_BYTES`` allows, or fewer where these do not fit into memory.
    """
    example = next(model.parameters())

    def of_batch(where: slice) -> Result:
        return work(as_inputs(inputs[where], example), where)

    with evaluation_mode(model):
        size = _batch_size(model, as_inputs(inputs[:1], example), plan, mixed, formed)
        for where, result in AdaptiveBatchSize(size).map_slices(of_batch, len(inputs)):
            yield result
            report(where.stop, len(inputs), what)


def _batch_size(model: nn.Module, one: Tensor, plan: ParameterPlan, mixed: bool, formed: int) -> int:
    """Examples a batch so that what one batch holds stays near ``BATCH_BYTES``, measured on one example."""
    ones = torch.ones(1, 1).to(next(model.parameters())) if mixed else None
    outputs, factors = AdaptiveBatchSize(1).run(lambda _: layer_factors(model, one, plan.layers, ones), 1)
    numbers = sum(layer.numel for layer in factors) + formed * (1 if mixed else outputs.shape[1])
    numbers += outputs.numel() * sum(plan.coordinates[name].numel for name in plan.rest)
    return max(1, BATCH_BYTES // (3 * max(numbers, 1) * outputs.element_size()))
