"""The registry of measures is complete."""

import pytest

from attribution_core.runs import MEASURES


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_explains_itself(name):
    measure = MEASURES[name]
    assert measure.name == name
    assert measure.title
    assert measure.definition.endswith(".")
    assert measure.equation
    assert measure.paper or measure.kind == "diagnostic"
