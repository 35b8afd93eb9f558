"""The lookup of runs by their ids."""

import pytest

from attribution_core.errors import InputError
from samplescope_app.data import run_library


@pytest.mark.parametrize("run_id", ["", ".", "..", "../digits", "digits/", "/etc", "digits/thumbnails", "nothing"])
def test_a_run_id_is_the_name_of_a_run(run, run_id):
    with pytest.raises(InputError, match="There is no run"):
        run_library.open_run(run_id)


def test_a_run_that_changed_is_opened_anew(run, folder):
    assert run_library.open_run("digits") is run
    file = folder / "digits" / "run.json"
    file.write_text(file.read_text().replace("digits, digits", "renamed"))
    assert run_library.open_run("digits").title == "renamed"
    file.write_text(file.read_text().replace("renamed", "digits, digits"))
