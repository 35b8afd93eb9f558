"""What reviewers do to examples by their keys, and the marks that the tables of examples get from it."""

from __future__ import annotations

import numpy as np
import pytest
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run
from samplescope_app.data import reviewing, run_library, selection, session
from samplescope_app.wording import labels


@pytest.fixture(autouse=True)
def _new_session():
    st.session_state.clear()
    st.cache_resource.clear()


def keys(run: Run, *rows: int) -> list[str]:
    return session.keys(session.everything(run).iloc[list(rows)])


def log(run: Run) -> list[tuple[str, str, str, str]]:
    current = run.decisions.current()
    return list(zip(current["split"], current["id"], current["action"], current["reviewer"], strict=True))


def test_examples_of_several_splits_are_decided_in_one_step(run):
    n = len(run.examples)
    assert reviewing.decide(run, keys(run, 0, n, n + 1), "drop", "ann") == 3
    assert [(split, who) for split, _, _, who in log(run)] == [
        ("train", "ann"),
        *((split, "ann") for split in run.evaluation["split"].iloc[:2]),
    ]
    assert len(reviewing.undo(run, "ann").examples) == 3
    assert log(run) == []


def test_a_relabel_to_the_label_keeps(run):
    label = int(run.examples["label"].iloc[0])
    others = run.examples.index[run.examples["label"] != label][:1]
    reviewing.decide(run, keys(run, 0, *others), f"relabel {label}", "")
    current = run.decisions.current()
    assert current["action"].tolist() == ["keep", "relabel"]
    assert current["new_label"].tolist()[1] == label


def test_each_gets_the_label_suggested_for_it(run):
    frame = session.everything(run)
    suggested = labels.suggestions(run, frame)
    assert [None if np.isnan(value) else value for value in suggested] == [
        labels.suggestion(run, row) for row in frame.to_dict("records")
    ]
    chosen = [*np.flatnonzero(~np.isnan(suggested))[:2], *np.flatnonzero(np.isnan(suggested))[:1]]
    assert reviewing.decide(run, keys(run, *chosen), reviewing.ACCEPT, "") == 2
    current = run.decisions.current()
    assert current["action"].tolist() == ["relabel", "relabel"]
    assert current["new_label"].tolist() == suggested[chosen[:2]].tolist()
    assert reviewing.decide(run, keys(run, chosen[2]), reviewing.ACCEPT, "") == 0
    assert run.decisions.version() == 2  # nothing was recorded


@pytest.mark.parametrize("action", ["delete", "relabel", "relabel x", "relabel 10", "relabel nan", "drop 3", ""])
def test_what_is_no_decision_is_refused(run, action):
    with pytest.raises(InputError):
        reviewing.decide(run, keys(run, 0), action, "")


@pytest.mark.parametrize("unknown", [[], ["train/nobody"], ["test/"]])
def test_unknown_examples_are_refused(run, unknown):
    with pytest.raises(InputError, match="does not have all"):
        reviewing.decide(run, unknown, "drop", "")
    with pytest.raises(InputError, match="does not have all"):
        reviewing.split_and_ids(run, unknown)


def test_undo_is_about_ones_own_steps_or_about_an_example(run):
    first, second = keys(run, 0, 1)
    reviewing.decide(run, [first], "drop", "ann")
    reviewing.decide(run, [second], "drop", "ben")
    assert reviewing.undone_in_words(reviewing.undo(run, "cy")) == "Nothing to undo."
    done = reviewing.undo(run, "ann")
    assert reviewing.undone_in_words(done) == f"Undone: drop of {run.examples['id'].iloc[0]}."
    assert reviewing.undo(run, "ann", second).examples == [("train", run.examples["id"].iloc[1])]
    assert log(run) == []


def test_tables_have_tags_notes_and_disagreements(run):
    ids = run.examples["id"].tolist()
    frame = session.examples(run)
    assert set(frame["tags"]) == {()}
    assert set(frame["note"]) == set(frame["disagreement"]) == {""}
    run.decisions.annotations.tag([("train", ids[3]), ("train", "of another run")], "odd")
    run.decisions.annotations.tag([("train", ids[3])], "dark")
    run.decisions.annotations.note([("test", run.evaluation.query("split == 'test'")["id"].iloc[0])], "ask")
    run.decisions.record([ids[5]], "drop", reviewer="ann")
    run.decisions.record([ids[5]], "relabel", 2, reviewer="ben")
    run.decisions.record([ids[6]], "drop", reviewer="ann")
    run.decisions.record([ids[6]], "keep")  # by nobody by name
    frame = session.everything(run)
    assert frame["tags"].iloc[3] == ("dark", "odd")
    assert frame["tags"].map(len).sum() == 2
    assert frame.loc[frame["note"] != "", "split"].tolist() == ["test"]
    assert frame["disagreement"].iloc[5] == f"ann: drop, ben: relabel {run.class_names[2]}"
    assert (frame["disagreement"] != "").sum() == 1
    assert frame["reviewer"].iloc[5] == "ben"
    assert session.tags(run) == ("dark", "odd")


def test_the_name_is_that_of_the_session_else_of_the_server(run, folder):
    assert reviewing.reviewer() == ""
    run_library.serve(folder, "ann")
    assert reviewing.reviewer() == "ann"
    reviewing.set_reviewer("  Ben \n Smith ")
    assert reviewing.reviewer() == "Ben Smith"
    reviewing.set_reviewer(None)
    assert reviewing.reviewer() == ""


def test_a_selection_changes_on_the_shown_page_only(run):
    selection.choose(run, {"train/a", "train/b"}, ["train/b"])
    selection.choose(run, {"train/c", "train/d"}, ["train/d", "train/x"])
    assert selection.keys(run) == ["train/b", "train/d"]
    assert selection.among(run, ["train/d", "train/e"]) == ["train/d"]
    selection.choose(run, {"train/a", "train/b"}, ["train/a"])
    assert selection.keys(run) == ["train/d", "train/a"]
    assert selection.changes(run) == 0
    selection.replace(run, ["train/e"])
    assert (selection.keys(run), selection.changes(run)) == (["train/e"], 1)
    selection.choose(run, {"train/a"}, [], everywhere=True)
    assert selection.keys(run) == []
