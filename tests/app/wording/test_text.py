"""Numbers and names as the app writes them."""

import math

import pytest

from samplescope_app.wording.text import format_percentile, format_score, plain


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.123456, "0.123"),
        (-0.5, "−0.5"),
        (-2e-6, "−2.0e-06"),
        (-0.0, "0"),
        (3.7e-5, "3.7e-05"),
        (12345, "1.23e+04"),
        (math.nan, "–"),
    ],
)
def test_scores(value, text):
    assert format_score(value) == text


@pytest.mark.parametrize(("value", "text"), [(100.0, "p100"), (99.96, "p99"), (0.05, "p0"), (math.nan, "")])
def test_percentiles_are_not_rounded_up(value, text):
    assert format_percentile(value) == text


def test_markdown_in_names_is_escaped():
    assert plain("a*b_c") == r"a\*b\_c"
    assert plain("![x](y)") == r"\!\[x\]\(y\)"
    assert plain("line\nbreak") == "line break"
    assert plain("猫 kätze") == "猫 kätze"
    assert "https://" not in plain("https://evil.example").replace("\\", "")
