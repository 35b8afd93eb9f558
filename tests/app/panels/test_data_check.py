"""What the page New run says of a check."""

import pytest
from streamlit.testing.v1 import AppTest

ESTIMATE = {"seconds": {"training": 3.0}, "memory": 9 * 2**30, "base": 2**30, "skipped": {}, "free": 5 * 2**30}
REFUSAL = "This run would need about 9.7 GB of memory: score 22,500 training examples."


def _page(estimate: dict, stale: bool) -> None:
    from pathlib import Path

    from attribution_core.jobs.jobs import Job
    from samplescope_app.panels import data_check

    job = Job(Path("check"), "check", "check", {}, "", "done", result={"estimate": estimate, "problem": ""})
    data_check.estimate(job, stale)


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


def _found(facts: dict) -> None:
    from pathlib import Path

    from attribution_core.jobs.jobs import Job
    from samplescope_app.panels import data_check

    data_check.found(Job(Path("check"), "check", "check", {}, "", "done", result={"found": facts}))


def test_it_says_what_the_data_was_taken_as_and_what_was_left_out():
    facts = {
        "name": "pets", "kind": "image", "class_names": ["cat", "dog"], "colour": True, "heights": [8, 8],
        "counts": {"train": [3, 4], "test": [1, 1]}, "widths": [8, 8], "input_shape": [3, 8, 8],
        "opened": "Opened pets: images in class folders; splits Training -> train (7), test (2); 2 classes.",
        "notes": ["A note."], "unreadable": [{"where": "a.heic", "why": "no decoder"}], "num_unreadable": 1,
    }  # fmt: skip
    app = AppTest.from_function(_found, args=(facts,)).run()
    assert not app.exception
    assert any("Training -> train (7)" in each.value.replace("\\", "") for each in app.markdown)
    assert [each.label for each in app.expander] == ["1 file left out"]
