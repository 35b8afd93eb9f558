"""Label quality equals that of models really fitted without each example, and finds wrong labels and values."""

import math

import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits
from torch import Tensor

import attribution_core as ac
from attribution_core.errors import InputError
from attribution_core.methods.linearized import ridge
from attribution_core.methods.linearized.discriminant import log_probabilities
from attribution_core.methods.linearized.kernel_basis import kernel_basis, kernel_rows, mean_distance
from attribution_core.methods.linearized.label_quality import label_quality
from attribution_core.methods.linearized.ridge import RidgeFit


def _data(n: int = 40, p: int = 6, classes: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n + 5, p, generator=generator, dtype=torch.float64) + 0.5
    labels = (features[:, 0] + 0.5 * torch.randn(n + 5, generator=generator)).argsort().argsort() * classes // (n + 5)
    return features[:n], labels[:n], features[n:]


def _kernel(x: Tensor, y: Tensor, name: str) -> Tensor:
    return x @ y.T if name == "linear" else ac.relu_ntk(x, y)


def _fitted_predictions(kernel: Tensor, rows: Tensor, targets: Tensor, weight_decay: float) -> Tensor:
    """Minimize ``|Y - K a - 1 b|^2 + lambda a^T K a``, and predict ``K_x a + b``; the intercept is not penalized."""
    n = len(kernel)
    ones = torch.ones(n, 1, dtype=torch.float64)
    system = torch.cat(
        [torch.cat([kernel + weight_decay * torch.eye(n), ones], 1), torch.cat([ones.T, torch.zeros(1, 1)], 1)]
    )
    solution = torch.linalg.solve(system, torch.cat([targets, torch.zeros(1, targets.shape[1])]).double())
    return rows @ solution[:n] + solution[n]


@pytest.mark.parametrize("kernel", ["linear", "ntk"])
def test_probabilities_are_those_of_models_fitted_without_each_example(kernel: str) -> None:
    features, labels, others = _data()
    found = label_quality(features, labels, (others, labels[:5]), kernel=kernel, seed=0)  # type: ignore[arg-type]
    targets = torch.nn.functional.one_hot(labels, 3).double()
    matrix = _kernel(features, features, kernel)
    centered = matrix - matrix.mean(0) - matrix.mean(1, keepdim=True) + matrix.mean()
    decay = found.weight_decay * float(centered.diagonal().mean())
    alone = []
    for i in range(len(labels)):
        kept = torch.arange(len(labels)) != i
        alone.append(_fitted_predictions(matrix[kept][:, kept], matrix[i : i + 1, kept], targets[kept], decay)[0])
    others_too = _fitted_predictions(matrix, _kernel(others, features, kernel), targets, decay)
    fitted = RidgeFit(found.weight_decay, 0.0, torch.stack(alone), others_too, found.temperature)
    expected, beyond = (each.exp() for each in log_probabilities(fitted, labels))
    assert torch.allclose(found.probabilities, expected, atol=1e-8)  # type: ignore[arg-type]
    assert torch.allclose(found.quality, expected[torch.arange(len(labels)), labels], atol=1e-8)
    assert found.held_out is not None
    assert torch.allclose(found.held_out.probabilities, beyond, atol=1e-8)  # type: ignore[arg-type]


def test_lambda_and_temperature_have_the_least_loss() -> None:
    features, labels, _ = _data()
    found = label_quality(features, labels, kernel="linear")
    basis, targets = kernel_basis(features, None, "linear"), torch.nn.functional.one_hot(labels, 3).double()
    assert found.loss == pytest.approx(-float(found.quality.log().mean()), rel=1e-9)
    fit = ridge.fit_classes(basis, targets)
    assert fit.weight_decay == found.weight_decay
    for multiple in (found.weight_decay / 3, 3 * found.weight_decay):
        kept, ridge._LAMBDAS = ridge._LAMBDAS, torch.tensor([multiple], dtype=torch.float64)
        try:
            assert ridge.fit_classes(basis, targets).loss > fit.loss
        finally:
            ridge._LAMBDAS = kept
    for temperature in (0.98 * fit.temperature, 1.02 * fit.temperature):
        assert torch.nn.functional.cross_entropy(temperature * fit.predictions, labels) > fit.loss
    for power in (0.98, 1.02):  # the last temperature
        again = (power * found.probabilities.log()).log_softmax(1)  # type: ignore[union-attr]
        assert -float(again[torch.arange(40), labels].mean()) > found.loss


@pytest.mark.parametrize("predicted", [1.0, -1.0])
def test_the_temperature_of_separable_or_opposed_predictions_is_bounded(predicted: float) -> None:
    labels = torch.tensor([0, 1, 0, 1])
    outputs = predicted * torch.nn.functional.one_hot(labels, 2).double()
    temperature = ridge.best_temperature(outputs, labels)
    assert (temperature > 5) if predicted > 0 else (temperature == pytest.approx(1e-2))


def test_values_without_reweighting_are_those_of_models_fitted_without_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "_REWEIGHTINGS", 1)
    features, _, others = _data()
    values = features[:, 0] - features[:, 1].square()
    targets = ((values - values.mean()) / values.std(correction=0))[:, None]
    basis = kernel_basis(features, others, "linear")
    fit = ridge.fit_values(basis, targets, 0.05)
    matrix, decay = features @ features.T, 0.05 * basis.mean_squared_norm
    for i in range(len(values)):
        kept = torch.arange(len(values)) != i
        alone = _fitted_predictions(matrix[kept][:, kept], matrix[i : i + 1, kept], targets[kept], decay)[0]
        assert torch.allclose(fit.predictions[i], alone, atol=1e-8)
    assert torch.allclose(fit.evaluated, _fitted_predictions(matrix, others @ features.T, targets, decay), atol=1e-8)
    # The deviation of a prediction without an example is that of the same point outside the training set.
    kept = torch.arange(len(values)) != 3
    mean = features[kept].mean(0)
    fewer = features[kept] - mean
    point = features[3] - mean
    precision = fewer.T @ fewer + decay * torch.eye(6)
    variance = 1 + 1 / int(kept.sum()) + float(point @ torch.linalg.solve(precision, point))
    noise = 1.4826 * ((targets - fit.predictions)[:, 0] / fit.deviations).abs().median()  # type: ignore[operator]
    assert float(noise) == pytest.approx(1.0)
    ratio = (fit.deviations[3] / fit.deviations[0]) ** 2  # type: ignore[index]
    kept0 = torch.arange(len(values)) != 0
    mean0 = features[kept0].mean(0)
    precision0 = (features[kept0] - mean0).T @ (features[kept0] - mean0) + decay * torch.eye(6)
    variance0 = (
        1 + 1 / int(kept0.sum()) + float((features[0] - mean0) @ torch.linalg.solve(precision0, features[0] - mean0))
    )
    assert float(ratio) == pytest.approx(variance / variance0, rel=1e-8)


def test_wrong_values_have_the_lowest_quality_and_right_ones_are_suggested() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(150, 3, generator=generator, dtype=torch.float64)
    truth = 20 + 5 * features[:, 0] - 3 * features[:, 1] + 0.3 * torch.randn(150, generator=generator)
    values = truth.clone()
    values[:8] += 12 * torch.tensor([1.0, -1, 1, 1, -1, 1, -1, 1])
    found = label_quality(features, values)
    assert set(found.quality.argsort()[:8].tolist()) == set(range(8))
    assert float((found.suggested - truth)[:8].abs().max()) < 2
    assert found.confidence is None
    # Right values come at about the stated rate: one in ten is below 0.1.
    assert 0.02 < float((found.quality[8:] < 0.1).double().mean()) < 0.2


def test_the_best_features_and_kernel_are_chosen_and_all_losses_are_given() -> None:
    features, labels, others = _data()
    noise = torch.randn(40, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = label_quality(
        {"noise": noise, "signal": features}, labels, ({"noise": others, "signal": others}, labels[:5])
    )
    assert (found.features, list(found.shares.values())) == ("signal", [1.0])  # noise is worth no share
    assert set(found.losses) == {
        f"{kernel} kernel of {kind}" for kernel in ("linear", "ntk", "laplace") for kind in ("noise", "signal")
    }
    assert found.loss == pytest.approx(min(found.losses.values()))


def test_features_that_tell_different_things_are_pooled() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(300, 2, generator=generator, dtype=torch.float64)
    labels = (hidden.sum(1) > 0).long()
    kinds = {"one": hidden[:, :1], "other": hidden[:, 1:]}
    rows = torch.arange(250)
    given = {name: each[rows] for name, each in kinds.items()}
    held_out = {name: each[250:] for name, each in kinds.items()}
    found = label_quality(given, labels[rows], (held_out, labels[250:]), kernel="linear")
    name = "linear kernel of one + linear kernel of other"
    assert found.title == name
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.loss == pytest.approx(found.losses[name])
    assert found.loss == pytest.approx(-float(found.quality.log().mean()))
    assert found.loss < 0.7 * min(loss for other, loss in found.losses.items() if other != name)
    assert found.held_out is not None
    assert float((found.held_out.suggested == labels[250:]).double().mean()) > 0.9
    assert -float(found.held_out.quality.log().mean()) < 2 * found.loss
    few = label_quality(given, labels[rows], (held_out, labels[250:]), kernel="linear", compared_on=120)
    assert few.title == name
    assert torch.allclose(few.quality, found.quality)  # all examples are fitted to in the end


def test_values_have_the_one_best_judge() -> None:
    features, _, others = _data()
    values = features[:, 0] + features[:, 1]
    kinds = {"part": features[:, :1], "whole": features}
    found = label_quality(kinds, values, ({"part": others[:, :1], "whole": others}, values[:5]))
    assert (found.title, found.features) == ("linear kernel of whole", "whole")
    assert len(found.losses) == 6


def test_features_that_say_nothing_are_no_candidate_unless_they_are_all() -> None:
    features, labels, _ = _data()
    constant = torch.ones_like(features)
    found = label_quality({"constant": constant, "signal": features}, labels)
    assert found.features == "signal"
    assert set(found.losses) == {f"{kernel} kernel of signal" for kernel in ("linear", "ntk", "laplace")}
    with pytest.raises(InputError, match="All examples have the same features"):
        label_quality({"constant": constant, "zero": 0 * features}, labels)


def test_wrong_digits_are_found_and_corrected_in_float32() -> None:
    images, digits = load_digits(return_X_y=True)
    features = torch.tensor(images, dtype=torch.float32)
    features = features / features.norm(dim=1, keepdim=True)
    truth = torch.tensor(digits)[:600]
    labels = truth.clone()
    labels[::20] = (labels[::20] + 1 + torch.arange(30) % 9) % 10
    found = label_quality(features[:600], labels, (features[600:800], torch.tensor(digits[600:800])))
    wrong = labels != truth
    curve = ac.detection_curve({"quality": -found.quality}, wrong)
    assert curve.auc["quality"] > 0.99
    assert float((found.suggested == truth)[wrong].double().mean()) > 0.9
    assert found.held_out is not None
    assert float((found.held_out.suggested.numpy() == digits[600:800]).mean()) > 0.85
    double = label_quality(features[:600].double(), labels)
    assert torch.allclose(found.quality.double(), double.quality, atol=2e-3)


def test_the_routes_of_the_linear_kernel_agree() -> None:
    features, labels, others = _data()
    by_features = label_quality(features, labels, (others, labels[:5]), kernel="linear")
    kernels = features @ features.T, others @ features.T
    by_kernel = label_quality(kernels[0], labels, (kernels[1], labels[:5]), kernel="precomputed")
    assert torch.allclose(by_features.quality, by_kernel.quality, atol=1e-9)
    rows = [sparse.csr_matrix(each.float().numpy()) for each in (features, others)]
    of_sparse = label_quality(rows[0], labels, (rows[1], labels[:5]), kernel="linear")
    assert torch.allclose(of_sparse.quality.double(), by_features.quality, atol=1e-3)
    assert torch.allclose(of_sparse.held_out.quality.double(), by_features.held_out.quality, atol=1e-3)  # type: ignore[union-attr]


def test_landmarks_stand_for_many_examples_and_say_what_they_leave_out() -> None:
    features, _, others = _data()
    kernel = kernel_rows(features, features, "ntk")
    centered = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
    off = []
    for most in (20, 30, 39):
        basis = kernel_basis(features, others, "ntk", most=most)
        chosen = torch.randperm(40, generator=torch.Generator().manual_seed(0))[:most]
        approximated = kernel[:, chosen] @ torch.linalg.solve(kernel[chosen][:, chosen], kernel[chosen])
        assert basis.error == pytest.approx(1 - float(approximated.trace() / kernel.trace()), abs=1e-6)
        found = (basis.train * basis.eigenvalues) @ basis.train.T
        off.append(float((found - centered).norm() / centered.norm()))
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.05
    exact = kernel_basis(features, others, "ntk")
    assert exact.error == 0
    assert len(kernel_basis(features, others, "linear", most=20).eigenvalues) == 6  # features are exact for any n


def test_the_laplace_kernel_has_the_mean_distance_as_its_width() -> None:
    features, _, others = _data()
    distances = (features[:, None] - features).abs().sum(2)
    width = distances.sum() / (40 * 39)
    assert mean_distance(features) == pytest.approx(float(width))
    basis = kernel_basis(features, others, "laplace")
    kernel = (-distances / width).exp()
    centered = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
    assert torch.allclose((basis.train * basis.eigenvalues) @ basis.train.T, centered, atol=1e-9)
    rows = (-(others[:, None] - features).abs().sum(2) / width).exp()
    centered_rows = rows - rows.mean(1, keepdim=True) - kernel.mean(0) + kernel.mean()
    assert torch.allclose((basis.evaluation * basis.eigenvalues) @ basis.train.T, centered_rows, atol=1e-9)
    assert float(basis.outside.min()) > 0
    with pytest.raises(InputError, match="the same features"):
        kernel_basis(torch.ones(5, 2), None, "laplace")


def test_steps_in_a_column_are_judged_by_the_laplace_kernel() -> None:
    generator = torch.Generator().manual_seed(3)
    columns = torch.rand(400, 4, generator=generator, dtype=torch.float64)
    values = 5.0 * (columns[:, 0] > 0.5) + 3 * (columns[:, 1] > 0.3) + 0.1 * torch.randn(400, generator=generator)
    assert label_quality(columns, values).kernel == "laplace"
    assert label_quality(torch.cat([columns, torch.zeros(400, 97)], 1).double(), values).kernel != "laplace"


def test_the_tangent_kernel_is_that_of_relu_ntk() -> None:
    features, _, others = _data()
    assert torch.allclose(kernel_rows(features, others, "ntk"), ac.relu_ntk(features, others), atol=1e-7)
    zero = torch.zeros(1, 6, dtype=torch.float64)
    assert kernel_rows(zero, features, "ntk").abs().max() == 0
    sparse_rows = sparse.csr_matrix(features.numpy())
    assert torch.allclose(
        kernel_rows(sparse_rows, sparse_rows, "ntk").double(), ac.relu_ntk(features, features), atol=5e-3
    )


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.randn(4, 2), torch.zeros(2, dtype=torch.long), "three examples or more"),
        (torch.randn(4, 2), torch.zeros(5, dtype=torch.long), "a row for each of 5 labels; given are 4"),
        (torch.full((4, 2), math.nan), torch.tensor([0, 1, 0, 1]), "must be finite"),
        (torch.ones(4, 2), torch.tensor([0, 1, 0, 1]), "the same features"),
        (torch.randn(4, 2), torch.ones(4), "all labels are the same"),
    ],
)
def test_bad_input_is_refused(features: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        label_quality(features, labels)


def test_it_is_public() -> None:
    features, labels, _ = _data()
    assert bool(ac.label_quality(features, labels).quality.isfinite().all())
