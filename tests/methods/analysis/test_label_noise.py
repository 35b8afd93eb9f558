import math

import pytest
import torch
from sklearn.cluster import KMeans

from attribution_core.errors import InputError
from attribution_core.methods.analysis.label_noise import (
    SMALLEST_SUM,
    _second_of_two,
    _standardised,
    class_contributions,
    jaccard_index,
    label_noise_clusters,
    label_noise_score,
    least_useful,
    normalised,
)


def test_class_contributions_are_means_over_all_pairs():
    generator = torch.Generator().manual_seed(0)
    effects = torch.randn(30, 20, generator=generator, dtype=torch.float64)
    mine, theirs = torch.randint(3, (30,), generator=generator), torch.randint(3, (20,), generator=generator)
    matrix = class_contributions(effects, mine, theirs, 4)
    for a in range(3):
        for b in range(3):
            pairs = [effects[k, j] for k in range(30) for j in range(20) if mine[k] == a and theirs[j] == b]
            assert math.isclose(float(matrix[a, b]), float(sum(pairs)) / len(pairs), rel_tol=1e-12)
    assert matrix[3].isnan().all()
    assert matrix[:, 3].isnan().all()
    by_class = torch.stack([effects[:, theirs == label].mean(dim=1) for label in range(3)], dim=1)
    assert torch.allclose(class_contributions(by_class, mine, torch.arange(3), 3), matrix[:3, :3])


def test_normalization_divides_by_the_root_of_row_and_column_sums():
    matrix = torch.tensor([[4.0, 1.0], [-2.0, 3.0]])
    expected = torch.tensor(
        [[4 / math.sqrt(5 * 2), 1 / math.sqrt(5 * 4)], [-2 / math.sqrt(1 * 2), 3 / math.sqrt(1 * 4)]]
    )
    assert torch.allclose(normalised(matrix), expected)
    with_gap = torch.tensor([[4.0, torch.nan], [1.0, torch.nan]])
    assert torch.allclose(normalised(with_gap)[:, 0], torch.tensor([4 / math.sqrt(4 * 5), 1 / math.sqrt(1 * 5)]))


def test_sums_that_cancel_out_leave_finite_normalized_entries():
    zero_row = torch.tensor([[1.0, -1.0, 0.0], [2.0, 5.0, 1.0], [1.0, 1.0, 4.0]])
    # Row 0 is divided by a tenth of its absolute sum, 2; columns 0 and 1 by their sums, 4 and 5.
    expected = [1 / math.sqrt(0.2 * 4), -1 / math.sqrt(0.2 * 5), 0.0]
    assert torch.allclose(normalised(zero_row)[0], torch.tensor(expected))
    assert torch.equal(normalised(torch.zeros(2, 2)), torch.zeros(2, 2))
    # Four classes that help themselves and harm the others; almost all of the third row and column cancels out.
    matrix = torch.eye(4) * 10 - 2
    matrix[2, 2] = 6.0001
    unguarded = (matrix / (matrix.sum(1, keepdim=True) * matrix.sum(0)).abs().sqrt()).diagonal()
    assert float(unguarded[2]) > 10_000 * float(unguarded[0])
    assert float(normalised(matrix)[2, 2]) == pytest.approx(6.0001 / 1.20001, rel=1e-3)
    assert float(normalised(matrix).abs().max()) < 6
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(200, 3, 3, generator=generator)
    assert max(float(normalised(matrix).abs().max()) for matrix in matrices) <= 1 / SMALLEST_SUM


def test_the_least_useful_come_lowest_first():
    values = torch.tensor([0.3, -0.2, 0.0, -0.5, 0.1])
    assert least_useful(values, 0.4).tolist() == [3, 1]
    assert least_useful(values, 0).tolist() == []
    with pytest.raises(InputError, match="share"):
        least_useful(values, 1.5)


def _noisy() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return effects, labels and which of these are wrong: those whose effects have the opposite signs."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (120,), generator=generator)
    wrong = torch.rand(120, generator=generator) < 0.3
    pattern = torch.randn(3, 60, generator=generator).abs() * (torch.rand(3, 60, generator=generator) < 0.8)
    effects = pattern[labels] * torch.where(wrong, -1.0, 1.0)[:, None] + 0.3 * torch.randn(120, 60, generator=generator)
    return effects, labels, wrong


@pytest.mark.parametrize("features", ["signs", "standardised"])
def test_clusters_find_examples_that_harm_what_others_help(features):
    effects, labels, wrong = _noisy()
    found = label_noise_clusters(effects, labels, features=features)
    assert jaccard_index(found.suspect, wrong) > 0.95
    assert (found.separation > 1).all()


def test_standardised_features_do_not_depend_on_the_scale_of_an_evaluation_example():
    effects, labels, _ = _noisy()
    scale, shift = torch.logspace(-3, 3, effects.shape[1]), torch.linspace(-5, 5, effects.shape[1])
    one, other = (label_noise_clusters(each, labels, features="standardised") for each in (effects, effects * scale))
    assert torch.equal(one.suspect, other.suspect)
    points = _standardised(effects * scale + shift)
    assert torch.allclose(points, _standardised(effects), atol=1e-2)
    assert torch.equal(_standardised(torch.ones(4, 3)), torch.zeros(4, 3))


def test_suspects_come_first_and_the_least_contribution_first_within():
    effects, labels, wrong = _noisy()
    score = label_noise_score(effects, labels)
    assert torch.equal(score > 0, label_noise_clusters(effects, labels).suspect)
    assert float((score > 0).eq(wrong).double().mean()) > 0.95
    assert float(score.min()) > -1
    assert float(score.max()) <= 1
    for suspect in (score > 0, score <= 0):
        own = effects.double().mean(dim=1)[suspect][score[suspect].argsort(descending=True)]
        assert bool((own.diff() > 0).all())


@pytest.mark.parametrize("features", ["signs", "standardised"])
def test_clusters_of_indistinguishable_examples(features):
    found = label_noise_clusters(torch.ones(5, 4), torch.tensor([0, 0, 0, 0, 2]), features=features)
    assert not found.suspect.any()
    assert float(found.separation[0]) == 0
    assert found.separation[1:].isnan().all()


def test_jaccard_index():
    a, b = torch.tensor([True, True, False, False]), torch.tensor([False, True, True, False])
    assert jaccard_index(a, b) == pytest.approx(1 / 3)
    assert jaccard_index(~(a | True), ~(b | True)) == 1.0


def test_the_clusters_are_the_tightest_that_scikit_learn_finds():
    generator = torch.Generator().manual_seed(0)
    for points in (
        torch.randn(60, 12, generator=generator).sign(),
        torch.randn(40, 3, generator=generator),
        torch.tensor([[0.0, 0.0]] * 9 + [[1.0, 0.0]]),
    ):
        second = _second_of_two(points, 0)
        within = sum(float((part - part.mean(dim=0)).square().sum()) for part in (points[second], points[~second]))
        best = KMeans(2, n_init=50, random_state=0).fit(points.numpy()).inertia_
        assert within <= 1.02 * best + 1e-6
        assert 0 < int(second.sum()) < len(points)
