"""Effects on a sample of the validation examples are those that all of them have, in everything that reads them."""

import numpy as np
import pandas as pd
import pytest

from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from attribution_core.export.export import export_run
from attribution_core.runs import Run
from attribution_core.runs.store import read_manifest
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from attribution_core.workflows.clean import clean
from attribution_core.workflows.import_scores import import_scores
from attribution_core.workflows.verify import verify
from tests.support.tables import make_table, write_table

EVALUATED, VALIDATION = 12, 20


def scored(folder, name: str, most: int | None) -> Run:
    splits = ["train"] * 60 + ["validation"] * VALIDATION + ["test"] * 10
    table = make_table(90).assign(split=splits, id=range(90))
    data = str(write_table(table, folder / "d.csv"))
    recipe = Recipe(epochs=3, batch_size=20)
    return score(
        ScoreConfig(data=data, out=folder / name, model="linear", recipe=recipe, max_evaluation=most, map="off")
    )


@pytest.fixture
def runs(tmp_path) -> tuple[Run, Run]:
    return scored(tmp_path, "some", EVALUATED), scored(tmp_path, "all", None)


def test_effects_are_those_of_a_run_on_all(runs):
    some, every = runs
    assert (some.manifest.evaluated, every.manifest.evaluated) == (EVALUATED, VALIDATION)
    assert any(f"{EVALUATED} of the {VALIDATION}" in note for note in some.manifest.dataset.notes)
    columns = pd.Index(every.evaluation["id"]).get_indexer(some.evaluation["id"][:EVALUATED])
    assert some.effect_methods == every.effect_methods == ["ntk", "hydra", "influence"]
    for method in some.effect_methods:
        own, theirs = some.effects(method)[:], every.effects(method)[:][:, columns]
        assert own.shape == (60, EVALUATED)
        assert np.allclose(own, theirs, rtol=1e-4, atol=1e-6 * np.abs(theirs).max()), method
    key, alike = ["split", "id"], ["label_quality", "label_name", "predicted_name"]
    sides = [run.evaluation.sort_values(key)[[*key, *alike]].reset_index(drop=True) for run in (some, every)]
    pd.testing.assert_frame_equal(*sides, rtol=1e-4)
    for name in ("fsi", "si", "ntk_mean", "contribution", "self_influence", "sensitivity"):
        own, theirs = some.examples[name], every.examples[name]
        assert np.allclose(own, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max()), name  # means over all
    assert not np.allclose(some.examples["ntk_mean"], some.effects("ntk")[:].mean(axis=1), rtol=0.1)


def test_verify_export_and_clean_find_the_same_data(runs, tmp_path):
    run = runs[0]
    found = verify(run.path, examples=3, halves=0, seeds=1)
    assert "ntk" in found.methods
    run.decisions.record([str(run.evaluation["id"][0])], "drop", split="validation")
    exported = open_dataset(export_run(run, "same", tmp_path / "clean.csv").path)
    assert sorted(exported.validation.ids) == sorted(run.evaluation["id"][1:VALIDATION])
    child = clean(run.path)
    assert child.manifest.evaluated == EVALUATED
    assert child.effects("ntk").shape == (60, EVALUATED)


def test_imported_effects_are_kept_on_the_same_examples(runs):
    run = runs[0]
    given = np.random.default_rng(0).normal(size=(60, VALIDATION + 10))
    for columns in (EVALUATED, VALIDATION, VALIDATION + 10):
        imported = import_scores(run, "theirs", given[:, :columns], replace=True)
        assert np.allclose(imported.effects("theirs")[:], given[:, :EVALUATED])
    assert "8 validation examples" in imported.imported["theirs"].note
    with pytest.raises(InputError, match=r"\[60, 12\] or \[60, 20\] .* or \[60, 30\]"):
        import_scores(run, "wrong", given[:, :15])


def test_a_run_of_an_earlier_version_keeps_effects_on_all(runs):
    """Its configuration has no limit; its data must still be found to be the same."""
    run = runs[1]
    manifest = read_manifest(run.path)
    del manifest.config["max_evaluation"]
    (run.path / "run.json").write_text(manifest.model_dump_json())
    assert Run.open(run.path).manifest.evaluated == VALIDATION
    assert verify(run.path, examples=3, halves=0, seeds=1).methods
