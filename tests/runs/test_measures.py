"""The entries in the registry of measures are complete."""

import pytest

from attribution_core.runs import MEASURES


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_is_described(name):
    measure = MEASURES[name]
    assert measure.name == name
    assert measure.title
    assert measure.definition.endswith(".")
    assert measure.equation
    assert measure.paper or measure.kind == "diagnostic"
    assert measure.for_regression().definition.endswith(".")


def test_a_measure_has_its_own_wording_for_regression():
    assert MEASURES["sensitivity"].unit == "probability"
    assert MEASURES["sensitivity"].for_regression().unit == "SD"
    assert MEASURES["margin"].for_regression() == MEASURES["margin"]


def test_a_title_keeps_its_abbreviations_within_a_sentence():
    assert MEASURES["ntk"].title_in_sentence == "NTK influence"
    assert MEASURES["fsi"].title_in_sentence == "functional sample information (F-SI)"
