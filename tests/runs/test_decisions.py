"""The log of decisions is append-only, can be undone and is safe with two writers."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from attribution_core.errors import InputError
from attribution_core.runs import Decision, DecisionLog
from tests.support.decided import actions


def test_reading_creates_no_file(tmp_path, log):
    assert log.current().empty
    assert list(log.current().columns) == ["id", "split", "action", "new_label", "time", "reviewer"]
    assert log.counts() == {"keep": 0, "drop": 0, "relabel": 0}
    assert log.undo() == []
    assert log.version() == 0
    assert list(tmp_path.iterdir()) == []


def test_the_latest_decision_counts(log):
    log.record(["a"], "keep")
    log.record(["a"], "drop")
    log.record(["b"], "relabel", 0)
    assert actions(log) == {"a": "drop", "b": "relabel"}
    assert log.current()["new_label"].tolist()[1] == 0
    assert log.counts() == {"keep": 0, "drop": 1, "relabel": 1}


def test_undo_restores_the_earlier_decision(log):
    log.record(["a"], "keep")
    log.record(["a"], "drop")
    assert [decision.action for decision in log.undo()] == ["drop"]
    assert actions(log) == {"a": "keep"}
    log.undo()
    assert actions(log) == {}
    assert log.undo() == []


def test_undo_cancels_a_bulk_decision_in_one_step(log):
    log.record(["a"], "keep")
    log.record(["a", "b", "c"], "drop")
    assert len(log.undo()) == 3
    assert actions(log) == {"a": "keep"}


def test_undo_of_one_example_leaves_the_others(log):
    log.record(["a", "b"], "drop")
    log.record(["c"], "keep")
    assert [decision.example for decision in log.undo("a")] == ["a"]
    assert actions(log) == {"b": "drop", "c": "keep"}
    assert log.undo("a") == []


def test_one_id_in_two_splits_is_two_examples(log):
    log.record(["a"], "drop")
    log.record(["a", "b"], "relabel", 2, "test")
    log.record(["a"], "keep", split="validation")
    current = log.current()
    assert list(zip(current["id"], current["split"], current["action"], strict=True)) == [
        ("a", "train", "drop"),
        ("a", "test", "relabel"),
        ("b", "test", "relabel"),
        ("a", "validation", "keep"),
    ]
    assert log.counts() == {"keep": 1, "drop": 1, "relabel": 2}
    assert [decision.split for decision in log.undo("a", "test")] == ["test"]
    assert log.undo("b") == []  # of which no training example was decided about
    assert log.current()["split"].tolist() == ["train", "test", "validation"]
    assert [decision.split for decision in log.undo()] == ["validation"]
    with pytest.raises(InputError, match="train, validation, test; 'eval' was given"):
        log.record(["a"], "drop", split="eval")


def test_a_log_from_before_splits_is_about_training_examples(tmp_path, log):
    with sqlite3.connect(tmp_path / "decisions.sqlite") as connection:
        connection.execute(
            "CREATE TABLE log (seq INTEGER PRIMARY KEY AUTOINCREMENT, batch INTEGER NOT NULL, time TEXT NOT NULL,"
            " example TEXT NOT NULL, action TEXT NOT NULL, new_label INTEGER, cancels INTEGER UNIQUE)"
        )
        connection.execute("INSERT INTO log (batch, time, example, action) VALUES (1, 'then', 'a', 'drop')")
    log.record(["a"], "keep", split="test")
    current = log.current()
    assert list(zip(current["id"], current["split"], current["action"], strict=True)) == [
        ("a", "train", "drop"),
        ("a", "test", "keep"),
    ]
    assert [decision.time for decision in log.undo("a")] == ["then"]


# A log as it was written before decisions had reviewers and examples had tags.
_OLD_LOG = """
CREATE TABLE log (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    batch     INTEGER NOT NULL,                  -- decisions taken together are undone together
    time      TEXT NOT NULL,
    example   TEXT NOT NULL,
    action    TEXT NOT NULL CHECK (action IN ('keep', 'drop', 'relabel', 'undo')),
    new_label INTEGER CHECK ((action = 'relabel') = (new_label IS NOT NULL)),
    cancels   INTEGER UNIQUE REFERENCES log (seq) CHECK ((action = 'undo') = (cancels IS NOT NULL)),
    split TEXT NOT NULL DEFAULT 'train' CHECK (split IN ('train', 'validation', 'test'))
);
INSERT INTO log VALUES(1,1,'2026-11-30T19:36:49+00:00','a','drop',NULL,NULL,'train');
INSERT INTO log VALUES(2,1,'2026-11-30T19:36:49+00:00','b','drop',NULL,NULL,'train');
INSERT INTO log VALUES(3,2,'2026-11-30T19:36:50+00:00','a','keep',NULL,NULL,'train');
INSERT INTO log VALUES(4,3,'2026-11-30T19:36:51+00:00','c','relabel',3,NULL,'test');
INSERT INTO log VALUES(5,4,'2026-11-30T19:36:52+00:00','d','relabel',1.5,NULL,'validation');
INSERT INTO log VALUES(6,5,'2026-11-30T19:36:53+00:00','e','drop',NULL,NULL,'train');
INSERT INTO log VALUES(7,6,'2026-11-30T19:36:54+00:00','e','undo',NULL,6,'train');
"""


def test_a_log_from_before_reviewers_opens_and_goes_on(tmp_path, log):
    with sqlite3.connect(tmp_path / "decisions.sqlite") as connection:
        connection.executescript(_OLD_LOG)
    current = log.current()
    assert current[["id", "split", "action", "reviewer"]].to_numpy().tolist() == [
        ["b", "train", "drop", ""],
        ["a", "train", "keep", ""],
        ["c", "test", "relabel", ""],
        ["d", "validation", "relabel", ""],
    ]
    assert current["new_label"].tolist()[2:] == [3, 1.5]
    assert log.version() == 7
    assert [(step.number, step.examples, step.in_force) for step in log.history.steps(10)] == [
        (5, 1, 0),
        (4, 1, 1),
        (3, 1, 1),
        (2, 1, 1),
        (1, 2, 2),
    ]
    log.record(["b"], "keep", reviewer="ann")
    log.annotations.tag([("train", "b")], "shoe", "ann")
    log.history.undo(2, reviewer="ann")
    assert actions(log) == {"a": "drop", "b": "keep", "c": "relabel", "d": "relabel"}
    assert log.annotations.tags() == {"shoe": 1}
    with sqlite3.connect(tmp_path / "decisions.sqlite") as connection:  # as the earlier version writes
        connection.execute(
            "INSERT INTO log (batch, time, example, split, action) VALUES (9, 'x', 'f', 'train', 'drop')"
        )
    assert log.current()["reviewer"].tolist()[-2:] == ["ann", ""]


def test_every_record_has_the_name_of_its_reviewer(tmp_path, log):
    log.record(["a", "b"], "drop", reviewer="ann")
    log.record(["a"], "keep", reviewer="ben")
    assert log.current()[["id", "action", "reviewer"]].to_numpy().tolist() == [
        ["b", "drop", "ann"],
        ["a", "keep", "ben"],
    ]
    assert log.by_reviewer()[["id", "action", "reviewer"]].to_numpy().tolist() == [
        ["a", "drop", "ann"],
        ["b", "drop", "ann"],
        ["a", "keep", "ben"],
    ]
    assert [decision.reviewer for decision in log.undo("a", reviewer="cy")] == ["ben"]
    with sqlite3.connect(tmp_path / "decisions.sqlite") as connection:
        assert connection.execute("SELECT reviewer FROM log WHERE action = 'undo'").fetchall() == [("cy",)]


def test_different_decisions_are_one_step(log):
    log.record(["z"], "drop")
    log.record_all(
        [
            Decision("a", "relabel", 2, "", "train", "ann"),
            Decision("b", "relabel", 3, "", "test", "ann"),
            Decision("c", "keep", None, "", "validation", "ann"),
        ]
    )
    assert actions(log) == {"z": "drop", "a": "relabel", "b": "relabel", "c": "keep"}
    assert len(log.undo()) == 3
    assert actions(log) == {"z": "drop"}
    with pytest.raises(InputError):
        log.record_all([Decision("a", "drop", None, ""), Decision("b", "relabel", None, "")])
    assert log.version() == 7


def test_nothing_is_ever_deleted(tmp_path, log):
    log.record(["a"], "drop")
    log.undo()
    log.record(["a"], "keep")
    with sqlite3.connect(tmp_path / "decisions.sqlite") as connection:
        rows = connection.execute("SELECT example, action FROM log ORDER BY seq").fetchall()
    assert rows == [("a", "drop"), ("a", "undo"), ("a", "keep")]
    assert log.version() == 3


@pytest.mark.parametrize(("action", "label"), [("delete", None), ("relabel", None), ("drop", 3)])
def test_invalid_decisions_are_refused(log, action, label):
    with pytest.raises(InputError):
        log.record(["a"], action, label)


def test_ids_are_data_and_not_sql(log):
    hostile = "'); DROP TABLE log; --"
    log.record([hostile, "é\n=1+1"], "drop")
    assert actions(log) == {hostile: "drop", "é\n=1+1": "drop"}
    log.undo(hostile)
    assert actions(log) == {"é\n=1+1": "drop"}


def test_a_file_that_is_not_a_database_is_refused(tmp_path, log):
    (tmp_path / "decisions.sqlite").write_text("not a database, but long enough to be looked at" * 10)
    with pytest.raises(InputError, match="cannot be read or saved"):
        log.current()


_WRITER = """
import sys
import threading
from pathlib import Path
from attribution_core.runs import Decision, DecisionLog
log = DecisionLog(Path(sys.argv[1]))
for i in range(100):
    log.record([f"{sys.argv[2]}-{i}"], "drop")
    if i % 10 == 9:
        log.undo(f"{sys.argv[2]}-{i}")
"""


def test_the_first_decision_waits_for_another_writer(tmp_path):
    """SQLite refuses to change the journal of a file that is being written, without waiting as for other locks."""
    path = tmp_path / "decisions.sqlite"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE other (x)")
    holder.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, lambda: holder.execute("COMMIT")).start()
    log = DecisionLog(path)
    log.record(["a"], "drop")
    assert log.counts()["drop"] == 1
    holder.close()


def test_two_processes_write_at_the_same_time(tmp_path, log):
    path = tmp_path / "decisions.sqlite"
    processes = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name], cwd=Path(__file__).parents[2])
        for name in ("left", "right")
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert log.counts()["drop"] == 180
    assert log.version() == 220
