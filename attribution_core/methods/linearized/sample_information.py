"""Unique information: how much one example alone informs the predictions (F-SI) and the weights (SI).

Harutyunyan et al., "Estimating informativeness of samples with smooth unique information", ICLR 2021.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent


def functional_sample_information(
    linear: LinearizedModel,
    schedule: GradientDescent,
    sigma: float = 1.0,
) -> Tensor:
    r"""F-SI: the information that the predictions hold about each training example, and about no other.

    The Kullback-Leibler divergence between the predictions with and without the example, both smoothed by Gaussian
    noise of standard deviation ``sigma``, averaged over the evaluation inputs (eqs. 8 and 16):

        F-SI_i = 1 / (2 sigma^2 m) sum_j |f(x_j) - f_{-i}(x_j)|^2 = 1 / (2 sigma^2) d_i^T F d_i

    with ``d_i = w - w_{-i}`` and ``F = sum_j Phi_j^T Phi_j / m`` (eq. 9, exact for a linear model). Through F the cost
    does not grow with the number of evaluation examples (:mod:`attribution_core.methods.linearized.energy`).

    Args:
        linear: The linearised model.
        schedule: How it is trained.
        sigma: Smoothing noise on the outputs, ``> 0``; a mere factor.

    Returns:
        ``[n]``, nats, ``>= 0``, float64.

    Raises:
        InputError: ``sigma`` not positive, or a learning rate above the stability limit.
    """
    if not sigma > 0:
        raise InputError(f"sigma must be positive, not {sigma}.")
    scores = [
        linear.evaluation_energy(changes).clamp(min=0).double() / (2 * sigma**2)
        for _, changes in linear.iterate_changes(schedule)
    ]
    return torch.cat(scores)


def sample_information(
    linear: LinearizedModel,
    schedule: GradientDescent,
    covariance: Literal["isotropic", "langevin", "sgd"] = "isotropic",
    sigma: float = 1.0,
    learning_rate: float = 0.01,
    batch_size: int = 1,
    floor: float = 1e-9,
) -> Tensor:
    r"""SI: the information that the smoothed weights hold about each training example, and about no other.

    ``SI_i = d_i^T Sigma^-1 d_i / 2`` with ``d_i = w - w_{-i}`` (eq. 5). With the curvature ``H = A + lambda`` of the
    sum of losses, diagonal in the eigenbasis, the smoothing covariance is

    * ``"isotropic"``: ``sigma^2 I``;
    * ``"langevin"``: the steady state of SGD with gradient noise ``sigma^2 I``, ``eta sigma^2 / (2 b) H^-1`` (eq. 15);
    * ``"sgd"``: the solution of ``H Sigma + Sigma H = (eta / b) Lambda`` (eq. 14) with the covariance
      ``Lambda = G G^T / n - g g^T`` of the examples' gradients at the trained weights (appendix C). Where H is diagonal
      the Lyapunov equation is solved entry by entry, ``Sigma_ab = (eta / b) Lambda_ab / (h_a + h_b)``, which is what
      the Bartels-Stewart algorithm comes to after its Schur step.

    **Sum or mean.** The paper's H is that of the sum of losses, its noise that of a batch's mean gradient; so are they
    here when the schedule's loss is ``"sum"``. Real SGD takes both from the mean: ask with a schedule of
    ``loss="mean"``, for which H is divided by n, and the result is the divergence that SGD with independently drawn
    batches really shows (tests). Shuffling in epochs cancels noise, which makes the divergence larger
    (:mod:`attribution_core.experiments.unique_information.toy`).

    **The null space.** All is computed in the span of the training features, where every ``d_i`` lies; the rest of
    weight space, which neither training nor noise reaches, is left out. Within the span the noise of ``"sgd"`` may
    still miss a direction (Lambda has rank n - 1 at most), and a change along it would be infinitely informative:
    ``floor`` times the largest variance is added to every variance, so that the result is finite and a lower bound.

    The papers take ``"langevin"`` and ``"sgd"`` at the minimum of a regularised loss: ``steps=inf`` and a weight decay.

    Args:
        linear: The linearised model.
        schedule: How it is trained.
        covariance: The smoothing covariance.
        sigma: Standard deviation of the isotropic smoothing, or of Langevin's gradient noise; ``> 0``.
        learning_rate: ``eta`` of the noisy training, ``> 0``; it need not be the schedule's.
        batch_size: ``b``.
        floor: Least variance as a share of the largest, for ``"sgd"``.

    Returns:
        ``[n]``, nats, ``>= 0``, float64.

    Raises:
        InputError: A parameter out of range, no curvature in some direction, or no gradient noise at all (training to
            the end without weight decay fits every label, and SGD then stands still).
    """
    if covariance not in ("isotropic", "langevin", "sgd"):
        raise InputError(f'The covariance must be "isotropic", "langevin" or "sgd", not {covariance!r}.')
    given = {"sigma": sigma, "learning_rate": learning_rate, "batch_size": batch_size, "floor": floor}
    for name, value in given.items():
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{name} must be a positive number, not {value}.")
    curvature = (linear.eigenvalues + schedule.weight_decay) / (linear.num_train if schedule.loss == "mean" else 1)
    if covariance == "sgd":
        rotation, precision = _sgd_precision(linear, schedule, curvature, learning_rate / batch_size, floor)
    else:
        rotation = None
        langevin = 2 * batch_size * curvature / (learning_rate * sigma**2)
        precision = langevin if covariance == "langevin" else torch.full_like(curvature, 1 / sigma**2)
    scores = []
    for _, changes in linear.iterate_changes(schedule):
        rotated = changes.double() if rotation is None else changes.flatten(1).double() @ rotation
        scores.append((rotated.square() * precision).flatten(1).sum(dim=1) / 2)
    return torch.cat(scores)


def _sgd_precision(
    linear: LinearizedModel, schedule: GradientDescent, curvature: Tensor, noise: float, floor: float
) -> tuple[Tensor, Tensor]:
    """Eigenvectors ``[c p, c p]`` and inverse eigenvalues ``[c p]`` of SGD's steady-state covariance."""
    gradients = linear.gradients(schedule).flatten(1).double()
    if gradients.norm() <= 1e-10 * linear.gradients(GradientDescent(1.0, 0)).norm():
        raise InputError(
            "There is no gradient noise at these weights (every label is fitted), so SGD has no spread to smooth with: "
            "use a weight decay, fewer steps, or another covariance."
        )
    curvature = curvature.repeat(gradients.shape[1] // len(curvature))
    centred = gradients - gradients.mean(dim=0)
    scatter = centred.T @ centred / len(centred)
    covariance = noise * scatter / (curvature[:, None] + curvature)
    variances, vectors = torch.linalg.eigh(covariance)
    return vectors, 1 / (variances.clamp(min=0) + floor * variances[-1])
