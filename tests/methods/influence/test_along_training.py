"""Influence along training is the mean of influence functions at its checkpoints."""

import pytest
import torch
from torch import nn

import attribution_core as ac
from attribution_core.errors import InputError
from attribution_core.methods.influence.along_training import SHARE, influence_along_training
from attribution_core.methods.influence.functions import spectrum_for
from attribution_core.methods.influence.options import InfluenceOptions
from attribution_core.training import Recipe, Trajectory
from attribution_core.training.trainer import state_of

N, EPOCHS = 30, 20


def _trained(seed: int = 0, record: str = "checkpoints", epochs: int = EPOCHS) -> Trajectory:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, 5, generator=generator)
    targets = (inputs[:, 0] > 0).long()
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
    recipe = Recipe(learning_rate=0.2, epochs=epochs, batch_size=10, seed=seed)
    return ac.train(model, (inputs, targets), recipe, record=record)  # type: ignore[arg-type]


EVALUATION = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 0, 1, 1, 0, 1])


def _mean(trajectories: list[Trajectory], steps: tuple[int, ...], options: InfluenceOptions) -> tuple:
    effects, own = [], []
    for trajectory in trajectories:
        states = {**trajectory.checkpoints, trajectory.steps: trajectory.final}
        for step in steps:
            trajectory.model.load_state_dict(states[step])
            spectrum = spectrum_for(trajectory.model, trajectory.data, EVALUATION, options)
            damping = options.damping or SHARE * float(spectrum.values.max())
            effects.append(spectrum.effects(damping))
            own.append(spectrum.self_influence(damping))
    return torch.stack(effects).mean(0), torch.stack(own).mean(0)


@pytest.mark.parametrize("damping", [None, 0.01])
def test_it_is_the_mean_over_eight_checkpoints_and_leaves_the_model_as_it_was(damping: float | None) -> None:
    trajectory = _trained()
    before = state_of(trajectory.model)
    found = ac.influence_along_training(trajectory, EVALUATION, damping=damping)
    assert found.steps == tuple(3 * epoch for epoch in (4, 6, 8, 10, 12, 14, 16, 18))
    assert all(torch.equal(value, before[name]) for name, value in state_of(trajectory.model).items())
    options = InfluenceOptions(curvature="empirical", solver="sketch", damping=damping)
    effect, own = _mean([trajectory], found.steps, options)
    assert torch.allclose(found.effect, effect, rtol=1e-4, atol=1e-7)
    assert torch.allclose(found.self_influence, own, rtol=1e-4, atol=1e-7)
    assert found.effect.shape == (N, 7)
    assert len(found.damping) == 8


def test_several_trainings_are_averaged() -> None:
    both = [_trained(0), _trained(1)]
    options = InfluenceOptions(curvature="ggn", solver="exact")
    found = influence_along_training(both, EVALUATION, options, steps=[30, 60])
    effect, own = _mean(both, (30, 60), options)
    assert torch.allclose(found.effect, effect, rtol=1e-4, atol=1e-7)
    assert torch.allclose(found.self_influence, own, rtol=1e-4, atol=1e-7)
    assert len(found.damping) == 4
    alone = [influence_along_training(each, EVALUATION, options, steps=[30, 60]) for each in both]
    assert torch.allclose(found.effect, (alone[0].effect + alone[1].effect) / 2, rtol=1e-4, atol=1e-7)


def test_few_checkpoints_are_all_used_and_the_last_step_is_one() -> None:
    trajectory = _trained(epochs=2)
    assert influence_along_training(trajectory, EVALUATION).steps == (3, 6)
    plain = _trained(record="none")
    assert influence_along_training(plain, EVALUATION, steps=[60]).steps == (60,)


def test_what_cannot_be_used_is_refused() -> None:
    trajectory = _trained(epochs=2)
    with pytest.raises(InputError, match="no checkpoint after step 4"):
        influence_along_training(trajectory, EVALUATION, steps=[4])
    with pytest.raises(InputError, match="needs checkpoints"):
        influence_along_training(_trained(record="none"), EVALUATION)
    with pytest.raises(InputError, match='solver="sketch" or "exact"'):
        influence_along_training(trajectory, EVALUATION, solver="ekfac")
    with pytest.raises(InputError, match="same checkpoints"):
        influence_along_training([trajectory, _trained(epochs=4)], EVALUATION)
