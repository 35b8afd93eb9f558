"""What the page New run says of a check."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from attribution_core.jobs.jobs import Job
from samplescope_app.panels import data_check

ESTIMATE = {"seconds": {"training": 3.0}, "memory": 9 * 2**30, "base": 2**30, "skipped": {}, "free": 5 * 2**30}
REFUSAL = "This run would need about 9.7 GB of memory: score 22,500 training examples."


def _page(estimate: dict, stale: bool) -> None:
    from pathlib import Path

    from attribution_core.jobs.jobs import Job
    from samplescope_app.panels import data_check

    job = Job(Path("check"), "check", "check", {}, "", "done", result={"estimate": estimate, "problem": ""})
    data_check.estimate(job, {"data": "digits"} if stale else {})


@pytest.mark.parametrize(
    ("refusal", "stale", "warnings"),
    [({"refusal": REFUSAL}, False, [REFUSAL]), ({"refusal": REFUSAL}, True, []), ({"refusal": ""}, False, []),
     ({}, False, [])],
    ids=["does not fit", "other options", "fits", "a check of an earlier version"],
)  # fmt: skip
def test_a_run_that_does_not_fit_is_refused_in_the_words_of_the_estimate(refusal, stale, warnings):
    app = AppTest.from_function(_page, args=({**ESTIMATE, **refusal}, stale)).run()
    assert not app.exception
    assert [each.value.replace("\\", "") for each in app.warning] == warnings  # of Markdown's escapes
    assert [each.value for each in app.metric] == ["about 3 s", "9.0 GiB"]


def _survey(facts: dict) -> None:
    import json
    import tempfile
    from pathlib import Path

    from attribution_core.jobs.jobs import FOUND, Job
    from samplescope_app.panels import data_check

    path = Path(tempfile.mkdtemp())
    (path / FOUND).write_text(json.dumps(facts))
    data_check.survey(Job(path, "survey", "survey", {}, "", "done"))


def test_it_says_what_the_data_was_taken_as_and_what_is_left_out():
    facts = {
        "name": "pets", "kind": "image", "class_names": ["cat", "dog"], "values": None, "colored": 4,
        "counts": {"test": [1, 1], "train": [3, 4]}, "heights": [8, 9], "widths": [8, 8],
        "what": "images in class folders", "notes": ["A note."], "looked": 9, "total": 9, "repeated": 2, "across": 1,
        "disputed": 0, "unreadable": [{"where": "a.heic", "why": "no decoder"}], "num_unreadable": 1,
    }  # fmt: skip
    app = AppTest.from_function(_survey, args=(facts,)).run()
    assert not app.exception
    said = app.markdown[0].value.replace("\\", "")
    for part in ("images in class folders", "9 images in 2 classes: 7 train · 2 test", "8 x 8 to 8 x 9 pixels",
                 "50% in color", "2 files equal another one, 1 across splits"):  # fmt: skip
        assert part in said
    assert [each.label for each in app.expander] == ["1 file left out"]


def test_before_the_first_report_of_a_survey_there_is_nothing_to_show():
    app = AppTest.from_function(_survey, args=({},)).run()
    assert not app.exception
    assert not app.markdown


def check_of(seconds: dict[str, float], **options: str) -> Job:
    result = {"estimate": {**ESTIMATE, "seconds": seconds}, "options": {"hydra": "contributions", "umap": "map"}}
    return Job(Path("check"), "check", "check", options, "", "done", result=result)


def test_a_measure_that_dominates_a_long_run_is_told_from_the_others():
    costs = data_check.costs(check_of({"training": 30.0, "hydra": 600.0, "umap": 20.0}))
    assert {name: each.dominates for name, each in costs.items()} == {"contributions": True, "map": False}
    assert str(costs["contributions"]) == "about 10 min, 92% of the run"
    assert not data_check.costs(check_of({"training": 1.0, "hydra": 60.0}))["contributions"].dominates


def test_an_estimate_covers_fewer_measures_and_no_other_change():
    check = check_of({"training": 30.0, "hydra": 600.0}, data="digits", map="off")
    assert data_check.is_about(check, {"data": "digits", "map": "off"})
    assert data_check.is_about(check, {"data": "digits", "map": "off", "contributions": "off"})
    assert not data_check.is_about(check, {"data": "digits"})  # the map was not measured
    assert not data_check.is_about(check, {"data": "digits", "map": "off", "model": "linear"})
