"""A page without a run, without scores or without matches says what to do next."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from attribution_core.runs import RunWriter, fingerprint
from samplescope_app.data import run_library
from tests.support.fixtures import make_run

_MAIN = Path(__file__).parents[3] / "app" / "main.py"


def page(name: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(_MAIN), default_timeout=30)
    app.switch_page(f"pages/{name}.py")
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    return " ".join(element.value for kind in (app.info, app.error, app.caption, app.code) for element in kind)


@pytest.mark.parametrize("name", ["overview", "browse", "example", "review"])
def test_without_a_run_the_pages_lead_to_the_runs(tmp_path, name):
    run_library.serve(tmp_path)
    assert "No run is open" in words(page(name))
    assert "There is no run" in words(page(name, run="gone"))


def test_without_runs_the_command_is_shown(tmp_path):
    run_library.serve(tmp_path)
    assert "samplescope score DATA" in words(page("runs"))


@pytest.mark.parametrize("name", ["overview", "browse", "example", "review"])
def test_a_run_without_examples_says_how_to_finish_it(tmp_path, name):
    RunWriter.start(tmp_path / "cut", {}, fingerprint({}), "cut off").close()
    run_library.serve(tmp_path / "cut")
    assert "run the same score command again" in words(page(name, run="cut"))


def test_a_damaged_run_is_named(tmp_path):
    make_run(tmp_path / "digits", n=40)
    (tmp_path / "digits" / "examples.parquet").write_bytes(b"PAR1")
    run_library.serve(tmp_path)
    assert "is damaged" in words(page("browse", run="digits")).replace("\\", "")


def test_filters_that_nothing_passes(run):
    app = page("browse", run="digits")
    app.text_input[0].set_value("nothing is called this").run()
    assert "No example passes these filters" in words(app)
