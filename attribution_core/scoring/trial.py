"""Try a model on a few examples before a run: its outputs, a training step and every kind of derivative."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp

from attribution_core.errors import InputError, first_sentence, is_out_of_memory
from attribution_core.gradients import plan_parameters
from attribution_core.gradients.jacobian import function_gradients
from attribution_core.gradients.layers import refuse_unfit
from attribution_core.gradients.outputs import require_own_outputs
from attribution_core.gradients.plan import as_inputs
from attribution_core.methods.hydra.batch_statistics import moving_statistics
from attribution_core.models import evaluation_mode
from attribution_core.models.plain import copy_of
from attribution_core.models.runtime import differentiable_attention, forward_mode
from attribution_core.models.watching import last_operation, running_layers
from attribution_core.preparation.prepare import Prepared
from attribution_core.progress import silenced
from attribution_core.scoring.cross_fit import sizes_without_fold
from attribution_core.training import Recipe, loss_values, train

Result = TypeVar("Result")

# Rows that sum to one within this, and are nowhere negative, are probabilities.
_SUM = 1e-4


def require_working(prepared: Prepared) -> None:
    """Check that a run's model gives logits, and that a step of its training works.

    Raises:
        InputError: It does not; the sentence names the layer or the call.
    """
    model, (inputs, targets) = prepared.initial_model, prepared.few_examples
    name, device = prepared.model_name, next(model.parameters()).device
    inputs, targets = as_inputs(inputs, next(model.parameters())), targets.to(device)
    refuse_unfit(model)
    with evaluation_mode(model):
        require_own_outputs(model, inputs)
        _require_logits(model, inputs, name)
    config = prepared.config
    recipe = config.recipe
    if recipe.epochs == 0:
        return
    sizes = {min(len(inputs), recipe.batch_size)}
    examples = len(prepared.splits.train)
    if any(count % recipe.batch_size == 1 for count in {examples, *sizes_without_fold(examples, config.cross_fit)}):
        sizes.add(1)
    for size in sorted(sizes, reverse=True):
        _require_step(copy_of(model), inputs[:size], targets[:size], recipe, name)


def require_gradients(model: nn.Module, inputs: Tensor, parameters: str, second: bool = False) -> None:
    """Check that each example has a gradient of its own in these parameters.

    Args:
        model: At any weights.
        inputs: Two examples.
        parameters: As in :func:`attribution_core.gradients.plan.select_parameters`.
        second: Whether to check the derivatives of these gradients too.

    Raises:
        InputError: It has not; the sentence names the layer or the operation.
    """
    plan = plan_parameters(model, inputs, parameters)
    two = as_inputs(inputs, next(model.parameters()))
    with evaluation_mode(model):
        function_gradients(model, two[:1], plan.rest)
        if second:
            _derived("second", lambda: _second_derivatives(model, two, set(plan.coordinates) - set(plan.rest)))


def require_products_with_the_hessian(model: nn.Module, inputs: Tensor, loss: str) -> None:
    """Check that a model in training mode has products of its loss's Hessian, by forward over reverse differentiation.

    Raises:
        InputError: It has not; the sentence names the operation.
    """
    model = copy_of(model).train()
    weights = {name: value.detach() for name, value in model.named_parameters()}
    inputs = as_inputs(inputs, next(model.parameters()))

    def total(parameters: dict[str, Tensor]) -> Tensor:
        with moving_statistics(model):
            outputs = functional_call(model, parameters, (inputs,))
        return loss_values(outputs, torch.zeros(len(outputs), dtype=torch.int64, device=outputs.device), loss).sum()

    with differentiable_attention(), forward_mode():
        _derived("forward-mode", lambda: jvp(grad(total), (weights,), (weights,)))


def _second_derivatives(model: nn.Module, inputs: Tensor, names: set[str]) -> None:
    """Differentiate the gradient of a mixture of outputs in these parameters by the mixture."""
    free = {name: value.detach().requires_grad_(name in names) for name, value in model.named_parameters()}
    chosen = [value for value in free.values() if value.requires_grad]
    with torch.enable_grad():
        outputs = functional_call(model, free, (inputs,))
        mixture = torch.ones_like(outputs).requires_grad_()
        if chosen and outputs.requires_grad:
            mixed = (outputs * mixture).sum()  # as grad_outputs, the mixture would import SymPy, which takes seconds
            found = torch.autograd.grad(mixed, chosen, create_graph=True, materialize_grads=True)
            # Through all leaves, since a gradient in the mixture alone would silently pass by an operation that is
            # marked as differentiable once, and be wrong.
            torch.stack([each.square().sum() for each in found]).sum().backward()


def _derived(order: str, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except RuntimeError as error:  # and NotImplementedError, which is one
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"This model has no {order} derivatives, because one of its operations lacks them "
            f"({first_sentence(error)}): write that operation by others."
        ) from error


def _require_logits(model: nn.Module, inputs: Tensor, name: str) -> None:
    with torch.enable_grad():
        outputs = model(inputs)
    if not outputs.requires_grad:
        raise InputError(
            f"The outputs of {name} depend on none of its parameters by a differentiable path, so it has no gradients: "
            "take away detach(), no_grad() or a conversion to NumPy."
        )
    if outputs.shape[1] == 1:
        return
    last = last_operation(outputs)
    values = outputs.detach()
    sums_to_one = bool((values >= 0).all()) and bool(((values.sum(dim=1) - 1).abs() < _SUM).all())
    if sums_to_one or last in ("softmax", "sigmoid"):
        what = last if last in ("softmax", "sigmoid") else "probabilities that sum to one"
        raise InputError(
            f"{name} must return logits, but its outputs are probabilities already (it ends in {what}), to which the "
            "loss and every measure would apply softmax again: return what comes before, and take softmax only "
            "where you predict."
        )


def _require_step(model: nn.Module, inputs: Tensor, targets: Tensor, recipe: Recipe, name: str) -> None:
    """Train on these examples for a step.

    Raises:
        InputError: That fails.
    """
    step = recipe.model_copy(update={"epochs": 1, "batch_size": len(inputs), "schedule": "constant"})
    with torch.random.fork_rng(devices=[]), running_layers(model) as running:
        try:
            outputs = model.train()(inputs)
            if not isinstance(outputs, Tensor) or outputs.ndim != 2:
                given = list(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
                raise InputError(
                    f"{name} must return [examples, outputs] in training mode too, but it returns {given}: return the "
                    "logits alone, without auxiliary outputs."
                )
            with silenced():  # the run's own training is still to come
                train(model, (inputs, targets), step)
        except InputError:
            raise
        except Exception as error:  # the user's code may raise anything
            if is_out_of_memory(error):
                raise
            where = str(running) if running.names else "the backward pass or the optimizer"
            last = ", as the last of an epoch: choose another --batch-size" if len(inputs) == 1 else ""
            raise InputError(
                f"{name} cannot be trained on a batch of {len(inputs)}, because {where} raised {type(error).__name__} "
                f"({first_sentence(error)}){last}."
            ) from error
