"""Texts and tables of every format are scored and exported in that format, with the decisions applied."""

import zipfile

import numpy as np
import pandas as pd
import pytest

from attribution_core.cli.main import main
from attribution_core.datasets import features, list_examples, open_dataset
from attribution_core.errors import InputError
from attribution_core.runs import Run
from attribution_core.runs.names import ENCODINGS_FILE
from attribution_core.scoring.score import ScoreConfig, score
from attribution_core.training import Recipe
from attribution_core.workflows.verify import verify
from tests.support.encoders import make_sentence_encoder
from tests.support.exports import TEXT_FORMS
from tests.support.tables import make_table, make_texts, write_table


def scored(data, out, **options) -> Run:
    quick = {"model": "linear", "recipe": Recipe(epochs=2), "map": "off", **options}
    return score(ScoreConfig(data=str(data), out=out, **quick))


def contents(splits, given) -> dict[str, list[tuple[str, str]]]:
    """Return the texts or rows of each given split with their labels, whatever the ids; others belong to training."""
    found = {"train": []}
    for name, part in splits.by_name.items():
        rows = [(str(part[i][0]), part.class_names[part.labels[i]]) for i in range(len(part))]
        found.setdefault(name if name in given else "train", []).extend(rows)
    return {name: sorted(rows) for name, rows in found.items()}


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_every_format_is_scored_and_exported(tmp_path, form):
    data = TEXT_FORMS[form](tmp_path)
    run = scored(data, tmp_path / "run")
    assert {"fsi", "si", "contribution", "sensitivity", "self_influence"} <= set(run.scores)
    assert np.isfinite(run.examples["fsi"]).all()
    assert "text" in run.examples
    assert "text" not in run.groups
    dropped, relabelled = run.examples["id"].iloc[:2]
    old = run.examples.set_index("id").loc[relabelled, "label"]
    run.decisions.record([dropped], "drop")
    run.decisions.record([relabelled], "relabel", 1 - int(old))
    out = tmp_path / f"clean{'.zip' if data.is_dir() else data.suffix}"
    assert main(["export", str(run.path), "--format", "same", "--out", str(out)]) == 0
    if out.suffix == ".zip":
        with zipfile.ZipFile(out) as archive:
            archive.extractall(tmp_path / "clean")
        (tmp_path / "clean" / "provenance.json").unlink()
        out = tmp_path / "clean"
    before, after = open_dataset(data), open_dataset(out)
    given = list_examples(data).parts
    expected, found = (contents(splits, given) for splits in (before, after))
    ids = list(before.train.ids)
    names = before.train.class_names
    changed = before.train[ids.index(relabelled)]
    expected["train"].remove((str(before.train[ids.index(dropped)][0]), names[before.train.labels[ids.index(dropped)]]))
    expected["train"].remove((str(changed[0]), names[changed[1]]))
    expected["train"].append((str(changed[0]), names[1 - changed[1]]))
    expected["train"].sort()
    assert found == expected


def test_texts_are_not_exported_as_images(tmp_path, capfd):
    run = scored(write_table(make_texts(), tmp_path / "d.csv"), tmp_path / "run", sensitivity="off", influence="off")
    for form in ("parquet", "folder"):
        assert main(["export", str(run.path), "--format", form, "--out", str(tmp_path / "x.zip")]) == 2
        assert "are not images" in capfd.readouterr().err


def test_a_custom_sentence_encoder_and_another_target_column(tmp_path):
    encoder = make_sentence_encoder(tmp_path / "encoder")
    run = scored(write_table(make_texts(), tmp_path / "d.csv"), tmp_path / "run", encoder=str(encoder))
    assert run.manifest.model["input_shape"] == [16]
    again = scored(write_table(make_table(), tmp_path / "t.csv"), tmp_path / "other", target="city")
    assert again.class_names == ["Bonn", "Köln", "Ulm"]
    out = tmp_path / "clean.csv"
    assert main(["export", str(again.path), "--format", "same", "--out", str(out)]) == 0
    assert pd.read_csv(out)["city"].value_counts().to_dict() == make_table()["city"].value_counts().to_dict()


def test_a_run_of_an_opened_table_remembers_its_target_column(tmp_path):
    splits = open_dataset(write_table(make_table(), tmp_path / "t.csv"), target="rooms", task="regression")
    config = ScoreConfig(data="rooms", out=tmp_path / "run", model="linear", map="off")
    run = score(config, splits=splits)
    assert (run.manifest.config["target"], run.manifest.config["task"]) == ("rooms", "regression")
    out = tmp_path / "clean.csv"
    assert main(["export", str(run.path), "--format", "same", "--out", str(out)]) == 0
    assert sorted(pd.read_csv(out)["rooms"]) == sorted(make_table()["rooms"])


def test_an_encoder_runs_only_once_for_a_run(tmp_path, monkeypatch):
    encoder = str(make_sentence_encoder(tmp_path / "encoder"))
    data = write_table(make_texts(), tmp_path / "d.csv")
    run = scored(data, tmp_path / "run", encoder=encoder)

    def refuse(folder: str, _device: str):
        raise InputError(f"{folder} was loaded again")

    monkeypatch.setattr(features, "_sentence_encoder", refuse)
    assert verify(run.path, examples=3, halves=0, seeds=1).methods["fsi"].single.examples == 3
    write_table(make_texts().assign(text="other words"), tmp_path / "d.csv")
    with pytest.raises(InputError, match="was loaded again"):  # the encodings of other texts are not reused
        scored(data, tmp_path / "run", encoder=encoder)
    write_table(make_texts(), tmp_path / "d.csv")
    file = tmp_path / "run" / ENCODINGS_FILE
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError, match="was loaded again"):
        scored(data, tmp_path / "run", encoder=encoder)


def test_a_cleaned_table_is_retrained(tmp_path):
    run = scored(write_table(make_table(), tmp_path / "d.csv"), tmp_path / "run")
    run.decisions.record(run.examples["id"].iloc[:3].tolist(), "drop")
    assert main(["clean", str(run.path), "--out", str(tmp_path / "after")]) == 0
    assert len(Run.open(tmp_path / "after").examples) == len(run.examples) - 3
