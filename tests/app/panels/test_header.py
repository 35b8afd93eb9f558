"""The header: what a run that is still being scored has yet to come."""

from attribution_core.runs import Run, RunWriter
from samplescope_app.data import run_library
from tests.support.app_pages import open_page
from tests.support.sample_run import make_run


def progress_of(page):
    return [element.proto.text.replace("\\", "") for element in page.get("progress")]


def test_a_run_that_is_scored_says_what_is_still_to_come(tmp_path):
    made = Run.open(make_run(tmp_path / "digits", n=40))
    run_library.serve(tmp_path)
    assert progress_of(open_page("overview", run="digits")) == []
    manifest = made.manifest
    with RunWriter.start(made.path, manifest.config, manifest.fingerprint, manifest.title) as writer:
        writer.plan({name: name for name in manifest.stages} | {"sensitivity": "sensitivities (MPE)", "map": "map"})
        with writer.stage("sensitivity"):
            page = open_page("overview", run="digits")
    assert progress_of(page) == ["This run is still being scored. Now: sensitivities (MPE); then map."]
