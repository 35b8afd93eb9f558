"""Jacobians of a model's outputs in its parameters, whole or sketched, in bounded memory.

Layers of the kinds in :mod:`attribution_core.gradients.layers` are differentiated through their factors, all other
parameters through ``torch.func``. Cost of a batch: one forward and k backward passes, plus the products for the chosen
coordinates, one multiplication each for a Linear layer.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from attribution_core.errors import InputError, first_sentence, is_out_of_memory
from attribution_core.gradients.layers import Kind, LayerFactors, MapFactors
from attribution_core.gradients.per_example import Energy, energy_of, layer_factors
from attribution_core.gradients.plan import ParameterPlan, as_inputs
from attribution_core.memory import AdaptiveBatchSize
from attribution_core.models import evaluation_mode
from attribution_core.progress import report

# Bytes that a batch may take; a batch that still does not fit into memory is halved.
BATCH_BYTES = 256 * 2**20

Result = TypeVar("Result")
# Function from the factors of an example to the count of numbers that are formed beside them, per output (or mixture).
Formed = Callable[[list[LayerFactors]], int]


class Mixture(Protocol):
    """Function from the outputs of a batch to the weights with which :func:`energies` mixes them."""

    def __call__(self, outputs: Tensor, where: slice) -> Tensor:
        """Return weights ``[b, k]`` for the outputs ``[b, k]`` of the batch at position ``where`` among the inputs."""
        ...


def factor_batches(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixture: Tensor | None = None,
    what: str = "gradients",
    formed: Formed | None = None,
) -> Iterator[tuple[Tensor, Tensor, list[LayerFactors]]]:
    """Yield inputs, outputs and layer factors batch by batch, with the model in evaluation mode.

    Args:
        model: The model.
        inputs: Inputs ``[n, ...]``.
        plan: Plan with the layers to differentiate.
        mixture: Weights of the outputs ``[n, k]``, as in :func:`layer_factors`.
        what: Title of the progress.
        formed: What the caller forms beside the factors; None is nothing. Together they determine the batch size.

    Yields:
        ``(inputs, outputs [b, k], factors)`` of each batch, on the model's device.
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
    formed: Formed,
    gradient: bool = True,
    what: str = "gradients",
) -> Iterator[tuple[Tensor, Energy]]:
    """Yield the results of :func:`energy_of` batch by batch, with the model in evaluation mode.

    Args:
        model: The model.
        inputs: Inputs ``[n, ...]``.
        plan: Plan with the layers that count.
        mixture: Function from a batch's outputs and its position among the inputs to u, ``[b, k]``.
        energy: As in :func:`energy_of`.
        formed: What the energy forms beside the factors; its gradient takes four times as much.
        gradient: As in :func:`energy_of`.
        what: Title of the progress.

    Yields:
        Inputs of each batch, on the model's device, and the energy's results.
    """

    def of_batch(part: Tensor, where: slice) -> tuple[Tensor, Energy]:
        return part, energy_of(model, part, plan.layers, functools.partial(mixture, where=where), energy, gradient)

    def held(factors: list[LayerFactors]) -> int:
        return (4 if gradient else 1) * formed(factors)

    yield from _bounded_batches(of_batch, model, inputs, plan, True, held, what)


def jacobian(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixture: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the outputs and the Jacobian ``d f_c(x_b) / d w`` at the chosen coordinates.

    Args:
        model: The model, used in evaluation mode.
        inputs: Inputs ``[n, ...]``, ``n >= 1``.
        plan: Result of :func:`plan_parameters`.
        mixture: Weights of the outputs ``[n, k]``, for the gradient of ``sum_c mixture_bc f_c(x_b)`` in place of the
            Jacobian.

    Returns:
        ``(outputs [n, k], jacobian [n, k, p])``, or ``[n, 1, p]`` with a mixture, in the model's dtype.

    Raises:
        InputError: There is no input, or a layer, named in the message, cannot be differentiated per example.
    """
    whole: Tensor | None = None
    outputs: list[Tensor] = []
    for where, values, blocks in block_batches(model, inputs, plan, mixture):
        if whole is None:  # filled in place, since batches and their concatenation would take twice the memory
            whole = values.new_empty(len(inputs), values.shape[1] if mixture is None else 1, plan.width)
        torch.cat(list(blocks.values()), dim=2, out=whole[where])
        outputs.append(values)
    if whole is None:
        raise InputError("There are no inputs to differentiate at: pass at least one example.")
    return torch.cat(outputs), whole


def block_batches(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixture: Tensor | None = None,
    what: str = "gradients",
) -> Iterator[tuple[slice, Tensor, dict[str, Tensor]]]:
    """Yield the Jacobian one batch at a time, split by parameter; nothing is kept.

    Arguments and errors are those of :func:`jacobian`; ``what`` is the title of the progress.

    Yields:
        The batch's position, its outputs ``[b, k]``, and rows ``[b, k or 1, chosen]`` by parameter, in the plan's
        order.
    """

    def formed(factors: list[LayerFactors]) -> int:
        sizes = [plan.coordinates[name].numel for name in plan.rest]
        sizes += [plan.coordinates[name].numbers_formed(layer, kind) for name, layer, kind in _chosen(factors, plan)]
        return plan.width + max(sizes, default=0)

    def of_batch(part: Tensor, where: slice) -> tuple[slice, Tensor, dict[str, Tensor]]:
        outputs, factors = layer_factors(model, part, plan.layers, None if mixture is None else mixture[where])
        blocks = factor_blocks(factors, plan)
        for name, gradients in function_gradients(model, part, plan.rest).items():
            mixed = gradients if mixture is None else mixture[where, None] @ gradients
            blocks[name] = plan.coordinates[name].of_gradients(mixed)
        return where, outputs, {name: blocks[name] for name in plan.coordinates}

    yield from _bounded_batches(of_batch, model, inputs, plan, mixture is not None, formed, what)


def function_gradients(model: nn.Module, inputs: Tensor, names: list[str]) -> dict[str, Tensor]:
    """Return the Jacobians in the named parameters, by reverse mode and vmap: name -> ``[b, k, numel]``."""
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
        raise InputError(
            f"No per-example gradients for layer {layers}, which has no fast route and which torch.func does not "
            f"support ({first_sentence(error)}): choose other layers by parameters=..., or rewrite the layer without "
            "that operation."
        ) from error
    return {name: value.reshape(*value.shape[:2], -1) for name, value in whole.items()}


def factor_blocks(factors: Sequence[LayerFactors], plan: ParameterPlan) -> dict[str, Tensor]:
    """Return the chosen coordinates of the layers that have factors: parameter name -> ``[b, k, chosen]``."""
    return {name: plan.coordinates[name].of_layer(layer, kind) for name, layer, kind in _chosen(factors, plan)}


def largest_gradient(plan: ParameterPlan) -> Formed:
    """Return the count of numbers in the largest gradient, where outer products are not formed.

    With a batch size of their own, networks of Linear layers get batches of hundreds of examples; in batches of a few,
    products of matrices take several times as long for each row.
    """

    def formed(factors: list[LayerFactors]) -> int:
        sizes = [plan.coordinates[name].numel for name in plan.rest]
        for name, layer, kind in _chosen(factors, plan):
            outer = kind == "weight" and isinstance(layer, MapFactors) and layer.is_outer_product
            sizes.append(layer.numel if outer else plan.coordinates[name].numel)
        return max(sizes, default=0)

    return formed


def _chosen(factors: Sequence[LayerFactors], plan: ParameterPlan) -> Iterator[tuple[str, LayerFactors, Kind]]:
    """Yield the chosen parameters that have factors: name, layer and kind."""
    for layer in factors:
        for kind, name in layer.parameters():
            if name in plan.coordinates:
                yield name, layer, kind


def _bounded_batches(
    work: Callable[[Tensor, slice], Result],
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixed: bool,
    formed: Formed | None,
    what: str,
) -> Iterator[Result]:
    """Yield the results of ``work`` on batches of inputs and their positions, with the model in evaluation mode.

    A batch takes up to ``BATCH_BYTES``, or less if that does not fit into memory.
    """
    example = next(model.parameters())

    def of_batch(where: slice) -> Result:
        return work(as_inputs(inputs[where], example), where)

    with evaluation_mode(model):
        size = _batch_size(model, as_inputs(inputs[:1], example), plan, mixed, formed)
        for where, result in AdaptiveBatchSize(size).map_slices(of_batch, len(inputs)):
            yield result
            report(where.stop, len(inputs), what)


def _batch_size(model: nn.Module, one: Tensor, plan: ParameterPlan, mixed: bool, formed: Formed | None) -> int:
    """Return the batch size for which a batch takes about ``BATCH_BYTES``, measured on one example."""
    ones = torch.ones(1, 1).to(next(model.parameters())) if mixed else None
    outputs, factors = AdaptiveBatchSize(1).run(lambda _: layer_factors(model, one, plan.layers, ones), 1)
    numbers = sum(layer.numel for layer in factors)
    numbers += (formed(factors) if formed else 0) * (1 if mixed else outputs.shape[1])
    numbers += outputs.numel() * sum(plan.coordinates[name].numel for name in plan.rest)
    return max(1, BATCH_BYTES // (3 * max(numbers, 1) * outputs.element_size()))
