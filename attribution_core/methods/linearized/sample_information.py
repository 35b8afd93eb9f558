"""Unique information: how much a single example informs the predictions (F-SI) and the weights (SI).

Harutyunyan et al., "Estimating informativeness of samples with smooth unique information", ICLR 2021.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linearized.energy import EvaluationRoot
from attribution_core.methods.linearized.factored import FactoredChanges, can_factor
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent


def functional_sample_information(
    linear: LinearizedModel,
    schedule: GradientDescent,
    sigma: float = 1.0,
) -> Tensor:
    r"""Return F-SI, the information that only this training example gives the predictions.

    It is the Kullback-Leibler divergence between the predictions with and without the example, both smoothed by
    Gaussian noise of standard deviation ``sigma``, averaged over the evaluation inputs (eqs. 8 and 16):

        F-SI_i = 1 / (2 sigma^2 m) sum_j |f(x_j) - f_{-i}(x_j)|^2 = 1 / (2 sigma^2) d_i^T F d_i

    with ``d_i = w - w_{-i}`` and ``F = sum_j Phi_j^T Phi_j / m`` (eq. 9, exact for a linear model). Because of F, the
    cost does not grow with the number of evaluation examples (:mod:`attribution_core.methods.linearized.energy`).

    Args:
        linear: The linearized model.
        schedule: How it is trained.
        sigma: Standard deviation of the noise on the outputs, ``> 0``; it only scales the result.

    Returns:
        F-SI ``[n]`` in nats, ``>= 0``, float64.

    Raises:
        InputError: ``sigma`` is not positive, or the learning rate is above the stability limit.
    """
    if not sigma > 0:
        raise InputError(f"sigma must be positive, not {sigma}.")
    if can_factor(linear, schedule):
        root = EvaluationRoot(linear.evaluation_features[:, 0], linear.features.dtype)
        energies = (
            _energy(own, root(rows.flatten(0, 1)).reshape(len(rows), rows.shape[1], -1))
            for _, own, rows in FactoredChanges(linear, schedule).blocks()
        )
    else:
        energies = (linear.evaluation_energy(changes) for _, changes in linear.iterate_changes(schedule))
    return torch.cat([energy.clamp(min=0).double() / (2 * sigma**2) for energy in energies])


def _energy(own: Tensor, rows: Tensor) -> Tensor:
    """Return ``|A_i Z_i|^2`` for factors ``[block, k, r]`` and ``[block, r, p]``: ``[block]``."""
    return ((own @ (rows @ rows.mT)) * own).sum(dim=(1, 2))


def sample_information(
    linear: LinearizedModel,
    schedule: GradientDescent,
    covariance: Literal["isotropic", "langevin", "sgd"] = "isotropic",
    sigma: float = 1.0,
    learning_rate: float = 0.01,
    batch_size: int = 1,
    floor: float = 1e-9,
) -> Tensor:
    r"""Return SI, the information that only this training example gives the smoothed weights.

    ``SI_i = d_i^T Sigma^-1 d_i / 2`` with ``d_i = w - w_{-i}`` (eq. 5). With the curvature ``H = A + lambda`` of the
    sum of losses, diagonal in the eigenbasis, the smoothing covariance is

    * ``"isotropic"``: ``sigma^2 I``;
    * ``"langevin"``: the steady state of SGD with gradient noise ``sigma^2 I``, ``eta sigma^2 / (2 b) H^-1`` (eq. 15);
    * ``"sgd"``: the solution of ``H Sigma + Sigma H = (eta / b) Lambda`` (eq. 14) with the covariance
      ``Lambda = G G^T / n - g g^T`` of the examples' gradients at the trained weights (appendix C). Since H is
      diagonal, the Lyapunov equation is solved entry by entry, ``Sigma_ab = (eta / b) Lambda_ab / (h_a + h_b)``; the
      Bartels-Stewart algorithm reduces to this after its Schur step.

    **Sum or mean.** The paper's H is that of the sum of losses, and its noise is that of a batch's mean gradient; the
    same holds here if the schedule's loss is ``"sum"``. Real SGD takes both from the mean: use a schedule with
    ``loss="mean"``, which divides H by n. The result is then the divergence that SGD with independently drawn batches
    shows (see the tests). Shuffling in epochs cancels noise, which makes the divergence larger
    (:mod:`attribution_core.experiments.unique_information.toy`).

    **The null space.** Everything is computed in the span of the training features, which contains every ``d_i``; the
    rest of weight space, which neither training nor noise reaches, is ignored. Within the span the noise of ``"sgd"``
    may still miss a direction (the rank of Lambda is at most n - 1), and a change along it would be infinitely
    informative. Therefore ``floor`` times the largest variance is added to every variance, which makes the result
    finite and a lower bound.

    The papers use ``"langevin"`` and ``"sgd"`` at the minimum of a regularized loss: ``steps=inf`` and a weight decay.

    Args:
        linear: The linearized model.
        schedule: How it is trained.
        covariance: The smoothing covariance.
        sigma: Standard deviation of the isotropic smoothing, or of Langevin's gradient noise; ``> 0``.
        learning_rate: ``eta`` of the noisy training, ``> 0``; it may differ from the schedule's.
        batch_size: Batch size ``b``.
        floor: Smallest variance as a share of the largest, for ``"sgd"``.

    Returns:
        SI ``[n]`` in nats, ``>= 0``, float64.

    Raises:
        InputError: A parameter is out of range, some direction has no curvature, or there is no gradient noise
            (training to the end without weight decay fits every label, and SGD then does not move).
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
    if rotation is None and can_factor(linear, schedule):
        weights = precision.sqrt().to(linear.features.dtype)
        changes_by_block = FactoredChanges(linear, schedule).blocks()
        return torch.cat([_energy(own, rows * weights).double() / 2 for _, own, rows in changes_by_block])
    scores = []
    for _, changes in linear.iterate_changes(schedule):
        rotated = changes.double() if rotation is None else changes.flatten(1).double() @ rotation
        scores.append((rotated.square() * precision).flatten(1).sum(dim=1) / 2)
    return torch.cat(scores)


def _sgd_precision(
    linear: LinearizedModel, schedule: GradientDescent, curvature: Tensor, noise: float, floor: float
) -> tuple[Tensor, Tensor]:
    """Return eigenvectors ``[c p, c p]`` and inverse eigenvalues ``[c p]`` of SGD's steady-state covariance."""
    gradients = linear.gradients(schedule).flatten(1).double()
    if gradients.norm() <= 1e-10 * linear.gradients(GradientDescent(1.0, 0)).norm():
        raise InputError(
            "There is no gradient noise at these weights (every label is fitted), so SGD has no covariance to smooth "
            "with: use a weight decay, fewer steps, or another covariance."
        )
    curvature = curvature.repeat(gradients.shape[1] // len(curvature))
    centered = gradients - gradients.mean(dim=0)
    scatter = centered.T @ centered / len(centered)
    covariance = noise * scatter / (curvature[:, None] + curvature)
    variances, vectors = torch.linalg.eigh(covariance)
    return vectors, 1 / (variances.clamp(min=0) + floor * variances[-1])
