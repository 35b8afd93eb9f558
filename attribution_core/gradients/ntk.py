r"""Empirical neural tangent kernels, assembled layer by layer from factors without the n x p Jacobian.

A layer's contribution to ``K[(b, c), (b', c')] = <grad f_c(x_b), grad f_c'(x_b')>`` has two forms. With L positions,
weights ``[out, in]`` and k outputs, a pair of examples costs

- **Gram form** ``sum_ll' (a_bl . a_b'l' + 1)(d_bcl . d_b'c'l')``, where the 1 is the bias: ``L^2 (in + k^2 (out + 1))``
  multiplications. A Linear layer on vectors has L = 1, where the rows below would cost ``k^2 in out``.
- **Rows**: the weight gradients of two blocks of examples are formed, multiplied and discarded: ``k^2 in out``, plus
  ``2 k L in out`` for each example and block that it is multiplied with.

Each layer uses the cheaper form (:func:`gram_is_cheaper`): in cnn4 the first three convolutions form rows, the fourth
(9 positions) and the linear layers do not. Groups of a convolution and scales of normalizations follow the same rule.
Both forms sum the same products, in float64 even for a float32 model: duplicates then remain exactly dependent, so that
training to the end (t = infinity) uses the kernel's true rank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.jacobian import (
    BATCH_BYTES,
    block_batches,
    factor_batches,
    function_gradients,
    jacobian,
)
from attribution_core.gradients.layers import Kind, LayerFactors, MapFactors, PositionFactors
from attribution_core.gradients.per_example import layer_factors
from attribution_core.gradients.plan import ParameterPlan, as_inputs
from attribution_core.models import evaluation_mode
from attribution_core.progress import report

# Bytes that the factors of all examples may take at a time. If they need more, groups of layers are processed one after
# another, each with its own forward and k backward passes: the passes cost O(n), the products O(n^2).
FACTOR_BYTES = 2 * 2**30
# Maximum number of rows of a block: small enough that skipping the blocks above the diagonal saves half of the work.
BLOCK_ROWS = 512


def layer_kernels_apply(plan: ParameterPlan) -> bool:
    """Return whether every chosen parameter is kept whole and belongs to a layer with factors."""
    return not plan.rest and all(chosen.is_whole for chosen in plan.coordinates.values())


def tangent_kernels(
    model: nn.Module,
    train: Tensor,
    evaluation: Tensor,
    plan: ParameterPlan,
    mixtures: tuple[Tensor, Tensor] | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the kernel of the training examples and that of evaluation against training examples.

    Args:
        model: Model at ``w_0``.
        train: Training inputs ``[n, ...]``.
        evaluation: Evaluation inputs ``[m, ...]``.
        plan: Plan for which :func:`layer_kernels_apply` holds.
        mixtures: Weights of the training and the evaluation outputs, ``[n, k]`` and ``[m, k]``, for kernels ``[n, n]``
            and ``[m, n]`` of the single output ``sum_c mixture_bc f_c(x_b)``.
        dtype: Precision of the kernels.

    Returns:
        ``(train_kernel [n k, n k], evaluation_kernel [m k, n k], train_outputs [n, k], evaluation_outputs [m, k])``;
        kernels are example-major.

    Raises:
        InputError: A parameter has no factors, or only some of its coordinates are chosen.
    """
    if not layer_kernels_apply(plan):
        raise InputError(
            "Kernels without a Jacobian need whole parameters of layers with factors: use the Jacobian instead."
        )
    kernel, cross = torch.zeros(0, 0), torch.zeros(0, 0)
    own_mixture, other_mixture = mixtures or (None, None)
    done = 0
    for group in _layer_groups(model, train, len(train) + len(evaluation), plan):
        train_outputs, own = _collect(model, train, group, own_mixture)
        evaluation_outputs, other = _collect(model, evaluation, group, other_mixture)
        if done == 0:
            k = train_outputs.shape[1] if mixtures is None else 1
            kernel = train_outputs.new_zeros(2 * [len(train) * k], dtype=dtype)
            cross = kernel.new_zeros(len(evaluation) * k, len(kernel))
        for name in group.layers:
            kinds: list[Kind] = [kind for kind, parameter in own[name].parameters() if parameter in plan.coordinates]
            train_factors, evaluation_factors = own.pop(name), other.pop(name)
            _add_layer(kernel, train_factors, train_factors, kinds)
            _add_layer(cross, evaluation_factors, train_factors, kinds)
            done += 1
            report(done, len(plan.layers), "tangent kernel")
    kernel.tril_()
    kernel += kernel.tril(-1).T
    return kernel, cross, train_outputs, evaluation_outputs


def gradient_products(
    model: nn.Module,
    left: tuple[Tensor, Tensor],
    right: tuple[Tensor, Tensor],
    plan: ParameterPlan,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Return the inner products ``[n, m]`` of the gradients of ``sum_c mixture_bc f_c(x_b)``, in whole parameters.

    Cost: layers with factors take the cheaper form of the module docstring with k = 1; other parameters form rows, and
    take ``n m`` multiplications for each of their entries.

    Args:
        model: The model.
        left: Inputs ``[n, ...]`` and mixtures ``[n, k]``.
        right: Inputs ``[m, ...]`` and mixtures ``[m, k]``.
        plan: Plan of whole parameters.
        dtype: Precision of the products.
    """
    (inputs, mixture), (others, other_mixture) = left, right
    total = torch.zeros(len(inputs), len(others), dtype=dtype, device=next(model.parameters()).device)
    by_layers = plan.part([name for name in plan.coordinates if name not in plan.rest])
    for group in _layer_groups(model, inputs, len(inputs) + len(others), by_layers) if by_layers.layers else ():
        own, other = (_collect(model, x, group, mixed)[1] for x, mixed in (left, right))
        for name in group.layers:
            kinds: list[Kind] = [kind for kind, parameter in own[name].parameters() if parameter in plan.coordinates]
            _add_layer(total, own.pop(name), other.pop(name), kinds)
    rest = plan.part(plan.rest)
    size = max(1, FACTOR_BYTES // (4 * dtype.itemsize * max(rest.width, 1)))
    for start in range(0, len(others), size) if plan.rest else ():
        block = slice(start, start + size)
        held = jacobian(model, others[block], rest, other_mixture[block])[1][:, 0].to(dtype)
        for where, _, rows_by_name in block_batches(model, inputs, rest, mixture):
            total[where, block] += torch.cat(list(rows_by_name.values()), dim=2)[:, 0].to(dtype) @ held.T
    return total


def multiplications_of_a_pair(model: nn.Module, inputs: Tensor, plan: ParameterPlan) -> int:
    """Return the multiplications of one inner product of gradients in whole parameters, measured on one example."""
    by_layers = plan.part([name for name in plan.coordinates if name not in plan.rest])
    total = sum(plan.coordinates[name].numel for name in plan.rest)
    if not by_layers.layers:
        return total
    mixture = torch.ones(1, 1, device=next(model.parameters()).device)
    for layer in _collect(model, inputs[:1], by_layers, mixture)[1].values():
        if isinstance(layer, PositionFactors) and gram_is_cheaper(layer):
            _, groups, positions, _, out, input_cost = layer.sizes
            total += groups * positions**2 * (input_cost + out)
        else:
            total += _row_size(layer)
    return total


def gradient_norms(
    model: nn.Module,
    examples: tuple[Tensor, Tensor],
    plan: ParameterPlan,
) -> Tensor:
    """Return the squared norms ``[n]``, float64, of the gradients of ``sum_c mixture_bc f_c(x_b)``; none is kept.

    Cost: a linear map applied at L positions takes ``L^2 (in + out)`` multiplications for each example, or ``L in out``
    where that is fewer; a Linear layer on vectors takes ``in + out``, since its norm is ``|a| |d|``. Other layers and
    parameters form their gradients.

    Args:
        model: The model.
        examples: Inputs ``[n, ...]`` and mixtures ``[n, k]``.
        plan: Plan of whole parameters.
    """
    inputs, mixture = examples
    total = torch.zeros(len(inputs), dtype=torch.float64, device=next(model.parameters()).device)
    done = 0
    for part, _, factors in factor_batches(model, inputs, plan, mixture, formed=_largest_rows):
        where = slice(done, done + len(part))
        done += len(part)
        for layer in factors:
            kinds: list[Kind] = [kind for kind, parameter in layer.parameters() if parameter in plan.coordinates]
            if isinstance(layer, MapFactors) and gram_is_cheaper(layer):
                total[where] += _own_gram(layer, kinds)
            else:
                for kind in kinds:
                    total[where] += _squares(layer.jacobian(kind)[:, 0])
        for gradients in function_gradients(model, part, plan.rest).values():
            total[where] += _squares((mixture[where, None] @ gradients)[:, 0])
    return total


def _largest_rows(factors: list[LayerFactors]) -> int:
    """Return the numbers of the largest gradient that :func:`gradient_norms` forms for an example."""
    formed = (0 if isinstance(each, MapFactors) and gram_is_cheaper(each) else _row_size(each) for each in factors)
    return max(formed, default=0)


def _row_size(layer: LayerFactors) -> int:
    """Return the count of numbers in the gradient of a layer's weight, for an example and output."""
    if isinstance(layer, PositionFactors):
        return layer.sizes.groups * layer.sizes.inputs * layer.sizes.gradients
    return layer.numel


def _own_gram(layer: MapFactors, kinds: Sequence[Kind]) -> Tensor:
    """Return ``sum_ll' (a_l . a_l' [weight] + 1 [bias])(d_l . d_l')`` of each example with itself, ``[b]``."""
    d = layer.output_gradients[:, 0].double()
    products = d @ d.mT  # [b, groups, positions, positions]
    if "weight" in kinds:
        a = layer.inputs.double()
        products *= a @ a.mT + float("bias" in kinds)
    return products.sum(dim=(1, 2, 3))


def _squares(gradients: Tensor) -> Tensor:
    return gradients.square().sum(dim=1, dtype=torch.float64)


def _layer_groups(model: nn.Module, inputs: Tensor, examples: int, plan: ParameterPlan) -> Iterator[ParameterPlan]:
    """Split the plan into groups of layers whose factors fit into ``FACTOR_BYTES``, measured on one example."""
    with evaluation_mode(model):
        _, factors = layer_factors(model, as_inputs(inputs[:1], next(model.parameters())), plan.layers)
    group: dict[str, nn.Module] = {}
    held = 0
    for layer in factors:
        size = examples * layer.nbytes
        if group and held + size > FACTOR_BYTES:
            yield replace(plan, layers=group)
            group, held = {}, 0
        group[layer.name] = plan.layers[layer.name]
        held += size
    yield replace(plan, layers=group)


def _collect(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixture: Tensor | None,
) -> tuple[Tensor, dict[str, LayerFactors]]:
    """Return outputs and factors of all examples: ``positions (in + k out)`` numbers per example and layer."""
    outputs: list[Tensor] = []
    parts: dict[str, list[LayerFactors]] = {name: [] for name in plan.layers}
    for _, values, factors in factor_batches(model, inputs, plan, mixture):
        outputs.append(values)
        for layer in factors:
            parts[layer.name].append(layer)
    return torch.cat(outputs), {name: LayerFactors.join(parts.pop(name)) for name in plan.layers}


def _add_layer(total: Tensor, left: LayerFactors, right: LayerFactors, kinds: list[Kind]) -> None:
    """Add one layer's contribution to the kernel ``total`` ``[rows k, columns k]`` in place.

    If left is right, blocks above the diagonal are skipped.
    """
    k, dtype = len(total) // left.num_examples, total.dtype
    by_gram = isinstance(left, PositionFactors) and gram_is_cheaper(left)

    def block_of(layer: LayerFactors, start: int) -> Any:
        block = layer.take(slice(start, start + size))
        return block if by_gram else rows(block, kinds, dtype)

    def product(own: Any, other: Any) -> Tensor:
        return gram(own, other, kinds, dtype) if by_gram else own @ other.T

    if isinstance(left, PositionFactors) and by_gram:
        size = int((BATCH_BYTES / dtype.itemsize) ** 0.5 / (k * left.sizes.positions))
    else:
        size = BATCH_BYTES // (dtype.itemsize * rows(left.take(slice(1)), kinds).numel())
    size = max(1, min(size, BLOCK_ROWS // k))
    for top in range(0, left.num_examples, size):
        own = block_of(left, top)
        for start in range(0, top + 1 if left is right else right.num_examples, size):
            found = product(own, block_of(right, start))
            total[top * k : top * k + len(found), start * k : start * k + found.shape[1]] += found


def gram_is_cheaper(layer: PositionFactors) -> bool:
    """Return whether the Gram form is cheaper for one pair of examples; see the module docstring."""
    k, groups, positions, width, out, input_cost = layer.sizes
    return groups * positions**2 * (input_cost + k**2 * (out + 1)) < k**2 * groups * width * out


def gram(
    left: PositionFactors, right: PositionFactors, kinds: Sequence[Kind], dtype: torch.dtype = torch.float64
) -> Tensor:
    """Return ``sum_ll' (a . a' [weight] + 1 [bias])(d . d')``, ``[b k, b' k]``, computed in ``dtype``."""
    b, b_right, k, positions = left.num_examples, right.num_examples, left.sizes.outputs, left.sizes.positions
    grams = []
    for group in range(left.sizes.groups):
        d, d_right = (each.gradients_of(group).flatten(0, 2).to(dtype) for each in (left, right))
        products = (d @ d_right.T).view(b, k, positions, b_right, k, -1)
        if "weight" in kinds:
            inputs = left.input_gram(right, group, dtype).view(b, 1, positions, b_right, 1, -1)
            products *= inputs + float("bias" in kinds)
        # With one position each (a Linear layer) there is nothing to sum, which avoids a copy.
        summed = products.sum(dim=(2, 5)) if products.shape[2] * products.shape[5] > 1 else products[:, :, 0, :, :, 0]
        grams.append(summed.reshape(b * k, -1))
    return grams[0] if len(grams) == 1 else torch.stack(grams).sum(dim=0)


def rows(layer: LayerFactors, kinds: Sequence[Kind], dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the layer's Jacobian, ``[b k, in out (+ out)]``, in ``dtype``."""
    return torch.cat([layer.jacobian(kind).flatten(0, 1).to(dtype) for kind in kinds], dim=1)
