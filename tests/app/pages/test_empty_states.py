"""A page without a run, without scores or without matches says what to do next."""

import shutil

import pytest

from attribution_core.runs import RunWriter, fingerprint
from samplescope_app.data import run_library
from tests.support.app_pages import open_page, page_text
from tests.support.sample_run import make_run


@pytest.mark.parametrize("name", ["overview", "browse", "example", "review"])
def test_without_a_run_the_pages_lead_to_the_runs(tmp_path, name):
    run_library.serve(tmp_path)
    assert "No run is open" in page_text(open_page(name))
    assert "There is no run" in page_text(open_page(name, run="gone"))


def test_without_runs_the_command_is_shown(tmp_path):
    run_library.serve(tmp_path)
    assert "samplescope score DATA" in page_text(open_page("runs"))


@pytest.mark.parametrize("name", ["overview", "browse", "example", "review"])
def test_a_run_without_examples_says_how_to_finish_it(tmp_path, name):
    RunWriter.start(tmp_path / "cut", {}, fingerprint({}), "cut off").close()
    run_library.serve(tmp_path / "cut")
    assert "run the same score command again" in page_text(open_page(name, run="cut"))


def test_no_other_run_takes_the_place_of_one_that_was_deleted(tmp_path):
    for name in ("first", "second"):
        make_run(tmp_path / name, n=40, evidence=False)
    run_library.serve(tmp_path / "first")
    app = open_page("overview", run="second")
    shutil.rmtree(tmp_path / "second")
    del app.query_params["run"]  # as a link of the menu, which names no run
    app.switch_page("pages/browse.py").run()
    assert "There is no run" in page_text(app)
    assert "second" in page_text(app)


def test_a_damaged_run_is_named(tmp_path):
    make_run(tmp_path / "digits", n=40)
    (tmp_path / "digits" / "examples.parquet").write_bytes(b"PAR1")
    run_library.serve(tmp_path)
    assert "is damaged" in page_text(open_page("browse", run="digits")).replace("\\", "")


def test_filters_that_nothing_passes(run):
    app = open_page("browse", run="digits")
    app.text_input[0].set_value("nothing is called this").run()
    assert "No example passes these filters" in page_text(app)
