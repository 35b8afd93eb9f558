"""Influence functions compared with explicit inverses, for every case and solver."""

import dataclasses

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import jacobian, plan_parameters
from attribution_core.methods.curvature.columns import sampled_errors
from attribution_core.methods.curvature.losses import hessian_root, prediction_errors
from attribution_core.methods.influence import spectrum
from attribution_core.methods.influence.damping import damping_sweep
from attribution_core.methods.influence.functions import DAMPING, influence_functions, self_influence
from attribution_core.methods.influence.kronecker import kronecker_values
from attribution_core.methods.influence.options import InfluenceKeywords, InfluenceOptions
from attribution_core.models import build_model
from attribution_core.training import loss_values
from tests.cases import ModelCase, model_cases

EXACT = InfluenceOptions(iterations=3000, tolerance=1e-9)


def explicit(case: ModelCase, loss: str, curvature: str, damping: float) -> tuple[Tensor, Tensor]:
    """Effects ``[n, m]`` and self-influence ``[n]`` from the p x p matrix and autograd's own gradients."""
    model, (inputs, targets) = case.model, case.train
    names = dict.fromkeys(name for name, _ in model.named_parameters())
    plan = plan_parameters(model, inputs)
    sides = []
    for x, y in (case.train, case.evaluation):
        rows = []
        for i in range(len(x)):
            model.zero_grad()
            loss_values(model(x[i : i + 1]), y[i : i + 1], loss).sum().backward()
            parts = dict(model.named_parameters())
            rows.append(torch.cat([parts[name].grad.flatten() for name in names]))
        sides.append(torch.stack(rows))
    model.zero_grad()
    n = len(inputs)
    outputs, rows = jacobian(model, inputs, plan)
    if curvature == "ggn":
        half = (hessian_root(outputs, loss).mT @ rows).flatten(0, 1)
    elif curvature == "fisher":
        half = (sampled_errors(outputs, loss, 0)[:, None] @ rows)[:, 0]
    elif curvature == "empirical":
        half = (prediction_errors(outputs, targets, loss)[:, None] @ rows)[:, 0]
    train, evaluation = sides
    if plan.width > 2000:  # Woodbury
        small = torch.linalg.inv(half @ half.T / n + damping * torch.eye(len(half), dtype=half.dtype))
        solved = (train - train @ half.T @ small @ half / n) / damping
    else:
        matrix = half.T @ half / n if curvature != "hessian" else explicit_hessian(model, case.train, loss)
        solved = train @ torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype))
    return solved @ evaluation.T / n, (solved * train).sum(dim=1) / n


def explicit_hessian(model: nn.Module, side: tuple[Tensor, Tensor], loss: str) -> Tensor:
    parameters = list(model.parameters())
    mean = loss_values(model(side[0]), side[1], loss).mean()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(mean, parameters, create_graph=True)])
    rows = [torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True) for entry in gradient]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> bool:
    return float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("curvature", ["ggn", "fisher", "empirical"])
@pytest.mark.parametrize("case", model_cases(), ids=str)
def test_exact_equals_the_explicit_inverse(case, curvature):
    damping = 0.03
    expected, own = explicit(case, "cross_entropy", curvature, damping)
    found = influence_functions(
        case.model, case.train, case.evaluation, curvature=curvature, solver="exact", damping=damping
    )
    assert close(found.effect, expected)
    assert found.damping == (damping,)
    assert found.converged
    found = self_influence(case.model, case.train, curvature=curvature, solver="exact", damping=damping)
    assert close(found.effect, own)


SMALL = [case for case in model_cases() if case.name in ("linear", "mlp, two hidden layers", "mlp, one output")]


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("solver", ["exact", "cg", "lissa"])
@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_iterative_solvers_reach_the_explicit_inverse(case, curvature, solver, loss):
    damping = 1.0 if curvature == "ggn" else 3.0  # the Hessian of an untrained network has negative eigenvalues
    expected, own = explicit(case, loss, curvature, damping)
    found = influence_functions(
        case.model, case.train, case.evaluation, EXACT, loss=loss, curvature=curvature, solver=solver, damping=damping
    )
    assert close(found.effect, expected, 1e-7)
    assert solver == "exact" or found.residual < 1e-8
    assert found.converged
    found = self_influence(
        case.model, case.train, EXACT, loss=loss, curvature=curvature, solver=solver, damping=damping
    )
    assert close(found.effect, own, 1e-7)


def regression(loss: str) -> ModelCase:
    """Linear or logistic regression at its optimum, with a weight decay of 0.01."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    model = build_model("linear", 1 if loss == "mse" else 3, (5,)).double()
    targets = torch.randint(3, (60,), generator=generator)
    if loss == "mse":
        targets = torch.randn(60, 1, generator=generator, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500, tolerance_grad=1e-13, tolerance_change=0.0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
        value = loss_values(model(inputs[:50]), targets[:50], loss).mean() + 0.005 * weights.square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    return ModelCase(loss, model.eval(), (inputs[:50], targets[:50]), (inputs[50:], targets[50:]))


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("solver", ["exact", "cg", "lissa"])
def test_regressions_agree_with_the_explicit_inverse(solver, loss):
    """The error is below 1e-6 in float64; for linear models the Gauss-Newton matrix is the Hessian."""
    case = regression(loss)
    expected, _ = explicit(case, loss, "hessian", 0.01)
    for curvature in ("ggn", "hessian"):
        found = influence_functions(
            case.model, case.train, case.evaluation, EXACT, loss=loss, curvature=curvature, solver=solver, damping=0.01
        )
        assert close(found.effect, expected, 1e-6)


def test_influence_at_the_optimum_of_a_regression_predicts_retraining():
    """Compare with the change of the loss after minimizing without an example, which agrees to first order in 1/n."""
    case = regression("mse")
    (inputs, targets), (x, y) = case.train, case.evaluation
    found = influence_functions(
        case.model, case.train, case.evaluation, loss="mse", solver="exact", damping=0.01
    ).effect

    def solved(kept: Tensor) -> Tensor:
        design = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], dim=1)[kept]
        matrix = design.T @ design / 50 + 0.01 * torch.eye(6, dtype=inputs.dtype)
        weights = torch.linalg.solve(matrix, design.T @ targets[kept] / 50)
        return 0.5 * (x @ weights[:5] + weights[5] - y).square()[:, 0]

    everything = solved(torch.ones(50, dtype=torch.bool))
    real = torch.stack([solved(torch.arange(50) != i) - everything for i in range(50)])
    correlation = torch.corrcoef(torch.stack([found.flatten(), real.flatten()]))[0, 1]
    assert correlation > 0.99
    assert float((found - real).abs().max()) < 0.3 * float(real.abs().max())


@pytest.mark.parametrize("curvature", ["ggn", "fisher", "empirical"])
@pytest.mark.parametrize("solver", ["kfac", "ekfac"])
@pytest.mark.parametrize("case", model_cases(), ids=str)
def test_kronecker_solvers_divide_by_a_diagonal_in_an_orthonormal_basis(case, solver, curvature):
    """With a damping far above the curvature, effects are inner products of gradients divided by the damping."""
    expected, own = explicit(case, "cross_entropy", "empirical", 1e9)
    found = influence_functions(
        case.model, case.train, case.evaluation, curvature=curvature, solver=solver, damping=1e9
    )
    assert close(found.effect, expected, 1e-6)
    found = self_influence(case.model, case.train, curvature=curvature, solver=solver, damping=1e9)
    assert close(found.effect, own, 1e-6)


def test_ekfac_is_exact_where_the_basis_is():
    """One example, one output, one layer without a bias: A and G contain the curvature's only direction."""
    model = nn.Linear(4, 1, bias=False).double()
    side = torch.randn(1, 4, dtype=torch.float64), torch.randn(1, 1, dtype=torch.float64)
    other = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 1, dtype=torch.float64)
    case = ModelCase("one", model, side, other)
    expected, _ = explicit(case, "mse", "ggn", 0.1)
    for solver in ("kfac", "ekfac"):
        assert close(influence_functions(model, side, other, loss="mse", solver=solver, damping=0.1).effect, expected)


def test_ekfac_keeps_the_diagonal_of_the_curvature_in_its_basis():
    """The mean squares in the rotated coordinates are those of the explicit Jacobian after rotation."""
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    plan = plan_parameters(case.model, case.train[0])
    turned, values = kronecker_values(case.model, case.train, plan, "cross_entropy", "ggn", True)
    outputs, rows = jacobian(case.model, case.train[0], turned)
    half = (hessian_root(outputs, "cross_entropy").mT @ rows).flatten(0, 1)
    assert close(torch.cat(list(values.values())), half.square().sum(dim=0) / len(case.train[0]))
    _, kfac = kronecker_values(case.model, case.train, plan, "cross_entropy", "ggn", False)
    trace = half.square().sum() / len(case.train[0])
    assert 0.3 < float(sum(each.sum() for each in kfac.values()) / trace) < 3


def test_a_sketch_of_everything_is_exact_and_a_smaller_one_reports_what_it_keeps():
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    for curvature in ("ggn", "fisher", "empirical"):
        exact = influence_functions(
            case.model, case.train, case.evaluation, curvature=curvature, solver="exact", damping=0.1
        )
        whole = influence_functions(case.model, case.train, case.evaluation, curvature=curvature, damping=0.1)
        assert close(whole.effect, exact.effect)
        assert whole.kept_energy is None
    small = influence_functions(
        case.model, case.train, case.evaluation, damping=0.1, options=InfluenceOptions(dimension=12)
    )
    assert 0.3 < small.kept_energy < 1
    exact = influence_functions(case.model, case.train, case.evaluation, solver="exact", damping=0.1)
    assert torch.corrcoef(torch.stack([small.effect.flatten(), exact.effect.flatten()]))[0, 1] > 0.8


def test_drawn_rows_approximate_all_rows(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    side = torch.randn(400, 6, generator=generator), torch.randint(3, (400,), generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    exact = influence_functions(model, side, side, solver="exact", damping=0.01).effect
    monkeypatch.setattr(spectrum, "ROWS", 600)  # of 1,200
    drawn = influence_functions(model, side, side, damping=0.01, options=InfluenceOptions(dimension=70)).effect
    assert torch.corrcoef(torch.stack([exact.flatten(), drawn.flatten().double()]))[0, 1] > 0.98


def test_an_ensemble_is_the_mean_of_its_members():
    case, other = (next(c for c in model_cases() if c.name == "linear") for _ in range(2))
    for parameter in other.model.parameters():
        parameter.data.mul_(-1.0)
    one, two = (influence_functions(m, case.train, case.evaluation).effect for m in (case.model, other.model))
    both = influence_functions(case.model, case.train, case.evaluation, ensemble=[other.model])
    assert close(both.effect, (one + two) / 2)
    assert len(both.damping) == 2


def test_the_default_damping_follows_the_spectrum():
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    exact, cg = (
        influence_functions(case.model, case.train, case.evaluation, solver=solver, options=EXACT)
        for solver in ("exact", "cg")
    )
    assert exact.damping[0] == pytest.approx(cg.damping[0], rel=1e-3)
    outputs, rows = jacobian(case.model, case.train[0], plan_parameters(case.model, case.train[0]))
    half = (hessian_root(outputs, "cross_entropy").mT @ rows).flatten(0, 1)
    values = torch.linalg.eigvalsh(half.T @ half / len(outputs))
    assert exact.damping[0] == pytest.approx(float(DAMPING * values[-1] ** 2 / values.sum()))
    assert close(cg.effect, exact.effect, 1e-2)


def test_a_solver_that_did_not_converge_reports_it():
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    for solver in ("cg", "lissa"):
        found = influence_functions(
            case.model, case.train, case.evaluation, solver=solver, damping=1e-5, options=InfluenceOptions(iterations=3)
        )
        assert found.residual > 0.01
        assert not found.converged


def test_lissa_over_batches_is_close_on_average():
    case = regression("mse")
    exact = influence_functions(case.model, case.train, case.evaluation, loss="mse", solver="exact", damping=0.1).effect
    options = InfluenceOptions(iterations=80, repeats=6, batch_size=10)
    found = influence_functions(
        case.model, case.train, case.evaluation, loss="mse", solver="lissa", damping=0.1, options=options
    )
    assert torch.corrcoef(torch.stack([found.effect.flatten(), exact.flatten()]))[0, 1] > 0.98
    assert 0 < found.residual < 0.5


def test_invalid_requests_are_refused_in_a_sentence():
    case = next(case for case in model_cases() if case.name == "cnn4")
    with pytest.raises(InputError, match="no solver 'arnoldi': choose one of sketch"):
        influence_functions(case.model, case.train, case.evaluation, solver="arnoldi")
    with pytest.raises(InputError, match="cg supports the curvatures ggn, hessian, not 'fisher'; use sketch, exact"):
        influence_functions(case.model, case.train, case.evaluation, curvature="fisher", solver="cg")
    with pytest.raises(InputError, match="must be positive, not 0"):
        influence_functions(case.model, case.train, case.evaluation, damping=0.0)
    with pytest.raises(InputError, match="must be positive, not -1"):
        influence_functions(case.model, case.train, case.evaluation, solver="kfac", damping=-1.0)
    with pytest.raises(InputError, match=r"Hessian of .* parameters is too large"):
        influence_functions(case.model, case.train, case.evaluation, curvature="hessian", solver="exact")
    small = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    with pytest.raises(InputError, match=r"must be positive, above .* for this curvature"):
        influence_functions(
            small.model, small.train, small.evaluation, curvature="hessian", solver="exact", damping=1e-4
        )


def test_a_sweep_over_dampings_compares_with_the_default():
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    default = influence_functions(case.model, case.train, case.evaluation)
    largest = float(damping_sweep(case.model, case.train, case.evaluation, shares=[1.0]).damping[0])
    middle = default.damping[0] / largest
    sweep = damping_sweep(case.model, case.train, case.evaluation, shares=[1e-3, middle, 1.0])
    assert sweep.share.tolist() == [1e-3, middle, 1.0]
    assert float(sweep.agreement[1]) == pytest.approx(1.0, abs=1e-6)
    assert float(sweep.self_agreement[1]) == pytest.approx(1.0, abs=1e-6)
    assert float(sweep.agreement.min()) < 1.0
    assert sweep.directions[0] > sweep.directions[1] > sweep.directions[2] > 0
    other = influence_functions(case.model, case.train, case.evaluation, damping=float(sweep.damping[0]))
    expected = [spearmanr(a, b)[0] for a, b in zip(default.effect.T, other.effect.T, strict=True)]
    assert float(sweep.agreement[0]) == pytest.approx(sum(expected) / len(expected))


def test_a_sweep_takes_the_options_of_influence_functions():
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    arguments = case.model, case.train, case.evaluation
    options = InfluenceOptions(curvature="empirical", damping=0.1)
    sweep = damping_sweep(*arguments, options, [0.1])
    near, far = (influence_functions(*arguments, options, damping=each) for each in (0.1, float(sweep.damping[0])))
    expected = [spearmanr(a, b)[0] for a, b in zip(near.effect.T, far.effect.T, strict=True)]
    assert float(sweep.agreement[0]) == pytest.approx(sum(expected) / len(expected))
    assert damping_sweep(*arguments, shares=[0.1], solver="exact").damping[0] > 0
    with pytest.raises(InputError, match='needs solver="sketch" or "exact" and no ensemble; the solver is \'cg\''):
        damping_sweep(*arguments, solver="cg")


def test_keywords_are_the_options_and_replace_theirs():
    case = next(case for case in model_cases() if case.name == "linear")
    fields = {field.name: field.default for field in dataclasses.fields(InfluenceOptions)}
    assert list(InfluenceKeywords.__annotations__) == list(fields)
    options = InfluenceOptions(solver="exact", damping=0.3)
    found = influence_functions(case.model, case.train, case.evaluation, options, damping=0.1)
    by_keywords = influence_functions(case.model, case.train, case.evaluation, solver="exact", damping=0.1)
    assert found.damping == (0.1,)
    assert torch.equal(found.effect, by_keywords.effect)
    with pytest.raises(TypeError, match="dampening"):
        influence_functions(case.model, case.train, case.evaluation, dampening=0.1)
