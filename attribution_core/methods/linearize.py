"""From a model and data to a :class:`LinearizedModel`: which features, and by which route."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import (
    ParameterPlan,
    jacobian,
    kronecker_plan,
    layer_kernels_apply,
    plan_parameters,
    tangent_kernels,
)
from attribution_core.methods.linearized import LinearizedModel
from attribution_core.progress import Progress
from attribution_core.training import as_outputs, as_pair, outputs_of
from attribution_core.training.trainer import Data

# Coordinates of each parameter tensor, as in unique information, section 5; of all together in the Kronecker sketch,
# whose F-SI at t = 2000 then ranks examples as the exact kernel does (tests/benchmarks/sketches.py).
DIMENSION = 2000


def linearize(
    model: nn.Module,
    train: Data,
    evaluation: Data,
    sketch: Literal["coordinates", "kronecker"] | None = None,
    dimension: int = DIMENSION,
    parameters: str = "all",
    seed: int = 0,
    progress: Progress | None = None,
) -> LinearizedModel:
    """Linearise a model at its present weights ``w_0``: ``f(x) = f_0(x) + grad f_0(x)^T (w - w_0)``.

    Targets are taken for half squared errors: classes become one-hot (0/1 for one output).

    Args:
        model: Any module that gives ``[b, k]``, on any device; used in evaluation mode and left as it was.
        train: Training examples, a torch dataset of (input, target) or a pair of tensors.
        evaluation: Evaluation examples.
        sketch: None keeps every parameter. ``"kronecker"`` keeps the ``dimension`` leading coordinates of all layers
            together in a basis fitted to the training examples, and tells what they keep as ``kept_energy``.
            ``"coordinates"`` keeps ``dimension`` random coordinates of each tensor, as the paper does.
        dimension: Of the sketch.
        parameters: ``"all"``, ``"head"`` (the last layer: outputs then share their features, and all costs lose their
            k^2) or a regular expression over parameter names.
        seed: Of the sketch.
        progress: Called with (done, total, what).

    Returns:
        The linearised model, on the model's device. With every parameter kept the route is the smaller of the Jacobian
        (``p <= n k`` columns) and the kernel.

    Raises:
        InputError: Data or parameters that cannot be used, in one sentence.
    """
    if sketch not in (None, "coordinates", "kronecker"):
        raise InputError(f'sketch must be None, "coordinates" or "kronecker", not {sketch!r}.')
    if dimension < 1:
        raise InputError(f"The sketch needs a dimension of 1 or more, not {dimension}.")
    (train_inputs, train_targets), (evaluation_inputs, evaluation_targets) = as_pair(train), as_pair(evaluation)
    plan = plan_parameters(model, train_inputs, parameters, dimension if sketch == "coordinates" else None, seed)
    if sketch == "kronecker":
        plan = kronecker_plan(model, train_inputs, plan, dimension, seed, progress)
    head = _output_layer(model, plan) if sketch is None else None
    if head is not None:
        train_side = _head_features(model, head, train_inputs)
        evaluation_side = _head_features(model, head, evaluation_inputs)
    elif layer_kernels_apply(plan) and plan.width > len(train_inputs) * _num_outputs(model, train_inputs):
        kernel, cross, *outputs = tangent_kernels(model, train_inputs, evaluation_inputs, plan, progress)
        targets = [as_outputs(t.to(kernel.device), outputs[0].shape[1]) for t in (train_targets, evaluation_targets)]
        with _announced(progress, len(kernel)):
            linear = LinearizedModel.from_kernels(kernel, cross, *outputs, *targets)
        linear.kept_energy = plan.kept_energy
        return linear
    else:
        train_side = jacobian(model, train_inputs, plan, progress)
        evaluation_side = jacobian(model, evaluation_inputs, plan, progress)
    (f_train, j_train), (f_evaluation, j_evaluation) = train_side, evaluation_side
    targets = [as_outputs(t.to(f_train.device), f_train.shape[1]) for t in (train_targets, evaluation_targets)]
    with _announced(progress, min(j_train.shape[0] * j_train.shape[1], j_train.shape[2])):
        linear = LinearizedModel.from_jacobians(j_train, j_evaluation, f_train, f_evaluation, *targets)
    linear.kept_energy = plan.kept_energy
    return linear


@contextmanager
def _announced(progress: Progress | None, size: int) -> Iterator[None]:
    """Name the eigendecomposition, which has no steps of its own, before it starts."""
    tell = progress or (lambda *_: None)
    what = f"decomposing a {size:,} x {size:,} matrix"
    tell(0, 1, what)
    yield
    tell(1, 1, what)


def _num_outputs(model: nn.Module, inputs: Tensor) -> int:
    return int(outputs_of(model, inputs[:1]).shape[1])


def _output_layer(model: nn.Module, plan: ParameterPlan) -> nn.Linear | None:
    """The Linear layer that holds all chosen parameters and whose result is the output; None if there is none."""
    layers = list(plan.layers.values())
    modules = [module for module in model.modules() if not list(module.children())]
    if plan.rest or len(layers) != 1 or modules[-1] is not layers[0] or not isinstance(layers[0], nn.Linear):
        return None
    return layers[0]


def _head_features(model: nn.Module, head: nn.Linear, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs ``[n, k]`` and shared features ``[n, 1, p]``: the head's inputs, and a 1 for its bias."""
    seen: list[tuple[Tensor, Tensor]] = []
    handle = head.register_forward_hook(lambda _module, arguments, output: seen.append((arguments[0], output)))
    try:
        outputs = outputs_of(model, inputs)
    finally:
        handle.remove()
    features = torch.cat([given for given, _ in seen])
    if features.ndim != 2 or not torch.equal(torch.cat([given for _, given in seen]), outputs):
        raise InputError("The last layer's result is not the model's output, so it cannot be taken for its head.")
    if head.bias is not None:
        features = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
    return outputs, features[:, None]
