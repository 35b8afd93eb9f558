"""Solutions must be correct for any number of threads."""

import subprocess
import sys

import pytest
import torch

from attribution_core.methods.linalg.solving import UNBATCHED_FROM, solve

# Runs in a separate process, since the number of threads is global.
THREADS = """
import torch
from attribution_core.methods.linalg.solving import solve
torch.set_num_threads(1)
torch.set_num_threads(2)
generator = torch.Generator().manual_seed(0)
for dtype in (torch.float32, torch.float64, torch.complex128):
    for shape in ((12, 151, 151), (1, 12, 200, 200), (40, 99, 99)):
        a = torch.randn(*shape, generator=generator, dtype=dtype) + 40 * torch.eye(shape[-1])
        b = torch.randn(*shape[:-1], 3, generator=generator, dtype=dtype)
        assert float((a @ solve(a, b) - b).abs().max()) < 1e-3, (dtype, shape)
"""


@pytest.mark.parametrize("shape", [(3, 3), (5, 3, 3), (2, 4, UNBATCHED_FROM, UNBATCHED_FROM)])
def test_solutions_solve(shape):
    a = torch.randn(*shape, dtype=torch.float64) + 40 * torch.eye(shape[-1])
    b = torch.randn(*shape[:-1], 2, dtype=torch.float64)
    assert torch.allclose(a @ solve(a, b), b, atol=1e-9)
    assert solve(a, b).shape == b.shape


def test_solutions_do_not_depend_on_the_number_of_threads():
    subprocess.run([sys.executable, "-c", THREADS], check=True, timeout=120)
