import math
from dataclasses import replace

import pytest
import torch

from attribution_core.errors import InputError
from attribution_core.methods.linalg import blocked
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.progress import listening
from tests.cases import LINEAR_CASES, LinearCase, linear_case, schedules
from tests.support import reference

TOLERANCE = 1e-8


def error(value, expected):
    """Relative to each example's largest entry, or to 1e-3 of the overall one if its effect is tiny (a duplicate)."""
    scale = expected.flatten(1).abs().amax(dim=1).clamp(min=max(1e-3 * float(expected.abs().max()), 1e-300))
    return float(((value - expected).flatten(1).abs().amax(dim=1) / scale).max())


def from_kernels(case: LinearCase) -> LinearizedModel:
    train, evaluation = case.train_jacobian.flatten(0, 1), case.evaluation_jacobian.flatten(0, 1)
    return LinearizedModel.from_kernels(train @ train.T, evaluation @ train.T, *case.outputs_and_targets)


def shared(case: LinearCase) -> tuple[LinearizedModel, LinearizedModel, LinearCase]:
    """The case's first feature row for three outputs: as a shared model, as kernels, and in full Kronecker form."""
    train, evaluation = case.train_jacobian[:, :1], case.evaluation_jacobian[:, :1]
    identity = torch.eye(3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(11)
    sides = [torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (len(train), len(evaluation)) * 2]
    full = LinearCase(case.name, *(torch.kron(j, identity[None]) for j in (train, evaluation)), *sides)
    rows, columns = train[:, 0], evaluation[:, 0]
    kernels = LinearizedModel.from_kernels(rows @ rows.T, columns @ rows.T, *sides)
    return LinearizedModel.from_jacobians(train, evaluation, *sides), kernels, full


@pytest.mark.parametrize("case", LINEAR_CASES, ids=str)
def test_leave_one_out_equals_retraining(case):
    kernels, jacobians = from_kernels(case), case.linear_model()
    worst = {}
    for schedule in schedules(case.largest):
        weights = reference.weight_changes(case.train_jacobian, case.residuals, schedule)
        predictions = torch.einsum("mkp,np->nmk", case.evaluation_jacobian, weights)
        fsi = predictions.square().sum(dim=2).mean(dim=1) / 2
        for way, linear in {"kernels": kernels, "jacobians": jacobians}.items():
            worst[schedule, way, "predictions"] = error(linear.prediction_changes(schedule), predictions)
            scores = functional_sample_information(linear, schedule)
            worst[schedule, way, "fsi"] = error(scores[:, None], fsi[:, None])
            norms = linear.weight_changes(schedule).norm(dim=1)
            worst[schedule, way, "norms"] = error(norms[:, None], weights.norm(dim=1)[:, None])
        worst[schedule, "weights"] = error(jacobians.weight_changes(schedule), weights)
    assert {key: value for key, value in worst.items() if not value < TOLERANCE} == {}


@pytest.mark.parametrize("case", LINEAR_CASES[:2] + LINEAR_CASES[5:6], ids=str)
def test_shared_features_equal_the_full_kronecker_form(case):
    jacobians, kernels, full = shared(case)
    for schedule in schedules(full.largest):
        weights = reference.weight_changes(full.train_jacobian, full.residuals, schedule)
        predictions = torch.einsum("mkp,np->nmk", full.evaluation_jacobian, weights)
        for linear in (jacobians, kernels):
            assert error(linear.prediction_changes(schedule), predictions) < TOLERANCE, schedule
        by_output = weights.reshape(len(weights), -1, 3).transpose(1, 2).flatten(1)
        assert error(jacobians.weight_changes(schedule), by_output) < TOLERANCE, schedule


@pytest.mark.parametrize("case", LINEAR_CASES, ids=str)
@pytest.mark.parametrize("group", [[3], [0, 2, 5], list(range(1, 8))], ids=len)
def test_removing_a_group_equals_training_without_it(case, group):
    linear = case.linear_model()
    for schedule in schedules(case.largest):
        before = reference.trained_weights(case.train_jacobian, case.residuals, schedule, len(case.residuals))
        change = before - reference.trained_without(case.train_jacobian, case.residuals, schedule, group)
        expected = torch.einsum("mkp,p->mk", case.evaluation_jacobian, change)
        assert error(linear.group_prediction_change(group, schedule)[None], expected[None]) < TOLERANCE, schedule


def test_a_large_group_is_solved_node_by_node(monkeypatch):
    case, schedule = LINEAR_CASES[3], GradientDescent(0.01, 300)
    expected = case.linear_model().group_prediction_change(range(9), schedule)
    monkeypatch.setattr(blocked, "BLOCK_BYTES", 1)
    assert error(case.linear_model().group_prediction_change(range(9), schedule)[None], expected[None]) < 1e-12


@pytest.mark.parametrize("case", LINEAR_CASES, ids=str)
def test_removal_effects_are_differences_of_losses(case):
    linear, schedule = case.linear_model(), GradientDescent(0.5 / case.largest, 300, 0.1)

    def losses(weights):
        outputs = case.evaluation_outputs + torch.einsum("mkp,p->mk", case.evaluation_jacobian, weights)
        return 0.5 * (outputs - case.evaluation_targets).square().sum(dim=1)

    args = case.train_jacobian, case.residuals, schedule
    before = losses(reference.trained_weights(*args, len(case.residuals)))
    after = torch.stack([losses(reference.trained_without(*args, [i])) for i in range(len(case.residuals))])
    assert error(linear.removal_effects(schedule), after - before) < TOLERANCE


def test_predictions_equal_gradient_descent_step_by_step():
    case = LINEAR_CASES[2]
    rate, decay, rows = 0.5 / case.largest, 0.3, case.train_jacobian.flatten(0, 1)
    w = torch.zeros(rows.shape[1], dtype=torch.float64)
    for _ in range(50):
        w = w - rate * (rows.T @ (rows @ w - case.residuals.flatten()) + decay * w)
    expected = case.evaluation_outputs + torch.einsum("mkp,p->mk", case.evaluation_jacobian, w)
    schedule = GradientDescent(rate, 50, decay, "discrete")
    for linear in (case.linear_model(), from_kernels(case)):
        assert error(linear.predictions(schedule)[None], expected[None]) < 1e-12


@pytest.mark.parametrize("form", ["proportional", "fixed"])
@pytest.mark.parametrize("steps", [100, math.inf])
def test_removal_on_a_mean_loss_is_training_again_with_the_same_decay(form, steps):
    """A trainer keeps l2 = 1: of the sum of the losses, its decay is 1 less without an example. Both forms differ."""
    generator = torch.Generator().manual_seed(0)
    n, x = 20, torch.randn(20, 5, generator=generator, dtype=torch.float64)
    y = torch.randn(20, generator=generator, dtype=torch.float64)

    def trained(kept: list[int], decay: float) -> torch.Tensor:
        if math.isinf(steps):
            design = x[kept].T @ x[kept] / len(kept) + decay * torch.eye(5, dtype=torch.float64)
            return torch.linalg.solve(design, x[kept].T @ y[kept] / len(kept))
        w, (x_kept, y_kept) = torch.zeros(5, dtype=torch.float64), (x[kept], y[kept])
        for _ in range(steps):
            w = w - 0.01 * (x_kept.T @ (x_kept @ w - y_kept) / len(kept) + decay * w)
        return w

    everyone, decay = list(range(n)), 1.0 if form == "proportional" else n / (n - 1)
    expected = torch.stack([trained(everyone, 1.0) - trained([j for j in everyone if j != i], decay) for i in everyone])
    zeros = torch.zeros(n, 1, dtype=torch.float64)
    linear = LinearizedModel.from_jacobians(x[:, None], x[:, None], zeros, zeros, y[:, None], y[:, None])
    schedule = GradientDescent(0.01, steps, n * 1.0, "discrete", "mean")
    if form == "fixed":
        schedule = replace(schedule, decay_after_removal="fixed")
    torch.testing.assert_close(linear.weight_changes(schedule), expected, rtol=1e-9, atol=1e-12)


def test_on_a_mean_loss_a_fixed_decay_overstates_removals_and_the_default_does_not():
    """Minimize the mean loss with l2 = 1 again without each example: the published form is 1.5 times too large."""
    generator = torch.Generator().manual_seed(0)
    n = 20
    x = (2 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 1).sign()
    y = x + 0.5 * torch.randn(n, 1, generator=generator, dtype=torch.float64)

    def minimum(kept: torch.Tensor) -> torch.Tensor:
        weight = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight], max_iter=50, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

        def objective() -> torch.Tensor:
            optimizer.zero_grad()
            value = 0.5 * (x[kept] @ weight - y[kept]).square().mean() + 0.5 * weight.square().sum()
            value.backward()
            return value

        optimizer.step(objective)
        return weight.detach()

    everyone = torch.arange(n)
    real = torch.cat([minimum(everyone) - minimum(everyone[everyone != i]) for i in everyone])
    zeros = torch.zeros(n, 1, dtype=torch.float64)
    linear = LinearizedModel.from_jacobians(x[:, None], x[:, None], zeros, zeros, y, y)
    schedule = GradientDescent(0.01, math.inf, n * 1.0, loss="mean")
    torch.testing.assert_close(linear.weight_changes(schedule), real, rtol=1e-6, atol=1e-9)
    published = linear.weight_changes(replace(schedule, decay_after_removal="fixed"))
    assert float(published.norm() / real.norm()) == pytest.approx(1.54, abs=0.01)
    predictions = torch.stack([(published @ x.T).flatten(), (real @ x.T).flatten()])
    assert float(torch.corrcoef(predictions)[0, 1]) == pytest.approx(0.64, abs=0.01)


def test_the_block_size_changes_nothing(monkeypatch):
    case, schedule = LINEAR_CASES[2], GradientDescent(0.01, 100)
    whole = functional_sample_information(case.linear_model(), schedule)
    monkeypatch.setattr(blocked, "CACHED_BYTES", 1)
    seen = []
    with listening(lambda *step: seen.append(step)):
        split = functional_sample_information(case.linear_model(), schedule)
    assert torch.allclose(split, whole, rtol=1e-12, atol=0)
    assert seen[-1] == (11, 11, "leave-one-out")
    assert len(seen) == 11


def test_sigma_is_a_factor_and_must_be_positive():
    linear, schedule = LINEAR_CASES[0].linear_model(), GradientDescent(0.01, 100)
    one, two = (functional_sample_information(linear, schedule, sigma) for sigma in (1.0, 2.0))
    assert torch.allclose(two * 4, one)
    with pytest.raises(InputError, match="sigma must be positive"):
        functional_sample_information(linear, schedule, 0.0)


def test_bad_input_is_refused_in_a_sentence():
    case = LINEAR_CASES[0]
    linear, rows = case.linear_model(), case.train_jacobian.flatten(0, 1)
    with pytest.raises(InputError, match="stability limit"):
        linear.predictions(GradientDescent(2.1 / case.largest, 10, dynamics="discrete"))
    with pytest.raises(InputError, match="stability limit"):
        linear.weight_changes(GradientDescent(2.1 / case.largest, math.inf, 1.0, dynamics="discrete"))
    with pytest.raises(InputError, match="whole number of steps"):
        GradientDescent(0.1, 2.5, dynamics="discrete")
    with pytest.raises(InputError, match="learning rate must be a positive number"):
        GradientDescent(math.nan, 2)
    with pytest.raises(InputError, match=r"Kernels of 23 training and 7 evaluation examples"):
        LinearizedModel.from_kernels(rows @ rows.T, rows @ rows.T, *case.outputs_and_targets)
    with pytest.raises(InputError, match="Jacobians of 23 training"):
        LinearizedModel.from_jacobians(case.train_jacobian[:5], case.evaluation_jacobian, *case.outputs_and_targets)
    with pytest.raises(InputError, match="not finite"):
        LinearizedModel.from_jacobians(
            case.train_jacobian * math.nan, case.evaluation_jacobian, *case.outputs_and_targets
        )
    with pytest.raises(InputError, match="negative eigenvalues"):
        LinearizedModel.from_kernels(
            -rows @ rows.T, case.evaluation_jacobian.flatten(0, 1) @ rows.T, *case.outputs_and_targets
        )
    with pytest.raises(InputError, match="one-hot"):
        LinearizedModel.from_jacobians(
            case.train_jacobian,
            case.evaluation_jacobian,
            *case.outputs_and_targets[:2],
            torch.zeros(23),
            case.outputs_and_targets[3],
        )
    for group in ([], [1, 1], [23], [-1]):
        with pytest.raises(InputError, match="group"):
            linear.group_prediction_change(group, GradientDescent(0.01, 10))
    with pytest.raises(InputError, match="keep at least one"):
        linear.group_prediction_change(range(23), GradientDescent(0.01, 10))


def test_float32_kernels_are_accepted_with_their_rounding():
    case = linear_case("float32", 30, 9, 2, 40, seed=9)
    exact, schedule = case.linear_model(), GradientDescent(0.5 / case.largest, 200)
    rounded = LinearizedModel.from_jacobians(
        case.train_jacobian.float(), case.evaluation_jacobian.float(), *case.outputs_and_targets
    )
    scores = [functional_sample_information(linear, schedule) for linear in (exact, rounded)]
    assert torch.allclose(scores[1], scores[0], rtol=1e-4)
