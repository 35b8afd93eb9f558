"""Held-out outputs are those of trainings without the example; their own loss turns them into probabilities."""

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from attribution_core.progress import listening
from attribution_core.scoring.cross_fit import (
    HeldOutOutputs,
    held_out_outputs,
    quality_of_classes,
    quality_of_values,
    sizes_without_fold,
    stratified_folds,
)
from attribution_core.training import Recipe, outputs_of, train

RECIPE = Recipe(epochs=2, batch_size=8, seed=3)


def build(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(4, 3)


def data(n: int = 31) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, 4, generator=generator)
    return inputs, inputs[:, :3].argmax(dim=1)


def test_folds_have_every_class_evenly_and_follow_the_seed() -> None:
    strata = torch.tensor([0] * 13 + [1] * 7 + [2] * 3)[torch.randperm(23, generator=torch.Generator().manual_seed(1))]
    folds = stratified_folds(strata, 4, seed=5)
    for members in (folds, *(folds[strata == each] for each in range(3))):
        counts = torch.bincount(members, minlength=4)
        assert int(counts.max() - counts.min()) <= 1
    assert {int((folds != fold).sum()) for fold in range(4)} == sizes_without_fold(23, 4)
    assert torch.equal(folds, stratified_folds(strata, 4, seed=5))
    assert not torch.equal(folds, stratified_folds(strata, 4, seed=6))
    assert sizes_without_fold(23, 0) == set()


def test_outputs_are_those_of_trainings_without_the_fold() -> None:
    inputs, targets = data()
    folds = stratified_folds(targets, 3, seed=0)
    said = []
    with listening(lambda _done, _total, what: said.append(what)):
        found = held_out_outputs(build, (inputs, targets), [inputs[:5], inputs[5:7]], RECIPE, folds)
    for fold in range(3):
        left, model = folds == fold, build(3)
        train(model, (inputs[~left], targets[~left]), RECIPE)
        assert torch.allclose(found.train[left], outputs_of(model, inputs[left]).double(), atol=1e-6)
        assert torch.allclose(found.others[fold], outputs_of(model, inputs[:7]).double(), atol=1e-6)
    assert said[0].startswith("cross-fitting, 1 of 3: training")
    assert said[-1].startswith("cross-fitting, 3 of 3: training")


def test_the_label_of_an_example_has_no_part_in_its_own_outputs() -> None:
    inputs, targets = data()
    folds = stratified_folds(targets, 3, seed=0)
    before = held_out_outputs(build, (inputs, targets), [inputs[:1]], RECIPE, folds).train
    changed = targets.clone()
    changed[4] = (changed[4] + 1) % 3
    after = held_out_outputs(build, (inputs, changed), [inputs[:1]], RECIPE, folds).train
    same_fold = folds == folds[4]
    assert torch.equal(before[same_fold], after[same_fold])
    assert not torch.allclose(before[~same_fold], after[~same_fold])


def test_classes_have_the_temperature_of_least_loss_and_the_mean_of_all_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    outputs = nn.functional.one_hot(labels, 3) + torch.randn(60, 3, generator=generator, dtype=torch.float64)
    others = torch.randn(4, 9, 3, generator=generator, dtype=torch.float64)
    found = quality_of_classes(HeldOutOutputs(20 * outputs, 20 * others), labels, labels[:9])
    temperature = found.temperature

    def loss(factor: float) -> float:
        return float(nn.functional.cross_entropy(factor * temperature * 20 * outputs, labels))

    assert found.loss == pytest.approx(loss(1.0))
    assert found.loss < min(loss(0.97), loss(1.03))
    assert torch.allclose(found.quality, (20 * temperature * outputs).softmax(1)[torch.arange(60), labels])
    assert found.held_out is not None
    assert found.held_out.probabilities is not None
    assert torch.allclose(found.held_out.probabilities, (20 * temperature * others).softmax(2).mean(0))
    assert torch.equal(found.held_out.suggested, found.held_out.probabilities.argmax(1))


def test_values_have_the_scale_of_least_loss_under_students_t() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = 50 + 10 * torch.randn(200, generator=generator, dtype=torch.float64)
    residuals = torch.from_numpy(stats.t.rvs(4, size=200, random_state=0))
    outputs = HeldOutOutputs((labels - residuals)[:, None], torch.stack([labels[:6, None] - 1, labels[:6, None] - 3]))
    found = quality_of_values(outputs, labels, labels[:6])
    _, _, scale = stats.t.fit(residuals.numpy(), fdf=4, floc=0)
    expected = 2 * stats.t.sf(residuals.abs().numpy() / scale, 4)
    assert torch.allclose(found.quality, torch.from_numpy(expected), atol=1e-3)
    assert torch.equal(found.suggested, labels - residuals)
    assert found.held_out is not None
    assert torch.allclose(found.held_out.suggested, labels[:6] - 2)
    assert float(found.held_out.quality[0]) == pytest.approx(2 * stats.t.sf(2 / scale, 4), abs=1e-3)
    assert found.confidence is None
    # In standard deviations of the labels, and without the constant of the density.
    constant = stats.t.logpdf(0, 4)
    density = stats.t.logpdf(residuals.numpy(), 4, scale=scale).mean() + float(labels.std(correction=0).log())
    assert found.loss == pytest.approx(constant - density, abs=1e-4)
