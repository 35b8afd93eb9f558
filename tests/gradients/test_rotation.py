import pytest
import torch

from attribution_core.gradients.rotation import Reflections, SecondMoment, add_gram, completed, rotate, times

EYE = torch.eye(40, dtype=torch.float64)


def rows_of(rank: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rank)
    left, right = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((count, rank), (rank, 40))
    )
    return left @ right


@pytest.mark.parametrize(("rank", "count"), [(1, 1), (3, 12), (12, 12), (20, 20), (40, 90)])
def test_eigenvectors_of_few_rows_are_those_of_the_whole_matrix(rank, count):
    rows, moment = rows_of(rank, count), SecondMoment()
    assert moment.is_empty
    for part in rows.tensor_split(3):
        moment.add(part)
    values, vectors = moment.eigenvectors()
    whole = rows.T @ rows
    assert vectors.shape[1] == (rank if count <= 20 else 40)
    assert (values.diff() <= 0).all()
    torch.testing.assert_close((vectors * values) @ vectors.T, whole)
    torch.testing.assert_close(vectors.T @ vectors, EYE[: len(values), : len(values)])


@pytest.mark.parametrize("rank", [1, 3, 39])
def test_reflections_complete_an_orthonormal_basis(rank):
    columns = torch.linalg.qr(rows_of(rank, 40).T).Q[:, :rank]
    basis = Reflections.completing(columns, torch.float64)
    whole = times(EYE, basis)
    assert basis.shape == whole.shape == (len(basis), 40)
    torch.testing.assert_close(whole.T @ whole, EYE)
    torch.testing.assert_close(whole[:, :rank].abs(), columns.abs())
    torch.testing.assert_close(completed(columns), whole)
    gradients = torch.randn(2, 3, 7 * 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(rotate(gradients, None, basis), rotate(gradients, None, whole))
    torch.testing.assert_close(rotate(gradients, basis, None), rotate(gradients, whole, None))


def test_columns_that_need_no_reflection_are_kept():
    torch.testing.assert_close(times(EYE, Reflections.completing(EYE[:, :5], torch.float64)).abs(), EYE)


@pytest.mark.parametrize("size", [1, 3, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_of_outer_products_are_those_below_the_diagonal(size, dtype):
    rows = torch.randn(7, size, generator=torch.Generator().manual_seed(0))
    total = torch.ones(size, size, dtype=dtype)
    add_gram(total, rows)
    assert torch.allclose(total.tril(), (1 + rows.T.to(dtype) @ rows.to(dtype)).tril(), atol=1e-5)
