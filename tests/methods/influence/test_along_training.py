"""Influence along training is the mean of influence functions at its checkpoints."""

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import attribution_core as ac
from attribution_core.errors import InputError
from attribution_core.methods.influence import along_training
from attribution_core.methods.influence.along_training import default_damping, influence_along_training
from attribution_core.methods.influence.damping import sweep_along_training
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
            largest, trace = float(spectrum.values.max()), float(spectrum.values.sum())
            damping = options.damping or default_damping(trajectory, largest, trace)
            effects.append(spectrum.effects(damping))
            own.append(spectrum.self_influence(damping))
    return torch.stack(effects).mean(0), torch.stack(own).mean(0)


@pytest.mark.parametrize("damping", [None, 0.01])
def test_it_is_the_mean_over_eight_checkpoints_and_leaves_the_model_as_it_was(damping: float | None) -> None:
    trajectory = _trained()
    before = state_of(trajectory.model)
    found = ac.influence_along_training(trajectory, EVALUATION, damping=damping)
    assert found.steps == tuple(3 * epoch for epoch in (2, 3, 4, 5, 7, 10, 14, 20))
    assert all(torch.equal(value, before[name]) for name, value in state_of(trajectory.model).items())
    options = InfluenceOptions(solver="exact", damping=damping)  # with two classes nothing else has rank one
    effect, own = _mean([trajectory], found.steps, options)
    assert torch.allclose(found.effect.double(), effect, rtol=1e-3, atol=1e-6)
    assert torch.allclose(found.self_influence, own, rtol=1e-3, atol=1e-6)
    assert found.effect.shape == (N, 7)
    assert len(found.damping) == len(found.share) == 8


def _of_rank_one(model: nn.Module, data: tuple, evaluation: tuple, damping: float) -> tuple:
    """Return effects and self-influence by explicit matrices: each Hessian has the error's direction and its trace."""

    def gradients(mixtures: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        rows = []
        for row, mixture in zip(inputs, mixtures, strict=True):
            parts = torch.autograd.grad((model(row[None])[0] * mixture).sum(), list(model.parameters()))
            rows.append(torch.cat([part.flatten() for part in parts]))
        return torch.stack(rows)

    def errors(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            p = model(inputs).softmax(dim=1)
        return p, p - nn.functional.one_hot(targets, p.shape[1])

    p, error = errors(*data)
    trace = (p * (1 - p)).sum(dim=1)
    own, others = gradients(error, data[0]), gradients(errors(*evaluation)[1], evaluation[0])
    rows = own * (trace.sqrt() / error.norm(dim=1))[:, None]
    n = len(rows)
    inverse = torch.linalg.inv(rows.T @ rows / n + damping * torch.eye(rows.shape[1]).to(rows))
    return own @ inverse @ others.T / n, ((own @ inverse) * own).sum(dim=1) / n


@pytest.mark.parametrize("sharper", [1.0, 8.0])  # at 8, labels are confidently wrong and right
def test_with_more_classes_each_hessian_keeps_its_trace(sharper: float) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(4, (N,), generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    trajectory = ac.train(
        model, (inputs, targets), Recipe(learning_rate=0.2, epochs=2, batch_size=10), record="checkpoints"
    )
    for state in (*trajectory.checkpoints.values(), trajectory.final):
        state["2.weight"] *= sharper
    evaluation = EVALUATION[0].double(), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    found = influence_along_training(trajectory, evaluation, steps=[3], damping=0.02)
    with trajectory.at(3) as there:
        effect, own = _of_rank_one(there, (inputs, targets), evaluation, 0.02)
    assert torch.allclose(found.effect, effect, rtol=1e-8, atol=1e-12)
    assert torch.allclose(found.self_influence, own, rtol=1e-8, atol=1e-12)


def test_with_one_output_nothing_is_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, 5, generator=generator)
    recipe = Recipe(learning_rate=0.05, epochs=2, batch_size=10, loss="mse")
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1))
    trajectory = ac.train(model, (inputs, inputs[:, :1].exp()), recipe, record="checkpoints")
    evaluation = EVALUATION[0], EVALUATION[0][:, :1].exp()
    found = influence_along_training(trajectory, evaluation, damping=0.05)
    exact = influence_along_training(trajectory, evaluation, solver="exact", damping=0.05)
    assert torch.allclose(found.effect.double(), exact.effect.double(), rtol=1e-3, atol=1e-6)
    assert torch.allclose(found.self_influence, exact.self_influence, rtol=1e-3, atol=1e-6)


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


def test_many_examples_or_costly_gradients_take_a_spectrum(monkeypatch: pytest.MonkeyPatch) -> None:
    trajectory = _trained()
    assert along_training.solves_by_examples(trajectory, 7)
    assert along_training.solves_by_examples(trajectory, 7, InfluenceOptions(curvature="empirical"))
    assert not along_training.solves_by_examples(trajectory, 7, InfluenceOptions(curvature="fisher"))
    assert not along_training.solves_by_examples(trajectory, 7, InfluenceOptions(solver="exact"))
    found = influence_along_training(trajectory, EVALUATION)
    for limit in ("MOST_EXAMPLES", "MOST_MULTIPLICATIONS"):
        with monkeypatch.context() as patched:
            patched.setattr(along_training, limit, N - 1)
            assert not along_training.solves_by_examples(trajectory, 7)
            other = influence_along_training(trajectory, EVALUATION)
        assert torch.allclose(other.effect, found.effect, rtol=1e-3, atol=1e-6)
        assert torch.allclose(other.self_influence, found.self_influence, rtol=1e-3, atol=1e-6)


def test_parameters_without_factors_count() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(5, 2), nn.Parameter(torch.ones(2))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = self.layer(inputs) * self.scale
            return outputs

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, 5, generator=generator)
    recipe = Recipe(learning_rate=0.2, epochs=2, batch_size=10)
    trajectory = ac.train(Scaled(), (inputs, (inputs[:, 0] > 0).long()), recipe, record="checkpoints")
    found = influence_along_training(trajectory, EVALUATION)
    effect, own = _mean([trajectory], (3, 6), InfluenceOptions(solver="exact"))
    assert torch.allclose(found.effect, effect, rtol=1e-3, atol=1e-6)
    assert torch.allclose(found.self_influence, own, rtol=1e-3, atol=1e-6)


def test_the_sweep_ranks_as_effects_at_other_dampings_do() -> None:
    trajectory = _trained()
    shares = (0.001, 0.1)
    sweep = sweep_along_training(trajectory, EVALUATION, [30, 60], 0.01, shares)

    def at(share: float) -> tuple:
        parts = []
        for step in (30, 60):
            with trajectory.at(step) as model:
                spectrum = spectrum_for(model, trajectory.data, EVALUATION, InfluenceOptions(solver="exact"))
            damping = share * float(spectrum.values.max())
            parts.append((spectrum.effects(damping), spectrum.self_influence(damping)))
        return sum(part[0] for part in parts), sum(part[1] for part in parts)

    effect, own = at(0.01)
    for place, share in enumerate(shares):
        other, other_own = at(share)
        expected = sum(float(spearmanr(effect[:, j], other[:, j])[0]) for j in range(7)) / 7
        assert float(sweep.agreement[place]) == pytest.approx(expected, abs=0.01)
        assert float(sweep.self_agreement[place]) == pytest.approx(float(spearmanr(own, other_own)[0]), abs=0.01)
    assert float(sweep.directions[0]) > float(sweep.directions[1]) > 0
    assert float(sweep.damping[1]) == pytest.approx(100 * float(sweep.damping[0]))


def test_a_state_of_the_training_is_left_as_it_was() -> None:
    trajectory = _trained(epochs=2)
    with trajectory.at(3) as model:
        assert all(torch.equal(value, trajectory.checkpoints[3][name]) for name, value in state_of(model).items())
    with pytest.raises(InputError, match="no checkpoint"), trajectory.at(3):
        trajectory.require_states([4])
    assert all(torch.equal(value, trajectory.final[name]) for name, value in state_of(trajectory.model).items())
