"""What contributions for every pair require of a model, checked before it is trained."""

import torch
from torch import Tensor, nn

from attribution_core.gradients.outputs import require_own_outputs
from attribution_core.gradients.plan import as_inputs, plan_parameters
from attribution_core.methods.hydra.replay import (
    refuse_mixed_examples,
    refuse_other_optimizers,
    refuse_random_layers,
)
from attribution_core.methods.hydra.rest import rest_gradients
from attribution_core.models.plain import copy_of
from attribution_core.models.runtime import differentiable_attention
from attribution_core.training import Recipe


def refuse_for_hydra(model: nn.Module, inputs: Tensor, recipe: Recipe) -> None:
    """Check, on two inputs, that every pair can be computed after a training.

    Raises:
        InputError: The optimizer is another than SGD, or the model mixes examples, draws at random in training, or has
            a parameter without per-example gradients; the message names the layer.
    """
    refuse_other_optimizers(recipe)
    refuse_mixed_examples(model)
    refuse_random_layers(model)
    model = copy_of(model).train()
    inputs = as_inputs(inputs, next(model.parameters()))
    with torch.random.fork_rng(devices=[]), differentiable_attention():
        outputs = require_own_outputs(model, inputs)
    plan = plan_parameters(model, inputs)
    if plan.rest:
        labels = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
        rest_gradients(model, plan.rest, inputs, labels, recipe.loss, outputs.shape[1])
