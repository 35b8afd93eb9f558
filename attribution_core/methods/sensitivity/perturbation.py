r"""The memory-perturbation equation: the sensitivity of a model to each training example, at any time of training.

Nickl, Xu, Tailor, Moellenhoff and Khan, "The memory perturbation equation: understanding model's sensitivity to
data", NeurIPS 2023. Removing example i is a step of the Bayesian learning rule backwards (eq. 4). For a Gaussian
posterior with mean w and precision S it moves the mean by (eq. 13, delta method)

    w_{-i} - w = (S - J_i^T Lambda_i J_i)^{-1} J_i^T e_i,

with the Jacobian ``J_i`` of the example's outputs, the error ``e_i = sigma(f_i) - y_i`` and the Hessian ``Lambda_i`` of
its loss in the outputs. So with ``v_i = J_i S^{-1} J_i^T`` the example's own outputs move by

- covariance **kept** (eqs. 14-15): ``v_i e_i``, prediction variance times prediction error;
- covariance **downdated** (eq. 13): ``v_i (I - Lambda_i v_i)^{-1} e_i``, by Woodbury's identity. This is exact for
  linear regression (eq. 24: ``v e / (1 - v)``), and the kept form is its first order. If S contains the example, the
  eigenvalues of ``Lambda_i v_i``, its leverage, are below one. An approximate S may not contain it; if the leverage
  reaches one, the example cannot be removed from S, and the covariance is kept.

**Across outputs.** v and Lambda couple the outputs. The form of appendix G.4 keeps their diagonals only, so each output
moves by its own variance and error, and the sensitivity is ``sum_c |v_cc| |e_c| |sigma'_c|`` with
``sigma' = p (1 - p)``: ``across_outputs=False``. It is the authors' form; for softmax it is about twice the other.

Conventions: the objective is ``sum_i loss_i + delta/2 |w|^2``. Training on the mean loss with weight decay lambda
corresponds to ``delta = n lambda``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.jacobian import factor_batches, largest_gradient
from attribution_core.gradients.plan import ParameterPlan, plan_parameters
from attribution_core.methods.curvature.losses import (
    Loss,
    expected_errors,
    hessian_product,
    hessian_root,
    link_derivatives,
    prediction_errors,
)
from attribution_core.methods.linalg.solving import solve
from attribution_core.methods.sensitivity.posteriors import (
    DiagonalPosterior,
    Posterior,
    diagonal_posterior,
    full_posterior,
    kfac_posterior,
    magnitude,
    optimizer_posterior,
)
from attribution_core.training import as_pair, loss_values
from attribution_core.training.trainer import LabeledData

PosteriorName = Literal["diagonal", "kfac", "full", "adam", "iblr"]
Covariance = Literal["kept", "downdated"]


@dataclass(frozen=True)
class MemorySensitivity:
    """Estimated effect of removing each training example on the model's outputs for it.

    Attributes:
        outputs: Outputs ``f_i``, ``[n, k]``.
        variance: ``v_i``, the covariance of the outputs under the posterior, ``[n, k, k]``; its diagonal, ``[n, k]``;
            or None, as requested.
        error_variance: ``e_i^T v_i e_i / |e_i|^2``, the variance of the outputs along the error, ``[n]``; for one
            output it is the variance itself. With the covariance downdated, ``v_i (I - Lambda_i v_i)^{-1}`` takes the
            place of ``v_i``.
        error: ``e_i``, predicted mean minus target, ``[n, k]``.
        deviation: Outputs without the example minus with it (eq. 15), or their part along the error, ``[n, k]``.
        mean_deviation: First-order change of the predicted probabilities (or means) (eq. 16), ``[n, k]``.
        sensitivity: Sum over outputs of the absolute ``mean_deviation``, ``[n]``, >= 0.
        loo_loss: Loss on the example of the model without it (eq. 19), ``[n]``.
    """

    outputs: Tensor
    variance: Tensor | None
    error_variance: Tensor
    error: Tensor
    deviation: Tensor
    mean_deviation: Tensor
    sensitivity: Tensor
    loo_loss: Tensor


def memory_sensitivity(
    model: nn.Module,
    train: LabeledData,
    delta: float,
    loss: Loss = "cross_entropy",
    posterior: PosteriorName = "kfac",
    covariance: Covariance = "kept",
    parameters: str = "all",
    second_moments: Mapping[str, Tensor] | None = None,
    variance: Literal["whole", "diagonal", "none"] = "whole",
    samples: int = 0,
    along_error: bool = False,
    across_outputs: bool = True,
) -> MemorySensitivity:
    """Compute the sensitivity of a model to each of its training examples.

    Cost: that of the posterior, then a backward pass for each output. With ``variance="none"``, the covariance kept and
    a posterior that is not full, it is one backward pass and its derivative for any number of outputs: ``v e`` is the
    gradient in e of ``|S^{-1/2} J^T e|^2 / 2``. That energy alone, without its derivative, gives the part of ``v e``
    along e: ``along_error`` uses it in place of the whole, for about half the time. On 5,000 images its leave-one-out
    loss was within 2.5% of the whole's (LeNet-5, MLP 500-300, three posteriors), and the rank correlation of the
    sensitivities was 0.998.

    Args:
        model: Model after training, or at any time of it.
        train: Training examples.
        delta: Strength of the regularizer in ``sum_i loss_i + delta/2 |w|^2``: n times the weight decay of a mean loss.
        loss: ``"cross_entropy"`` (softmax, or sigmoid for one output), ``"binary_cross_entropy"`` (sigmoids) or
            ``"mse"`` (half the squared error).
        posterior: See :mod:`attribution_core.methods.sensitivity.posteriors`.
        covariance: ``"kept"`` or ``"downdated"``; see the module docstring.
        parameters: Parameters whose uncertainty counts: ``"all"``, ``"head"`` or a regular expression.
        second_moments: ``trajectory.second_moments[step]`` at the model's weights, for ``"adam"`` and ``"iblr"``.
        variance: What to return of the variances: all, which takes ``n k^2`` numbers, their diagonal, or nothing.
        samples: Number of draws of the outputs from ``N(f_i, v_i)`` over which the error is averaged, as in eq. 13
            before the delta method (G.4: 150); this needs the variances. 0 uses the error at the weights.
        along_error: Whether to compute only the part of a deviation along the error; requires ``variance="none"`` and
            the covariance kept.
        across_outputs: Whether covariances between outputs count; False is the form of appendix G.4.

    Returns:
        The sensitivities.

    Raises:
        InputError: Options are unknown or incompatible, delta is not positive, or the posterior is too large.
    """
    require_covariance(covariance)
    if variance not in ("whole", "diagonal", "none"):
        raise InputError(f'The variance must be "whole", "diagonal" or "none", not {variance!r}.')
    quick = posterior != "full" and covariance == "kept" and variance == "none" and not samples and across_outputs
    if along_error and not quick:
        raise InputError(
            'along_error saves time only with variance="none", covariance="kept", no samples, across_outputs=True and '
            "a posterior that is not full: use those, or along_error=False."
        )
    inputs, targets = as_pair(train)
    plan = plan_parameters(model, inputs, parameters)
    made = posterior_of(model, inputs, plan, delta, loss, posterior, second_moments)
    if isinstance(made, DiagonalPosterior) and quick:

        def error(outputs: Tensor, where: slice) -> Tensor:
            return prediction_errors(outputs, targets[where].to(outputs.device), loss)

        values, errors, deviation = made.deviations(model, inputs, error, along_error)
        return _sensitivity(values, targets.to(values.device), loss, errors, deviation, None)
    parts: list[MemorySensitivity] = []
    done = 0
    formed = largest_gradient(plan) if isinstance(made, DiagonalPosterior) else lambda _: plan.width
    for part, values, factors in factor_batches(model, inputs, plan, what="sensitivity", formed=formed):
        v = made.variances(model, part, factors)
        found = sensitivity_from(values, v, targets[done : done + len(part)], loss, covariance, samples, across_outputs)
        kept = {"whole": v, "diagonal": v.diagonal(dim1=1, dim2=2), "none": None}[variance]
        parts.append(replace(found, variance=kept))
        done += len(part)
    return _joined(parts)


def deviations(variance: Tensor, root: Tensor, error: Tensor, covariance: Covariance) -> Tensor:
    """Return ``v e`` or ``v (I - Lambda v)^{-1} e``, for examples or for groups that are removed together.

    Args:
        variance: v, ``[b, r, r]``.
        root: M with ``M M^T = Lambda``, ``[b, r, r]``.
        error: e, ``[b, r]``.
        covariance: ``"kept"`` or ``"downdated"``; it is kept if the leverage reaches one.

    Returns:
        Deviations ``[b, r]``.

    Raises:
        InputError: The covariance is unknown.
    """
    require_covariance(covariance)
    if covariance == "downdated":
        identity = torch.eye(root.shape[2], dtype=error.dtype, device=error.device)
        leverage = root.mT @ variance @ root
        held = torch.linalg.eigvalsh(leverage)[:, -1] < 1
        # e / (I - M M^T v) = e + M (I - M^T v M)^{-1} M^T v e
        inner = torch.where(held[:, None, None], identity - leverage, identity)
        change = root @ solve(inner, root.mT @ variance @ error[:, :, None])
        error = error + torch.where(held[:, None], change[:, :, 0], 0)
    return (variance @ error[:, :, None])[:, :, 0]


def require_covariance(covariance: str) -> None:
    """Raise InputError unless the covariance is ``"kept"`` or ``"downdated"``."""
    if covariance not in ("kept", "downdated"):
        raise InputError(f'The covariance must be "kept" or "downdated", not {covariance!r}.')


def posterior_of(
    model: nn.Module,
    inputs: Tensor,
    plan: ParameterPlan,
    delta: float,
    loss: Loss,
    posterior: PosteriorName,
    second_moments: Mapping[str, Tensor] | None,
) -> Posterior:
    """Return the posterior of a given name; arguments and errors are those of :func:`memory_sensitivity`."""
    if not delta > 0:
        raise InputError(
            f"delta must be positive, since without it the posterior may have no variance; {delta} was given."
        )
    makers: dict[str, Callable[..., Posterior]] = {
        "diagonal": diagonal_posterior,
        "kfac": kfac_posterior,
        "full": full_posterior,
    }
    if posterior in makers:
        return makers[posterior](model, inputs, plan, loss, delta)
    if posterior not in ("adam", "iblr"):
        raise InputError(f"The posterior must be one of {', '.join(makers)}, adam or iblr, not {posterior!r}.")
    device = next(model.parameters()).device
    moments = {name: value.to(device) for name, value in (second_moments or {}).items()}
    return optimizer_posterior(plan, moments, len(inputs), delta if posterior == "adam" else 0.0)


def sensitivity_from(
    outputs: Tensor,
    variance: Tensor,
    targets: Tensor,
    loss: Loss,
    covariance: Covariance = "kept",
    samples: int = 0,
    across_outputs: bool = True,
) -> MemorySensitivity:
    """Evaluate the equation from outputs, their variances and targets.

    Args:
        outputs: Outputs at the posterior's mean, ``[n, k]``.
        variance: Covariance of the outputs under the posterior, ``[n, k, k]``.
        targets: Targets of the training examples.
        loss: As in :func:`memory_sensitivity`.
        covariance: As in :func:`memory_sensitivity`.
        samples: As in :func:`memory_sensitivity`.
        across_outputs: As in :func:`memory_sensitivity`.

    Raises:
        InputError: The covariance is neither kept nor downdated.
    """
    targets = targets.to(outputs.device)
    if not across_outputs:
        variance = torch.diag_embed(variance.diagonal(dim1=1, dim2=2))
    if samples:
        error = expected_errors(outputs, variance, targets, loss, samples)
    else:
        error = prediction_errors(outputs, targets, loss)
    root = hessian_root(outputs, loss) if across_outputs else link_derivatives(outputs, loss).sqrt().diag_embed()
    deviation = deviations(variance, root, error, covariance)
    return _sensitivity(outputs, targets, loss, error, deviation, variance, across_outputs)


def mean_deviations(outputs: Tensor, deviation: Tensor, loss: Loss, across_outputs: bool) -> Tensor:
    """Return the first-order change of the means, ``Lambda d`` or ``sigma' d``, ``[b, k]`` (eq. 16)."""
    return hessian_product(outputs, deviation, loss) if across_outputs else link_derivatives(outputs, loss) * deviation


def _sensitivity(
    outputs: Tensor,
    targets: Tensor,
    loss: Loss,
    error: Tensor,
    deviation: Tensor,
    variance: Tensor | None,
    across_outputs: bool = True,
) -> MemorySensitivity:
    """Derive the remaining results from outputs, their errors and deviations."""
    mean_deviation = mean_deviations(outputs, deviation, loss, across_outputs)
    size = magnitude(error)
    unit, norm = error / size, (error / size).norm(dim=1).clamp(min=torch.finfo(error.dtype).tiny)
    along = (unit / norm[:, None] * (deviation / size)).sum(dim=1) / norm
    return MemorySensitivity(
        outputs,
        variance,
        along,
        error,
        deviation,
        mean_deviation,
        mean_deviation.abs().sum(dim=1),
        loss_values(outputs + deviation, targets, loss),
    )


def _joined(parts: Sequence[MemorySensitivity]) -> MemorySensitivity:
    """Concatenate the results of batches."""

    def column(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)

    return MemorySensitivity(**{field.name: column(field.name) for field in fields(MemorySensitivity)})
