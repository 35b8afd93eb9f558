import pytest
import torch

from attribution_core.errors import InputError
from attribution_core.methods.analysis import near_duplicates as search
from attribution_core.methods.analysis.near_duplicates import near_duplicates, near_duplicates_in
from attribution_core.methods.linalg import blocked
from attribution_core.methods.linearized.build import linearize
from attribution_core.models import build_model
from attribution_core.progress import listening
from attribution_core.training import Recipe, train
from tests.support.scored import digits_as_scored

COPIES = 25  # of each kind


def brute_force(embeddings, threshold):
    """Every pair on its own, in float64."""
    unit = embeddings.double() / embeddings.double().norm(dim=1, keepdim=True)
    similarity = {(i, j): float(unit[i] @ unit[j]) for i in range(len(unit)) for j in range(i + 1, len(unit))}
    found = {pair: value for pair, value in similarity.items() if value >= threshold}
    return dict(sorted(found.items(), key=lambda item: -item[1])), similarity


@pytest.mark.parametrize("bytes_each", [2**28, 3000])
def test_pairs_and_nearest_equal_those_from_all_pairs(monkeypatch, bytes_each):
    monkeypatch.setattr(blocked, "BLOCK_BYTES", bytes_each)  # of several blocks, or one
    embeddings = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    reported = []
    with listening(lambda *args: reported.append(args)):
        found = near_duplicates(embeddings, 0.9)
    expected, similarity = brute_force(embeddings, 0.9)
    assert [tuple(pair) for pair in found.pairs.tolist()] == list(expected)
    assert found.similarity.tolist() == pytest.approx(list(expected.values()), abs=1e-12)
    assert found.count == len(expected) > 20
    for i in range(60):
        others = {j: similarity[min(i, j), max(i, j)] for j in range(60) if j != i}
        assert int(found.nearest[i]) == max(others, key=others.get)
        assert float(found.nearest_similarity[i]) == pytest.approx(max(others.values()), abs=1e-12)
    blocks = reported[-1][1]
    assert reported[-1] == (blocks, blocks, "searching for near-duplicates")
    assert (blocks > 1) == (bytes_each == 3000)
    few = near_duplicates(embeddings, 0.9, most=5)
    assert torch.equal(few.pairs, found.pairs[:5])
    assert few.count == found.count


def test_two_examples_are_a_pair_if_each_is_near_enough_to_the_other(monkeypatch):
    monkeypatch.setattr(search, "FALSE_REPORTS", 30.0)  # to get pairs by chance
    points = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    found = near_duplicates(points)
    _, similarity = brute_force(points, 1.0)
    least = found.least.tolist()
    both, either = (
        {(i, j) for (i, j), value in similarity.items() if value >= chosen(least[i], least[j])} for chosen in (max, min)
    )
    assert {tuple(pair) for pair in found.pairs.tolist()} == both
    assert 5 < len(both) < len(either)
    # The number is close to the expected one, not least because the law was fitted to these data.
    assert 15 <= int((found.nearest_similarity >= found.least).sum()) <= 45


def with_copies(clean):
    """Images followed by copies, ``COPIES`` of each kind, and the original of each copy."""
    generator = torch.Generator().manual_seed(0)
    exact, light, heavy, shifted = torch.randperm(len(clean), generator=generator)[: 4 * COPIES].split(COPIES)

    def noisy(images, share):  # of the pixels' standard deviation, which is 1; a gray level is a sixth of it
        return images + share * torch.randn(images.shape, generator=generator)

    copies = [clean[exact], noisy(clean[light], 0.04), noisy(clean[heavy], 0.08), torch.roll(clean[shifted], 1, 3)]
    return torch.cat([clean, *copies]), torch.cat([exact, light, heavy, shifted])


def head_features(images, labels):
    """Inputs of the last layer of a trained network."""
    model = build_model("mlp", 10, images.shape[1:], (128,))
    train(model, (images, labels), Recipe(epochs=20))
    return linearize(model, (images, labels), (images[:1], labels[:1]), parameters=r"3\.weight").features[:, 0]


def test_planted_copies_of_digits_are_found_among_typical_ones():
    clean, labels = digits_as_scored("train", max_train=None)[0]
    images, origin = with_copies(clean)
    embeddings = head_features(images, torch.cat([labels, labels[origin]]))
    assert near_duplicates(embeddings[: len(clean)]).count <= 1
    found = near_duplicates(embeddings)
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    planted = [(int(source), len(clean) + copy) for copy, source in enumerate(origin)]
    kinds = ["exact", "noise 0.04", "noise 0.08", "shifted"]
    counts = {kind: sum(pair in pairs for pair in planted[k * COPIES :][:COPIES]) for k, kind in enumerate(kinds)}
    print(f"\nOf {COPIES} planted pairs each: {counts}; others: {len(pairs - set(planted))}")
    assert counts["exact"] == COPIES
    assert counts["noise 0.04"] >= 0.9 * COPIES
    assert counts["noise 0.08"] >= 0.5 * COPIES
    assert len(pairs - set(planted)) <= 2
    # A shift by one of eight pixels is large: a shifted copy is not a near-duplicate for this network.
    assert counts["shifted"] <= 2


def test_a_dense_class_is_typical_and_not_redundant():
    generator = torch.Generator().manual_seed(0)
    middles = torch.eye(6)[:2].repeat_interleave(200, 0)
    spread = torch.tensor([0.003, 0.3]).repeat_interleave(200)[:, None]
    points = middles + spread * torch.randn(400, 6, generator=generator)
    points = torch.cat([points, points[200:210] + 0.005 * torch.randn(10, 6, generator=generator)])
    found = near_duplicates(points)
    planted = {(200 + i, 400 + i) for i in range(10)}
    reported = {tuple(pair) for pair in found.pairs.tolist()}
    assert len(planted & reported) >= 9
    assert len(reported - planted) <= 2
    everywhere = near_duplicates(points, float(found.similarity.min()))
    assert everywhere.count > 1000  # a single threshold mistakes the dense class for copies


def test_copies_among_other_examples_are_found_by_the_same_rule():
    generator = torch.Generator().manual_seed(0)
    points, others = torch.randn(300, 6, generator=generator), torch.randn(80, 6, generator=generator)
    others[[4, 50]] = points[[7, 123]] + 1e-4 * torch.randn(2, 6, generator=generator)
    found = near_duplicates(points)
    rows, nearest, similarity = near_duplicates_in(points, others, found)
    assert dict(zip(rows.tolist(), nearest.tolist(), strict=True)) == {4: 7, 50: 123}
    assert (similarity > 0.999999).all()
    none = near_duplicates_in(points, others[:4], found)
    assert [len(each) for each in none] == [0, 0, 0]
    assert [len(each) for each in near_duplicates_in(points, others[:0], found)] == [0, 0, 0]


def test_many_copies_and_rows_of_zeros():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(40, 8, generator=generator)
    repeated = torch.cat([points[:1].expand(12, 8), 3 * points[1:], torch.zeros(2, 8)])
    found = near_duplicates(repeated)
    assert found.count == 12 * 11 // 2
    assert found.pairs.max() == 11
    assert torch.allclose(found.similarity, torch.ones(1, dtype=torch.float64))
    assert found.nearest_similarity[-2:].tolist() == [0, 0]
    mostly = near_duplicates(points.repeat(2, 1))  # every example twice: only exact copies are found
    assert mostly.pairs.sort(dim=0).values.tolist() == [[i, i + 40] for i in range(40)]
    assert near_duplicates(torch.eye(20)).count == 0  # all distances are equal


def test_invalid_embeddings_are_refused():
    points = torch.rand(20, 3)
    with pytest.raises(InputError, match="of 11 examples or more"):
        near_duplicates(points[:10])
    assert near_duplicates(points[:10], threshold=0.99).nearest.shape == (10,)
    with pytest.raises(InputError, match="with 1 numbers that are not finite"):
        near_duplicates(torch.where(torch.arange(60).reshape(20, 3) == 7, torch.nan, points))
    with pytest.raises(InputError, match=r"these are \[60\]"):
        near_duplicates(points.flatten(), threshold=0.5)
    for threshold, most in ((1.5, 10), (float("nan"), 10), (0.9, 0)):
        with pytest.raises(InputError, match="cosine from -1 to 1"):
            near_duplicates(points, threshold, most)
