"""Columns of a curvature's root without the root, and influence where the root would not fit into memory."""

import pytest
import torch

from attribution_core.methods.curvature.columns import curvature_columns, num_columns
from attribution_core.methods.curvature.losses import (
    hessian_column_norms,
    hessian_columns,
    hessian_root,
    prediction_errors,
)
from attribution_core.methods.influence.functions import influence_functions
from attribution_core.methods.influence.options import InfluenceOptions
from attribution_core.models import build_model

LOSSES = ["cross_entropy", "binary_cross_entropy", "mse"]


def outputs_and_targets(k: int, loss: str, n: int = 40):
    generator = torch.Generator().manual_seed(k)
    outputs = 2 * torch.randn(n, k, generator=generator, dtype=torch.float64)
    if loss == "cross_entropy":
        return outputs, torch.randint(max(k, 2), (n,), generator=generator)
    return outputs, torch.rand(n, k, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("k", [1, 4])
def test_columns_are_those_of_the_root(k, loss):
    outputs, targets = outputs_and_targets(k, loss)
    root = hessian_root(outputs, loss)
    for column in range(k):
        chosen = hessian_columns(outputs, torch.full((len(outputs),), column), loss)
        assert torch.allclose(chosen, root[:, :, column])
    assert torch.allclose(hessian_column_norms(outputs, loss), root.square().sum(dim=1))
    which, columns = curvature_columns(outputs, targets, loss, "ggn", 1000)
    assert which.tolist() == [i for i in range(40) for _ in range(k)]
    assert torch.allclose(columns.view(40, k, k).mT, root)
    which, columns = curvature_columns(outputs, targets, loss, "empirical", 1000)
    assert torch.equal(columns, prediction_errors(outputs, targets, loss))
    assert num_columns(outputs, "ggn") == 40 * k
    assert num_columns(outputs, "fisher") == 40


@pytest.mark.parametrize("curvature", ["ggn", "fisher", "empirical"])
@pytest.mark.parametrize("loss", LOSSES)
def test_drawn_columns_approximate_all_columns(loss, curvature):
    outputs, targets = outputs_and_targets(4, loss, 4000)
    every = curvature_columns(outputs, targets, loss, curvature, 10**6)[1]
    which, drawn = curvature_columns(outputs, targets, loss, curvature, 3000)
    assert len(which) == len(drawn) == 3000
    expected = every.T @ every
    assert float((drawn.T @ drawn - expected).norm()) < 0.06 * float(expected.norm())
    assert torch.allclose(drawn.norm(dim=1), drawn[0].norm())


def test_an_autoencoder_and_a_language_model_have_influence():
    """Roots of the Hessian, ``[n, k, k]``, would not fit into memory for real images and vocabularies."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(12, 1, 6, 6, generator=generator)
    autoencoder = build_model("autoencoder", 36, (1, 6, 6), (20, 5))
    tokens, following = (torch.randint(20, shape, generator=generator) for shape in ((12, 7), (12,)))
    language = build_model("transformer_lm", 20, (7,), (8,))
    for model, data, loss in (
        (autoencoder, (images, images.flatten(1)), "binary_cross_entropy"),
        (language, (tokens, following), "cross_entropy"),
    ):
        model.double()
        data = tuple(each.double() if each.is_floating_point() else each for each in data)
        exact = influence_functions(model, data, data, loss=loss, solver="exact", damping=0.1).effect
        options = InfluenceOptions(iterations=300, tolerance=1e-8)
        cg = influence_functions(model, data, data, loss=loss, solver="cg", damping=0.1, options=options)
        assert float((cg.effect - exact).abs().max()) < 1e-5 * float(exact.abs().max())
        sketched = influence_functions(
            model, data, data, loss=loss, damping=0.1, options=InfluenceOptions(dimension=200)
        ).effect
        assert torch.corrcoef(torch.stack([sketched.flatten(), exact.flatten()]))[0, 1] > 0.9
        for solver in ("kfac", "ekfac"):
            assert influence_functions(model, data, data, loss=loss, solver=solver).effect.isfinite().all()
