r"""Leave-one-outs at several training times together, for a linearized model whose outputs share their features.

By the resolvents of :mod:`attribution_core.methods.linearized.model`, with one feature row ``psi_i`` for each example,

    w - w_{-i} = psi_i * Re sum_q w_q x_iq^T,    w_q = c_q D_q,    x_iq = (r_i - rho psi_i D_q beta) / (1 - leverage_q).

The weights ``w_q`` of all times are smooth functions of the eigenvalue, and nearly dependent: r functions ``B_b`` span
them to ``TOLERANCE`` (r = 28 for nine times over four decades). With the coefficients ``a(t)`` of the sum in them,

    d_i(t)_c = psi_i * sum_b a_icb(t) B_b,     F-SI = 1 / (2 sigma^2) sum_c a_ic(t)^T M_i a_ic(t),     M_i = Z_i Z_i^T,

where ``Z_i = (B psi_i) R^T`` and ``F = R^T R / m`` is the matrix of eq. 9 with the triangular R of a QR decomposition.
So the long products are with r rows for each example, and not with k rows for each example and time.

Cost for each example: ``r p^2 / 2 + r^2 p`` for all M_i, and ``4 Q k p`` and ``k r^2`` for each time; one time alone
costs ``k p^2 / 2``. With n = 2,000, p = 1,025, k = 10 and nine times this is 3e10 multiplications instead of 1e11, and
they are done in float32. On the demo half of the scores are within 1e-6 of those in float64, and all within 1e-5.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from attribution_core.methods.linalg.blocked import blocks
from attribution_core.methods.linearized.energy import EvaluationRoot
from attribution_core.methods.linearized.leave_one_out import ResolventChanges
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.progress import report, silenced, track

NODES = 12  # of the contour, for an error of 1e-6
# Largest error of the basis, relative to the largest ``lambda w_q`` of a time.
TOLERANCE = 1e-6


def fsi_over_time(linear: LinearizedModel, schedule: GradientDescent, times: Sequence[float]) -> Tensor:
    """Return F-SI at several training times in single precision, ``[times, n]``, float32.

    Args:
        linear: The linearized model.
        schedule: How it is trained; its time is replaced.
        times: Training times, in steps.
    """
    moments = [replace(schedule, steps=time) for time in times]
    if not _share_products(linear, moments):
        single, scores = _single(linear, moments), []
        for moment in track(moments, len(moments), "F-SI over training time"):
            with silenced():
                scores.append(functional_sample_information(single, moment).float())
        return torch.stack(scores)
    changes, scores = ChangesOverTime(linear, moments), []
    root = EvaluationRoot(linear.evaluation_features[:, 0], torch.float32)
    for rows, weighted, coefficients in changes.blocks():
        half = root(weighted.flatten(0, 1)).reshape(*weighted.shape[:2], -1)
        gram = half @ half.mT
        scores.append(((coefficients @ gram) * coefficients).sum(dim=(2, 3)).clamp(min=0) / 2)
        report(rows.stop, linear.num_train, "F-SI over training time")
    return torch.cat(scores, dim=1)


def largest_effects_over_time(
    linear: LinearizedModel, schedule: GradientDescent, times: Sequence[float], top: int
) -> Tensor:
    """Return the training examples whose removal changes each evaluation example's loss most: ``[times, top, m]``.

    Cost with shared features: ``n m r p`` multiplications for all times.

    Args:
        linear: The linearized model.
        schedule: How it is trained; its time is replaced.
        times: Training times, in steps.
        top: Number of training examples for each evaluation example, largest effect first.
    """
    moments = [replace(schedule, steps=time) for time in times]
    best = [LargestEffects(top) for _ in moments]
    if not _share_products(linear, moments):
        single = _single(linear, moments)
        for place, moment in zip(best, track(moments, len(moments), "influencers over training time"), strict=True):
            with silenced():
                for rows, effects in single.iterate_effects(moment):
                    place.add(rows.start, effects)
        return torch.stack([place.rows for place in best])
    errors = [(linear.predictions(moment) - linear.evaluation_targets).float() for moment in moments]
    others = linear.evaluation_features[:, 0].float().T
    for rows, weighted, coefficients in ChangesOverTime(linear, moments).blocks():
        products = weighted @ others  # Psi_j (B_b psi_i): [block, r, m]
        for place, error, own in zip(best, errors, coefficients, strict=True):
            change = own @ products
            place.add(rows.start, (change * (0.5 * change - error.T)).sum(dim=1))
        report(rows.stop, linear.num_train, "influencers over training time")
    return torch.stack([place.rows for place in best])


class ChangesOverTime:
    """The changes ``w - w_{-i}`` at several times, in a basis of functions of the eigenvalue."""

    def __init__(self, linear: LinearizedModel, moments: Sequence[GradientDescent]) -> None:
        """Compute what all examples share.

        Args:
            linear: The linearized model; its outputs share their features.
            moments: Schedules on the sum of the losses, each for a finite time above zero.
        """
        self._linear, values = linear, linear.eigenvalues
        self._changes = [
            ResolventChanges(
                linear.beta,
                values + moment.weight_decay,
                moment.resolvents(float(values[-1]), linear.num_train, NODES),
                torch.float32,
            )
            for moment in moments
        ]
        # A direction's part of the predictions is lambda w_q, so that is what the basis must be close to.
        learned = [each.weighted * values for each in self._changes]
        sizes, functions = torch.linalg.svd(torch.cat([each / each.abs().max() for each in learned]))[1:]
        functions = functions[: len(sizes)][sizes > TOLERANCE * sizes[0]]
        self._basis = (functions / values).float()  # B: [r, p]
        self._coefficients = [(each @ functions.T).float() for each in learned]  # of w_q in B: [2 q, r]

    def blocks(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield ``(examples, B_b psi_i [block, r, p], a(t) [times, block, c, r])``, float32."""
        r, p = self._basis.shape
        n, _, c = self._linear.residuals.shape
        for rows in blocks(n, 4 * 2 * r * p, cached=self._basis.device.type == "cpu"):
            features, residuals = (each[rows].float() for each in (self._linear.features, self._linear.residuals))
            solved = [each.solved(features, residuals) for each in self._changes]
            found = [each @ mixed for each, mixed in zip(solved, self._coefficients, strict=True)]
            yield rows, features * self._basis, torch.stack(found).reshape(len(found), -1, c, r)


class LargestEffects:
    """The largest absolute effects on each evaluation example, of a matrix that comes in blocks of rows.

    Attributes:
        rows: Training examples that have them, the largest first, ``[top, m]``.
    """

    def __init__(self, top: int) -> None:
        """Start without effects; ``top`` are kept for each evaluation example."""
        self._top = top
        self._values, self.rows = torch.empty(0), torch.empty(0, dtype=torch.int64)

    def add(self, start: int, block: Tensor) -> None:
        """Take in the rows ``block`` ``[b, m]``, of which the first is row ``start``."""
        rows = torch.arange(start, start + len(block), device=block.device)[:, None].expand_as(block)
        values = block.abs()
        if len(self.rows):
            values, rows = torch.cat([self._values, values]), torch.cat([self.rows, rows])
        self._values, chosen = values.topk(min(self._top, len(values)), dim=0)
        self.rows = rows.gather(0, chosen)


def _share_products(linear: LinearizedModel, moments: Sequence[GradientDescent]) -> bool:
    """Return whether one basis serves all times: shared features, sums of losses, and times that have resolvents."""
    return linear.features.shape[1] == 1 and all(
        moment.loss == "sum" and 0 < moment.steps < math.inf for moment in moments
    )


def _single(linear: LinearizedModel, moments: Sequence[GradientDescent]) -> LinearizedModel:
    """Return the model in single precision, unless a time needs double."""
    return linear if any(moment.is_interpolation for moment in moments) else linear.rounded(torch.float32)
