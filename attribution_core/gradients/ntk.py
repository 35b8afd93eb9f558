r"""Empirical neural tangent kernels, assembled layer by layer from factors, without the n x p Jacobian.

A layer's part of ``K[(b, c), (b', c')] = <grad f_c(x_b), grad f_c'(x_b')>`` has two forms. With L positions, weights
``[out, in]`` and k outputs, a pair of examples costs

- **Gram form** ``sum_ll' (a_bl . a_b'l' + 1)(d_bcl . d_b'c'l')``, where the 1 is the bias: ``L^2 (in + k^2 (out + 1))``
  multiplications. A Linear layer on vectors has L = 1, where the rows below would cost ``k^2 in out``.
- **Rows**: the weight gradients of two blocks of examples are formed, multiplied and forgotten: ``k^2 in out``, and
  ``2 k L in out`` for each example and block it meets.

Each layer takes the cheaper (:func:`gram_is_cheaper`): in cnn4 the first three convolutions form rows, the fourth (9
positions) and the linear layers do not. Groups of a convolution and normalisations' scales follow the same rule. Both
forms sum the same products, in float64 even for a float32 model: duplicates then stay exactly dependent, so that
training to the end (t = infinity) sees the kernel's true rank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.jacobian import BATCH_BYTES, factor_batches
from attribution_core.gradients.layers import Kind, LayerFactors, PositionFactors
from attribution_core.gradients.per_example import layer_factors
from attribution_core.gradients.plan import ParameterPlan, as_inputs
from attribution_core.models import evaluation_mode
from attribution_core.progress import report

# What the factors of all examples may take at a time. Past it layers take turns, each with its own forward and k
# backward passes: with n examples those cost n, the products n^2.
FACTOR_BYTES = 2 * 2**30
# Rows of a block at most: small enough that leaving out the blocks above the diagonal saves half of the work.
BLOCK_ROWS = 512


def layer_kernels_apply(plan: ParameterPlan) -> bool:
    """Whether every chosen parameter is kept whole and belongs to a layer with factors."""
    return not plan.rest and all(chosen.is_whole for chosen in plan.coordinates.values())


def tangent_kernels(
    model: nn.Module,
    train: Tensor,
    evaluation: Tensor,
    plan: ParameterPlan,
    mixtures: tuple[Tensor, Tensor] | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Kernels of the training examples with themselves and of the evaluation examples with them.

    Args:
        model: At ``w_0``.
        train: Training inputs ``[n, ...]``.
        evaluation: Evaluation inputs ``[m, ...]``.
        plan: All of whose parameters pass :func:`layer_kernels_apply`.
        mixtures: Of the training and the evaluation outputs, ``[n, k]`` and ``[m, k]``: the kernels are those of the
            one output ``sum_c mixture_bc f_c(x_b)`` instead, ``[n, n]`` and ``[m, n]``.
        dtype: Of the kernels.

    Returns:
        ``(train_kernel [n k, n k], evaluation_kernel [m k, n k], train_outputs [n, k], evaluation_outputs [m, k])``;
        kernels example-major.

    Raises:
        InputError: Parameters without factors, or only some coordinates of them.
    """
    if not layer_kernels_apply(plan):
        raise InputError("Kernels without a Jacobian need whole layers that have factors: use the Jacobian instead.")
    kernel, cross = torch.zeros(0, 0), torch.zeros(0, 0)
    own_mixture, other_mixture = mixtures or (None, None)
    done = 0
    for turn in _turns(model, train, len(train) + len(evaluation), plan):
        train_outputs, own = _collect(model, train, turn, own_mixture)
        evaluation_outputs, other = _collect(model, evaluation, turn, other_mixture)
        if done == 0:
            k = train_outputs.shape[1] if mixtures is None else 1
            kernel = train_outputs.new_zeros(2 * [len(train) * k], dtype=dtype)
            cross = kernel.new_zeros(len(evaluation) * k, len(kernel))
        for name in turn.layers:
            kinds: list[Kind] = [kind for kind, parameter in own[name].parameters() if parameter in plan.coordinates]
            train_side, evaluation_side = own.pop(name), other.pop(name)
            _add_layer(kernel, train_side, train_side, kinds)
            _add_layer(cross, evaluation_side, train_side, kinds)
            done += 1
            report(done, len(plan.layers), "tangent kernel")
    kernel.tril_()
    kernel += kernel.tril(-1).T
    return kernel, cross, train_outputs, evaluation_outputs


def _turns(model: nn.Module, inputs: Tensor, examples: int, plan: ParameterPlan) -> Iterator[ParameterPlan]:
    """The plan cut into groups of layers whose factors of all examples fit into ``FACTOR_BYTES``, measured on one."""
    with evaluation_mode(model):
        _, factors = layer_factors(model, as_inputs(inputs[:1], next(model.parameters())), plan.layers)
    turn: dict[str, nn.Module] = {}
    held = 0
    for layer in factors:
        size = examples * layer.nbytes
        if turn and held + size > FACTOR_BYTES:
            yield replace(plan, layers=turn)
            turn, held = {}, 0
        turn[layer.name] = plan.layers[layer.name]
        held += size
    yield replace(plan, layers=turn)


def _collect(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    mixture: Tensor | None,
) -> tuple[Tensor, dict[str, LayerFactors]]:
    """Outputs and the factors of all examples: ``positions (in + k out)`` numbers an example and layer."""
    outputs: list[Tensor] = []
    parts: dict[str, list[LayerFactors]] = {name: [] for name in plan.layers}
    for _, values, factors in factor_batches(model, inputs, plan, mixture):
        outputs.append(values)
        for layer in factors:
            parts[layer.name].append(layer)
    return torch.cat(outputs), {name: LayerFactors.join(parts.pop(name)) for name in plan.layers}


def _add_layer(total: Tensor, left: LayerFactors, right: LayerFactors, kinds: list[Kind]) -> None:
    """Add one layer's part of the kernel to ``total`` ``[rows k, columns k]``, in place.

    When left is right, blocks above the diagonal are left out.
    """
    k, dtype = len(total) // left.num_examples, total.dtype
    by_gram = isinstance(left, PositionFactors) and gram_is_cheaper(left)

    def side_of(layer: LayerFactors, start: int) -> Any:
        part = layer.take(slice(start, start + size))
        return part if by_gram else rows(part, kinds, dtype)

    def product(own: Any, other: Any) -> Tensor:
        return gram(own, other, kinds, dtype) if by_gram else own @ other.T

    if isinstance(left, PositionFactors) and by_gram:
        size = int((BATCH_BYTES / dtype.itemsize) ** 0.5 / (k * left.sizes.positions))
    else:
        size = BATCH_BYTES // (dtype.itemsize * rows(left.take(slice(1)), kinds).numel())
    size = max(1, min(size, BLOCK_ROWS // k))
    for top in range(0, left.num_examples, size):
        own = side_of(left, top)
        for start in range(0, top + 1 if left is right else right.num_examples, size):
            part = product(own, side_of(right, start))
            total[top * k : top * k + len(part), start * k : start * k + part.shape[1]] += part


def gram_is_cheaper(layer: PositionFactors) -> bool:
    """The rule at the head of this file, for one pair of examples."""
    k, groups, positions, width, out, input_cost = layer.sizes
    return groups * positions**2 * (input_cost + k**2 * (out + 1)) < k**2 * groups * width * out


def gram(
    left: PositionFactors, right: PositionFactors, kinds: Sequence[Kind], dtype: torch.dtype = torch.float64
) -> Tensor:
    """``sum_ll' (a . a' [weight] + 1 [bias])(d . d')``: ``[b k, b' k]``, computed in ``dtype``."""
    b, b_right, k, positions = left.num_examples, right.num_examples, left.sizes.outputs, left.sizes.positions
    parts = []
    for group in range(left.sizes.groups):
        d, d_right = (side.gradients_of(group).flatten(0, 2).to(dtype) for side in (left, right))
        products = (d @ d_right.T).view(b, k, positions, b_right, k, -1)
        if "weight" in kinds:
            inputs = left.input_gram(right, group, dtype).view(b, 1, positions, b_right, 1, -1)
            products *= inputs + float("bias" in kinds)
        # One position each (a Linear layer): nothing to sum, so no copy.
        summed = products.sum(dim=(2, 5)) if products.shape[2] * products.shape[5] > 1 else products[:, :, 0, :, :, 0]
        parts.append(summed.reshape(b * k, -1))
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)


def rows(layer: LayerFactors, kinds: Sequence[Kind], dtype: torch.dtype = torch.float64) -> Tensor:
    """The layer's Jacobian, ``[b k, in out (+ out)]``, in ``dtype``."""
    return torch.cat([layer.jacobian(kind).flatten(0, 1).to(dtype) for kind in kinds], dim=1)
