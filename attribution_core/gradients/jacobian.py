"""Jacobians of a model's outputs in its parameters, whole or sketched, with a bounded memory.

Layers that are linear maps at positions go through their factors (:mod:`attribution_core.gradients.per_example`);
every other parameter goes through ``torch.func``. Cost of a batch: one forward and k backward passes, plus the products
that the chosen coordinates need: for a Linear layer one multiplication each.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from attribution_core.errors import InputError
from attribution_core.gradients.per_example import LayerFactors, count_uses, has_factors, layer_factors
from attribution_core.gradients.sketch import Coordinates
from attribution_core.progress import Progress

BATCH_BYTES = 256 * 2**20


@dataclass(frozen=True)
class ParameterPlan:
    """Which parameters are differentiated, and how.

    Attributes:
        coordinates: Chosen coordinates of each parameter, by name, in the model's order.
        layers: Layers that go through factors, by name.
        rest: Names of the parameters that go through torch.func.
    """

    coordinates: dict[str, Coordinates]
    layers: dict[str, nn.Module]
    rest: list[str]

    @property
    def width(self) -> int:
        """Number of columns of the Jacobian, p."""
        return sum(len(chosen.indices) for chosen in self.coordinates.values())


def select_parameters(model: nn.Module, parameters: str = "all") -> list[str]:
    """Names of the parameters meant by ``"all"``, ``"head"`` (the last layer that has any) or a regular expression.

    Raises:
        InputError: Nothing matches, or the expression is not one.
    """
    names = [name for name, _ in model.named_parameters()]
    if not names:
        raise InputError("The model has no parameters, so there is nothing to linearise.")
    if parameters == "all":
        return names
    if parameters == "head":
        prefix = names[-1].rpartition(".")[0]
        return [name for name in names if name.rpartition(".")[0] == prefix]
    try:
        chosen = [name for name in names if re.search(parameters, name)]
    except re.error as error:
        raise InputError(f"parameters is not a regular expression: {parameters!r}, {error}.") from error
    if not chosen:
        raise InputError(f"No parameter's name matches {parameters!r}; the model has {', '.join(names[:6])}, ...")
    return chosen


def plan_parameters(
    model: nn.Module, inputs: Tensor, parameters: str = "all", dimension: int | None = None, seed: int = 0
) -> ParameterPlan:
    """Decide how each chosen parameter is differentiated; one input is passed through the model for that.

    Args:
        model: The model.
        inputs: ``[n, ...]``, of which the first is tried.
        parameters: As in :func:`select_parameters`.
        dimension: Random coordinates kept of each parameter tensor; None keeps all.
        seed: Of that choice.
    """
    chosen = select_parameters(model, parameters)
    generator = torch.Generator().manual_seed(seed)
    shapes = dict(model.named_parameters())
    coordinates, layers, rest = {}, {}, []
    uses = count_uses(model, _like(inputs[:1], next(iter(shapes.values()))))
    for name in chosen:
        numel = shapes[name].numel()
        coordinates[name] = Coordinates.choose(numel, numel if dimension is None else dimension, generator)
        layer_name = name.rpartition(".")[0]
        layer = model.get_submodule(layer_name)
        if has_factors(layer) and uses[layer] == 1:
            layers[layer_name] = layer
        else:
            rest.append(name)
    return ParameterPlan(coordinates, layers, rest)


def factor_batches(
    model: nn.Module, inputs: Tensor, plan: ParameterPlan, progress: Progress | None = None
) -> Iterator[tuple[Tensor, Tensor, list[LayerFactors]]]:
    """Inputs, outputs ``[b, k]`` and layer factors, batch by batch, with the model in evaluation mode meanwhile."""
    example = next(model.parameters())
    was_training = model.training
    model.eval()
    try:
        size = _batch_size(model, inputs, plan, example)
        done = 0
        for part in inputs.split(size):
            part = _like(part, example)
            outputs, factors = layer_factors(model, part, plan.layers)
            yield part, outputs, factors
            done += len(part)
            if progress:
                progress(done, len(inputs), "gradients")
    finally:
        model.train(was_training)


def jacobian(
    model: nn.Module, inputs: Tensor, plan: ParameterPlan, progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    """Outputs and the Jacobian ``d f_c(x_b) / d w`` at the chosen coordinates.

    Args:
        model: Put in evaluation mode for the time being.
        inputs: ``[n, ...]``, ``n >= 1``.
        plan: From :func:`plan_parameters`.
        progress: Called with (examples done, examples, "gradients").

    Returns:
        ``(outputs [n, k], jacobian [n, k, p])`` in the model's own dtype.

    Raises:
        InputError: No input, or a layer that cannot be differentiated per example, by its name.
    """
    whole: Tensor | None = None
    outputs: list[Tensor] = []
    for part, values, factors in factor_batches(model, inputs, plan, progress):
        blocks = _factor_blocks(factors, plan) | _function_blocks(model, part, plan)
        block = torch.cat([blocks[name] for name in plan.coordinates], dim=2)
        if whole is None:  # filled in place: parts and their concatenation would take twice the memory
            whole = block.new_empty(len(inputs), *block.shape[1:])
        start = sum(len(each) for each in outputs)
        whole[start : start + len(block)] = block
        outputs.append(values)
    if whole is None:
        raise InputError("There are no inputs to differentiate at: give at least one example.")
    return torch.cat(outputs), whole


def _factor_blocks(factors: list[LayerFactors], plan: ParameterPlan) -> dict[str, Tensor]:
    """Chosen coordinates of the layers that have factors: parameter name -> ``[b, k, chosen]``."""
    blocks = {}
    for layer in factors:
        for kind in ("weight", "bias"):
            name = f"{layer.name}.{kind}" if layer.name else kind
            if name not in plan.coordinates:
                continue
            chosen = plan.coordinates[name]
            indices = chosen.indices.to(layer.inputs.device)
            width = layer.inputs.shape[2]
            if kind == "bias":
                block = layer.bias_jacobian()[:, :, indices]
            elif layer.inputs.shape[1] == 1 and 2 * len(indices) < layer.module.weight.numel():  # type: ignore[operator]
                rows, columns = indices // width, indices % width
                block = layer.output_gradients[:, :, 0, rows] * layer.inputs[:, None, 0, columns]
            else:
                block = layer.weight_jacobian()[:, :, indices]
            blocks[name] = block * chosen.scale
    return blocks


def _function_blocks(model: nn.Module, inputs: Tensor, plan: ParameterPlan) -> dict[str, Tensor]:
    """Chosen coordinates of all other parameters, by reverse mode over a vectorised forward pass."""
    if not plan.rest:
        return {}
    every = {name: value.detach() for name, value in (*model.named_parameters(), *model.named_buffers())}

    def output(chosen: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(model, every | chosen, (x[None],))[0]

    try:
        whole = vmap(jacrev(output), in_dims=(None, 0))({name: every[name] for name in plan.rest}, inputs)
    except RuntimeError as error:
        layers = sorted({name.rpartition(".")[0] or "the model" for name in plan.rest})
        raise InputError(f"No per-example gradients for layer {', '.join(layers)}: {error}") from error
    blocks = {}
    for name, value in whole.items():
        chosen = plan.coordinates[name]
        blocks[name] = value.flatten(2)[:, :, chosen.indices.to(value.device)] * chosen.scale
    return blocks


def _like(inputs: Tensor, example: Tensor) -> Tensor:
    """Inputs on the device of a parameter, and in its dtype unless they are indices."""
    return inputs.to(device=example.device, dtype=example.dtype if inputs.is_floating_point() else None)


def _batch_size(model: nn.Module, inputs: Tensor, plan: ParameterPlan, example: Tensor) -> int:
    """Examples a batch so that what one batch holds stays near ``BATCH_BYTES``, measured on one example."""
    outputs, factors = layer_factors(model, _like(inputs[:1], example), plan.layers)
    numbers = outputs.shape[1] * plan.width
    for layer in factors:
        numbers += layer.inputs.numel() + layer.output_gradients.numel()
        weight = layer.output_gradients.shape[1] * layer.output_gradients.shape[3] * layer.inputs.shape[2]
        numbers = max(numbers, weight)
    parameters = dict(model.named_parameters())
    numbers += outputs.shape[1] * sum(parameters[name].numel() for name in plan.rest)
    return max(1, BATCH_BYTES // (3 * numbers * example.element_size()))
