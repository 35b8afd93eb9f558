"""Scores that do not fit a run are refused in one sentence, and the run stays as it was."""

import json
import pickle
import re

import numpy as np
import pytest

import attribution_core as ac
from attribution_core.cli.main import main
from attribution_core.errors import InputError
from attribution_core.runs import Run
from tests.support.given_scores import EFFECTS, SCORES, N, file_digests, save_array, shuffled_table
from tests.support.sample_run import make_run


def _csv(text):
    def write(run, folder):
        ids = run.examples["id"].tolist()
        file = folder / "given.csv"
        lines = [f"{each},{i}" for i, each in enumerate(ids)]
        file.write_bytes(text(lines, ids) if callable(text) else text)
        return [file]

    return write


def _npy(values, name="given"):
    return lambda _, folder: [save_array(folder / f"{name}.npy", values)]


def _bytes(name, content):
    def write(run, folder):
        (folder / name).write_bytes(content)
        return [folder / name]

    return write


def _table(*options, **columns):
    def write(run, folder):
        shuffled_table(run, **columns).to_csv(folder / "given.csv", index=False)
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
    shuffled_table(run, quality=np.array(["good"] * N)).to_parquet(folder / "given.parquet")
    return [folder / "given.parquet"]


HOSTILE = {
    "no file": (lambda _, folder: [folder / "none.csv"], "There is no file"),
    "a folder": (lambda _, folder: [folder], "There is no file"),
    "another format": (_bytes("given.xlsx", b"PK"), "scores as .csv, .tsv, .parquet or .npy"),
    "an empty file": (_csv(b""), "needs a column `id`"),
    "no ids": (_csv(b"index;quality\n0;1\n"), "needs a column `id`"),
    "ids only": (_csv(b"id\ntrain-00000\n"), "needs a column `id`"),
    "a name twice": (_lines(lambda lines: lines, "id,id"), "two are called 'id'"),
    "id missing": (_lines(lambda lines: lines[3:]), "3 ids are missing, first 'train-00000'"),
    "id unknown": (
        _lines(lambda lines: [*lines, "stranger,1", "other,2"]),
        "2 ids are unknown to the run.*stranger",
    ),
    "id twice": (_lines(lambda lines: [*lines, lines[4]]), "1 id is repeated, first 'train-00004'"),
    "a word": (_lines(lambda lines: [f"{line} good" for line in lines]), "row 2 has '0 good'"),
    "infinite": (
        _lines(lambda lines: [lines[0] + "e999", *lines[1:-1], lines[-1][:-1] + "inf"]),
        "has 'inf|has '5inf",
    ),
    "not a number": (_lines(lambda lines: [*lines[:-1], lines[-1].split(",")[0] + ",nan"]), "has 'nan' in row 61"),
    "a row too long": (_lines(lambda lines: [*lines[:5], lines[5] + ",9", *lines[6:]]), "Line 7 of .* it has 3"),
    "empty": (_table(quality=np.full(N, np.nan)), "needs at least one score"),
    "not text": (_csv(b"id,quality\n\xff\xfe,1\n"), "cannot be read: it must be UTF-8 or UTF-16"),
    "an open quote": (_csv(b'id,quality\n"train,1\n'), "1 id is unknown to the run, first '\"train'"),
    "no Parquet": (_bytes("given.parquet", b"PAR1 no"), "cannot be read as Parquet"),
    "text in Parquet": (_text_parquet, "its type is (large_)?string"),
    "pickled objects": (_pickled, "to hold an array of numbers"),
    "a pickle": (_bytes("given.npy", pickle.dumps([1.0] * N)), "to hold an array of numbers"),
    "an empty array file": (_bytes("given.npy", b""), "to hold an array of numbers"),
    "a wrong size in the header": (_huge_header, "to hold an array of numbers"),
    "an archive": (_archive, "holds several arrays"),
    "complex": (_npy(SCORES.astype(complex)), "real numbers, but their type is complex128"),
    "letters": (_npy(np.array(["a"] * N)), "real numbers, but their type is <U1"),
    "booleans": (_npy(SCORES > 0), "real numbers, but their type is bool"),
    "one number": (_npy(np.float64(3)), r"has the shape \[\]"),
    "too few": (_npy(SCORES[:-1]), rf"shape \[59\], but this run takes scores \[{N}\].*\[{N}, 15\].*\[{N}, 30\]"),
    "three axes": (_npy(EFFECTS[None]), r"has the shape \[1, 60, 15\]"),
    "transposed": (_npy(EFFECTS.T), "looks transposed: give .train, evaluation."),
    "NaN in effects": (_npy(_spoilt(EFFECTS, (12, 3), np.nan)), "nan in row 12 and column 3"),
    "too large for float32": (_npy(_spoilt(EFFECTS, (0, 14), 1e300)), r"1e\+300 in row 0 and column 14"),
    "infinite score": (_npy(_spoilt(SCORES, 5, -np.inf)), "-inf for example 'train-00005'"),
    "a built-in name": (_table(fsi=SCORES), "fsi is reserved"),
    "a base column": (_table(label=SCORES), "label is reserved"),
    "a column of the app": (_table(row=SCORES), "row is reserved"),
    "a group": (_table(original_label=SCORES), "already has a column or group called original_label"),
    "a path for a name": (_table("--name", "../../fsi", quality=SCORES), "lower-case letters"),
    "a device for a name": (_npy(EFFECTS, "con"), "lower-case letters"),
    "capitals": (_npy(SCORES, "My scores"), "lower-case letters"),
    "a built-in title": (_table("--title", "margin", quality=SCORES), "The score margin has the title"),
    "a title too long": (_table("--title", "x" * 81, quality=SCORES), "of up to 80 characters"),
    "a title with a control character": (_table("--title", "a\x07b", quality=SCORES), "printable text"),
    "one name for two": (_table("--name", "c", a=SCORES, b=SCORES), "single name, title or definition does not fit"),
    "a sign for scores": (_table("--positive", "harmful", quality=SCORES), "--positive is for effects"),
    "a suspicious end for effects": (
        lambda _, folder: [save_array(folder / "a.npy", EFFECTS), "--suspicious", "low"],
        "--suspicious is for scores",
    ),
    "an unknown suspicious end": (_table("--suspicious", "both", quality=SCORES), "both"),
    "both": (_table("--remove", "x", quality=SCORES), "Give either"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_does_not_fit_is_reported_in_a_sentence_and_changes_nothing(run, tmp_path, capsys, case):
    make, message = HOSTILE[case]
    (tmp_path / "given").mkdir()
    arguments = make(run, tmp_path / "given")
    before = file_digests(run)
    assert main(["import", str(run.path), "--scores", *map(str, arguments)]) == 2
    printed = capsys.readouterr().err.strip()
    assert "\n" not in printed
    assert "Traceback" not in printed
    assert re.search(message, printed)
    assert file_digests(run) == before


def test_an_unfinished_run_is_refused(tmp_path, capsys):
    path = make_run(tmp_path / "digits", n=N, scored=False)
    with pytest.raises(InputError, match="is not finished"):
        ac.import_scores(path, "quality", SCORES)
    assert Run.open(path).groups == ["original_label"]


def test_only_imports_are_removed(run, capsys):
    before = file_digests(run)
    assert main(["import", str(run.path), "--remove", "fsi"]) == 2
    assert "Nothing called 'fsi' was imported into digits. Imported are: no scores at all." in capsys.readouterr().err
    assert main(["import", str(run.path)]) == 2
    assert file_digests(run) == before


def test_a_damaged_record_is_reported(run):
    ac.import_scores(run, "quality", SCORES)
    file = run.path / "run.json"
    manifest = json.loads(file.read_text())
    manifest["details"]["imported"]["quality"]["measure"]["suspicious"] = "both"
    file.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"imported scores in run.json are damaged \(quality.measure.suspicious"):
        Run.open(run.path)
