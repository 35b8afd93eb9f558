r"""The linearised model and all its leave-one-outs, from one eigendecomposition.

``f(x) = f_0(x) + Phi(x) (w - w_0)``, trained by gradient descent on half squared errors (unique information,
section 5). With the feature rows ``Phi_i`` of example i, ``r_i = y_i - f_0(x_i)``, ``b = sum_i Phi_i^T r_i`` and
``A = sum_i Phi_i^T Phi_i = U Lambda U^T``, training gives ``w - w_0 = g(A + lambda) b`` and, with ``g`` as a sum of
resolvents ``Re sum_q c_q (s_q + rho (A + lambda))^-1`` (:mod:`attribution_core.linalg.contour`), removing i is a
low-rank change inside each. Write ``D_q = (s_q + rho (Lambda + lambda))^-1``, ``Psi_i = Phi_i U`` and
``beta = U^T b``; Woodbury on ``A - Phi_i^T Phi_i`` with ``b - Phi_i^T r_i`` gives

    w - w_{-i} = U Re sum_q c_q D_q Psi_i^T (I - rho Psi_i D_q Psi_i^T)^-1 (r_i - rho Psi_i D_q beta).

Cost: one eigendecomposition of ``min(nk, p)``; then, for each example, ``O(Q k^2 p + Q k^3)`` for ``Q = 12`` nodes, so
linear in n, where a fresh decomposition per example costs ``(nk)^3`` each and downdating (section 5 of the paper)
``n^2 k^2``. Training time, learning rate and decay enter after the decomposition, which is kept.

**Shared features.** When every output has the same features (only the head is trained; an infinitely wide network),
``Phi_i = phi_i kron I_k``: all of the above holds with one feature row and k columns of residuals. Tensors here are
therefore ``[n, a, p]`` features and ``[n, a, c]`` residuals, with ``(a, c) = (k, 1)`` in general, ``(1, k)`` if shared.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.gradient_descent import GradientDescent
from attribution_core.progress import Progress

BLOCK_BYTES = 256 * 2**20
# Leverages this close to 1 are 1: the example alone decides some direction, and the limit below takes over.
LEVERAGE_TOLERANCE = 1e-9


class LinearizedModel:
    """A linear model in fixed features, with every leave-one-out at any training time.

    Made by :func:`attribution_core.linearize`, :meth:`from_kernels` or :meth:`from_jacobians`. Everything is kept in
    float64: in float32 the median error of F-SI is already 2.6% at a thousand examples.

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
        self._residuals = (train_targets - train_outputs).reshape(n, a, self.num_outputs // a)
        self._gradient = torch.einsum("nap,nac->cp", features, self._residuals)
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
    ) -> "LinearizedModel":
        """From tangent kernels; features are ``V Lambda^{1/2}`` of the training kernel.

        Args:
            train_kernel: ``[n k, n k]``, example-major; or ``[n, n]`` when the k outputs share their features.
            evaluation_kernel: ``[m k, n k]`` (or ``[m, n]``), evaluation rows against training columns.
            train_outputs: ``f_0`` on the training inputs, ``[n, k]``.
            evaluation_outputs: ``f_0`` on the evaluation inputs, ``[m, k]``.
            train_targets: ``[n, k]``.
            evaluation_targets: ``[m, k]``.

        Raises:
            InputError: Shapes that do not fit together, or values that are not finite.
        """
        kernel, evaluation = train_kernel.double(), evaluation_kernel.double()
        sides = _check_sides(train_outputs, evaluation_outputs, train_targets, evaluation_targets, kernel.device)
        n, k, m = len(sides[0]), sides[0].shape[1], len(sides[1])
        a = kernel.shape[0] // n if n else 0
        if kernel.shape != (n * a, n * a) or a not in (1, k) or evaluation.shape != (m * a, n * a):
            raise InputError(
                f"Kernels of {n} training and {m} evaluation examples with {k} outputs must be [{n * k}, {n * k}] and "
                f"[{m * k}, {n * k}] (or [{n}, {n}] and [{m}, {n}] for shared features), not {list(kernel.shape)} and "
                f"{list(evaluation.shape)}."
            )
        _check_finite(kernel, "training kernel")
        _check_finite(evaluation, "evaluation kernel")
        eigenvalues, vectors = _positive_eigenpairs((kernel + kernel.T) / 2)
        root = eigenvalues.sqrt()
        features = (vectors * root).reshape(n, a, -1)
        evaluation_features = (evaluation @ (vectors / root)).reshape(m, a, -1)
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
    ) -> "LinearizedModel":
        """From Jacobians at ``w_0`` (or sketches of them); decomposes the smaller of the two Gram matrices.

        Args:
            train_jacobian: ``[n, k, p]``, or ``[n, 1, p]`` when the k outputs share their features.
            evaluation_jacobian: ``[m, k, p]``, or ``[m, 1, p]``.
            train_outputs: ``f_0`` on the training inputs, ``[n, k]``.
            evaluation_outputs: ``f_0`` on the evaluation inputs, ``[m, k]``.
            train_targets: ``[n, k]``.
            evaluation_targets: ``[m, k]``.

        Raises:
            InputError: Shapes that do not fit together, or values that are not finite.
        """
        train, evaluation = train_jacobian.double(), evaluation_jacobian.double()
        sides = _check_sides(train_outputs, evaluation_outputs, train_targets, evaluation_targets, train.device)
        n, k, m = len(sides[0]), sides[0].shape[1], len(sides[1])
        a, p = (train.shape[1], train.shape[2]) if train.ndim == 3 else (0, 0)
        if train.shape != (n, a, p) or a not in (1, k) or evaluation.shape != (m, a, p):
            raise InputError(
                f"Jacobians of {n} training and {m} evaluation examples with {k} outputs must be [{n}, {k}, p] and "
                f"[{m}, {k}, p] (or [{n}, 1, p] and [{m}, 1, p] for shared features), not {list(train.shape)} and "
                f"{list(evaluation.shape)}."
            )
        _check_finite(train, "training Jacobian")
        _check_finite(evaluation, "evaluation Jacobian")
        rows = train.reshape(n * a, p)
        if n * a < p:
            eigenvalues, vectors = _positive_eigenpairs(rows @ rows.T)
            scaled = vectors / eigenvalues.sqrt()
            features = (vectors * eigenvalues.sqrt()).reshape(n, a, -1)
            evaluation_features = (evaluation.reshape(m * a, p) @ rows.T @ scaled).reshape(m, a, -1)
            return cls(features, eigenvalues, evaluation_features, *sides, lambda d: (d @ scaled.T) @ rows)
        eigenvalues, vectors = _positive_eigenpairs(rows.T @ rows)
        return cls(train @ vectors, eigenvalues, evaluation @ vectors, *sides, lambda d: d @ vectors.T)

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
        fitted = torch.einsum("nap,cp->nac", self.features, self.weights(schedule))
        return torch.einsum("nap,nac->ncp", self.features, fitted - self._residuals)

    # -- training without one example, or without a group -------------------------------------------------------------

    def weight_changes(self, schedule: GradientDescent, progress: Progress | None = None) -> Tensor:
        """``w - w_{-i}`` for every training example.

        Returns:
            ``[n, p]`` in the coordinates of the Jacobian (in an orthonormal basis of its span, ``V Lambda^{1/2}``, for
            a model made from kernels). When outputs share their features, p counts every output's copy, output-major.
        """
        blocks = (
            (self._to_weights(d) if self._to_weights else d).flatten(1)
            for _, d in self.iterate_changes(schedule, progress)
        )
        return torch.cat(list(blocks))

    def prediction_changes(self, schedule: GradientDescent, progress: Progress | None = None) -> Tensor:
        """``f(x_j) - f_{-i}(x_j)`` for every training example i and evaluation example j: ``[n, m, k]``."""
        return torch.cat([self.evaluate(d) for _, d in self.iterate_changes(schedule, progress)])

    def removal_effects(self, schedule: GradientDescent, progress: Progress | None = None) -> Tensor:
        """``effect[i, j]``: half squared error on j after removing i minus before, ``[n, m]``.

        Positive: i is helpful to j. NTK influence, eq. 8, at any training time: with ``u = f(x_j) - y_j`` and the
        change ``c = f(x_j) - f_{-i}(x_j)`` it is ``|u - c|^2 / 2 - |u|^2 / 2 = c.c / 2 - u.c``.
        """
        return torch.cat([effects for _, effects in self.iterate_effects(schedule, progress)])

    def iterate_effects(
        self, schedule: GradientDescent, progress: Progress | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """:meth:`removal_effects` a block of training examples at a time: ``(examples, [block, m])``."""
        error = self.predictions(schedule) - self.evaluation_targets
        for rows, d in self.iterate_changes(schedule, progress):
            change = self.evaluate(d)
            yield rows, (change * (0.5 * change - error)).sum(dim=-1)

    def group_prediction_change(self, indices: Sequence[int] | Tensor, schedule: GradientDescent) -> Tensor:
        """``f(x_j) - f_{-G}(x_j)`` when all examples of the group are removed at once: ``[m, k]``.

        The same formula with the group's rows: a solve of ``|G| a`` unknowns at each node.

        Raises:
            InputError: An empty group, an index out of range or twice, or no example left.
        """
        group = torch.as_tensor(indices, dtype=torch.int64, device=self.features.device)
        if group.ndim != 1 or len(group) == 0 or group.min() < 0 or group.max() >= self.num_train:
            raise InputError(f"A group holds one or more indices from 0 to {self.num_train - 1}.")
        if len(group.unique()) < len(group):
            raise InputError("A group names each training example at most once; this one repeats some.")
        rows = self.features[group].reshape(1, -1, self.features.shape[2])
        residuals = self._residuals[group].reshape(1, rows.shape[1], -1)
        return self.evaluate(self._changes(rows, residuals, schedule, removed=len(group)))[0]

    @cached_property
    def evaluation_gram(self) -> Tensor:
        """``F = sum_j Psi_j^T Psi_j / m`` over the evaluation examples (unique information, eq. 9): ``[p, p]``."""
        rows = self.evaluation_features.flatten(0, 1)
        return rows.T @ rows / len(self.evaluation_features)

    def iterate_changes(
        self, schedule: GradientDescent, progress: Progress | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """``w - w_{-i}`` in the eigenbasis, a block of examples at a time: ``(examples, [block, c, p])``."""
        _, a, p = self.features.shape
        bytes_each = 8 * p * (a * (a + 1) // 2 + 3 * self.num_outputs)
        block = max(1, min(self.num_train, BLOCK_BYTES // max(bytes_each, 1)))
        for start in range(0, self.num_train, block):
            rows = slice(start, min(start + block, self.num_train))
            yield rows, self._changes(self.features[rows], self._residuals[rows], schedule, removed=1)
            if progress:
                progress(rows.stop, self.num_train, "leave-one-out")

    def evaluate(self, changes: Tensor) -> Tensor:
        """Output changes ``[block, m, k]`` of weight changes ``[block, c, p]``."""
        m, a, p = self.evaluation_features.shape
        block, c, _ = changes.shape
        outputs = changes.reshape(block * c, p) @ self.evaluation_features.reshape(m * a, p).T
        return outputs.reshape(block, c, m, a).permute(0, 2, 3, 1).reshape(block, m, a * c)

    def _check(self, schedule: GradientDescent, examples: int) -> None:
        largest = float(self.eigenvalues[-1]) if len(self.eigenvalues) else 0.0
        schedule.check_stable(largest, examples)

    def _changes(self, features: Tensor, residuals: Tensor, schedule: GradientDescent, removed: int) -> Tensor:
        """``w - w_{-G}`` of groups with rows ``[block, a, p]`` and residuals ``[block, a, c]``: ``[block, c, p]``."""
        left = self.num_train - removed
        if left < 1:
            raise InputError("Nothing would be left to train on: at least one example must stay.")
        self._check(schedule, left)
        if schedule.steps == 0:
            return features.new_zeros(len(features), residuals.shape[2], features.shape[2])
        if schedule.is_interpolation:
            return self._interpolation_changes(features, residuals)
        changes = self._resolvent_changes(features, residuals, schedule, left)
        if schedule.loss == "mean" and math.isfinite(schedule.steps):
            # Fewer examples, larger rate: w(eta/n) - w_-G(eta/left) = [w(eta/n) - w(eta/left)] + formula at eta/left
            faster = schedule.filter(self.eigenvalues, self.num_train) - schedule.filter(self.eigenvalues, left)
            changes += self._gradient * faster
        return changes

    def _resolvent_changes(self, features: Tensor, residuals: Tensor, schedule: GradientDescent, left: int) -> Tensor:
        """The formula at the head of this file. Complex numbers meet the features as pairs of real matrices."""
        block, a, p = features.shape
        c = residuals.shape[2]
        largest = float(self.eigenvalues[-1]) if len(self.eigenvalues) else 0.0
        resolvents = schedule.resolvents(largest, left)
        inverses = resolvents.inverses(self.eigenvalues + schedule.weight_decay)  # D_q: [q, p]
        nodes, rate = len(inverses), resolvents.rate
        # Psi_i D_q Psi_i^T for every node in one product: [block, q, a, a]
        inner = _weighted_inner_products(features, inverses)
        # Psi_i D_q beta: [block, q, a, c]
        filtered = (inverses[:, None, :] * self._gradient).reshape(nodes * c, p)
        start = _real_times_complex(features.reshape(block * a, p), filtered.T)
        start = start.reshape(block, a, nodes, c).transpose(1, 2)
        right = residuals[:, None] - rate * start
        if a == 1:
            solved = right / (1 - rate * inner)
        else:
            identity = torch.eye(a, dtype=inner.dtype, device=inner.device)
            solved = torch.linalg.solve(identity - rate * inner, right)
        # Re sum_q c_q D_q solved_q, for each row a and column c, then against Psi_i
        weighted = resolvents.coefficients.to(inverses.device)[:, None] * inverses
        solved = solved.permute(0, 2, 3, 1).reshape(block * a * c, nodes)
        mixed = solved.real @ weighted.real - solved.imag @ weighted.imag
        return (features[:, :, None, :] * mixed.reshape(block, a, c, p)).sum(dim=1)

    def _interpolation_changes(self, features: Tensor, residuals: Tensor) -> Tensor:
        r"""The limit of endless training without decay: the change of the minimum-norm least-squares solution.

        One resolvent, ``D = (Lambda + lambda)^-1``, as lambda -> 0. With ``M = I - Psi_i Lambda^-1 Psi_i^T`` (one minus
        the leverage: entries of ``I - V_i V_i^T``, exact), ``S = Psi_i Lambda^-2 Psi_i^T``,
        ``e = r_i - Psi_i Lambda^-1 beta`` and ``h = Psi_i Lambda^-2 beta``, the solve is
        ``(M + lambda S) x = e + lambda h``. Where M is positive it is ``M^-1 e`` (fewer features than data); where M is
        0, e is 0 as well and the next order decides: ``S x = h``, which is the kernel form of NTK influence, eq. 9
        (more features than data). Both may occur in one example.
        """
        whitened = features / self.eigenvalues.sqrt()
        leverage = torch.eye(features.shape[1], dtype=features.dtype, device=features.device) - (
            whitened @ whitened.transpose(1, 2)
        )
        error = residuals - torch.einsum("bap,cp->bac", features / self.eigenvalues, self._gradient)
        once_more = features / self.eigenvalues**2
        second = once_more @ features.transpose(1, 2)
        following = torch.einsum("bap,cp->bac", once_more, self._gradient)
        values, vectors = torch.linalg.eigh(leverage)
        null = values < LEVERAGE_TOLERANCE
        inverse = torch.where(null, 0.0, 1.0 / torch.where(null, 1.0, values))
        regular = vectors @ (inverse[..., None] * (vectors.transpose(1, 2) @ error))
        # On the null space, padded with ones where there is none, so that the whole block is one batched solve.
        mask = null.to(values.dtype)
        rotated = vectors.transpose(1, 2) @ second @ vectors * mask[:, :, None] * mask[:, None, :]
        rotated = rotated + torch.diag_embed(1.0 - mask)
        target = mask[..., None] * (vectors.transpose(1, 2) @ (following - second @ regular))
        solved = regular + vectors @ torch.linalg.solve(rotated, target)
        return torch.einsum("bac,bap->bcp", solved, features / self.eigenvalues)


def _weighted_inner_products(features: Tensor, weights: Tensor) -> Tensor:
    """``sum_p x_ap w_qp x_bp`` of each block's rows: ``[block, a, p]``, complex ``[q, p]`` -> ``[block, q, a, a]``.

    For a few rows the products of pairs are formed once, for all nodes (one matrix product); a large group would need
    ``a^2 p`` numbers for that, so it goes node by node.
    """
    block, a, p = features.shape
    if 8 * p * a * (a + 1) // 2 <= BLOCK_BYTES:
        upper = torch.triu_indices(a, a, device=features.device)
        pairs = features[:, upper[0]] * features[:, upper[1]]
        products = _real_times_complex(pairs.reshape(-1, p), weights.T).reshape(block, -1, len(weights))
        inner = torch.empty(block, len(weights), a, a, dtype=weights.dtype, device=features.device)
        inner[:, :, upper[0], upper[1]] = products.transpose(1, 2)
        inner[:, :, upper[1], upper[0]] = products.transpose(1, 2)
        return inner
    columns = features.transpose(1, 2)
    nodes = [torch.complex((features * w.real) @ columns, (features * w.imag) @ columns) for w in weights]
    return torch.stack(nodes, dim=1)


def _real_times_complex(real: Tensor, weights: Tensor) -> Tensor:
    """``real @ weights`` with a real left side: half the work of a complex product."""
    parts = real @ torch.cat([weights.real, weights.imag], dim=1)
    return torch.complex(*parts.tensor_split(2, dim=1))


def _positive_eigenpairs(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues above rounding, ascending ``[p]``, and their vectors ``[size, p]``."""
    values, vectors = torch.linalg.eigh(gram)
    largest = float(values.abs().max()) if len(values) else 0.0
    if len(values) and float(values[0]) < -1e-6 * largest:  # far beyond float32 rounding in the kernel
        raise InputError(
            f"A kernel has no negative eigenvalues; this one has {float(values[0]):.3g} against {largest:.3g} at most."
        )
    floor = largest * len(values) * torch.finfo(values.dtype).eps
    keep = values > floor
    return values[keep], vectors[:, keep]


def _check_sides(
    train_outputs: Tensor, evaluation_outputs: Tensor, train_targets: Tensor, evaluation_targets: Tensor, device: object
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs and targets in float64 on one device, or InputError."""
    sides = {
        "training outputs": train_outputs,
        "evaluation outputs": evaluation_outputs,
        "training targets": train_targets,
        "evaluation targets": evaluation_targets,
    }
    if train_outputs.ndim != 2:
        raise InputError(f"Outputs must be [examples, outputs], not {list(train_outputs.shape)}.")
    for name, given, expected in (
        ("training targets", train_targets, (len(train_outputs), train_outputs.shape[1])),
        ("evaluation outputs", evaluation_outputs, (len(evaluation_targets), train_outputs.shape[1])),
        ("evaluation targets", evaluation_targets, (len(evaluation_outputs), train_outputs.shape[1])),
    ):
        if given.shape != expected:
            raise InputError(f"The {name} must be {list(expected)} (one-hot for classes), not {list(given.shape)}.")
    for name, given in sides.items():
        _check_finite(given, name)
    a, b, c, d = (side.to(device=device, dtype=torch.float64) for side in sides.values())  # type: ignore[call-overload]
    return a, b, c, d


def _check_finite(values: Tensor, name: str) -> None:
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"The {name} hold values that are not finite numbers: check the inputs and the weights.")
