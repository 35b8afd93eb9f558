"""Influence at any damping, from what is kept in half precision, beside the formula in float64."""

import pytest
import torch

from attribution_core.methods.influence.kept import KeptInfluence, bytes_of, state_of
from attribution_core.methods.influence.kernels import GradientKernels
from attribution_core.methods.influence.spectrum import InfluenceSpectrum, Outside

N, M, P = 40, 15, 25
_GENERATOR = torch.Generator().manual_seed(0)


def _random(*sizes: int) -> torch.Tensor:
    return torch.randn(*sizes, generator=_GENERATOR, dtype=torch.float64)


def _kernels() -> tuple[GradientKernels, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return kernels, the rows of the curvature, and the loss gradients of both sides."""
    rows, evaluation, scale = _random(N, P) * torch.logspace(-2, 1, N)[:, None], _random(M, P), _random(N).exp()
    return GradientKernels(rows @ rows.T, evaluation @ rows.T, scale), rows, scale[:, None] * rows, evaluation


def _spectrum(outside: bool) -> InfluenceSpectrum:
    parts = Outside(_random(N, M), _random(N).square(), _random(N).square(), _random(M).square())
    return InfluenceSpectrum(_random(P).square(), _random(N, P), _random(M, P), parts if outside else None)


def _kept(*curvatures: GradientKernels | InfluenceSpectrum) -> KeptInfluence:
    state = {}
    for number, curvature in enumerate(curvatures):
        state |= state_of(number, curvature, 0.1 * (number + 1))
    large = sum(value.nbytes for value in state.values() if value.dtype == torch.float16)
    assert large == sum(map(bytes_of, curvatures))
    return KeptInfluence.from_state(state)


@pytest.mark.parametrize("multiple", [0.01, 1.0, 30.0])
def test_kernels_give_the_formula(multiple):
    kernels, rows, own, evaluation = _kernels()
    inverse = torch.linalg.inv(rows.T @ rows / N + multiple * 0.1 * torch.eye(P))
    expected = own @ inverse @ evaluation.T / N
    assert torch.allclose(kernels.effects(multiple * 0.1)[0], expected, rtol=1e-6, atol=1e-9 * expected.abs().max())
    found = KeptInfluence([kernels], [0.1]).at(multiple)
    for i, j in ((0, 0), (7, 3), (N - 1, M - 1)):
        assert torch.allclose(found.effects_of(i), expected[i], rtol=1e-6, atol=1e-9 * expected.abs().max())
        assert torch.allclose(found.effects_on(j), expected[:, j], rtol=1e-6, atol=1e-9 * expected.abs().max())


@pytest.mark.parametrize("outside", [False, True])
def test_a_spectrum_gives_its_effects(outside):
    spectrum = _spectrum(outside)
    found, expected = KeptInfluence([spectrum], [0.1]).at(3.0), spectrum.effects(0.1 * 3.0)
    for i, j in ((0, 0), (7, 3), (N - 1, M - 1)):
        assert torch.allclose(found.effects_of(i), expected[i])
        assert torch.allclose(found.effects_on(j), expected[:, j])


@pytest.mark.parametrize("multiple", [0.1, 1.0, 10.0])
def test_half_precision_changes_little_and_checkpoints_are_averaged(multiple):
    rows, scale = _random(N, 200), _random(N).exp()
    kernels = GradientKernels(rows @ rows.T, _random(M, 200) @ rows.T, scale)
    for parts in ([kernels], [_spectrum(True)], [_spectrum(False), _spectrum(True)], [kernels] * 3):
        exact = KeptInfluence(parts, [0.1 * (number + 1) for number in range(len(parts))]).at(multiple)
        kept = _kept(*parts).at(multiple)
        for one, other in (
            (kept.effects_of(3), exact.effects_of(3)),
            (kept.effects_on(4), exact.effects_on(4)),
        ):
            assert float((one - other).norm() / other.norm()) < 0.01


def test_many_checkpoints_keep_their_order():
    scaled = [GradientKernels((t + 1.0) * torch.eye(N), torch.ones(M, N), torch.ones(N)) for t in range(12)]
    kept = _kept(*scaled)
    assert [float(each.products[0, 0]) for each in kept.curvatures] == pytest.approx([t + 1.0 for t in range(12)])
    assert kept.dampings == pytest.approx([0.1 * (t + 1) for t in range(12)])
