"""Effects and neighbours as they are ranked on the page Example."""

import numpy as np
import pytest

from samplescope_app.data import effects
from samplescope_app.panels.influencers import format_effect

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [3, 12, 13, 500])
def test_the_strongest_are_those_of_a_full_sort(size):
    values = RNG.normal(0.5, 1, size).astype(np.float32)
    helpful, harmful = effects.strongest(values, 12)
    order = np.argsort(-values)
    np.testing.assert_array_equal(helpful.rows, [row for row in order if values[row] > 0][:12])
    np.testing.assert_array_equal(harmful.rows, [row for row in order[::-1] if values[row] < 0][:12])
    for ranked in (helpful, harmful):
        np.testing.assert_array_equal(ranked.values, values[ranked.rows])


def test_what_does_nothing_neither_helps_nor_harms():
    helpful, harmful = effects.strongest(np.array([0.0, np.nan, 0.2, -0.0], dtype=np.float32), 2)
    assert helpful.rows.tolist() == [2]
    assert harmful.rows.tolist() == []


def test_effects_are_read_both_ways(run):
    for method in run.effect_methods:
        matrix = run.effects(method)[:]
        np.testing.assert_array_equal(effects.of_training_example(run, method, 7), matrix[7])
        np.testing.assert_array_equal(effects.on_evaluation_example(run, method, 3), matrix[:, 3])
    assert effects.columns(run) == (run.evaluation["split"] == "validation").sum()


@pytest.mark.parametrize("split", ["train", "evaluation"])
def test_neighbours_are_those_of_the_whole_matrix(run, split):
    train = run.embeddings("train") / np.linalg.norm(run.embeddings("train"), axis=1, keepdims=True)
    query = run.embeddings(split)[5]
    cosines = train @ query / np.linalg.norm(query)
    if split == "train":
        cosines[5] = -2
    found = effects.nearest(run, split, 5, 10)
    np.testing.assert_array_equal(found.rows, np.argsort(-cosines, kind="stable")[:10])
    np.testing.assert_allclose(found.values, cosines[found.rows], rtol=1e-5)
    assert len(effects.nearest(run, split, 5, 1000).rows) == len(train) - (split == "train")


@pytest.mark.parametrize(("value", "text"), [(0.01234, "+0.0123"), (-0.5, "−0.5"), (-2e-6, "−2.0e-06"), (0.0, "0")])
def test_an_effect_has_a_sign(value, text):
    assert format_effect(value) == text
