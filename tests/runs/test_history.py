"""Any step, and any part of one, is undone, whoever did what after it."""

from tests.support.decided import actions


def test_an_empty_history(tmp_path, log):
    assert log.history.steps(10) == []
    assert log.history.undo(1).examples == []
    assert log.history.undo_latest().examples == []
    assert log.history.examples_in_force(1) == []
    assert log.history.reviewers() == []
    assert list(tmp_path.iterdir()) == []


def test_steps_say_who_did_what(log):
    log.record(["a", "b"], "relabel", 3, "test", "ann")
    log.annotations.tag([("train", "c")], "shoe", "ben")
    log.annotations.note([("train", "c")], "ask", "ben")
    log.history.undo(2)
    note, tag, relabel = log.history.steps(10)
    assert (relabel.reviewer, relabel.actions, relabel.new_label) == ("ann", ("relabel",), 3)
    assert (relabel.split, relabel.example, relabel.examples, relabel.in_force) == ("test", "a", 2, 2)
    assert (tag.reviewer, tag.actions, tag.text, tag.in_force) == ("ben", ("tag",), "shoe", 0)
    assert (note.actions, note.text, note.in_force) == (("note",), "ask", 1)
    assert [step.number for step in log.history.steps(2)] == [note.number, tag.number]
    assert log.history.reviewers() == ["ann", "ben"]


def test_any_step_is_undone_and_later_ones_stay(log):
    log.record(["a", "b", "c"], "drop")
    log.record(["b"], "keep")
    log.record(["d"], "drop")
    undone = log.history.undo(1)
    assert undone.actions == ("drop",)
    assert undone.examples == [("train", "a"), ("train", "b"), ("train", "c")]
    assert actions(log) == {"b": "keep", "d": "drop"}
    assert log.history.undo(1).examples == []
    log.history.undo(2)
    assert actions(log) == {"d": "drop"}  # the first step about b was undone before


def test_one_decision_of_a_step_is_undone(log):
    log.record(["a", "b", "c"], "drop")
    log.record(["a"], "drop", split="test")
    assert log.history.undo(1, [("train", "b"), ("test", "a")]).examples == [("train", "b")]
    assert actions(log) == {"a": "drop", "c": "drop"}
    assert log.history.examples_in_force(1) == [("train", "a"), ("train", "c")]
    assert log.counts()["drop"] == 3


def test_the_latest_step_of_a_reviewer_is_undone(log):
    log.record(["a"], "drop", reviewer="ann")
    log.annotations.tag([("train", "a")], "shoe", "ann")
    log.record(["b"], "drop", reviewer="ben")
    assert log.history.undo_latest("ann").actions == ("tag",)
    assert log.annotations.tags() == {}
    assert log.history.undo_latest("ann").examples == [("train", "a")]
    assert log.history.undo_latest("ann").examples == []
    assert actions(log) == {"b": "drop"}
    assert log.history.undo_latest().examples == []  # of nobody by name
    assert log.history.undo_latest("ben").actions == ("drop",)
