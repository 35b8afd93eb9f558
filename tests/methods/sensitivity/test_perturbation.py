import math

import pytest
import torch
from torch import nn
from torch.func import hessian

from attribution_core.errors import InputError
from attribution_core.gradients.plan import plan_parameters
from attribution_core.gradients.rotation import SecondMoment
from attribution_core.methods.curvature import kronecker
from attribution_core.methods.curvature.losses import hessian_product, hessian_root, means_of, prediction_errors
from attribution_core.methods.influence.functions import influence_functions
from attribution_core.methods.sensitivity.perturbation import memory_sensitivity, sensitivity_from
from attribution_core.methods.sensitivity.posteriors import FULL_PARAMETERS
from attribution_core.training import Recipe, loss_values, train
from tests.cases import model_case, model_cases
from tests.support.reference import jacobians_and_curvatures


def small(case):
    case.model(case.train[0])
    return sum(p.numel() for p in case.model.parameters()) <= FULL_PARAMETERS


@pytest.mark.parametrize("case", model_cases(), ids=str)
def test_variances_of_a_diagonal_posterior_equal_those_of_the_explicit_diagonal(case):
    rows, curvatures = jacobians_and_curvatures(case.model, case.train[0], "cross_entropy")
    precision = 0.3 + sum(((c @ j) * j).sum(dim=0) for j, c in zip(rows, curvatures, strict=True))
    expected = torch.stack([(j / precision) @ j.T for j in rows])
    found = memory_sensitivity(case.model, case.train, 0.3, posterior="diagonal")
    assert torch.allclose(found.variance, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("case", [case for case in model_cases() if small(case)], ids=str)
def test_variances_of_a_full_posterior_equal_those_of_the_explicit_inverse(case):
    rows, curvatures = jacobians_and_curvatures(case.model, case.train[0], "cross_entropy")
    precision = 0.3 * torch.eye(rows[0].shape[1]).double()
    precision += sum(j.T @ c @ j for j, c in zip(rows, curvatures, strict=True))
    inverse = torch.linalg.inv(precision)
    found = memory_sensitivity(case.model, case.train, 0.3, posterior="full")
    assert torch.allclose(found.variance, torch.stack([j @ inverse @ j.T for j in rows]), rtol=1e-8, atol=1e-12)


def kronecker_covariance(model, inputs, outputs_loss, delta):
    """Inverse for each weight, ``(A kron G + delta)^{-1}``, with factors summed over examples and positions."""
    blocks = {}
    seen = {}
    hooks = []
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    for name, layer in layers.items():

        def hook(_layer, given, result, name=name):
            result.retain_grad()
            seen[name] = (given[0].detach(), result)
            return result.clone()

        hooks.append(layer.register_forward_hook(hook))
    for name in layers:
        blocks[name] = [0.0, 0.0]
    for x in inputs:
        outputs = model(x[None])
        root = hessian_root(outputs.detach(), outputs_loss)[0]
        for column in range(root.shape[1]):
            model.zero_grad()
            for _, result in seen.values():
                result.grad = None
            (outputs[0] * root[:, column]).sum().backward(retain_graph=True)
            for name, (given, result) in seen.items():
                a, d = given, result.grad
                if isinstance(layers[name], nn.Conv2d):
                    layer = layers[name]
                    a = nn.functional.unfold(given, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
                    a, d = a.transpose(1, 2), d.flatten(2).transpose(1, 2)
                a, d = a.reshape(-1, a.shape[-1]), d.reshape(-1, d.shape[-1])
                blocks[name][1] = blocks[name][1] + d.T @ d
                if column == 0:
                    blocks[name][0] = blocks[name][0] + a.T @ a / (len(a) * len(inputs))
    for hook in hooks:
        hook.remove()
    precisions = []
    for name, layer in layers.items():
        inner, outer = blocks[name]
        precisions.append(torch.kron(outer, inner))
        if layer.bias is not None:
            precisions.append(outer)
    whole = torch.block_diag(*precisions)
    return torch.linalg.inv(whole + delta * torch.eye(len(whole)).double())


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mse"])
@pytest.mark.parametrize("name", ["mlp, one output", "mlp, two hidden layers", "a convolution", "few rows"])
def test_variances_of_kronecker_factors_equal_the_explicit_inverse(name, loss):
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))
    cases = [*model_cases(), model_case("a convolution", convolution, (2, 6, 6), 3)]
    wide = nn.Sequential(nn.Conv2d(8, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 40), nn.Tanh(), nn.Linear(40, 3))
    cases.append(model_case("few rows", wide, (8, 4, 4), 3, n=3))
    case = next(case for case in cases if case.name == name)
    rows, _ = jacobians_and_curvatures(case.model, case.train[0], loss)
    covariance = kronecker_covariance(case.model, case.train[0], loss, 0.3)
    found = memory_sensitivity(case.model, case.train, 0.3, loss=loss, posterior="kfac")
    assert torch.allclose(found.variance, torch.stack([j @ covariance @ j.T for j in rows]), rtol=1e-7, atol=1e-12)


def test_a_kronecker_factor_costs_what_its_rank_costs(monkeypatch):
    """Of 6 examples with 500 inputs no factor of size 500 is decomposed, and influence is as with whole factors."""
    model = nn.Sequential(nn.Linear(500, 4), nn.Tanh(), nn.Linear(4, 2))
    case, sizes, eigh = model_case("wide", model, (500,), 2, n=6), [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: (sizes.append(matrix.shape[-1]), eigh(matrix))[1])

    def results() -> list[torch.Tensor]:
        solvers = ("kfac", "ekfac")
        effects = [influence_functions(case.model, case.train, case.evaluation, solver=s, damping=0.1) for s in solvers]
        found = memory_sensitivity(case.model, case.train, 0.3, variance="none")
        return [*(each.effect for each in effects), found.sensitivity, found.loo_loss]

    few = results()
    assert max(sizes) == 6

    def add_to_matrix(moment: SecondMoment, rows: torch.Tensor) -> None:
        moment._matrix = rows.T @ rows + (0 if moment._matrix is None else moment._matrix)

    monkeypatch.setattr(SecondMoment, "add", add_to_matrix)
    for ours, dense in zip(few, results(), strict=True):
        torch.testing.assert_close(ours, dense, rtol=1e-9, atol=1e-12)
    assert max(sizes) == 500


@pytest.mark.parametrize("case", model_cases(), ids=str)
def test_kronecker_factors_work_on_every_kind_of_layer(case):
    found = memory_sensitivity(case.model, case.train, 0.3, posterior="kfac")
    assert torch.isfinite(found.sensitivity).all()
    assert (found.variance.diagonal(dim1=1, dim2=2) >= 0).all()


@pytest.mark.parametrize("optimizer", ["adam", "iblr"])
def test_an_optimizers_own_curvature_is_a_posterior(optimizer):
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    trajectory = train(case.model, case.train, Recipe(optimizer=optimizer, learning_rate=0.01, epochs=3))
    moments = trajectory.second_moments[trajectory.steps]
    found = memory_sensitivity(case.model, case.train, 0.3, posterior=optimizer, second_moments=moments)
    n = len(case.train[0])
    precision = n * torch.cat([value.flatten() for value in moments.values()]) + (0.3 if optimizer == "adam" else 0.0)
    rows, _ = jacobians_and_curvatures(case.model, case.train[0], "cross_entropy")
    assert torch.allclose(found.variance, torch.stack([(j / precision) @ j.T for j in rows]), rtol=1e-8)
    with pytest.raises(InputError, match="no second moment"):
        memory_sensitivity(case.model, case.train, 0.3, posterior=optimizer)


def test_drawn_factors_approximate_the_exact_ones(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    side = torch.randn(400, 6, generator=generator), torch.randint(3, (400,), generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    exact = memory_sensitivity(model, side, 1.0)
    monkeypatch.setattr(kronecker, "DRAWS", 1000)  # of 1,200 columns
    drawn = memory_sensitivity(model, side, 1.0)
    assert not torch.equal(exact.variance, drawn.variance)
    assert float((exact.variance - drawn.variance).norm() / exact.variance.norm()) < 0.05
    monkeypatch.setattr(kronecker, "EXAMPLES", 200)
    of_half = memory_sensitivity(model, side, 1.0)
    assert float((exact.variance - of_half.variance).norm() / exact.variance.norm()) < 0.1


def test_certain_predictions_leave_the_prior(monkeypatch):
    """If every probability is 0 or 1, there is no curvature and so nothing to draw."""
    model = nn.Linear(2, 2, bias=False)
    nn.init.constant_(model.weight, 0.0)
    model.weight.data[0] = 1e4
    side = torch.rand(20, 2) + 1, torch.zeros(20, dtype=torch.long)
    monkeypatch.setattr(kronecker, "DRAWS", 10)
    found = memory_sensitivity(model, side, 4.0)
    assert torch.allclose(found.variance, torch.eye(2) * side[0].square().sum(dim=1)[:, None, None] / 4)


def test_a_posterior_too_large_is_refused_with_what_to_do():
    case = next(case for case in model_cases() if case.name == "cnn4")
    with pytest.raises(InputError, match='use posterior="kfac"'):
        memory_sensitivity(case.model, case.train, 1.0, posterior="full")
    head = memory_sensitivity(case.model, case.train, 1.0, posterior="full", parameters="head")
    assert head.variance.shape == (3, 2, 2)


@pytest.mark.parametrize("covariance", ["kept", "downdated"])
def test_deviations_equal_the_explicit_step(covariance):
    """Eqs. 13 and 14 with an explicit inverse of the (downdated) precision."""
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    inputs, labels = case.train
    found = memory_sensitivity(case.model, case.train, 0.3, posterior="full", covariance=covariance)
    rows, curvatures = jacobians_and_curvatures(case.model, inputs, "cross_entropy")
    precision = 0.3 * torch.eye(rows[0].shape[1]).double()
    precision += sum(j.T @ c @ j for j, c in zip(rows, curvatures, strict=True))
    for i, (j, c) in enumerate(zip(rows, curvatures, strict=True)):
        left = precision - j.T @ c @ j if covariance == "downdated" else precision
        outputs = case.model(inputs[i : i + 1]).detach()[0]
        error = outputs.softmax(dim=0) - nn.functional.one_hot(labels[i], len(outputs))
        deviation = j @ torch.linalg.solve(left, j.T @ error)
        assert torch.allclose(found.deviation[i], deviation, rtol=1e-8, atol=1e-12)
        assert torch.allclose(found.mean_deviation[i], c @ deviation, rtol=1e-8, atol=1e-12)
        loss = loss_values((outputs + deviation)[None], labels[i : i + 1], "cross_entropy")
        assert math.isclose(float(found.loo_loss[i]), float(loss[0]), rel_tol=1e-8)
    assert torch.allclose(found.sensitivity, found.mean_deviation.abs().sum(dim=1))


def test_linear_regression_is_exact():
    """Theorem 1 and eq. 2: the downdated form is exactly leave-one-out ridge regression."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    targets = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    delta, model = 0.7, nn.Linear(6, 2, bias=False).double()

    def ridge(x, y):
        return torch.linalg.solve(x.T @ x + delta * torch.eye(6).double(), x.T @ y)

    model.weight.data = ridge(inputs, targets).T.clone()
    found = memory_sensitivity(model, (inputs, targets), delta, loss="mse", posterior="full", covariance="downdated")
    for i in range(20):
        kept = torch.arange(20) != i
        without = inputs[i] @ ridge(inputs[kept], targets[kept])
        assert torch.allclose(found.outputs[i] + found.deviation[i], without, rtol=1e-10, atol=1e-12)
        assert math.isclose(float(found.loo_loss[i]), float(0.5 * (without - targets[i]).square().sum()), rel_tol=1e-9)
    kept_form = memory_sensitivity(model, (inputs, targets), delta, loss="mse", posterior="full")
    v = kept_form.variance.diagonal(dim1=1, dim2=2)
    assert torch.allclose(found.deviation, kept_form.deviation / (1 - v), rtol=1e-10)


@pytest.mark.parametrize(
    ("loss", "k", "shape"),
    [
        ("cross_entropy", 1, None), ("cross_entropy", 4, None), ("mse", 3, None), ("binary_cross_entropy", 4, None),
        ("binary_cross_entropy", 1, (5,)), ("binary_cross_entropy", 4, (5, 4)),
    ],
)  # fmt: skip
def test_roots_and_errors_are_derivatives_of_the_loss(loss, k, shape):
    """Targets are classes, or values in 0..1 of a shape."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(5, k, generator=generator, dtype=torch.float64)
    targets = torch.randint(max(k, 2), (5,), generator=generator)
    if shape:
        targets = torch.rand(shape, generator=generator, dtype=torch.float64)
    root = hessian_root(outputs, loss)
    for i in range(5):

        def value(f, i=i):
            return loss_values(f[None], targets[i : i + 1], loss)[0]

        assert torch.allclose(root[i] @ root[i].T, hessian(value)(outputs[i]), rtol=1e-9, atol=1e-12)
        product = hessian_product(outputs, outputs + 1, loss)[i]
        assert torch.allclose(product, hessian(value)(outputs[i]) @ (outputs[i] + 1), rtol=1e-9, atol=1e-12)
        error = prediction_errors(outputs, targets, loss)[i]
        assert torch.allclose(error, torch.func.grad(value)(outputs[i]), rtol=1e-9, atol=1e-12)
    if k > 1 and loss == "cross_entropy":
        assert torch.allclose(means_of(outputs, loss).sum(dim=1), torch.ones(5).double())


def test_bad_options_are_refused():
    case = model_cases()[0]
    for options, message in (
        ({"delta": 0.0}, "delta must be positive"),
        ({"delta": 1.0, "variance": "some"}, "variance must be"),
        ({"delta": 1.0, "along_error": True}, "or along_error=False"),
        ({"delta": 1.0, "posterior": "square"}, "posterior must be"),
        ({"delta": 1.0, "covariance": "new"}, "kept"),
    ):
        with pytest.raises(InputError, match=message):
            memory_sensitivity(case.model, case.train, **options)
    with pytest.raises(InputError, match="kept"):
        sensitivity_from(torch.zeros(1, 1), torch.ones(1, 1, 1), torch.zeros(1, 1), "mse", "none")


def test_a_model_in_training_mode_is_evaluated_in_evaluation_mode_and_left_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    side = torch.randn(20, 6, dtype=torch.float64), torch.randint(3, (20,))
    expected = memory_sensitivity(model.eval(), side, 0.3)
    statistics = {name: value.clone() for name, value in model.state_dict().items()}
    found = memory_sensitivity(model.train(), side, 0.3)
    assert model.training
    assert all(torch.equal(statistics[name], value) for name, value in model.state_dict().items())
    assert torch.allclose(found.variance, expected.variance)


@pytest.mark.parametrize("posterior", ["diagonal", "kfac"])
@pytest.mark.parametrize("case", model_cases(), ids=str)
def test_deviations_without_variances_equal_those_with_them(case, posterior):
    expected = memory_sensitivity(case.model, case.train, 0.3, posterior=posterior)
    found = memory_sensitivity(case.model, case.train, 0.3, posterior=posterior, variance="none")
    assert found.variance is None
    diagonal = memory_sensitivity(case.model, case.train, 0.3, posterior=posterior, variance="diagonal")
    assert torch.allclose(diagonal.variance, expected.variance.diagonal(dim1=1, dim2=2), rtol=1e-12)
    for name in ("outputs", "error", "error_variance", "deviation", "mean_deviation", "sensitivity", "loo_loss"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-13), name
    v, e = expected.variance, expected.error
    part = memory_sensitivity(case.model, case.train, 0.3, posterior=posterior, variance="none", along_error=True)
    if not plan_parameters(case.model, case.train[0]).rest:
        assert torch.allclose(part.deviation, expected.error_variance[:, None] * e, rtol=1e-9, atol=1e-13)
    assert torch.allclose(part.error_variance, expected.error_variance, rtol=1e-9)
    along = torch.einsum("nc,ncd,nd->n", e, v, e) / e.square().sum(dim=1)
    assert torch.allclose(found.error_variance, along, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"variance": "none"}, {"variance": "none", "along_error": True}], ids=str)
@pytest.mark.parametrize("posterior", ["diagonal", "kfac"])
def test_a_saturated_network_has_the_variances_of_double_precision(posterior, options):
    """Its errors are near 1e-25, whose squares underflow in single precision."""
    inputs, labels = torch.tensor([[1.0, 0.5], [0.9, 1.0], [1.1, -0.3]]), torch.tensor([0, 0, 0])
    model = nn.Linear(2, 3)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[57.0, 0.1], [0.0, 0.4], [-1.0, 0.0]]))
        model.bias.zero_()
    single = memory_sensitivity(model, (inputs, labels), 0.3, posterior=posterior, **options)
    double = memory_sensitivity(model.double(), (inputs.double(), labels), 0.3, posterior=posterior, **options)
    assert 0 < float(single.error.abs().amax(dim=1).min()) < 1e-22
    assert torch.allclose(single.error_variance.double(), double.error_variance, rtol=1e-4)
    apart = (single.deviation.double() - double.deviation).norm(dim=1)
    assert bool((apart < 1e-4 * double.deviation.norm(dim=1)).all())


def test_an_example_that_the_posterior_does_not_contain_keeps_the_covariance():
    """An exact posterior has no leverage of one or more; below one the step is that of eq. 13."""
    outputs, targets = torch.zeros(3, 2).double(), torch.zeros(3, 2).double()
    outputs[:, 0] = 1.0
    variance = torch.stack([torch.diag(torch.tensor([v, 0.5])).double() for v in (0.75, 1.0, 4.0)])
    found = sensitivity_from(outputs, variance, targets, "mse", "downdated")
    assert torch.allclose(found.deviation[:, 0], torch.tensor([3.0, 1.0, 4.0]).double())
    assert torch.equal(found.deviation[:, 1], torch.zeros(3).double())


def test_errors_may_be_expectations_over_the_posterior():
    case = next(case for case in model_cases() if case.name == "mlp, two hidden layers")
    at_mean = memory_sensitivity(case.model, case.train, 0.3, posterior="full")
    drawn = memory_sensitivity(case.model, case.train, 0.3, posterior="full", variance="none", samples=150)
    assert drawn.variance is None
    assert not torch.allclose(drawn.error, at_mean.error)
    assert torch.allclose(drawn.deviation, (at_mean.variance @ drawn.error[:, :, None])[:, :, 0])
    assert torch.allclose(drawn.error.sum(dim=1), torch.zeros(len(drawn.error)).double(), atol=1e-12)
