"""Test that scores of other libraries are imported completely and in our sign, or not at all."""

import contextlib

import numpy as np
import pandas as pd
import pytest
import torch

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.runs import MEASURES, Run, RunWriter
from attribution_core.scoring.stages.classes import write_classes
from attribution_core.workflows import import_scores
from attribution_core.workflows.score_files import read_scores
from tests.support.given_scores import (
    EFFECTS,
    METHODS,
    SCORES,
    TEST,
    N,
    file_digests,
    save_array,
    shuffled_table,
)
from tests.support.sample_run import make_run


def imported(run: Run, *arguments: object) -> Run:
    assert main(["import", str(run.path), *map(str, arguments)]) == 0
    return Run.open(run.path)


# -- what comes in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize(("encoding", "decimal"), [("utf-8", "."), ("utf-8-sig", ","), ("utf-16", ",")])
def test_tables_are_read_as_datasets_are(run, tmp_path, delimiter, suffix, encoding, decimal):
    file = tmp_path / f"given.{suffix}"
    rows = shuffled_table(run, quality=SCORES, tiny=SCORES * 1e-9)
    rows.to_csv(file, index=False, sep=delimiter, decimal=decimal, encoding=encoding, quoting=1)
    found = read_scores(file, run.examples["id"], run.evaluation["id"])
    np.testing.assert_allclose(found["quality"], SCORES, rtol=1e-12)
    np.testing.assert_allclose(found["tiny"], SCORES * 1e-9, rtol=1e-12)


def test_empty_cells_and_lines_of_a_semicolon_file(run, tmp_path):
    lines = [f"{id_};{'' if row == 3 else f'{row},5'}\r\n" for row, id_ in enumerate(run.examples["id"])]
    (tmp_path / "given.csv").write_text("sep=;\r\nid; quality\r\n\r\n" + "".join(lines))
    found = read_scores(tmp_path / "given.csv", run.examples["id"], run.evaluation["id"])["quality"]
    assert np.isnan(found[3])
    assert np.delete(found, 3).tolist() == [row + 0.5 for row in range(len(found)) if row != 3]


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "parquet by its index"])
def test_columns_are_matched_by_id(run, tmp_path, form):
    given = SCORES.copy()
    given[7] = np.nan
    table = shuffled_table(run, quality=given, self_trak=np.arange(N))
    file = tmp_path / f"from elsewhere.{form.split()[0]}"
    if form.endswith("index"):
        table.set_index("id").to_parquet(file)
    elif form == "parquet":
        table.to_parquet(file)
    else:
        table.to_csv(file, index=False, sep="," if form == "csv" else "\t")
    after = imported(run, "--scores", file, "--suspicious", "low", "--unit", "share")
    np.testing.assert_array_equal(after.examples["quality"], given)
    np.testing.assert_array_equal(after.examples["self_trak"], np.arange(N))
    pd.testing.assert_frame_equal(after.examples[run.examples.columns], run.examples)
    assert after.scores == [*run.manifest.measures, "quality", "self_trak", "loss", "margin", "confidence"]
    assert after.groups == run.groups
    measure = after.measure("quality")
    assert (measure.title, measure.unit, measure.suspicious) == ("Quality", "share", "low")
    assert measure.signed
    assert not after.measure("self_trak").signed
    assert "Imported from from elsewhere" in measure.definition
    assert after.facts("quality")["imported_from"] == file.name


def test_ids_may_come_from_a_list_that_the_run_exported(tmp_path):
    ids = [f"{'=-x'[i % 3]}{i}" for i in range(N)]
    run = Run.open(make_run(tmp_path / "formulas", n=N, ids=ids))
    assert main(["export", str(run.path), "--format", "csv", "--out", str(tmp_path / "list.csv")]) == 0
    listed = pd.read_csv(tmp_path / "list.csv")[["id"]]
    assert listed["id"][0] == "'=0"
    assert len(listed) == N + N // 2  # the list has the other splits too, whose scores are passed over
    quality = np.concatenate([SCORES, np.full(N // 2, 7.0)])
    listed.assign(quality=quality).to_csv(tmp_path / "given.csv", index=False)
    np.testing.assert_array_equal(imported(run, "--scores", tmp_path / "given.csv").examples["quality"], SCORES)


def test_your_own_title_and_definition_are_kept(run, tmp_path):
    shuffled_table(run, quality=SCORES).to_csv(tmp_path / "a.csv", index=False)
    words = {"--name": "their_quality", "--title": "Their label quality", "--definition": "Low:\n perhaps wrong."}
    after = imported(run, "--scores", tmp_path / "a.csv", *(part for pair in words.items() for part in pair))
    measure = after.measure("their_quality")
    assert (measure.title, measure.definition) == ("Their label quality", "Low: perhaps wrong.")
    assert (measure.unit, measure.suspicious) == ("", None)
    assert after.measure("fsi") is MEASURES["fsi"]
    with pytest.raises(InputError, match="has no score nothing"):
        after.measure("nothing")


def test_an_array_is_in_the_order_of_the_run(run, tmp_path):
    after = imported(run, "--scores", save_array(tmp_path / "trak_self.npy", SCORES.astype(">f4")))
    np.testing.assert_array_equal(after.examples["trak_self"], SCORES.astype(np.float32))
    assert after.effect_methods == METHODS


def test_effects_are_stored_as_our_own_are(run, tmp_path):
    after = imported(run, "--scores", save_array(tmp_path / "ekfac.npy", np.asfortranarray(EFFECTS)))
    found, ours = after.effects("ekfac"), after.effects("ntk")
    np.testing.assert_array_equal(found[:], EFFECTS.astype(np.float32))
    assert (found.dtype, found.shape, found.chunks) == (ours.dtype, ours.shape, ours.chunks)
    assert after.effect_methods == [*METHODS, "ekfac"]
    assert after.scores == run.scores
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        write_classes(writer, run.class_names)  # as scoring does it, for all methods
    for ours, again in ((after.class_effects, "class_effects"), (after.class_pairs, "class_pairs")):
        both = [each[each["method"] == "ekfac"] for each in (ours, getattr(Run.open(run.path), again))]
        assert len(both[0]) > 50
        pd.testing.assert_frame_equal(*(each.reset_index(drop=True) for each in both))


def test_effects_are_flipped_so_that_positive_is_helpful_and_test_examples_are_skipped(run, tmp_path):
    every = np.concatenate([EFFECTS, np.full((N, TEST), 5.0)], axis=1)
    after = imported(run, "--scores", save_array(tmp_path / "turned.npy", every), "--positive", "harmful")
    np.testing.assert_array_equal(after.effects("turned")[:], -EFFECTS.astype(np.float32))
    assert "sign flipped" in after.facts("turned")["note"]
    assert f"without the {TEST} test examples" in after.facts("turned")["note"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64])
def test_from_python(run, dtype):
    values = torch.tensor(10 * EFFECTS).to(dtype).requires_grad_(dtype.is_floating_point)
    after = ac.import_scores(run, "trak", values, positive="helpful", title="TRAK")
    np.testing.assert_array_equal(after.effects("trak")[:], values.detach().float().numpy())
    series = pd.Series(SCORES, index=run.examples["id"]).sample(frac=1, random_state=2)
    after = ac.import_scores(after.path, "by_id", series, suspicious="high")
    np.testing.assert_array_equal(after.examples["by_id"], SCORES)
    assert after.measure("by_id").suspicious == "high"
    with pytest.raises(InputError, match="3 ids are repeated"):
        ac.import_scores(run, "twice", pd.concat([series, series[:3]]))
    with pytest.raises(InputError, match="not as a DataFrame"):
        ac.import_scores(run, "frame", pd.DataFrame(EFFECTS))


def test_detection_includes_an_imported_score(run):
    before = Run.open(run.path).manifest.details["detection"]["scores"]
    wrong = (run.examples["label_name"] != run.examples["original_label"]).to_numpy(dtype=float)
    after = ac.import_scores(run, "oracle", -wrong, suspicious="low")
    assert after.manifest.details["detection"]["scores"]["oracle"]["auc"] == pytest.approx(1)
    assert "oracle" in set(after.curves["series"])
    wrong[0] = np.nan  # an example without a score has no place in the order of inspection
    after = ac.import_scores(run, "oracle", wrong, suspicious="high", replace=True)
    assert after.manifest.details["detection"]["scores"] == before


# -- what goes again ---------------------------------------------------------------------------------------------------


def test_an_import_is_replaced_only_on_request(run, tmp_path, capsys):
    ac.import_scores(run, "trak", SCORES, title="First")
    before = file_digests(run)
    with pytest.raises(InputError, match=r"imported into digits before\. Give --replace"):
        ac.import_scores(run, "trak", EFFECTS)
    assert file_digests(run) == before
    after = ac.import_scores(run, "trak", EFFECTS, title="Second", replace=True)
    assert "trak" not in after.examples
    np.testing.assert_array_equal(after.effects("trak")[:], EFFECTS.astype(np.float32))
    assert [each.measure.title for each in after.imported.values()] == ["Second"]
    after = ac.import_scores(run, "trak", 2 * SCORES, title="First", replace=True)
    np.testing.assert_array_equal(after.examples["trak"], 2 * SCORES)
    assert after.effect_methods == METHODS
    assert "trak" not in set(after.class_effects["method"]) | set(after.class_pairs["method"])


def test_a_removed_import_leaves_nothing_behind(run, capsys):
    ac.import_scores(run, "quality", SCORES, suspicious="low")
    ac.import_scores(run, "trak", EFFECTS)
    for name in ("quality", "trak"):
        imported(run, "--remove", name)
        assert f"Removed {name} from" in capsys.readouterr().out
    after = Run.open(run.path)
    assert after.manifest == run.manifest
    pd.testing.assert_frame_equal(after.examples, run.examples)
    for table in ("class_effects", "class_pairs"):
        pd.testing.assert_frame_equal(getattr(after, table), getattr(run, table))
    assert file_digests(run).keys() == file_digests(after).keys()
    assert after.effect_methods == METHODS


@pytest.mark.parametrize("earlier", [None, SCORES + 1, EFFECTS + 1], ids=["new", "in place of scores", "of effects"])
@pytest.mark.parametrize(
    ("values", "cut_off_in"),
    [(SCORES, "write_detection"), (SCORES, "the end"), (EFFECTS, "write_classes"), (EFFECTS, "the end")],
    ids=["scores early", "scores late", "effects early", "effects late"],
)
def test_an_interrupted_import_leaves_the_run_unchanged(run, monkeypatch, values, cut_off_in, earlier):
    if earlier is not None:
        ac.import_scores(run, "trak", earlier)
    before, options = file_digests(run), {"replace": True, "suspicious": "high" if values is SCORES else None}
    if cut_off_in == "the end":
        monkeypatch.setattr(RunWriter, "update", _cut_off_at_the_end)
    else:
        monkeypatch.setattr(import_scores, cut_off_in, _cut_off)
    with pytest.raises(KeyboardInterrupt):
        ac.import_scores(run, "trak", values, **options)
    assert file_digests(run) == before
    monkeypatch.undo()
    ac.import_scores(run, "trak", values, **options)


_update = RunWriter.update


def _cut_off_at_the_end(writer, **fields):
    """Raise at the update without fields that signals an import to readers."""
    _update(writer, **fields)
    if not fields:
        raise KeyboardInterrupt


def _cut_off(*_):
    raise KeyboardInterrupt


def test_a_killed_import_is_hidden_and_its_name_is_free(run, monkeypatch):
    monkeypatch.setattr(import_scores, "_restored_on_failure", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(import_scores, "_write", _cut_off)
    with pytest.raises(KeyboardInterrupt):
        ac.import_scores(run, "trak", SCORES)
    after = Run.open(run.path)
    assert (after.scores, after.groups, after.effect_methods) == (run.scores, run.groups, METHODS)
    monkeypatch.undo()
    assert "trak" in ac.import_scores(run, "trak", SCORES).scores
