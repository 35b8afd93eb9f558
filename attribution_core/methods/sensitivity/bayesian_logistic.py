r"""Bayesian logistic regression by the Bayesian learning rule, with a full covariance for each class.

Nickl et al. 2023, eqs. 10 and 18, appendix G.4. With outputs ``f = Theta x`` and a Gaussian ``N(m_c, S_c^{-1})`` over
the weights of each class, a step with a batch B of the N examples is

    S_c <- (1 - rate_S) S_c + rate_S (N/|B| sum_B E[sigma'_c] x x^T + delta I)
    m_c <- m_c - rate S_c^{-1} (N/|B| sum_B E[sigma(f) - y]_c x + delta m_c)

where expectations are means over weights drawn from the posterior before the step, and ``sigma'_c = p_c (1 - p_c)``.
Cost of a step for each class: a Cholesky factor, ``p^3 / 3``, and its Hessian, ``|B| p^2``.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linalg.solving import solve
from attribution_core.methods.sensitivity.perturbation import MemorySensitivity, sensitivity_from
from attribution_core.progress import track
from attribution_core.training import as_outputs, as_pair
from attribution_core.training.trainer import LabeledData


@dataclass(frozen=True)
class LogisticPosterior:
    """Gaussian posterior over the weights.

    Attributes:
        mean: m, ``[k, p]``; p includes the constant 1 after the inputs.
        precision: S, ``[k, p, p]``.
    """

    mean: Tensor
    precision: Tensor

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the outputs at the mean: ``[n, ...]`` -> ``[n, k]``."""
        return _rows(inputs).to(self.mean) @ self.mean.T

    def variances(self, inputs: Tensor) -> Tensor:
        """Return ``v_ic = x_i^T S_c^{-1} x_i``, ``[n, k]``."""
        x = _rows(inputs).to(self.mean)
        roots = torch.linalg.cholesky(self.precision)
        halves = (torch.linalg.solve_triangular(root, x.T, upper=False) for root in roots)
        return torch.stack([half.square().sum(dim=0) for half in halves], dim=1)

    def sensitivity(self, train: LabeledData, samples: int = 150) -> MemorySensitivity:
        """Return the sensitivity to each training example (G.4), with errors averaged over draws of the outputs."""
        inputs, targets = as_pair(train)
        variance = self.variances(inputs).diag_embed()
        return sensitivity_from(self.outputs(inputs), variance, targets, "cross_entropy", samples=samples)


def bayesian_logistic_regression(
    train: LabeledData,
    classes: int,
    delta: float,
    steps: int = 125,
    batch_size: int = 200,
    rates: tuple[float, float] = (0.005, 0.001),
    precision_rate: float = 1e-5,
    initial_precision: float = 100.0,
    samples: int = 3,
    record: Collection[int] = (),
    seed: int = 0,
) -> dict[int, LogisticPosterior]:
    """Learn the posterior; the steps, batches, rates and draws are by default the paper's (G.4).

    The paper does not say where the precision starts, and its learning rate is so small that it stays near there. With
    the default, 100, sensitivities are nearly equal at first and their tail grows, as in figure 6(a). From ``delta``
    (0.1 there) the draws are so wide that after 5 steps 2% of the examples have all of the sensitivity.

    Args:
        train: Training examples; inputs are flattened and keep their dtype.
        classes: Number of classes, k; 2 gives one output, whose sigmoid is the probability of class 1.
        delta: Strength of the regularizer in ``sum_i loss_i + delta/2 |Theta|^2``.
        steps: Number of steps.
        batch_size: Number of examples per step, drawn without replacement.
        rates: Learning rates of the mean at the first and the last step, with linear interpolation between them.
        precision_rate: Learning rate of the precision.
        initial_precision: Initial precision, times the identity.
        samples: Number of weights drawn per step; 0 uses the mean (the delta method: Newton's method at rates of one).
        record: Steps after which to keep the posterior, in addition to the last.
        seed: Seed of batches and draws.

    Returns:
        The posterior by step, in order.

    Raises:
        InputError: There are fewer than two classes, or delta, a rate or the initial precision is not positive.
    """
    if classes < 2 or not min(delta, *rates, precision_rate, initial_precision) > 0:
        raise InputError(
            f"Bayesian logistic regression needs at least two classes and positive delta, rates and initial precision; "
            f"got {classes} classes, delta {delta}, rates {rates}, precision rate {precision_rate} and initial "
            f"precision {initial_precision}."
        )
    inputs, targets = as_pair(train)
    x = _rows(inputs)
    y = as_outputs(targets, classes if classes > 2 else 1).to(x)
    n, p = x.shape
    generator = torch.Generator().manual_seed(seed)
    mean = x.new_zeros(y.shape[1], p)
    identity = torch.eye(p, dtype=x.dtype, device=x.device)
    precision = initial_precision * identity.repeat(len(mean), 1, 1)
    kept = {}
    for step in track(range(steps), steps, "Bayesian logistic regression"):
        batch = torch.randperm(n, generator=generator)[:batch_size].to(x.device)
        error, curvature = _expectations(x[batch], y[batch], mean, precision, samples, generator)
        scale = n / len(batch)
        hessian = torch.stack([scale * x[batch].T @ (c[:, None] * x[batch]) for c in curvature.T])
        precision = (1 - precision_rate) * precision + precision_rate * (hessian + delta * identity)
        gradient = scale * error.T @ x[batch] + delta * mean
        rate = rates[0] + (rates[1] - rates[0]) * step / max(1, steps - 1)
        mean = mean - rate * solve(precision, gradient[:, :, None])[:, :, 0]
        if step + 1 in record or step + 1 == steps:
            kept[step + 1] = LogisticPosterior(mean, precision)
    return kept


def _expectations(
    x: Tensor, y: Tensor, mean: Tensor, precision: Tensor, samples: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the expectations of ``sigma(f) - y`` and of sigma' under the posterior, each ``[b, k]``."""
    if samples == 0:
        weights = mean[None]
    else:
        noise = torch.randn(len(mean), mean.shape[1], samples, generator=generator, dtype=x.dtype).to(x.device)
        roots = torch.linalg.cholesky(precision)
        draws = torch.linalg.solve_triangular(roots.mT, noise, upper=True)
        weights = mean + draws.movedim(2, 0)
    outputs = torch.einsum("skp,bp->sbk", weights, x)
    probabilities = outputs.sigmoid() if outputs.shape[2] == 1 else outputs.softmax(dim=2)
    return probabilities.mean(dim=0) - y, (probabilities * (1 - probabilities)).mean(dim=0)


def _rows(inputs: Tensor) -> Tensor:
    """Return the flattened inputs with a constant 1 appended, ``[n, p]``."""
    flat = inputs.flatten(1)
    return torch.cat([flat, flat.new_ones(len(flat), 1)], dim=1)
