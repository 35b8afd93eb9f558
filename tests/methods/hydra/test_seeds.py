import pytest
import torch

from attribution_core.errors import InputError
from attribution_core.methods.hydra.contributions import hydra
from attribution_core.methods.hydra.seeds import hydra_over_seeds
from attribution_core.models import build_model
from attribution_core.progress import listening
from attribution_core.training import train
from tests.support.trainings import RECIPE, train_and_evaluation


def build(seed):
    return build_model("mlp", 3, (16,), hidden=[6], seed=seed).double()


@pytest.mark.parametrize(("objective", "hessian"), [("each", False), ("mean", True), ("class", False), ("each", True)])
def test_mean_and_spread_over_trainings(objective, hessian):
    side, evaluation = train_and_evaluation()
    reported = []
    with listening(lambda *step: reported.append(step[2])):
        found = hydra_over_seeds(build, side, RECIPE, evaluation, 3, hessian, objective)
    singles = []
    for seed in range(3):
        trajectory = train(build(seed), side, RECIPE.model_copy(update={"seed": seed}))
        singles.append(hydra(trajectory, evaluation, hessian, objective))
    effects = torch.stack([single.effect for single in singles])
    assert torch.allclose(found.effect, effects.mean(dim=0), rtol=1e-10, atol=1e-16)
    assert torch.allclose(found.spread, effects.std(dim=0), rtol=1e-8, atol=1e-16)
    if singles[0].by_epoch is not None:
        assert torch.allclose(found.by_epoch, torch.stack([s.by_epoch for s in singles]).mean(dim=0), atol=1e-14)
    if singles[0].kept_energy is not None:
        assert found.kept_energy == min(s.kept_energy for s in singles)
    assert any(name.startswith("training 2 of 3: ") for name in reported)


def test_an_average_needs_two_trainings():
    side, evaluation = train_and_evaluation()
    with pytest.raises(InputError, match="two or more"):
        hydra_over_seeds(build, side, RECIPE, evaluation, seeds=1)
