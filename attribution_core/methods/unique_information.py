"""Unique information: how much one example alone informs the predictions.

Harutyunyan et al., "Estimating informativeness of samples with smooth unique information", ICLR 2021.
"""

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.gradient_descent import GradientDescent
from attribution_core.methods.linearized import LinearizedModel
from attribution_core.progress import Progress


def functional_sample_information(
    linear: LinearizedModel, schedule: GradientDescent, sigma: float = 1.0, progress: Progress | None = None
) -> Tensor:
    r"""F-SI: the information that the predictions hold about each training example, and about no other.

    The Kullback-Leibler divergence between the predictions with and without the example, both smoothed by Gaussian
    noise of standard deviation ``sigma``, averaged over the evaluation inputs (eqs. 8 and 16):

        F-SI_i = 1 / (2 sigma^2 m) sum_j |f(x_j) - f_{-i}(x_j)|^2 = 1 / (2 sigma^2) d_i^T F d_i

    with ``d_i = w - w_{-i}`` and ``F = sum_j Phi_j^T Phi_j / m`` (eq. 9, exact for a linear model). Through F the cost
    does not grow with the number of evaluation examples; with fewer of them than features, they are used directly.

    Args:
        linear: The linearised model.
        schedule: How it is trained.
        sigma: Smoothing noise on the outputs, ``> 0``; a mere factor.
        progress: Called with (examples done, examples, "leave-one-out").

    Returns:
        ``[n]``, nats, ``>= 0``, float64.

    Raises:
        InputError: ``sigma`` not positive, or a learning rate above the stability limit.
    """
    if not sigma > 0:
        raise InputError(f"sigma must be positive, not {sigma}.")
    m, a, p = linear.evaluation_features.shape
    through_gram = m * a > p
    scores = []
    for _, changes in linear.iterate_changes(schedule, progress):
        if through_gram:
            energy = ((changes @ linear.evaluation_gram) * changes).sum(dim=(1, 2))
        else:
            energy = (changes @ linear.evaluation_features.flatten(0, 1).T).square().sum(dim=(1, 2)) / m
        scores.append(energy.clamp(min=0) / (2 * sigma**2))
    return torch.cat(scores)
