"""Embeddings and the map in a run."""

import numpy as np
import pytest
from safetensors.torch import load_file
from sklearn.manifold import trustworthiness

import attribution_core as ac
from attribution_core.errors import InputError
from attribution_core.methods.linearized.build import head_inputs
from attribution_core.progress import listening
from attribution_core.scoring.score import score
from tests.support.scored import ONLY_INFORMATION, digits_as_scored, quick


def test_a_run_maps_what_the_trained_network_sees(tmp_path):
    seen = []
    with listening(lambda *call: seen.append(call)):
        run = score(quick(tmp_path, map="umap", hidden=(32,), max_train=None, **ONLY_INFORMATION))
    model = ac.build_model("mlp", 10, (1, 8, 8), hidden=(32,))
    model.load_state_dict(load_file(run.path / "model" / "final.safetensors"))
    train, validation, test = (
        head_inputs(model, inputs) for inputs, _ in digits_as_scored("train", "validation", "test", max_train=None)
    )
    assert np.array_equal(run.embeddings("train"), train)
    assert np.array_equal(run.embeddings("evaluation"), np.concatenate([validation, test]))
    assert run.has_map
    places = [table[["umap_x", "umap_y"]].to_numpy() for table in (run.examples, run.evaluation)]
    assert all(each.dtype == np.float32 for each in places)
    together, embedded = np.concatenate(places), np.concatenate([train, validation, test])
    assert trustworthiness(embedded, together, n_neighbors=15, metric="cosine") > 0.95
    details = run.manifest.details["map"]
    assert details["examples"] == details["laid_out"] == len(together)
    assert "UMAP" in details["route"]
    epochs = [done for done, total, what in seen if what == "laying out the map" and total == details["epochs"]]
    assert epochs[0] == 0
    assert epochs[-1] == details["epochs"]
    assert epochs == sorted(epochs)


def test_where_there_is_no_map_the_run_says_why(tmp_path, monkeypatch):
    off = score(quick(tmp_path, out=tmp_path / "off", **ONLY_INFORMATION))
    assert off.manifest.details["map"] == {"skipped": "turned off (map=off)"}
    assert not off.has_map
    assert len(off.embeddings("train")) == len(off.examples)

    def headless(*_):
        raise InputError("there is no head")

    monkeypatch.setattr("attribution_core.scoring.stages.embeddings.head_inputs", headless)
    run = score(quick(tmp_path, map="umap", parameters="all", max_train=50, **ONLY_INFORMATION))
    assert run.status == "complete"
    for name in ("embeddings", "map", "nearest_similarity"):
        assert run.manifest.details[name] == {"skipped": "there is no head"}
    with pytest.raises(InputError, match="has no embeddings"):
        run.embeddings("train")
