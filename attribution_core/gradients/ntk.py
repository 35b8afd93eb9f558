"""Empirical neural tangent kernels, assembled layer by layer from factors, without the n x p Jacobian.

A layer's part of ``K[(b, c), (b', c')] = <grad f_c(x_b), grad f_c'(x_b')>`` is, for a Linear layer, the elementwise
product of two small Gram matrices: ``(a_b . a_b' + 1)(d_bc . d_b'c')``, where the 1 is the bias. That costs
``n^2 (in + k^2 out)`` multiplications where the Jacobian costs ``n^2 k^2 in out``. For a layer with positions the
weight gradients of a block are formed, multiplied and forgotten.
"""

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.jacobian import BATCH_BYTES, ParameterPlan, factor_batches
from attribution_core.gradients.per_example import LayerFactors
from attribution_core.progress import Progress


def layer_kernels_apply(plan: ParameterPlan) -> bool:
    """Whether every chosen parameter is kept whole and belongs to a layer with factors."""
    return not plan.rest and all(chosen.scale == 1.0 for chosen in plan.coordinates.values())


def tangent_kernels(
    model: nn.Module, train: Tensor, evaluation: Tensor, plan: ParameterPlan, progress: Progress | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Kernels of the training examples with themselves and of the evaluation examples with them.

    Args:
        model: At ``w_0``.
        train: Training inputs ``[n, ...]``.
        evaluation: Evaluation inputs ``[m, ...]``.
        plan: All of whose parameters pass :func:`layer_kernels_apply`.
        progress: Called with (done, total, what).

    Returns:
        ``(train_kernel [n k, n k], evaluation_kernel [m k, n k], train_outputs [n, k], evaluation_outputs [m, k])``;
        kernels in float64, example-major.

    Raises:
        InputError: Parameters without factors, or only some coordinates of them.
    """
    if not layer_kernels_apply(plan):
        raise InputError("Kernels without a Jacobian need whole Linear or Conv2d layers: use the Jacobian instead.")
    outputs_train, factors_train = _collect(model, train, plan, progress)
    outputs_evaluation, factors_evaluation = _collect(model, evaluation, plan, progress)
    n, m, k = len(train), len(evaluation), outputs_train.shape[1]
    kernel = torch.zeros(n * k, n * k, dtype=torch.float64, device=outputs_train.device)
    cross = torch.zeros(m * k, n * k, dtype=torch.float64, device=outputs_train.device)
    for done, name in enumerate(factors_train):
        with_bias = f"{name}.bias".removeprefix(".") in plan.coordinates
        with_weight = f"{name}.weight".removeprefix(".") in plan.coordinates
        for left, total in ((factors_train[name], kernel), (factors_evaluation[name], cross)):
            _add_layer(total, left, factors_train[name], with_weight, with_bias)
        if progress:
            progress(done + 1, len(factors_train), "tangent kernel")
    return kernel, cross, outputs_train, outputs_evaluation


def _collect(
    model: nn.Module, inputs: Tensor, plan: ParameterPlan, progress: Progress | None
) -> tuple[Tensor, dict[str, LayerFactors]]:
    """Outputs and the factors of all examples: ``positions (in + k out)`` numbers an example and layer."""
    outputs, parts = [], {name: [] for name in plan.layers}  # type: ignore[var-annotated]
    for _, values, factors in factor_batches(model, inputs, plan, progress):
        outputs.append(values)
        for layer in factors:
            parts[layer.name].append(layer)
    whole = {
        name: LayerFactors(
            name, torch.cat([f.inputs for f in each]), torch.cat([f.output_gradients for f in each]), each[0].module
        )
        for name, each in parts.items()
    }
    return torch.cat(outputs), whole


def _add_layer(total: Tensor, left: LayerFactors, right: LayerFactors, with_weight: bool, with_bias: bool) -> None:
    """Add one layer's part of the kernel to ``total`` ``[rows k, columns k]``, in place."""
    k = left.output_gradients.shape[1]
    if left.inputs.shape[1] == 1:
        inputs = left.inputs[:, 0].double() @ right.inputs[:, 0].double().T if with_weight else 0.0
        gradients = left.output_gradients.flatten(0, 2).double() @ right.output_gradients.flatten(0, 2).double().T
        total += gradients if with_bias and not with_weight else 0.0
        if with_weight:
            scale = (inputs + float(with_bias)).repeat_interleave(k, 0).repeat_interleave(k, 1)  # type: ignore[union-attr]
            total += gradients.mul_(scale)
        return
    width = k * left.inputs.shape[2] * left.output_gradients.shape[3]
    size = max(1, BATCH_BYTES // (8 * width))
    for rows in torch.arange(len(left.inputs)).split(size):
        block = _rows_of(left, rows, with_weight, with_bias)
        for columns in torch.arange(len(right.inputs)).split(size):
            part = block @ _rows_of(right, columns, with_weight, with_bias).T
            total[rows[0] * k : (rows[-1] + 1) * k, columns[0] * k : (columns[-1] + 1) * k] += part


def _rows_of(layer: LayerFactors, examples: Tensor, with_weight: bool, with_bias: bool) -> Tensor:
    """The layer's Jacobian rows of some examples, ``[b k, in out (+ out)]``, float64."""
    part = LayerFactors(layer.name, layer.inputs[examples], layer.output_gradients[examples], layer.module)
    blocks = [part.weight_jacobian()] if with_weight else []
    blocks += [part.bias_jacobian()] if with_bias else []
    return torch.cat(blocks, dim=2).flatten(0, 1).double()
