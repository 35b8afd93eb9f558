"""The stages between retraining and influence functions, each beside the function that defines it."""

import pytest
import torch
from torch import nn

import attribution_core as ac
from attribution_core.evaluation.responses import COMPARED, PARTS, Removals
from attribution_core.methods.influence.proximal_bregman import train_without
from attribution_core.training import Recipe, loss_values, outputs_of
from attribution_core.training.trainer import state_of

N, M = 24, 6


def _removals(loss: str = "cross_entropy", epochs: int = 6) -> Removals:
    generator = torch.Generator().manual_seed(0)
    inputs, other = (torch.randn(size, 4, generator=generator, dtype=torch.float64) for size in (N, M))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3 if loss == "cross_entropy" else 1)).double()
    targets, others = (
        each[:, :3].argmax(dim=1) if loss == "cross_entropy" else each[:, :1].sin() for each in (inputs, other)
    )
    initial, recipe = state_of(model), Recipe(loss=loss, epochs=epochs, batch_size=8, learning_rate=0.1)
    ac.train(model, (inputs, targets), recipe)
    return Removals(model, initial, (inputs, targets), (other, others), recipe, 0.05)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_each_stage_is_what_its_name_says(loss):
    removals = _removals(loss)
    before = state_of(removals.model)
    found = removals.of(5)
    assert all(torch.equal(value, before[name]) for name, value in state_of(removals.model).items())
    assert set(found.parts) == set(PARTS)
    assert set(found.changes) == set(COMPARED)
    damping = removals.damping + removals.recipe.weight_decay
    exact = ac.influence_functions(
        removals.model, removals.train, removals.evaluation, loss=loss, solver="exact", damping=damping
    )
    assert torch.allclose(found.predicted, exact.effect[5].double(), rtol=1e-3, atol=1e-7)
    longer = removals.recipe.model_copy(update={"epochs": 9})
    cold = train_without(removals.model, removals.train, 5, longer, removals.initial)
    assert torch.allclose(found.changes["cold"], _losses(removals, cold) - _losses(removals, before))
    response = ac.proximal_bregman_response(removals.model, removals.train, 5, damping, loss).weights
    assert torch.allclose(found.changes["bregman"], _losses(removals, response) - _losses(removals, before), atol=1e-6)
    assert found.parts["solver"] < 0.01 * sum(found.parts.values())  # conjugate gradients solve the linearized form
    correlation = torch.corrcoef(torch.stack([found.predicted, found.changes["bregman"]]))[0, 1]
    assert float(correlation) > 0.9


def test_parts_are_distances_on_the_training_set():
    removals = _removals()
    found = removals.of(3)
    outputs = []
    for recipe, start in (
        (removals.recipe.model_copy(update={"epochs": 9}), removals.initial),
        (removals.recipe.model_copy(update={"epochs": 3}), state_of(removals.model)),
    ):
        weights = train_without(removals.model, removals.train, 3, recipe, start)
        outputs.append(_outputs(removals, weights, removals.train[0]))
    assert found.parts["warm-start"] == pytest.approx(float((outputs[0] - outputs[1]).norm()), rel=1e-6)


def _outputs(removals: Removals, weights, inputs: torch.Tensor) -> torch.Tensor:
    before = state_of(removals.model)
    removals.model.load_state_dict(weights)
    found = outputs_of(removals.model, inputs)
    removals.model.load_state_dict(before)
    return found


def _losses(removals: Removals, weights) -> torch.Tensor:
    return loss_values(
        _outputs(removals, weights, removals.evaluation[0]), removals.evaluation[1], removals.recipe.loss
    )
