import pytest
import torch

from attribution_core.methods.linalg import contour

SPECTRUM = torch.cat([torch.zeros(1, dtype=torch.float64), torch.logspace(-12, 0, 200, dtype=torch.float64)])


def relative_error(resolvents, expected):
    value = (resolvents.coefficients[:, None] * resolvents.inverses(SPECTRUM)).sum(dim=0).real
    return float(((value - expected) / expected).abs().max())


@pytest.mark.parametrize("tau", [2.0**-10, 1.0, 1e3, 1e8])
def test_gradient_flow(tau):
    expected = torch.where(SPECTRUM > 0, -torch.expm1(-tau * SPECTRUM) / SPECTRUM.clamp(min=1e-300), tau)
    assert relative_error(contour.continuous_descent(tau), expected) < 1e-11


@pytest.mark.parametrize("steps", [1, 2, 10, 64, 65, 66, 2000, 2001, 10**6])
@pytest.mark.parametrize("rate", [0.5, 1.0, 1.5, 1.984375])
def test_gradient_descent(steps, rate):
    x = rate * SPECTRUM
    log = torch.expm1(steps * torch.log1p(-x.clamp(max=0.9)))
    power = torch.where(x < 0.9, -log, 1 - (1 - x) ** steps)
    expected = torch.where(SPECTRUM > 0, power / SPECTRUM.clamp(min=1e-300), rate * steps)
    assert relative_error(contour.discrete_descent(rate, steps, 1.0), expected) < 1e-11


def test_fewer_nodes_are_less_exact():
    s, w = contour.talbot(12)
    assert abs(float((2 * w * torch.exp(s) / (s + 1)).real.sum()) - 0.36787944117144233) < 1e-6
