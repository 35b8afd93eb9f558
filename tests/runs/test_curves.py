import pandas as pd
import pytest

from attribution_core.errors import InputError
from attribution_core.runs import CURVES, Run, RunWriter
from tests.support.sample_run import make_run


def points(*values):
    return pd.DataFrame({"series": ["rate"] * len(values), "x": range(len(values)), "y": values})


def test_a_curve_is_stored_and_replaced_by_name(tmp_path):
    with RunWriter.start(tmp_path / "run", {}, "", "a run") as writer:
        assert len(Run.open(writer.path).curves) == 0
        writer.write_curve("ihvp_error", points(1.0, 2.0))
        writer.write_curve("complexity_by_influence", points(3.0))
        writer.write_curve("ihvp_error", points(4.0, 5.0, 6.0))
    curves = Run.open(tmp_path / "run").curves
    assert curves[curves["curve"] == "ihvp_error"]["y"].tolist() == [4.0, 5.0, 6.0]
    assert curves[curves["curve"] == "complexity_by_influence"]["y"].tolist() == [3.0]


def test_a_curve_without_a_registry_entry_is_refused(tmp_path):
    with (
        RunWriter.start(tmp_path / "run", {}, "", "a run") as writer,
        pytest.raises(InputError, match="no curve 'mine'"),
    ):
        writer.write_curve("mine", points(1.0))


def test_a_damaged_table_is_reported(tmp_path):
    path = make_run(tmp_path / "run", n=40)
    (path / "curves.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match="damaged"):
        _ = Run.open(path).curves


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_is_described(name):
    curve = CURVES[name]
    assert curve.name == name
    assert curve.definition.endswith(".")
    assert all([curve.title, curve.x, curve.y, curve.paper])
    assert curve.for_regression().definition.endswith(".")
