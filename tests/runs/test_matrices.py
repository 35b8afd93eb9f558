import numpy as np
import pytest

from attribution_core.errors import InputError
from attribution_core.runs.matrices import open_matrix, write_matrix


def blocks(values, size):
    for start in range(0, len(values), size):
        rows = slice(start, min(start + size, len(values)))
        yield rows, values[rows]


@pytest.mark.parametrize("size", [1, 7, 512, 600, 5000])
def test_a_matrix_is_read_as_it_was_written_in_blocks_of_any_size(tmp_path, size):
    values = np.random.default_rng(0).normal(size=(1100, 530)).astype(np.float32)
    path = tmp_path / "effects" / "ntk.zarr"
    write_matrix(path, values.shape, blocks(values, size), {"times": [1.0, 2.5]})
    matrix = open_matrix(path)
    assert np.array_equal(matrix[:], values)
    assert np.array_equal(matrix[3], values[3])
    assert np.array_equal(matrix[:, 529], values[:, 529])
    assert matrix.attrs["times"] == [1.0, 2.5]


def test_a_matrix_is_replaced_as_a_whole_and_a_failed_write_leaves_nothing(tmp_path):
    path = tmp_path / "ntk.zarr"
    write_matrix(path, (3, 2), [(slice(0, 3), np.zeros((3, 2)))], {})
    write_matrix(path, (2, 2), [(slice(0, 2), np.ones((2, 2)))], {})
    assert np.array_equal(open_matrix(path)[:], np.ones((2, 2)))
    with pytest.raises(InputError, match="needs 5 rows, and 2 were given"):
        write_matrix(path, (5, 2), [(slice(0, 2), np.zeros((2, 2)))], {})
    assert np.array_equal(open_matrix(path)[:], np.ones((2, 2)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["ntk.zarr"]


def test_a_missing_or_damaged_matrix_is_reported(tmp_path):
    with pytest.raises(InputError, match="scored without that measure"):
        open_matrix(tmp_path / "effects" / "hydra.zarr")
    write_matrix(tmp_path / "ntk.zarr", (2, 2), [(slice(0, 2), np.ones((2, 2)))], {})
    (tmp_path / "ntk.zarr" / "zarr.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        open_matrix(tmp_path / "ntk.zarr")
