"""A hundred hostile inputs: each gets one clear sentence and exit code 2, and leaves no unfinished run."""

from pathlib import Path

import pytest

from attribution_core.cli.main import main
from tests.hostile import images, runs, tables
from tests.hostile.case import Case, as_one_line

CASES = [*images.CASES, *tables.CASES, *runs.CASES]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, except pipes, which have no contents."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_input(case: Case, tmp_path, capfd, monkeypatch):
    given, work = tmp_path / "given", tmp_path / "work"
    given.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    arguments = case.make(given)
    before = contents(given)
    code = main(arguments)
    said = as_one_line(capfd.readouterr().err)
    assert code == 2, said
    sentence = said[said.index("Error:") :]
    assert case.sentence in sentence, sentence
    assert "Traceback" not in said
    assert len(sentence) < 600, "one sentence, not a page"
    assert contents(given) == before, "the input was changed"
    assert list(work.iterdir()) == [], "a half-made run was left"


def test_there_are_a_hundred():
    assert len({case.name for case in CASES}) >= 100
