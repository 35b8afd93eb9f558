"""What contributions require of a model, checked before it is trained."""

import torch
from torch import Tensor, nn

from attribution_core.gradients.layers import refuse_unfit
from attribution_core.gradients.outputs import require_own_outputs
from attribution_core.gradients.plan import as_inputs, plan_parameters
from attribution_core.methods.hydra.batch_statistics import constant_statistics
from attribution_core.methods.hydra.replay import refuse_hessian_free, refuse_iblr, refuse_random_layers
from attribution_core.methods.hydra.rest import rest_gradients
from attribution_core.models.plain import copy_of
from attribution_core.models.runtime import differentiable_attention
from attribution_core.training import Recipe


def refuse_for_exact_contributions(model: nn.Module, recipe: Recipe) -> None:
    """Check that the training of a model can be replayed, and its update has an adjoint.

    Raises:
        InputError: The optimizer is iBLR, or the model mixes examples otherwise than by BatchNorm or draws at random in
            training; the message names the layer.
    """
    refuse_iblr(recipe)
    refuse_unfit(model)
    refuse_random_layers(model)


def refuse_for_hydra(model: nn.Module, inputs: Tensor, recipe: Recipe) -> None:
    """Check, on two inputs, that every pair can be computed after a training.

    Raises:
        InputError: The optimizer is another than SGD, or the model mixes examples otherwise than by BatchNorm, draws at
            random in training, or has a parameter without per-example gradients; the message names the layer.
    """
    refuse_hessian_free(recipe)
    refuse_for_exact_contributions(model, recipe)
    model = copy_of(model).train()
    inputs = as_inputs(inputs, next(model.parameters()))
    # BatchNorm normalizes one example alone by the statistics of the two.
    with torch.random.fork_rng(devices=[]), differentiable_attention(), constant_statistics(model):
        outputs = require_own_outputs(model, inputs)
    plan = plan_parameters(model, inputs)
    if plan.rest:
        labels = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
        with constant_statistics(model) as statistics, torch.no_grad():
            model(inputs)
        with constant_statistics(model, statistics):
            rest_gradients(model, plan.rest, inputs, labels, recipe.loss, outputs.shape[1])
