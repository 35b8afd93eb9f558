r"""The memory-perturbation equation for losses without derivatives.

Nickl et al. 2023, appendix E: under a Gaussian posterior the expectation of a loss is smooth in the mean even if the
loss is not, and removing an example moves the mean by ``Sigma grad_m E_q[loss_i]`` (covariance kept). By Stein's
identity ``Sigma grad_m E_q[loss] = E_q[loss(theta) (theta - m)]``, so losses at samples are enough.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from attribution_core.errors import InputError


def deviation_from_losses(
    mean: Tensor, covariance: Tensor, losses: Callable[[Tensor], Tensor], samples: int = 10_000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Estimate how far removing each example moves the posterior's mean, from values of its loss alone.

    Args:
        mean: m, ``[p]``.
        covariance: Sigma, ``[p, p]``.
        losses: Function from weights ``[samples, p]`` to the loss of each example at each of them, ``[samples, n]``.
        samples: Number of weights to draw. Each is used with its mirror image about the mean, so that only the odd part
            of a loss, the only one that matters, adds noise.
        seed: Seed of the draws.

    Returns:
        Deviations ``[n, p]`` and their standard errors ``[n, p]``.

    Raises:
        InputError: There are fewer than four samples, or the covariance is not positive definite.
    """
    if samples < 4:
        raise InputError(f"A Monte Carlo estimate with a standard error needs four samples or more, not {samples}.")
    try:
        root = torch.linalg.cholesky(covariance)
    except torch.linalg.LinAlgError as error:
        raise InputError("The covariance must be positive definite.") from error
    generator = torch.Generator().manual_seed(seed)
    pairs = samples // 2
    steps = torch.randn(pairs, len(mean), generator=generator, dtype=mean.dtype).to(mean.device) @ root.T
    odd = (losses(mean + steps) - losses(mean - steps)) / 2
    products = odd[:, :, None] * steps[:, None, :]
    return products.mean(dim=0), products.std(dim=0) / pairs**0.5
