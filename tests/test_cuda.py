"""Every measure on a GPU gives what it gives on the CPU, wherever the data lies. Skipped where there is no GPU."""

import copy
import math

import pytest
import torch
from torch import Tensor

import attribution_core as ac
from attribution_core.errors import InputError
from attribution_core.methods.influence.options import Solver
from attribution_core.training import Recipe
from tests.cases import ModelCase, model_cases
from tests.support.scored import quick

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

CASES = ("mlp, two hidden layers", "groups and padding modes", "text", "layers without factors")
RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.1, weight_decay=0.01)
SCHEDULE = ac.GradientDescent(0.01, 100, weight_decay=0.1)
LOSSLESS = {"rtol": 1e-6, "atol": 1e-9}


def cases() -> list[ModelCase]:
    return [case for case in model_cases() if case.name in CASES]


def moved(case: ModelCase, data: str) -> ModelCase:
    """The model on the GPU, the data there too or not."""
    sides = [tuple(each.to(data) for each in side) for side in (case.train, case.evaluation)]
    return ModelCase(case.name, copy.deepcopy(case.model).cuda(), *sides)


def whole(case: ModelCase, parameters="all"):
    return ac.linearize(case.model, case.train, case.evaluation, parameters=parameters)


def solved(solver: Solver, curvature="ggn", damping=1.0):
    def run(case: ModelCase) -> list[Tensor]:
        options = ac.InfluenceOptions(iterations=500, tolerance=1e-10, dimension=20)
        common = {"solver": solver, "curvature": curvature, "damping": damping, "options": options}
        pairs = ac.influence_functions(case.model, case.train, case.evaluation, **common)
        return [pairs.effect, ac.self_influence(case.model, case.train, **common).effect]

    return run


def influence_by_default(case: ModelCase) -> list[Tensor]:
    sketch, factors = (
        ac.influence_functions(case.model, case.train, case.evaluation, solver=solver) for solver in ("sketch", "ekfac")
    )
    sweep = ac.damping_sweep(case.model, case.train, case.evaluation)
    return [sketch.effect, factors.effect, *(torch.as_tensor(each) for each in (sweep.damping, sweep.agreement))]


def responses(case: ModelCase) -> list[Tensor]:
    found = []
    for linearized in (False, True):
        by_batches = ac.proximal_bregman_response(
            case.model, case.train, [0, 3], 0.1, linearized=linearized, recipe=RECIPE
        )
        found += list(by_batches.weights.values())
    found += list(ac.proximal_response(case.model, case.train, 1, 0.1, iterations=5).weights.values())
    found += list(ac.two_stage_response(case.model, case.train, 1, RECIPE).values())
    weights, _ = ac.influence_weights(case.model, case.train, [[0], [1, 2]], damping=0.1)
    return found + [value for state in weights for value in state.values()]


def linearised(case: ModelCase) -> list[Tensor]:
    linear = whole(case)
    return [
        linear.predictions(SCHEDULE),
        linear.prediction_changes(SCHEDULE),
        linear.removal_effects(SCHEDULE),
        ac.functional_sample_information(linear, SCHEDULE),
        *(ac.sample_information(linear, SCHEDULE, covariance) for covariance in ("isotropic", "langevin", "sgd")),
        ac.ihvp_effects_in_kernel_regime(linear, 0.1).effects,
        ac.ihvp_effects_in_kernel_regime(whole(case, "head"), 0.1).effects,
    ]


def sketches(case: ModelCase) -> list[Tensor]:
    return [
        ac.functional_sample_information(
            ac.linearize(case.model, case.train, case.evaluation, sketch=sketch, dimension=10), SCHEDULE
        )
        for sketch in ("coordinates", "kronecker")
    ]


def memories(case: ModelCase) -> list[Tensor]:
    found = []
    for posterior in ("diagonal", "kfac"):
        for along_error in (False, True):
            one = ac.memory_sensitivity(case.model, case.train, 0.1, posterior=posterior, along_error=along_error)
            found += [one.sensitivity, one.error_variance, one.loo_loss]
    found.append(
        ac.memory_sensitivity(case.model, case.train, 0.1, posterior="kfac", covariance="downdated").sensitivity
    )
    group = ac.group_deviation(case.model, case.train, [0, 2], 0.1)
    labels = case.train[1]
    return [*found, group.deviation, ac.leave_one_class_out(one, labels, int(labels.max()) + 1)]


def trajectories(case: ModelCase) -> list[Tensor]:
    model = copy.deepcopy(case.model)
    with ac.HydraAccumulator(model, case.train[0], RECIPE, dimension=10) as accumulator:
        trajectory = ac.train(model, case.train, RECIPE, record="every_step", on_step=accumulator.step)
    found = [*trajectory.final.values(), accumulator.contributions(case.evaluation)[0].effect]
    for hessian in (False, True):
        each = ac.hydra(trajectory, case.evaluation, hessian=hessian)
        found.append(each.effect)
    evolution = ac.memory_evolution(trajectory, posterior="kfac", test=case.evaluation)
    return [*found, evolution.sensitivity]


MEASURES = {
    "linearised": linearised,
    "sketches": sketches,
    **{f"influence by {solver}": solved(solver) for solver in ("sketch", "exact", "kfac", "ekfac", "cg", "lissa")},
    "influence of sampled labels": solved("sketch", "fisher"),
    "influence by the Hessian": solved("cg", "hessian", damping=10.0),  # enough for the sum to be positive
    "influence by default": influence_by_default,
    "responses": responses,
    "memory": memories,
    "trajectories": trajectories,
}


@pytest.mark.parametrize("data", ["cuda", "cpu"])
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("case", cases(), ids=str)
def test_the_gpu_gives_what_the_cpu_gives(case, measure, data):
    on_gpu = moved(case, data)
    try:
        expected = MEASURES[measure](case)
    except InputError as error:  # what the CPU refuses, the GPU refuses alike
        with pytest.raises(InputError, match=str(error)[:20].replace("(", ".").replace(")", ".")):
            MEASURES[measure](on_gpu)
        return
    found = MEASURES[measure](on_gpu)
    assert len(found) == len(expected) > 0
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        one, other = torch.as_tensor(one).cpu(), torch.as_tensor(other)
        assert torch.allclose(one, other, **LOSSLESS), (number, float((one - other).abs().max()))


def test_bayesian_logistic_regression_on_the_gpu():
    case = next(case for case in cases() if case.name == "mlp, two hidden layers")
    inputs, labels = case.train[0].float(), case.train[1]
    one = ac.bayesian_logistic_regression((inputs, labels), 3, 0.1, steps=3)
    other = ac.bayesian_logistic_regression((inputs.to("cuda"), labels.to("cuda")), 3, 0.1, steps=3)
    for step, posterior in one.items():
        assert torch.allclose(posterior.mean, other[step].mean.cpu(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_closed_forms_in_both_precisions(dtype):
    case = next(case for case in cases() if case.name == CASES[0])
    sides = [(inputs.to(dtype), labels) for inputs, labels in (case.train, case.evaluation)]
    single = ModelCase(case.name, copy.deepcopy(case.model).to(dtype).cuda(), *sides)
    schedule = ac.GradientDescent(0.01, math.inf, weight_decay=0.1)
    expected = ac.functional_sample_information(whole(case), schedule)
    found = ac.functional_sample_information(whole(single), schedule).cpu()
    assert torch.allclose(found, expected, rtol=1e-3 if dtype == torch.float32 else 1e-8)


def test_near_duplicates_on_the_gpu():
    embedding = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)).double()
    embedding[30:34] = embedding[:4]
    one, other = ac.near_duplicates(embedding), ac.near_duplicates(embedding.to("cuda"))
    assert torch.equal(one.pairs, other.pairs.cpu())
    assert torch.allclose(one.least, other.least.cpu(), rtol=1e-9)


def test_a_run_on_the_gpu_is_that_on_the_cpu(tmp_path):
    common = {"max_train": 200}
    runs = [ac.score(quick(tmp_path / device, device=device, **common)) for device in ("cuda", "cpu")]
    assert runs[0].scores == runs[1].scores
    for name in runs[0].scores:
        one, other = (run.examples[name].to_numpy() for run in runs)
        assert ac_correlation(one, other) > 0.99, name


def ac_correlation(one, other) -> float:
    """Spearman's, or 1 where both are constant."""
    from scipy.stats import spearmanr

    return 1.0 if (one == one[0]).all() and (other == other[0]).all() else float(spearmanr(one, other)[0])
