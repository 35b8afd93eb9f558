"""Discriminants equal those of an analysis that is made anew without each example."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from attribution_core.methods.linearized import discriminant
from attribution_core.methods.linearized.discriminant import discriminants, log_probabilities
from attribution_core.methods.linearized.kernel_basis import KernelName, kernel_basis
from attribution_core.methods.linearized.ridge import RidgeFit, fit_classes


def _outputs(n: int = 40, classes: int = 4, present: int = 3, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, present, (n,), generator=generator)
    outputs = one_hot(labels, classes) + noise * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return outputs / outputs.sum(1, keepdim=True), labels


def _anew(outputs: Tensor, labels: Tensor, point: Tensor, overall: Tensor, ridge: Tensor, freedom: int) -> Tensor:
    classes = outputs.shape[1]
    means = torch.stack([outputs[labels == c].mean(0) if (labels == c).any() else overall for c in range(classes)])
    deviations = outputs - means[labels]
    inverse = torch.linalg.inv(deviations.T @ deviations / freedom + ridge * torch.eye(classes))
    return point @ inverse @ means.T - ((means @ inverse) * means).sum(1) / 2


def test_they_are_those_of_an_analysis_without_each_example() -> None:
    outputs, labels = _outputs()
    labels[0] = 3  # the only one of its class
    own, others = discriminants(outputs, outputs[:5] + 0.1, labels)
    means = torch.stack([outputs[labels == c].mean(0) for c in range(4)])
    deviations = outputs - means[labels]
    freedom = 40 - 4
    ridge = discriminant._SHRINKAGE * 4 / 40 * (deviations.T @ deviations / freedom).diagonal().mean()
    overall = outputs.mean(0)
    for i in range(40):
        kept = torch.arange(40) != i
        expected = _anew(outputs[kept], labels[kept], outputs[i], overall, ridge, freedom)
        assert torch.allclose(own[i], expected, rtol=1e-6)
    for i in range(5):
        expected = _anew(outputs, labels, outputs[i] + 0.1, overall, ridge, freedom)
        assert torch.allclose(others[i], expected, rtol=1e-6)


def test_a_class_without_examples_is_never_the_suggestion() -> None:
    outputs, labels = _outputs()
    own, others = discriminants(outputs, outputs[:5], labels)
    assert torch.equal(own[:, 3], own[:, :3].min(1).values)
    assert torch.equal(others[:, 3], others[:, :3].min(1).values)
    assert bool(own.isfinite().all())


@pytest.mark.parametrize("constant", [True, False])
def test_outputs_without_deviations_have_finite_ones(constant: bool) -> None:
    outputs = torch.full((6, 2), 0.5) if constant else one_hot(torch.tensor([0, 1] * 3), 2).float()
    own, others = discriminants(outputs, outputs, torch.tensor([0, 1] * 3))
    assert bool(own.isfinite().all())
    assert bool(others.isfinite().all())


def test_probabilities_are_the_mean_of_both_at_the_best_temperatures() -> None:
    outputs, labels = _outputs(noise=0.8)
    fit = RidgeFit(1.0, 0.0, outputs, outputs[:5], temperature=2.5)
    own, others = log_probabilities(fit, labels)
    assert torch.allclose(own.exp().sum(1), torch.ones(40, dtype=torch.float64))
    assert others.shape == (5, 4)
    targets = one_hot(labels, 4).double()
    without = (targets.sum(0) - targets) / 39
    with_mean = outputs - without + targets.mean(0)
    onto = discriminant._with_the_labels(with_mean, targets)
    scores, _ = discriminants(with_mean @ onto, outputs[:5] @ onto, labels)

    def loss(first: float, second: float, last: float) -> float:
        both = (first * outputs).log_softmax(1) + (second * scores).log_softmax(1)
        return float(cross_entropy(last * both / 2, labels))

    grid = torch.logspace(-2, 1.5, 300).tolist()
    second = min(grid, key=lambda each: float(cross_entropy(each * scores, labels)))
    last = min(grid, key=lambda each: loss(2.5, second, each))
    assert float(cross_entropy(own, labels)) == pytest.approx(loss(2.5, second, last), abs=2e-3)


def test_classes_between_others_are_not_masked() -> None:
    """Regression on one-hot labels hardly ever suggests the classes in the middle of a line (Hastie et al. 1995)."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(300) % 5
    line = (labels + 0.15 * torch.randn(300, generator=generator, dtype=torch.float64))[:, None]
    fit = fit_classes(kernel_basis(line, None, "linear"), one_hot(labels, 5))
    own, _ = log_probabilities(fit, labels)
    assert float((fit.predictions.argmax(1) == labels).double().mean()) < 0.6
    assert float((own.argmax(1) == labels).double().mean()) > 0.9


@pytest.mark.parametrize("kernel", ["linear", "ntk", "laplace"])
@pytest.mark.parametrize(("examples", "classes"), [(12, 2), (60, 2), (60, 5), (60, 30), (300, 30), (300, 100)])
@pytest.mark.parametrize("alike", [False, True])
def test_what_an_example_left_behind_does_not_tell_its_label(
    kernel: KernelName, examples: int, classes: int, alike: bool
) -> None:
    """Of labels that are drawn at random nothing can be known, and the loss is no less than that of guessing."""
    gains = []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn(examples, 6, generator=generator, dtype=torch.float64)
        if alike:  # as the cells of a table with few different ones
            features = features[torch.randint(0, 3, (examples,), generator=generator)]
        labels = torch.randint(0, classes, (examples,), generator=generator)
        shares = torch.bincount(labels, minlength=classes) / examples
        fit = fit_classes(kernel_basis(features, None, kernel), one_hot(labels, classes))
        loss = float(cross_entropy(log_probabilities(fit, labels)[0], labels))
        gains.append(float(torch.special.entr(shares).sum()) - loss)
    assert sum(gains) / len(gains) < 0.03
