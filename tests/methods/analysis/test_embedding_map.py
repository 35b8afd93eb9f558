import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness
from sklearn.neighbors import KNeighborsClassifier

from attribution_core.errors import InputError
from attribution_core.methods.analysis.embedding_map import EPOCHS, embedding_map
from attribution_core.methods.linalg import blocked
from attribution_core.progress import listening


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images[:600]), labels[:600]


def test_the_same_seed_gives_the_same_map_and_neighbors_stay_neighbors(digits):
    images, labels = digits
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        places, again, other = (embedding_map(images, seed) for seed in (3, 3, 4))
    assert places.shape == (600, 2)
    assert places.dtype == np.float32
    assert np.array_equal(places, again)
    assert not np.array_equal(places, other)
    assert trustworthiness(images.numpy(), places, n_neighbors=15, metric="cosine") > 0.95
    assert KNeighborsClassifier(5).fit(places[:400], labels[:400]).score(places[400:], labels[400:]) > 0.75


def test_the_block_size_changes_nothing(digits, monkeypatch):
    whole = embedding_map(digits[0])
    monkeypatch.setattr(blocked, "BLOCK_BYTES", 50_000)
    seen = []
    with listening(lambda *reported: seen.append(reported)):
        split = embedding_map(digits[0])
    assert trustworthiness(whole, split, n_neighbors=15) > 0.99  # blocks may round differently
    searched = [done for done, _, what in seen if "neighbors" in what]
    assert len(searched) >= 1
    assert seen[-1] == (EPOCHS, EPOCHS, "laying out the map")


def test_more_examples_than_are_laid_out_together_are_placed_near_their_neighbors(digits):
    images = digits[0]
    places = embedding_map(images, most=300)
    assert np.array_equal(places, embedding_map(images, most=300))
    chosen = torch.randperm(600, generator=torch.Generator().manual_seed(0))[:300].sort().values
    assert np.array_equal(places[chosen], embedding_map(images[chosen]))
    assert trustworthiness(images.numpy(), places, n_neighbors=15, metric="cosine") > 0.93
    # A copy of a laid-out example is placed near it: of 400 pairs, take those with only one example laid out.
    doubled = embedding_map(torch.cat([images[:400], images[:400]]), most=400)
    laid_out = torch.zeros(800, dtype=torch.bool)
    laid_out[torch.randperm(800, generator=torch.Generator().manual_seed(0))[:400]] = True
    split = (laid_out[:400] != laid_out[400:]).numpy()
    apart = np.linalg.norm(doubled[:400] - doubled[400:], axis=1)[split]
    assert split.sum() > 100
    assert np.median(apart) < 0.05 * np.ptp(doubled, axis=0).min()


@pytest.mark.parametrize("n", [4, 5, 10, 15, 16, 17])
def test_few_examples_have_a_map(digits, n):
    places = embedding_map(digits[0][:n])
    assert places.shape == (n, 2)
    assert np.isfinite(places).all()


@pytest.mark.parametrize("embeddings", [torch.ones(40, 8), torch.zeros(40, 8), torch.eye(2).repeat_interleave(30, 0)])
def test_equal_embeddings_have_a_map(embeddings):
    assert np.isfinite(embedding_map(embeddings)).all()


@pytest.mark.parametrize("embeddings", [torch.ones(3, 8), torch.ones(40), torch.full((40, 8), math.nan)])
def test_invalid_embeddings_are_refused(embeddings):
    with pytest.raises(InputError, match="A map needs finite embeddings"):
        embedding_map(embeddings)
