r"""The linearized model and all its leave-one-outs, from one eigendecomposition.

``f(x) = f_0(x) + Phi(x) (w - w_0)``, trained by gradient descent on half squared errors (unique information,
section 5). With the feature rows ``Phi_i`` of example i, ``r_i = y_i - f_0(x_i)``, ``b = sum_i Phi_i^T r_i`` and
``A = sum_i Phi_i^T Phi_i = U Lambda U^T``, training gives ``w - w_0 = g(A + lambda) b`` and, with ``g`` as a sum of
resolvents ``Re sum_q c_q (s_q + rho (A + lambda))^-1`` (:mod:`attribution_core.methods.linalg.contour`), removing i
changes each resolvent by a matrix of low rank. Write ``D_q = (s_q + rho (Lambda + lambda))^-1``, ``Psi_i = Phi_i U``
and ``beta = U^T b``; Woodbury on ``A - Phi_i^T Phi_i`` with ``b - Phi_i^T r_i`` gives

    w - w_{-i} = U Re sum_q c_q D_q Psi_i^T (I - rho Psi_i D_q Psi_i^T)^-1 (r_i - rho Psi_i D_q beta).

Cost: one eigendecomposition of ``min(nk, p)``, then ``O(Q k^2 p + Q k^3)`` for each example with ``Q = 12`` nodes. That
is linear in n; a new decomposition costs ``(nk)^3`` per example, and downdating (section 5 of the paper) ``n^2 k^2``.
Training time, learning rate and decay enter after the decomposition, so changing them reuses it.

**Shared features.** If every output has the same features (only the head is trained, or the network is infinitely
wide), then ``Phi_i = phi_i kron I_k``, and all of the above holds with one feature row and k columns of residuals.
Features are therefore ``[n, a, p]`` and residuals ``[n, a, c]`` here, with ``(a, c) = (k, 1)`` in general and
``(1, k)`` for shared features.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linalg.blocked import blocks
from attribution_core.methods.linalg.contour import SINGLE_NODES, TALBOT_NODES
from attribution_core.methods.linearized import leave_one_out
from attribution_core.methods.linearized.checks import check_state, checked_outputs
from attribution_core.methods.linearized.decomposition import Decomposition, decompose_jacobians, decompose_kernels
from attribution_core.methods.linearized.energy import EvaluationEnergy
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.progress import report


def squared_error_change(change: Tensor, error: Tensor) -> Tensor:
    """Return how half the squared error changes if outputs fall by ``change``: ``[..., m, k]`` -> ``[..., m]``."""
    return (change * (0.5 * change - error)).sum(dim=-1)


class LinearizedModel:
    """A linear model in fixed features, with every leave-one-out at any training time.

    Create one with :func:`attribution_core.linearize`, :meth:`from_kernels` or :meth:`from_jacobians`.

    **Precision.** The Gram matrix and its eigendecomposition are always float64: in float32 they alone cause a median
    error of 2.6% in F-SI at a thousand examples. The features and per-example work are float64 below
    ``SINGLE_PRECISION_FROM`` entries (:mod:`attribution_core.methods.linearized.decomposition`) and float32 from there
    on, for half the memory and half the time. The median error of F-SI is then below 1e-6 after 1,000 steps at a
    learning rate of one over the largest eigenvalue, and 4e-5 after 100,000. It is largest, up to 1%, for scores a
    million times below the highest (tests/methods/linearized/test_precision.py).

    Attributes:
        features: ``Psi``, ``[n, a, p]``, in the eigenbasis of the Gram matrix: ``Psi^T Psi = diag(eigenvalues)``.
        eigenvalues: Positive eigenvalues of the Gram matrix, ``[p]``.
        residuals: ``r``, ``[n, a, c]``, in the precision of the features.
        beta: ``U^T b``, ``[c, p]``, float64.
        evaluation_features: Features of the evaluation examples in the same basis, ``[m, a, p]``.
        num_train: Number of training examples, n.
        num_outputs: Number of outputs, k.
        evaluation_outputs: ``f_0`` on the evaluation inputs, ``[m, k]``.
        evaluation_targets: Targets of the evaluation examples, ``[m, k]``.
        kept_energy: Trace of the sketched kernel divided by that of the exact one, set by ``linearize``; None if
            unknown.
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
        self.residuals = residuals.to(features.dtype)
        self.beta = torch.zeros(residuals.shape[2], len(eigenvalues), dtype=torch.float64, device=features.device)
        for rows in blocks(n, 8 * a * len(eigenvalues)):
            self.beta += torch.einsum("nap,nac->cp", features[rows].double(), residuals[rows])
        self._to_weights = to_weights
        self.kept_energy: float | None = None

    # -- creation --------------------------------------------------------------------------------------------------

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
        """Create the model from tangent kernels; its features are ``V Lambda^{1/2}`` of the training kernel.

        Args:
            train_kernel: Kernel of the training examples, ``[n k, n k]``, example-major; ``[n, n]`` if the k outputs
                share their features.
            evaluation_kernel: Evaluation rows against training columns, ``[m k, n k]`` or ``[m, n]``.
            train_outputs: ``f_0`` on the training inputs, ``[n, k]``.
            evaluation_outputs: ``f_0`` on the evaluation inputs, ``[m, k]``.
            train_targets: Training targets, ``[n, k]``.
            evaluation_targets: Evaluation targets, ``[m, k]``.
            dtype: Precision of per-example work; None is float64, or float32 for large problems.

        Raises:
            InputError: Shapes do not match, or values are not finite.
        """
        outputs_and_targets = train_outputs, evaluation_outputs, train_targets, evaluation_targets
        return cls._from(decompose_kernels, train_kernel, evaluation_kernel, outputs_and_targets, dtype)

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
        """Create the model from Jacobians at ``w_0``, or from sketches of them.

        The smaller of the two Gram matrices is decomposed.

        Args:
            train_jacobian: Jacobian of the training examples, ``[n, k, p]``; ``[n, 1, p]`` if the k outputs share
                their features.
            evaluation_jacobian: Jacobian of the evaluation examples, ``[m, k, p]`` or ``[m, 1, p]``.
            train_outputs: ``f_0`` on the training inputs, ``[n, k]``.
            evaluation_outputs: ``f_0`` on the evaluation inputs, ``[m, k]``.
            train_targets: Training targets, ``[n, k]``.
            evaluation_targets: Evaluation targets, ``[m, k]``.
            dtype: Precision of per-example work; None is float64, or float32 for large problems.

        Raises:
            InputError: Shapes do not match, or values are not finite.
        """
        outputs_and_targets = train_outputs, evaluation_outputs, train_targets, evaluation_targets
        return cls._from(decompose_jacobians, train_jacobian, evaluation_jacobian, outputs_and_targets, dtype)

    @classmethod
    def _from(
        cls,
        decompose: Callable[..., Decomposition],
        train: Tensor,
        evaluation: Tensor,
        outputs_and_targets: tuple[Tensor, Tensor, Tensor, Tensor],
        dtype: torch.dtype | None,
    ) -> "LinearizedModel":
        checked = checked_outputs(*outputs_and_targets, train.device)
        (n, k), m = checked[0].shape, len(checked[1])
        features, eigenvalues, evaluation_features, to_weights = decompose(train, evaluation, (n, m), k, dtype)
        return cls(features, eigenvalues, evaluation_features, *checked, to_weights)

    def state(self) -> dict[str, Tensor]:
        """Return the named tensors from which :meth:`from_state` restores the model.

        The map from the eigenbasis back to the Jacobian's coordinates is not among them.
        """
        return {
            "features": self.features,
            "eigenvalues": self.eigenvalues,
            "residuals": self.residuals,
            "gradient": self.beta,
            "evaluation_features": self.evaluation_features,
            "evaluation_outputs": self.evaluation_outputs,
            "evaluation_targets": self.evaluation_targets,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> "LinearizedModel":
        """Restore a model from its state; its :meth:`weight_changes` stay in the eigenbasis.

        Args:
            state: Result of :meth:`state`.
            dtype: Precision of per-example work; None keeps that of the state.

        Raises:
            InputError: Tensors are missing, or their shapes do not match.
        """
        check_state(state)
        kept = dtype or state["features"].dtype
        features, evaluation_features = (state[name].to(kept) for name in ("features", "evaluation_features"))
        residuals = state["residuals"].double().flatten(1)
        evaluated = state["evaluation_outputs"], residuals, state["evaluation_targets"]
        linear = cls(features, state["eigenvalues"], evaluation_features, torch.zeros_like(residuals), *evaluated)
        linear.beta = state["gradient"]  # computed before features and residuals were rounded
        return linear

    def evaluated_on(self, examples: slice) -> "LinearizedModel":
        """Return the same model with only some of its evaluation examples."""
        fewer = copy.copy(self)
        fewer.__dict__.pop("evaluation_energy", None)
        fewer.evaluation_features = self.evaluation_features[examples]
        fewer.evaluation_outputs = self.evaluation_outputs[examples]
        fewer.evaluation_targets = self.evaluation_targets[examples]
        return fewer

    def evaluated_on_training(self, examples: slice) -> "LinearizedModel":
        """Return the same model, evaluated on some of its training examples; its outputs are those less ``f_0``."""
        other = copy.copy(self)
        other.__dict__.pop("evaluation_energy", None)
        other.evaluation_features = self.features[examples]
        other.evaluation_targets = self.residuals[examples].double().flatten(1)
        other.evaluation_outputs = torch.zeros_like(other.evaluation_targets)
        return other

    def rounded(self, dtype: torch.dtype) -> "LinearizedModel":
        """Return the same model with per-example work in another precision."""
        other = copy.copy(self)
        other.__dict__.pop("evaluation_energy", None)
        other.features, other.residuals = self.features.to(dtype), self.residuals.to(dtype)
        other.evaluation_features = self.evaluation_features.to(dtype)
        return other

    def trained_on(self, kept: Tensor) -> "LinearizedModel":
        """Return the model with only some of its training examples, in a new eigenbasis.

        Costs one eigendecomposition of ``min(kept a, p)``. Unlike ``group_change``, the result gives every
        leave-one-out again.

        Args:
            kept: Indices of one or more examples.
        """
        kept = kept.to(self.features.device)
        residuals = self.residuals[kept].double().reshape(len(kept), self.num_outputs)
        evaluated = torch.zeros_like(residuals), self.evaluation_outputs, residuals, self.evaluation_targets
        features = self.features[kept], self.evaluation_features
        return LinearizedModel.from_jacobians(*features, *evaluated, dtype=self.features.dtype)

    # -- training on all examples ---------------------------------------------------------------------------------

    def weights(self, schedule: GradientDescent) -> Tensor:
        """Return ``w_t - w_0`` in the eigenbasis, ``[c, p]``."""
        self._check(schedule, self.num_train)
        return self.beta * schedule.filter(self.eigenvalues, self.num_train)

    def predictions(self, schedule: GradientDescent) -> Tensor:
        """Return the outputs on the evaluation inputs after training (unique information, eq. 11), ``[m, k]``."""
        return self.evaluation_outputs + self.evaluate(self.weights(schedule)[None])[0]

    def gradients(self, schedule: GradientDescent) -> Tensor:
        """Return each training example's loss gradient at the trained weights, in the eigenbasis, ``[n, c, p]``.

        It is ``Psi_i^T (f(x_i) - y_i)``, without the gradient of the decay (unique information, appendix C).
        """
        fitted = torch.einsum("nap,cp->nac", self.features, self.weights(schedule).to(self.features.dtype))
        return torch.einsum("nap,nac->ncp", self.features, fitted - self.residuals)

    # -- training without one example, or without a group -------------------------------------------------------------

    def weight_changes(self, schedule: GradientDescent) -> Tensor:
        """Return ``w - w_{-i}`` for every training example.

        Returns:
            Changes ``[n, p]`` in the coordinates of the Jacobian; for a model created from kernels, in an orthonormal
            basis of its span, ``V Lambda^{1/2}``. If outputs share their features, p counts each output's copy,
            output-major.
        """
        blocks = (
            (self._to_weights(d) if self._to_weights else d).flatten(1) for _, d in self.iterate_changes(schedule)
        )
        return torch.cat(list(blocks))

    def prediction_changes(self, schedule: GradientDescent) -> Tensor:
        """Return ``f(x_j) - f_{-i}(x_j)`` for every training example i and evaluation example j.

        Returns:
            Changes ``[n, m, k]``, float64.
        """
        return torch.cat([self.evaluate(d) for _, d in self.iterate_changes(schedule)])

    def removal_effects(self, schedule: GradientDescent) -> Tensor:
        """Return ``effect[i, j]``: half squared error on j after removing i minus before, ``[n, m]``.

        If it is positive, i is helpful to j. This is the NTK influence, eq. 8, at any training time: with
        ``u = f(x_j) - y_j`` and the change ``c = f(x_j) - f_{-i}(x_j)`` it is
        ``|u - c|^2 / 2 - |u|^2 / 2 = c.c / 2 - u.c``.
        """
        return torch.cat([effects for _, effects in self.iterate_effects(schedule)])

    def iterate_effects(self, schedule: GradientDescent) -> Iterator[tuple[slice, Tensor]]:
        """Yield :meth:`removal_effects` for a block of training examples at a time: ``(examples, [block, m])``."""
        error = self.predictions(schedule) - self.evaluation_targets
        for rows, d in self.iterate_changes(schedule):
            yield rows, squared_error_change(self.evaluate(d), error)

    def group_prediction_change(self, indices: Sequence[int] | Tensor, schedule: GradientDescent) -> Tensor:
        """Return ``f(x_j) - f_{-G}(x_j)`` if all examples of the group are removed at once, ``[m, k]``.

        Raises:
            InputError: The group is empty, an index is out of range or repeated, or no example would remain.
        """
        return self.evaluate(self.group_change(indices, schedule)[None])[0]

    def group_change(self, indices: Sequence[int] | Tensor, schedule: GradientDescent) -> Tensor:
        """Return ``w - w_{-G}`` in the eigenbasis if all examples of the group are removed at once.

        The formula for one example is applied to the group's rows: a solve with ``|G| a`` unknowns at each node. With
        more unknowns than a third of the features (measured at p = 1,025), a new eigendecomposition of the p x p Gram
        matrix without those rows is cheaper and is used instead.

        Returns:
            Change ``[c, p]``, float64.

        Raises:
            InputError: The group is empty, an index is out of range or repeated, or no example would remain.
        """
        group = torch.as_tensor(indices, dtype=torch.int64, device=self.features.device)
        if group.ndim != 1 or len(group) == 0 or group.min() < 0 or group.max() >= self.num_train:
            raise InputError(f"A group must contain one or more indices from 0 to {self.num_train - 1}.")
        if len(group.unique()) < len(group):
            raise InputError("A group must contain each training example at most once; this one repeats some.")
        rows = self.features[group].reshape(1, -1, self.features.shape[2]).double()
        residuals = self.residuals[group].reshape(1, rows.shape[1], -1).double()
        if 3 * rows.shape[1] <= rows.shape[2] or schedule.is_interpolation:
            return self._leaving_out(schedule, len(group), rows.dtype)(rows, residuals)[0]
        left, later = self._left(schedule, len(group))
        eigenvalues, vectors = torch.linalg.eigh(torch.diag(self.eigenvalues) - rows[0].T @ rows[0])
        gradient = (self.beta - residuals[0].T @ rows[0]) @ vectors
        return self.weights(schedule) - gradient * later.filter(eigenvalues.clamp(min=0), left) @ vectors.T

    @cached_property
    def evaluation_energy(self) -> EvaluationEnergy:
        """``sum_c d_c^T F d_c`` as a function of weight changes ``[block, c, p]``, with the F of eq. 9."""
        return EvaluationEnergy(self.evaluation_features)

    def iterate_changes(self, schedule: GradientDescent) -> Iterator[tuple[slice, Tensor]]:
        """Yield ``w - w_{-i}`` in the eigenbasis for a block of examples at a time: ``(examples, [block, c, p])``."""
        _, a, p = self.features.shape
        bytes_each = self.features.element_size() * p * (a * (a + 1) // 2 + 3 * self.num_outputs)
        changes = self._leaving_out(schedule, 1, self.features.dtype)
        for rows in blocks(self.num_train, bytes_each, cached=self.features.device.type == "cpu"):
            yield rows, changes(self.features[rows], self.residuals[rows])
            report(rows.stop, self.num_train, "leave-one-out")

    def evaluate(self, changes: Tensor) -> Tensor:
        """Return the output changes ``[block, m, k]``, float64, for weight changes ``[block, c, p]``."""
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
        """Return the function from rows ``[block, a, p]`` and residuals ``[block, a, c]`` to ``w - w_{-G}``."""
        left, later = self._left(schedule, removed)
        if schedule.steps == 0:
            return lambda rows, residuals: rows.new_zeros(len(rows), residuals.shape[2], rows.shape[2])
        if schedule.is_interpolation:
            if dtype != torch.float64:
                raise InputError(
                    "Training to the end without weight decay needs float64, but this model is in float32: set a "
                    "weight decay, train for a finite time, or pass dtype=torch.float64."
                )
            return lambda rows, residuals: leave_one_out.interpolation_changes(
                rows, residuals, self.beta, self.eigenvalues
            )
        largest = float(self.eigenvalues[-1]) if len(self.eigenvalues) else 0.0
        resolvents = later.resolvents(largest, left, TALBOT_NODES if dtype == torch.float64 else SINGLE_NODES)
        spectrum = self.eigenvalues + later.weight_decay
        changes = leave_one_out.ResolventChanges(self.beta, spectrum, resolvents, dtype)
        if later == schedule and (schedule.loss == "sum" or math.isinf(schedule.steps)):
            return changes
        # On a mean loss, fewer examples change the rate and the decay of the sum from (eta / n, lambda) to
        # (eta / left, lambda'): w - w_-G = [w(eta/n, lambda) - w(eta/left, lambda')] + formula at (eta/left, lambda')
        faster = schedule.filter(self.eigenvalues, self.num_train) - later.filter(self.eigenvalues, left)
        common = (self.beta * faster).to(dtype)
        return lambda rows, residuals: changes(rows, residuals) + common

    def _left(self, schedule: GradientDescent, removed: int) -> tuple[int, GradientDescent]:
        """Return the number of remaining examples and their schedule; raise InputError if descent is impossible."""
        left = self.num_train - removed
        if left < 1:
            raise InputError("No example would remain to train on: keep at least one.")
        later = schedule.after_removal(self.num_train, removed)
        self._check(later, left)
        return left, later
