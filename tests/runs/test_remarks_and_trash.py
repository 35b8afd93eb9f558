"""A run's own title and notes; and deletion, which can be undone."""

from __future__ import annotations

import pytest

from attribution_core.errors import InputError
from attribution_core.runs import list_runs
from attribution_core.runs.files import Lock
from attribution_core.runs.remarks import Remarks, read_remarks, write_remarks
from attribution_core.runs.trash import delete_run, deleted_runs, empty_trash, restore_run
from tests.support.sample_run import make_run


@pytest.fixture
def folder(tmp_path):
    make_run(tmp_path / "runs" / "digits", n=40, scored=False)
    return tmp_path / "runs"


def ids(folder):
    return [entry.id for entry in list_runs(folder)]


def test_remarks_are_kept_beside_the_run_and_change_nothing_in_it(folder):
    run = folder / "digits"
    before = (run / "run.json").read_bytes()
    assert read_remarks(run) == Remarks()
    write_remarks(run, Remarks(title="Nachtlauf Ω", notes="two\nlines"))
    assert read_remarks(run) == Remarks(title="Nachtlauf Ω", notes="two\nlines")
    assert (run / "run.json").read_bytes() == before
    (run / "remarks.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_remarks(run)


def test_a_deleted_run_comes_back_as_it_was(folder):
    deleted = delete_run(folder, "digits")
    assert ids(folder) == []
    assert [each.id for each in deleted_runs(folder)] == ["digits"]
    restore_run(folder, deleted)
    assert ids(folder) == ["digits"]
    assert deleted_runs(folder) == []
    (folder / "digits").rename(folder / "other")
    with pytest.raises(InputError, match="cannot be put back"):
        restore_run(folder, deleted)


def test_the_trash_holds_several_runs_of_one_name_and_replaces_none(folder):
    first = delete_run(folder, "digits")
    make_run(folder / "digits", n=40, scored=False)
    with pytest.raises(InputError, match="There is another run digits now"):
        restore_run(folder, first)
    delete_run(folder, "digits")
    assert [each.id for each in deleted_runs(folder)] == ["digits", "digits"]


def test_only_old_runs_are_removed_for_good(folder):
    new = delete_run(folder, "digits")
    make_run(folder / "digits", n=40, scored=False)
    old = delete_run(folder, "digits")
    old.path.rename(old.path.with_name("1000.000 digits"))
    (folder / ".trash" / "other").mkdir()  # not a run: it stays
    assert empty_trash(folder) == ["digits"]
    assert [each.path for each in deleted_runs(folder)] == [new.path]
    assert {each.name for each in (folder / ".trash").iterdir()} == {new.path.name, "other"}


@pytest.mark.parametrize("name", ["", ".", "..", "../runs", "digits/..", ".trash", "nothing", "/etc"])
def test_nothing_but_a_run_of_the_folder_is_deleted(folder, name):
    with pytest.raises(InputError, match="There is no run"):
        delete_run(folder, name)
    assert ids(folder) == ["digits"]


def test_a_run_that_is_written_is_not_deleted(folder):
    lock = Lock(folder / "digits")
    with pytest.raises(InputError, match="is being written"):
        delete_run(folder, "digits")
    lock.release()
