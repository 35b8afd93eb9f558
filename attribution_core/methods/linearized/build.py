"""Build a :class:`LinearizedModel` from a model and data, with features computed by the cheapest route."""

from collections.abc import Callable, Iterator
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
from attribution_core.gradients.plan import as_inputs
from attribution_core.methods.linearized.defaults import DIMENSION
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.models import evaluation_mode
from attribution_core.models.watching import last_operation
from attribution_core.progress import report
from attribution_core.training import as_outputs, as_pair, outputs_of
from attribution_core.training.trainer import LabeledData


def linearize(
    model: nn.Module,
    train: LabeledData,
    evaluation: LabeledData,
    sketch: Literal["coordinates", "kronecker"] | None = None,
    dimension: int = DIMENSION,
    parameters: str = "all",
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> LinearizedModel:
    """Linearize a model at its current weights ``w_0``: ``f(x) = f_0(x) + grad f_0(x)^T (w - w_0)``.

    Targets are prepared for half squared errors: classes become one-hot (0/1 for one output).

    Args:
        model: Any module with outputs ``[b, k]``, on any device; used in evaluation mode and left as it was.
        train: Training examples, as a torch dataset of (input, target) or as input and target tensors.
        evaluation: Evaluation examples.
        sketch: None keeps every parameter. ``"kronecker"`` keeps the ``dimension`` leading coordinates of all layers
            together, in a basis fitted to the training examples, and sets ``kept_energy``. ``"coordinates"`` keeps
            ``dimension`` random coordinates of each tensor, as the paper does.
        dimension: Dimension of the sketch.
        parameters: ``"all"``, ``"head"`` (the last layer; outputs then share their features, which removes the factor
            k^2 from all costs) or a regular expression over parameter names.
        seed: Seed of the sketch.
        dtype: Precision of per-example work; None is float64, or float32 for large problems.

    Returns:
        The linearized model, on the model's device. Without a sketch it is built from the Jacobian or the kernel,
        whichever is smaller (``p <= n k`` columns for the Jacobian).

    Raises:
        InputError: The data or the parameters cannot be used.
    """
    if sketch not in (None, "coordinates", "kronecker"):
        raise InputError(f'sketch must be None, "coordinates" or "kronecker", not {sketch!r}.')
    if dimension < 1:
        raise InputError(f"The sketch needs a dimension of 1 or more, not {dimension}.")
    (train_inputs, train_targets), (evaluation_inputs, evaluation_targets) = as_pair(train), as_pair(evaluation)
    plan = plan_parameters(model, train_inputs, parameters, dimension if sketch == "coordinates" else None, seed)
    if sketch == "kronecker":
        plan = kronecker_plan(model, train_inputs, plan, dimension, seed)
    head = _output_layer(model, plan, train_inputs) if sketch is None else None
    build: Callable[..., LinearizedModel] = LinearizedModel.from_jacobians
    if head is not None:
        f_train, train_matrix = _head_features(model, head, plan, train_inputs)
        f_evaluation, evaluation_matrix = _head_features(model, head, plan, evaluation_inputs)
    elif layer_kernels_apply(plan) and plan.width > len(train_inputs) * _num_outputs(model, train_inputs):
        build = LinearizedModel.from_kernels
        train_matrix, evaluation_matrix, f_train, f_evaluation = tangent_kernels(
            model, train_inputs, evaluation_inputs, plan
        )
    else:
        f_train, train_matrix = jacobian(model, train_inputs, plan)
        f_evaluation, evaluation_matrix = jacobian(model, evaluation_inputs, plan)
    targets = [as_outputs(t.to(f_train.device), f_train.shape[1]) for t in (train_targets, evaluation_targets)]
    with _reported(min(train_matrix.shape[:-1].numel(), train_matrix.shape[-1])):
        linear = build(train_matrix, evaluation_matrix, f_train, f_evaluation, *targets, dtype=dtype)
    linear.kept_energy = plan.kept_energy
    return linear


@contextmanager
def _reported(size: int) -> Iterator[None]:
    """Report the eigendecomposition as one step of progress, before it starts and after it ends."""
    what = f"decomposing a {size:,} x {size:,} matrix"
    report(0, 1, what)
    yield
    report(1, 1, what)


def _num_outputs(model: nn.Module, inputs: Tensor) -> int:
    return int(outputs_of(model, inputs[:1]).shape[1])


def _output_layer(model: nn.Module, plan: ParameterPlan, inputs: Tensor) -> nn.Linear | None:
    """Return the Linear layer that has all chosen parameters and gives the model's output; None if there is none."""
    layers = list(plan.layers.values())
    if plan.rest or len(layers) != 1 or not isinstance(layers[0], nn.Linear):
        return None
    outputs, _, results = _through(model, layers[0], inputs[:1])
    if results.shape != outputs.shape or not torch.equal(results, outputs):
        return None
    # Equality may be a coincidence (a ReLU that changed nothing), so other results must pass through unchanged too.
    ramp = torch.arange(1.0, results.numel() + 1).to(results).view_as(results)
    if not all(_passes_through(model, layers[0], inputs[:1], each) for each in (ramp, -ramp)):
        return None
    return None if _changed_by(model, layers[0], inputs[:1]) else layers[0]


def _passes_through(model: nn.Module, layer: nn.Module, inputs: Tensor, result: Tensor) -> bool:
    """Return whether the model's output equals ``result`` if the layer's result is replaced by it."""
    handle = layer.register_forward_hook(lambda _module, _given, _result: result)
    try:
        return torch.equal(outputs_of(model, inputs), result)
    finally:
        handle.remove()


def _changed_by(model: nn.Module, layer: nn.Module, inputs: Tensor) -> str:
    """Return the last operation that changes a layer's result before it is returned; empty if none does.

    It counts also where it changes nothing at these weights, such as a division by a parameter of one.
    """

    def leaf(_module: nn.Module, _given: object, result: Tensor) -> Tensor:
        return result.detach().requires_grad_().clone()

    handle = layer.register_forward_hook(leaf)
    try:
        with evaluation_mode(model), torch.enable_grad():
            return last_operation(model(as_inputs(inputs, next(model.parameters()))))
    finally:
        handle.remove()


def head_of(model: nn.Module, inputs: Tensor) -> nn.Linear:
    """Return the last layer with parameters, which must be Linear and give the model's output.

    Args:
        model: The model.
        inputs: Inputs ``[n, ...]``; the first one is passed through the model.

    Raises:
        InputError: There is no such layer.
    """
    plan = plan_parameters(model, inputs, "head")
    head = _output_layer(model, plan, inputs)
    if head is None:
        reason = _why_no_head(model, next(iter(plan.coordinates)), inputs)
        raise InputError(
            f'This model does not end in a linear layer ({reason}), so it has no head: use parameters="all".'
        )
    return head


def _why_no_head(model: nn.Module, parameter: str, inputs: Tensor) -> str:
    """Return what the model ends in, given a parameter of its last layer."""
    name, _, own = parameter.rpartition(".")
    if not name:
        return f"its last parameter, {own!r}, belongs to no layer"
    layer = model.get_submodule(name)
    last = f"its last layer with parameters is {name!r}, {type(layer).__name__}"
    if not isinstance(layer, nn.Linear):
        return last
    if type(layer) is not nn.Linear:
        return f"{last}, which may compute something else"
    operation = _changed_by(model, layer, inputs[:1]) or "an operation"
    advice = "; leave it out, since the loss takes logits" if operation == "log_softmax" else ""
    return f"{last}, but {operation} changes what it gives{advice}"


def head_inputs(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the inputs of the last layer, the network's embedding of each example: ``[n, ...]`` -> ``[n, d]``.

    Raises:
        InputError: The model does not end in a linear layer.
    """
    return _through(model, head_of(model, inputs), inputs)[1]


def _head_features(model: nn.Module, head: nn.Linear, plan: ParameterPlan, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs ``[n, k]`` and shared features ``[n, 1, p]``: the head's inputs, and a 1 for a chosen bias."""
    outputs, given, _ = _through(model, head, inputs)
    chosen = {name.rpartition(".")[2] for name in plan.coordinates}
    features = [given] if "weight" in chosen else []
    features += [given.new_ones(len(given), 1)] if "bias" in chosen else []
    return outputs, torch.cat(features, dim=1)[:, None]


def _through(model: nn.Module, layer: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the model's outputs, and the layer's inputs and outputs during the pass."""
    seen: list[tuple[Tensor, Tensor]] = []
    handle = layer.register_forward_hook(lambda _module, given, result: seen.append((given[0], result)))
    try:
        outputs = outputs_of(model, inputs)
    finally:
        handle.remove()
    return outputs, torch.cat([given for given, _ in seen]), torch.cat([result for _, result in seen])
