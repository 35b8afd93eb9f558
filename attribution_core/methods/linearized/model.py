r"""The linearised model and all its leave-one-outs, from one eigendecomposition.

``f(x) = f_0(x) + Phi(x) (w - w_0)``, trained by gradient descent on half squared errors (unique information,
section 5). With the feature rows ``Phi_i`` of example i, ``r_i = y_i - f_0(x_i)``, ``b = sum_i Phi_i^T r_i`` and
``A = sum_i Phi_i^T Phi_i = U Lambda U^T``, training gives ``w - w_0 = g(A + lambda) b``. With ``g`` written as a sum of
resolvents ``Re sum_q c_q (s_q + rho (A + lambda))^-1`` (:mod:`attribution_core.methods.linalg.contour`), removing i is
a low-rank change inside each. Write ``D_q = (s_q + rho (Lambda + lambda))^-1``, ``Psi_i = Phi_i U`` and
``beta = U^T b``; Woodbury on ``A - Phi_i^T Phi_i`` with ``b - Phi_i^T r_i`` gives

    w - w_{-i} = U Re sum_q c_q D_q Psi_i^T (I - rho Psi_i D_q Psi_i^T)^-1 (r_i - rho Psi_i D_q beta).

Cost: one eigendecomposition of ``min(nk, p)``; then, for each example, ``O(Q k^2 p + Q k^3)`` for ``Q = 12`` nodes, so
linear in n, where a fresh decomposition per example costs ``(nk)^3`` each and downdating (section 5 of the paper)
``n^2 k^2``. Training time, learning rate and decay enter after the decomposition, which is kept.

**Shared features.** When every output has the same features (only the head is trained; an infinitely wide network),
``Phi_i = phi_i kron I_k``: all of the above holds with one feature row and k columns of residuals. Tensors here are
therefore ``[n, a, p]`` features and ``[n, a, c]`` residuals, with ``(a, c) = (k, 1)`` in general, ``(1, k)`` if shared.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linalg.blocked import blocks, inner, rotated
from attribution_core.methods.linalg.contour import SINGLE_NODES, TALBOT_NODES
from attribution_core.methods.linearized import leave_one_out
from attribution_core.methods.linearized.energy import EvaluationEnergy
from attribution_core.methods.linearized.inputs import (
    check_finite,
    check_sides,
    check_state,
    positive_eigenpairs,
)
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.progress import report

# From this many feature numbers on (half a gigabyte of float64) each example is worked on in float32.
SINGLE_PRECISION_FROM = 2**26


class LinearizedModel:
    """A linear model in fixed features, with every leave-one-out at any training time.

    Made by :func:`attribution_core.linearize`, :meth:`from_kernels` or :meth:`from_jacobians`.

    **Precision.** The Gram matrix and its eigendecomposition are float64 always: in float32 they alone put a median
    error of 2.6% on F-SI at a thousand examples. The features, and what is computed from them for each example, are
    float64 up to ``SINGLE_PRECISION_FROM`` numbers and float32 above, for half the memory and half the time. The median
    error of F-SI is then below 1e-6 after 1,000 steps at a rate of one over the largest eigenvalue, and 4e-5 after
    100,000; it is largest, up to 1%, for scores a million times below the highest (tests/methods/test_precision.py).

    Attributes:
        features: ``Psi``, ``[n, a, p]``, in the eigenbasis of the Gram matrix: ``Psi^T Psi = diag(eigenvalues)``.
        eigenvalues: Of the Gram matrix, positive, ``[p]``.
        evaluation_features: ``[m, a, p]``, in the same basis.
        kept_energy: Trace of the sketched over that of the exact kernel, set by ``linearize``; None if unknown.
    """

    def __init__(
        self,
        features: Tensor,
        eigenvalues: Tensor,
        evaluation_features: Tensor,
        train_outputs: Tensor,
        evaluation_outputs: Tensor,
        train_targets: Tensor,
        evaluation_targets: Tensor,
        to_weights: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        n, a, _ = features.shape
        self.features, self.eigenvalues, self.evaluation_features = features, eigenvalues, evaluation_features
        self.num_train, self.num_outputs = train_outputs.shape
        self.evaluation_outputs, self.evaluation_targets = evaluation_outputs, evaluation_targets
        residuals = (train_targets - train_outputs).reshape(n, a, self.num_outputs // a)
        self._residuals = residuals.to(features.dtype)
        self._gradient = torch.zeros(residuals.shape[2], len(eigenvalues), dtype=torch.float64, device=features.device)
        for rows in blocks(n, 8 * a * len(eigenvalues)):
            self._gradient += torch.einsum("nap,nac->cp", features[rows].double(), residuals[rows])
        self._to_weights = to_weights
        self.kept_energy: float | None = None

    # -- ways in ---------------------------------------------------------------------------------------------------

    @classmethod
    def from_kernels(
        cls,
        train_kernel: Tensor,
        evaluation_kernel: Tensor,
        train_outputs: Tensor,
        evaluation_outputs: Tensor,
        train_targets: Tensor,
        evaluation_targets: Tensor,
        dtype: torch.dtype | None = None,
    ) -> "LinearizedModel":
        """From tangent kernels; features are ``V Lambda^{1/2}`` of the training kernel.

        Args:
            train_kernel: ``[n k, n k]``, example-major; or ``[n, n]`` when the k outputs share their features.
            evaluation_kernel: ``[m k, n k]`` (or ``[m, n]``), evaluation rows against training columns.
            train_outputs: ``f_0`` on the training inputs, ``[n, k]``.
            evaluation_outputs: ``f_0`` on the evaluation inputs, ``[m, k]``.
            train_targets: ``[n, k]``.
            evaluation_targets: ``[m, k]``.
            dtype: Precision of what is computed for each example; by default float64, for large problems float32.

        Raises:
            InputError: Shapes that do not fit together, or values that are not finite.
        """
        kernel, evaluation = train_kernel.double(), evaluation_kernel.double()
        sides = check_sides(train_outputs, evaluation_outputs, train_targets, evaluation_targets, kernel.device)
        n, k, m = len(sides[0]), sides[0].shape[1], len(sides[1])
        a = kernel.shape[0] // n if n else 0
        if kernel.shape != (n * a, n * a) or a not in (1, k) or evaluation.shape != (m * a, n * a):
            raise InputError(
                f"Kernels of {n} training and {m} evaluation examples with {k} outputs must be [{n * k}, {n * k}] and "
                f"[{m * k}, {n * k}] (or [{n}, {n}] and [{m}, {n}] for shared features), not {list(kernel.shape)} and "
                f"{list(evaluation.shape)}."
            )
        check_finite(kernel, "training kernel")
        check_finite(evaluation, "evaluation kernel")
        eigenvalues, vectors = positive_eigenpairs((kernel + kernel.T) / 2)
        root = eigenvalues.sqrt()
        kept = dtype or _default_precision(vectors.numel())
        features = (vectors * root).to(kept).reshape(n, a, -1)
        evaluation_features = (evaluation @ (vectors / root)).to(kept).reshape(m, a, -1)
        return cls(features, eigenvalues, evaluation_features, *sides)

    @classmethod
    def from_jacobians(
        cls,
        train_jacobian: Tensor,
        evaluation_jacobian: Tensor,
        train_outputs: Tensor,
        evaluation_outputs: Tensor,
        train_targets: Tensor,
        evaluation_targets: Tensor,
        dtype: torch.dtype | None = None,
    ) -> "LinearizedModel":
        """From Jacobians at ``w_0`` (or sketches of them); decomposes the smaller of the two Gram matrices.

        Args:
            train_jacobian: ``[n, k, p]``, or ``[n, 1, p]`` when the k outputs share their features.
            evaluation_jacobian: ``[m, k, p]``, or ``[m, 1, p]``.
            train_outputs: ``f_0`` on the training inputs, ``[n, k]``.
            evaluation_outputs: ``f_0`` on the evaluation inputs, ``[m, k]``.
            train_targets: ``[n, k]``.
            evaluation_targets: ``[m, k]``.
            dtype: Precision of what is computed for each example; by default float64, for large problems float32.

        Raises:
            InputError: Shapes that do not fit together, or values that are not finite.
        """
        train, evaluation = train_jacobian, evaluation_jacobian
        sides = check_sides(train_outputs, evaluation_outputs, train_targets, evaluation_targets, train.device)
        n, k, m = len(sides[0]), sides[0].shape[1], len(sides[1])
        a, p = (train.shape[1], train.shape[2]) if train.ndim == 3 else (0, 0)
        if train.shape != (n, a, p) or a not in (1, k) or evaluation.shape != (m, a, p):
            raise InputError(
                f"Jacobians of {n} training and {m} evaluation examples with {k} outputs must be [{n}, {k}, p] and "
                f"[{m}, {k}, p] (or [{n}, 1, p] and [{m}, 1, p] for shared features), not {list(train.shape)} and "
                f"{list(evaluation.shape)}."
            )
        check_finite(train, "training Jacobian")
        check_finite(evaluation, "evaluation Jacobian")
        rows, others = train.reshape(n * a, p), evaluation.reshape(m * a, p)
        kept = dtype or _default_precision(n * a * min(n * a, p))
        if n * a < p:
            eigenvalues, vectors = positive_eigenpairs(inner(rows, rows))
            scaled = vectors / eigenvalues.sqrt()
            features = (vectors * eigenvalues.sqrt()).to(kept).reshape(n, a, -1)
            evaluation_features = (inner(others, rows) @ scaled).to(kept).reshape(m, a, -1)

            def to_weights(changes: Tensor) -> Tensor:
                return (changes.double() @ scaled.T).to(rows.dtype) @ rows

            return cls(features, eigenvalues, evaluation_features, *sides, to_weights)
        eigenvalues, vectors = positive_eigenpairs(inner(rows.T, rows.T))
        features, evaluation_features = (
            rotated(side, vectors, kept).reshape(len(side) // a, a, -1) for side in (rows, others)
        )
        return cls(features, eigenvalues, evaluation_features, *sides, lambda d: d.double() @ vectors.T)

    def state(self) -> dict[str, Tensor]:
        """Everything but the way back to the Jacobian's coordinates, as named tensors for :meth:`from_state`."""
        return {
            "features": self.features,
            "eigenvalues": self.eigenvalues,
            "residuals": self._residuals,
            "gradient": self._gradient,
            "evaluation_features": self.evaluation_features,
            "evaluation_outputs": self.evaluation_outputs,
            "evaluation_targets": self.evaluation_targets,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> "LinearizedModel":
        """The model that a state was taken of; its :meth:`weight_changes` stay in the eigenbasis.

        Args:
            state: What :meth:`state` gave.
            dtype: Precision of what is computed for each example; by default the state's own.

        Raises:
            InputError: Tensors that are missing or do not fit together.
        """
        check_state(state)
        kept = dtype or state["features"].dtype
        features, evaluation_features = (state[name].to(kept) for name in ("features", "evaluation_features"))
        residuals = state["residuals"].double().flatten(1)
        evaluated = state["evaluation_outputs"], residuals, state["evaluation_targets"]
        linear = cls(features, state["eigenvalues"], evaluation_features, torch.zeros_like(residuals), *evaluated)
        linear._gradient = state["gradient"]  # of features and residuals before they were rounded
        return linear

    def evaluated_on(self, examples: slice) -> "LinearizedModel":
        """The same model with some of its evaluation examples only."""
        fewer = copy.copy(self)
        fewer.__dict__.pop("evaluation_energy", None)
        fewer.evaluation_features = self.evaluation_features[examples]
        fewer.evaluation_outputs = self.evaluation_outputs[examples]
        fewer.evaluation_targets = self.evaluation_targets[examples]
        return fewer

    def trained_on(self, kept: Tensor) -> "LinearizedModel":
        """The model with some of its training examples only, in a new eigenbasis.

        One eigendecomposition of ``min(kept a, p)``; unlike ``group_change`` it gives every leave-one-out again.

        Args:
            kept: Indices of the examples, one or more.
        """
        kept = kept.to(self.features.device)
        residuals = self._residuals[kept].double().reshape(len(kept), self.num_outputs)
        evaluated = torch.zeros_like(residuals), self.evaluation_outputs, residuals, self.evaluation_targets
        features = self.features[kept], self.evaluation_features
        return LinearizedModel.from_jacobians(*features, *evaluated, dtype=self.features.dtype)

    # -- training with everything ----------------------------------------------------------------------------------

    def weights(self, schedule: GradientDescent) -> Tensor:
        """``w_t - w_0`` in the eigenbasis: ``[c, p]``."""
        self._check(schedule, self.num_train)
        return self._gradient * schedule.filter(self.eigenvalues, self.num_train)

    def predictions(self, schedule: GradientDescent) -> Tensor:
        """Outputs on the evaluation inputs after training (unique information, eq. 11): ``[m, k]``."""
        return self.evaluation_outputs + self.evaluate(self.weights(schedule)[None])[0]

    def gradients(self, schedule: GradientDescent) -> Tensor:
        """Each training example's loss gradient at the trained weights, in the eigenbasis: ``[n, c, p]``.

        ``Psi_i^T (f(x_i) - y_i)``, without the decay's own gradient (unique information, appendix C).
        """
        fitted = torch.einsum("nap,cp->nac", self.features, self.weights(schedule).to(self.features.dtype))
        return torch.einsum("nap,nac->ncp", self.features, fitted - self._residuals)

    # -- training without one example, or without a group -------------------------------------------------------------

    def weight_changes(
        self,
        schedule: GradientDescent,
    ) -> Tensor:
        """``w - w_{-i}`` for every training example.

        Returns:
            ``[n, p]`` in the coordinates of the Jacobian (in an orthonormal basis of its span, ``V Lambda^{1/2}``, for
            a model made from kernels). When outputs share their features, p counts every output's copy, output-major.
        """
        blocks = (
            (self._to_weights(d) if self._to_weights else d).flatten(1) for _, d in self.iterate_changes(schedule)
        )
        return torch.cat(list(blocks))

    def prediction_changes(
        self,
        schedule: GradientDescent,
    ) -> Tensor:
        """``f(x_j) - f_{-i}(x_j)`` for every training example i and evaluation example j: ``[n, m, k]``, float64."""
        return torch.cat([self.evaluate(d) for _, d in self.iterate_changes(schedule)])

    def removal_effects(
        self,
        schedule: GradientDescent,
    ) -> Tensor:
        """``effect[i, j]``: half squared error on j after removing i minus before, ``[n, m]``.

        Positive: i is helpful to j. NTK influence, eq. 8, at any training time: with ``u = f(x_j) - y_j`` and the
        change ``c = f(x_j) - f_{-i}(x_j)`` it is ``|u - c|^2 / 2 - |u|^2 / 2 = c.c / 2 - u.c``.
        """
        return torch.cat([effects for _, effects in self.iterate_effects(schedule)])

    def iterate_effects(
        self,
        schedule: GradientDescent,
    ) -> Iterator[tuple[slice, Tensor]]:
        """:meth:`removal_effects` a block of training examples at a time: ``(examples, [block, m])``."""
        error = self.predictions(schedule) - self.evaluation_targets
        for rows, d in self.iterate_changes(schedule):
            change = self.evaluate(d)
            yield rows, (change * (0.5 * change - error)).sum(dim=-1)

    def group_prediction_change(self, indices: Sequence[int] | Tensor, schedule: GradientDescent) -> Tensor:
        """``f(x_j) - f_{-G}(x_j)`` when all examples of the group are removed at once: ``[m, k]``.

        Raises:
            InputError: An empty group, an index out of range or twice, or no example left.
        """
        return self.evaluate(self.group_change(indices, schedule)[None])[0]

    def group_change(self, indices: Sequence[int] | Tensor, schedule: GradientDescent) -> Tensor:
        """``w - w_{-G}`` in the eigenbasis when all examples of the group are removed at once: ``[c, p]``, float64.

        The formula of one example with the group's rows, a solve of ``|G| a`` unknowns at each node; where these are
        more than the features, a new eigendecomposition of the p x p Gram matrix without them is cheaper.

        Raises:
            InputError: An empty group, an index out of range or twice, or no example left.
        """
        group = torch.as_tensor(indices, dtype=torch.int64, device=self.features.device)
        if group.ndim != 1 or len(group) == 0 or group.min() < 0 or group.max() >= self.num_train:
            raise InputError(f"A group holds one or more indices from 0 to {self.num_train - 1}.")
        if len(group.unique()) < len(group):
            raise InputError("A group names each training example at most once; this one repeats some.")
        rows = self.features[group].reshape(1, -1, self.features.shape[2]).double()
        residuals = self._residuals[group].reshape(1, rows.shape[1], -1).double()
        if rows.shape[1] <= rows.shape[2] or schedule.is_interpolation:
            return self._leaving_out(schedule, len(group), rows.dtype)(rows, residuals)[0]
        left = self._left(schedule, len(group))
        eigenvalues, vectors = torch.linalg.eigh(torch.diag(self.eigenvalues) - rows[0].T @ rows[0])
        gradient = (self._gradient - residuals[0].T @ rows[0]) @ vectors
        return self.weights(schedule) - gradient * schedule.filter(eigenvalues.clamp(min=0), left) @ vectors.T

    @cached_property
    def evaluation_energy(self) -> EvaluationEnergy:
        """``sum_c d_c^T F d_c`` of weight changes ``[block, c, p]``, with F of unique information, eq. 9."""
        return EvaluationEnergy(self.evaluation_features)

    def iterate_changes(
        self,
        schedule: GradientDescent,
    ) -> Iterator[tuple[slice, Tensor]]:
        """``w - w_{-i}`` in the eigenbasis, a block of examples at a time: ``(examples, [block, c, p])``."""
        _, a, p = self.features.shape
        bytes_each = self.features.element_size() * p * (a * (a + 1) // 2 + 3 * self.num_outputs)
        changes = self._leaving_out(schedule, 1, self.features.dtype)
        for rows in blocks(self.num_train, bytes_each, cached=self.features.device.type == "cpu"):
            yield rows, changes(self.features[rows], self._residuals[rows])
            report(rows.stop, self.num_train, "leave-one-out")

    def evaluate(self, changes: Tensor) -> Tensor:
        """Output changes ``[block, m, k]``, float64, of weight changes ``[block, c, p]``."""
        m, a, p = self.evaluation_features.shape
        block, c, _ = changes.shape
        rows = changes.reshape(block * c, p).to(self.evaluation_features.dtype)
        outputs = (rows @ self.evaluation_features.reshape(m * a, p).T).double()
        return outputs.reshape(block, c, m, a).permute(0, 2, 3, 1).reshape(block, m, a * c)

    def _check(self, schedule: GradientDescent, examples: int) -> None:
        largest = float(self.eigenvalues[-1]) if len(self.eigenvalues) else 0.0
        schedule.check_stable(largest, examples)

    def _leaving_out(
        self, schedule: GradientDescent, removed: int, dtype: torch.dtype
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """From groups' rows ``[block, a, p]`` and residuals ``[block, a, c]`` to ``w - w_{-G}``, ``[block, c, p]``."""
        left = self._left(schedule, removed)
        if schedule.steps == 0:
            return lambda rows, residuals: rows.new_zeros(len(rows), residuals.shape[2], rows.shape[2])
        if schedule.is_interpolation:
            if dtype != torch.float64:
                raise InputError(
                    "Endless training without weight decay needs float64, and this model is kept in float32: set a "
                    "weight decay, train for a finite time, or give dtype=torch.float64."
                )
            return lambda rows, residuals: leave_one_out.interpolation_changes(
                rows, residuals, self._gradient, self.eigenvalues
            )
        largest = float(self.eigenvalues[-1]) if len(self.eigenvalues) else 0.0
        resolvents = schedule.resolvents(largest, left, TALBOT_NODES if dtype == torch.float64 else SINGLE_NODES)
        spectrum = self.eigenvalues + schedule.weight_decay
        changes = leave_one_out.ResolventChanges(self._gradient, spectrum, resolvents, dtype)
        if schedule.loss == "sum" or math.isinf(schedule.steps):
            return changes
        # Fewer examples, larger rate: w(eta/n) - w_-G(eta/left) = [w(eta/n) - w(eta/left)] + formula at eta/left
        faster = schedule.filter(self.eigenvalues, self.num_train) - schedule.filter(self.eigenvalues, left)
        common = (self._gradient * faster).to(dtype)
        return lambda rows, residuals: changes(rows, residuals) + common

    def _left(self, schedule: GradientDescent, removed: int) -> int:
        """How many examples are left; InputError when that is none, or when descent on them would diverge."""
        left = self.num_train - removed
        if left < 1:
            raise InputError("Nothing would be left to train on: at least one example must stay.")
        self._check(schedule, left)
        return left


def _default_precision(numbers: int) -> torch.dtype:
    return torch.float64 if numbers < SINGLE_PRECISION_FROM else torch.float32
