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
