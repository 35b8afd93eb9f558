"""The public names of ``attribution_core``."""

import pytest

import attribution_core as ac
from attribution_core.methods.influence.options import InfluenceOptions
from attribution_core.methods.influence.proximal_bregman import train_without


def test_every_public_name_loads_and_is_listed_once():
    assert len(set(ac.__all__)) == len(ac.__all__)
    assert set(ac.__all__) == set(ac._HOMES)
    for name in ac.__all__:
        assert getattr(ac, name) is not None


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("retrained_without", "train_without", train_without),
        ("SolverOptions", "InfluenceOptions", InfluenceOptions),
    ],
)
def test_old_names_work_for_one_release_and_warn(old, new, value):
    with pytest.warns(DeprecationWarning, match=f"{old} is now attribution_core.{new}"):
        assert getattr(ac, old) is value
    assert old not in ac.__all__
