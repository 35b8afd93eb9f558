"""Scores from elsewhere come in whole, in our sign, or not at all."""

import contextlib
import hashlib
import json
import pickle
import re
import shutil

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
from tests.support.sample_run import make_run

N, VALIDATION, TEST = 60, 15, 15
METHODS = ["ntk", "hydra", "influence"]
RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=N)
EFFECTS = RNG.normal(size=(N, VALIDATION))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "digits", n=N)


@pytest.fixture
def run(original, tmp_path):
    shutil.copytree(original, tmp_path / "digits")
    return Run.open(tmp_path / "digits")


def digest(run: Run) -> dict[str, str]:
    files = sorted(file for file in run.path.rglob("*") if file.is_file())
    return {str(file.relative_to(run.path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def imported(run: Run, *arguments: object) -> Run:
    assert main(["import", str(run.path), *map(str, arguments)]) == 0
    return Run.open(run.path)


def table_of(run: Run, **columns: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"id": run.examples["id"], **columns}).sample(frac=1, random_state=1)


def saved(path, values):
    np.save(path, values)
    return path


# -- what comes in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "parquet by its index"])
def test_columns_come_by_their_ids(run, tmp_path, form):
    given = SCORES.copy()
    given[7] = np.nan
    table = table_of(run, quality=given, self_trak=np.arange(N))
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
    listed.assign(quality=SCORES).to_csv(tmp_path / "given.csv", index=False)
    np.testing.assert_array_equal(imported(run, "--scores", tmp_path / "given.csv").examples["quality"], SCORES)


def test_words_of_ones_own_are_kept(run, tmp_path):
    table_of(run, quality=SCORES).to_csv(tmp_path / "a.csv", index=False)
    words = {"--name": "label_quality", "--title": "Label quality", "--definition": "Low:\n perhaps wrong."}
    after = imported(run, "--scores", tmp_path / "a.csv", *(part for pair in words.items() for part in pair))
    measure = after.measure("label_quality")
    assert (measure.title, measure.definition) == ("Label quality", "Low: perhaps wrong.")
    assert (measure.unit, measure.suspicious) == ("", None)
    assert after.measure("fsi") is MEASURES["fsi"]
    with pytest.raises(InputError, match="knows no nothing"):
        after.measure("nothing")


def test_an_array_is_in_the_order_of_the_run(run, tmp_path):
    after = imported(run, "--scores", saved(tmp_path / "trak_self.npy", SCORES.astype(">f4")))
    np.testing.assert_array_equal(after.examples["trak_self"], SCORES.astype(np.float32))
    assert after.effect_methods == METHODS


def test_effects_come_as_ours_are_kept(run, tmp_path):
    after = imported(run, "--scores", saved(tmp_path / "ekfac.npy", np.asfortranarray(EFFECTS)))
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


def test_effects_are_turned_so_that_positive_is_helpful_and_the_test_examples_stay_untouched(run, tmp_path):
    every = np.concatenate([EFFECTS, np.full((N, TEST), 5.0)], axis=1)
    after = imported(run, "--scores", saved(tmp_path / "turned.npy", every), "--positive", "harmful")
    np.testing.assert_array_equal(after.effects("turned")[:], -EFFECTS.astype(np.float32))
    assert "turned" in after.facts("turned")["note"]
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
    with pytest.raises(InputError, match="twice"):
        ac.import_scores(run, "twice", pd.concat([series, series[:3]]))
    with pytest.raises(InputError, match="not as a DataFrame"):
        ac.import_scores(run, "frame", pd.DataFrame(EFFECTS))


def test_wrong_labels_are_looked_for_by_it_too(run):
    before = Run.open(run.path).manifest.details["detection"]["scores"]
    wrong = (run.examples["label_name"] != run.examples["original_label"]).to_numpy(dtype=float)
    after = ac.import_scores(run, "oracle", -wrong, suspicious="low")
    assert after.manifest.details["detection"]["scores"]["oracle"]["auc"] == pytest.approx(1)
    assert "oracle" in set(after.curves["series"])
    wrong[0] = np.nan  # of an example that has no score it can't be told when it is inspected
    after = ac.import_scores(run, "oracle", wrong, suspicious="high", replace=True)
    assert after.manifest.details["detection"]["scores"] == before


# -- what goes again ---------------------------------------------------------------------------------------------------


def test_an_import_is_replaced_only_when_that_is_said(run, tmp_path, capsys):
    ac.import_scores(run, "trak", SCORES, title="First")
    before = digest(run)
    with pytest.raises(InputError, match="imported into digits before: give --replace"):
        ac.import_scores(run, "trak", EFFECTS)
    assert digest(run) == before
    after = ac.import_scores(run, "trak", EFFECTS, title="Second", replace=True)
    assert "trak" not in after.examples
    np.testing.assert_array_equal(after.effects("trak")[:], EFFECTS.astype(np.float32))
    assert [each.measure.title for each in after.imported.values()] == ["Second"]
    after = ac.import_scores(run, "trak", 2 * SCORES, title="First", replace=True)
    np.testing.assert_array_equal(after.examples["trak"], 2 * SCORES)
    assert after.effect_methods == METHODS
    assert "trak" not in set(after.class_effects["method"]) | set(after.class_pairs["method"])


def test_what_is_removed_leaves_nothing(run, capsys):
    ac.import_scores(run, "quality", SCORES, suspicious="low")
    ac.import_scores(run, "trak", EFFECTS)
    for name in ("quality", "trak"):
        imported(run, "--remove", name)
        assert f"Took {name} out of" in capsys.readouterr().out
    after = Run.open(run.path)
    assert after.manifest == run.manifest
    pd.testing.assert_frame_equal(after.examples, run.examples)
    for table in ("class_effects", "class_pairs"):
        pd.testing.assert_frame_equal(getattr(after, table), getattr(run, table))
    assert digest(run).keys() == digest(after).keys()
    assert after.effect_methods == METHODS


@pytest.mark.parametrize("earlier", [None, SCORES + 1, EFFECTS + 1], ids=["new", "in place of scores", "of effects"])
@pytest.mark.parametrize(
    ("values", "cut_off_in"),
    [(SCORES, "write_detection"), (SCORES, "the end"), (EFFECTS, "write_classes"), (EFFECTS, "the end")],
    ids=["scores early", "scores late", "effects early", "effects late"],
)
def test_an_import_cut_off_leaves_the_run_as_it_was(run, monkeypatch, values, cut_off_in, earlier):
    if earlier is not None:
        ac.import_scores(run, "trak", earlier)
    before, options = digest(run), {"replace": True, "suspicious": "high" if values is SCORES else None}
    if cut_off_in == "the end":
        monkeypatch.setattr(RunWriter, "update", _cut_off_at_the_end)
    else:
        monkeypatch.setattr(import_scores, cut_off_in, _cut_off)
    with pytest.raises(KeyboardInterrupt):
        ac.import_scores(run, "trak", values, **options)
    assert digest(run) == before
    monkeypatch.undo()
    ac.import_scores(run, "trak", values, **options)


_update = RunWriter.update


def _cut_off_at_the_end(writer, **fields):
    """What tells readers of an import changes no field."""
    _update(writer, **fields)
    if not fields:
        raise KeyboardInterrupt


def _cut_off(*_):
    raise KeyboardInterrupt


def test_an_import_that_was_killed_is_not_seen_and_its_name_is_free(run, monkeypatch):
    monkeypatch.setattr(import_scores, "_as_it_was_on_failure", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(import_scores, "_write", _cut_off)
    with pytest.raises(KeyboardInterrupt):
        ac.import_scores(run, "trak", SCORES)
    after = Run.open(run.path)
    assert (after.scores, after.groups, after.effect_methods) == (run.scores, run.groups, METHODS)
    monkeypatch.undo()
    assert "trak" in ac.import_scores(run, "trak", SCORES).scores


# -- what is refused ---------------------------------------------------------------------------------------------------


def _csv(text):
    def write(run, folder):
        ids = run.examples["id"].tolist()
        file = folder / "given.csv"
        lines = [f"{each},{i}" for i, each in enumerate(ids)]
        file.write_bytes(text(lines, ids) if callable(text) else text)
        return [file]

    return write


def _npy(values, name="given"):
    return lambda _, folder: [saved(folder / f"{name}.npy", values)]


def _bytes(name, content):
    def write(run, folder):
        (folder / name).write_bytes(content)
        return [folder / name]

    return write


def _table(*options, **columns):
    def write(run, folder):
        table_of(run, **columns).to_csv(folder / "given.csv", index=False)
        return [folder / "given.csv", *options]

    return write


def _lines(change, header="id,quality"):
    return _csv(lambda lines, _: "\n".join([header, *change(lines)]).encode())


def _spoilt(values, place, value):
    values = values.copy()
    values[place] = value
    return values


def _pickled(run, folder):
    np.save(folder / "given.npy", np.array([{"a": 1}] * N, dtype=object), allow_pickle=True)
    return [folder / "given.npy"]


def _huge_header(run, folder):
    header = str({"descr": "<f8", "fortran_order": False, "shape": (2**62, 8)}).encode()
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    return _bytes("given.npy", content)(run, folder)


def _archive(run, folder):
    np.savez(folder / "given.npz", SCORES)
    (folder / "given.npz").rename(folder / "given.npy")
    return [folder / "given.npy"]


def _text_parquet(run, folder):
    table_of(run, quality=np.array(["good"] * N)).to_parquet(folder / "given.parquet")
    return [folder / "given.parquet"]


HOSTILE = {
    "no file": (lambda _, folder: [folder / "none.csv"], "There is no file"),
    "a folder": (lambda _, folder: [folder], "There is no file"),
    "another kind": (_bytes("given.xlsx", b"PK"), "come as .csv, .tsv, .parquet or .npy"),
    "nothing in it": (_csv(b""), "is to have a column id"),
    "no ids": (_csv(b"index;quality\n0;1\n"), "is to have a column id"),
    "ids only": (_csv(b"id\ntrain-00000\n"), "is to have a column id"),
    "a name twice": (_lines(lambda lines: lines, "id,id"), "each name once"),
    "id missing": (_lines(lambda lines: lines[3:]), "has 3 not at all, the first 'train-00000'"),
    "id unknown": (
        _lines(lambda lines: [*lines, "stranger,1", "other,2"]),
        "has 2 that the run does not have.*stranger",
    ),
    "id twice": (_lines(lambda lines: [*lines, lines[4]]), "has 1 twice or more, the first 'train-00004'"),
    "a word": (_lines(lambda lines: [f"{line} good" for line in lines]), "row 2 says '0 good'"),
    "infinite": (
        _lines(lambda lines: [lines[0] + "e999", *lines[1:-1], lines[-1][:-1] + "inf"]),
        "says 'inf|says '5inf",
    ),
    "not a number": (_lines(lambda lines: [*lines[:-1], lines[-1].split(",")[0] + ",nan"]), "says 'nan' in row 61"),
    "a row too long": (_lines(lambda lines: [*lines[:5], lines[5] + ",9", *lines[6:]]), "Row 7 of .* has 3 cells"),
    "empty": (_table(quality=np.full(N, np.nan)), "no score at all"),
    "not text": (_csv(b"id,quality\n\xff\xfe,1\n"), "can't be read as a table"),
    "a quote left open": (_csv(b'id,quality\n"train,1\n'), "can't be read as a table|cells"),
    "no Parquet": (_bytes("given.parquet", b"PAR1 no"), "can't be read as Parquet"),
    "text in Parquet": (_text_parquet, "its type is (large_)?string"),
    "pickled objects": (_pickled, "not an array of numbers"),
    "a pickle": (_bytes("given.npy", pickle.dumps([1.0] * N)), "not an array of numbers"),
    "an empty array file": (_bytes("given.npy", b""), "not an array of numbers"),
    "a header that lies": (_huge_header, "not an array of numbers"),
    "an archive": (_archive, "holds several arrays"),
    "complex": (_npy(SCORES.astype(complex)), "real numbers, but their type is complex128"),
    "letters": (_npy(np.array(["a"] * N)), "real numbers, but their type is <U1"),
    "truths": (_npy(SCORES > 0), "real numbers, but their type is bool"),
    "one number": (_npy(np.float64(3)), r"has the shape \[\]"),
    "too few": (_npy(SCORES[:-1]), rf"shape \[59\], where this run takes scores \[{N}\].*\[{N}, 15\].*\[{N}, 30\]"),
    "three axes": (_npy(EFFECTS[None]), r"has the shape \[1, 60, 15\]"),
    "transposed": (_npy(EFFECTS.T), "looks transposed: give .train, evaluation."),
    "NaN in effects": (_npy(_spoilt(EFFECTS, (12, 3), np.nan)), "nan in row 12 and column 3"),
    "too large for float32": (_npy(_spoilt(EFFECTS, (0, 14), 1e300)), r"1e\+300 in row 0 and column 14"),
    "infinite score": (_npy(_spoilt(SCORES, 5, -np.inf)), "-inf for example 'train-00005'"),
    "a name of ours": (_table(fsi=SCORES), "fsi has a meaning of its own"),
    "a base column": (_table(label=SCORES), "label has a meaning of its own"),
    "a column of the app": (_table(row=SCORES), "row has a meaning of its own"),
    "a group": (_table(original_label=SCORES), "column or group called original_label already"),
    "a path for a name": (_table("--name", "../../fsi", quality=SCORES), "lower-case letters"),
    "a device for a name": (_npy(EFFECTS, "con"), "lower-case letters"),
    "capitals": (_npy(SCORES, "My scores"), "lower-case letters"),
    "a title of ours": (_table("--title", "margin", quality=SCORES), "is that of the score margin"),
    "a title too long": (_table("--title", "x" * 81, quality=SCORES), "up to 80 letters"),
    "a title that rings": (_table("--title", "a\x07b", quality=SCORES), "printable text"),
    "one name for two": (_table("--name", "c", a=SCORES, b=SCORES), "one name, title or definition does not fit"),
    "a sign of scores": (_table("--positive", "harmful", quality=SCORES), "--positive is about effects"),
    "an end of effects": (
        lambda _, folder: [saved(folder / "a.npy", EFFECTS), "--suspicious", "low"],
        "--suspicious is about scores",
    ),
    "an end unknown": (_table("--suspicious", "both", quality=SCORES), "both"),
    "both": (_table("--remove", "x", quality=SCORES), "one of the two"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_does_not_fit_is_told_in_a_sentence_and_changes_nothing(run, tmp_path, capsys, case):
    make, message = HOSTILE[case]
    (tmp_path / "given").mkdir()
    arguments = make(run, tmp_path / "given")
    before = digest(run)
    assert main(["import", str(run.path), "--scores", *map(str, arguments)]) == 2
    told = capsys.readouterr().err.strip()
    assert "\n" not in told
    assert "Traceback" not in told
    assert re.search(message, told)
    assert digest(run) == before


def test_an_unfinished_run_is_refused(tmp_path, capsys):
    path = make_run(tmp_path / "digits", n=N, scored=False)
    with pytest.raises(InputError, match="is not finished"):
        ac.import_scores(path, "quality", SCORES)
    assert Run.open(path).groups == ["original_label"]


def test_only_imports_are_removed(run, capsys):
    before = digest(run)
    assert main(["import", str(run.path), "--remove", "fsi"]) == 2
    assert "Nothing called 'fsi' was imported into digits: nothing was imported at all." in capsys.readouterr().err
    assert main(["import", str(run.path)]) == 2
    assert digest(run) == before


def test_a_damaged_record_is_told(run):
    ac.import_scores(run, "quality", SCORES)
    file = run.path / "run.json"
    manifest = json.loads(file.read_text())
    manifest["details"]["imported"]["quality"]["measure"]["suspicious"] = "both"
    file.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"imported scores is damaged \(quality.measure.suspicious"):
        Run.open(run.path)
