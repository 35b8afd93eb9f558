"""Tags and notes are kept in the run's log, by split and id."""

import sqlite3

import pytest

from attribution_core.errors import InputError
from attribution_core.runs import DecisionLog


def marked(log: DecisionLog) -> dict[tuple[str, str], tuple[tuple[str, ...], str]]:
    found = log.annotations.current()
    return {
        (split, id_): (tags, note)
        for split, id_, tags, note in zip(found["split"], found["id"], found["tags"], found["note"], strict=True)
    }


def test_reading_creates_no_file(tmp_path, log):
    assert marked(log) == {}
    assert list(log.annotations.current().columns) == ["id", "split", "tags", "note"]
    assert log.annotations.tags() == {}
    assert list(tmp_path.iterdir()) == []


def test_examples_have_any_number_of_tags_and_one_note(log):
    log.annotations.tag([("train", "a"), ("test", "a")], "shoe", "ann")
    log.annotations.tag([("train", "a")], "  dark   corner ", "ben")
    log.annotations.note([("train", "a"), ("train", "b")], "ask", "ann")
    log.annotations.note([("train", "b")], "ask Cy\nagain ", "ben")
    assert marked(log) == {
        ("train", "a"): (("dark corner", "shoe"), "ask"),
        ("test", "a"): (("shoe",), ""),
        ("train", "b"): ((), "ask Cy\nagain"),
    }
    assert log.annotations.tags() == {"shoe": 2, "dark corner": 1}


def test_tags_and_notes_are_taken_back(log):
    log.annotations.tag([("train", "a")], "shoe")
    log.annotations.tag([("train", "a")], "shoe")  # twice is once
    log.annotations.untag([("train", "a"), ("train", "b")], "shoe")
    assert marked(log) == {}
    log.annotations.tag([("train", "a")], "shoe")
    log.annotations.note([("train", "a")], "x")
    log.annotations.note([("train", "a")], " ")
    assert marked(log) == {("train", "a"): (("shoe",), "")}


def test_a_tag_does_not_change_the_decisions(log):
    log.record(["a"], "drop")
    before = log.version()
    log.annotations.tag([("train", "a")], "shoe")
    assert log.version() > before
    assert log.counts() == {"keep": 0, "drop": 1, "relabel": 0}
    assert [decision.action for decision in log.undo()] == ["drop"]
    assert log.annotations.tags() == {"shoe": 1}


@pytest.mark.parametrize("tag", ["", "  ", "a,b", "a;b", 'a"b', "a\u202eb", "x" * 61])
def test_a_tag_that_a_filter_or_a_file_could_not_hold_is_refused(log, tag):
    with pytest.raises(InputError, match="A tag has 1 to 60 characters"):
        log.annotations.tag([("train", "a")], tag)


def test_an_unknown_split_is_refused(log):
    with pytest.raises(InputError, match="'eval' was given"):
        log.annotations.note([("eval", "a")], "x")


def test_texts_are_data_and_not_sql(tmp_path, log):
    hostile = "); DROP TABLE annotations; --"
    log.annotations.note([("train", hostile)], hostile)
    assert marked(log) == {("train", hostile): ((), hostile)}
    with sqlite3.connect(tmp_path / "decisions.sqlite") as connection:
        assert connection.execute("SELECT text FROM annotations").fetchall() == [(hostile,)]
