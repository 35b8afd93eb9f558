r"""A kernel's centered eigenbasis on the training examples, in which ridge regression is a product of diagonals.

With ``P K P = U diag(L) U^T``, where ``P = I - 1 1^T / n`` takes off the mean, ridge regression with an unpenalized
intercept predicts ``mean(y) + E diag(L / (L + lambda)) U^T y``. E is U for the training examples; for others
``E = K_c U diag(1 / L)`` with their centered kernel rows ``K_c``. One basis serves every lambda and every output.

Three routes to it, with n examples of p features:

- features: ``X^T X = V diag(L) V^T`` and ``U = X V diag(1 / sqrt L)``, for the linear kernel of no more features than
  examples or ``most``;
- kernel: the eigendecomposition of ``P K P`` itself, ``O(n^3)``;
- Nystroem: for more than ``most`` examples the kernel is replaced by that of the features ``K_nl K_ll^(-1/2)`` of
  ``most`` random landmarks l, at ``O(n most^2 + most^3)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from attribution_core.errors import InputError

KernelName = Literal["linear", "ntk", "laplace", "precomputed"]
# Examples [n, ...]: a tensor, or a SciPy sparse matrix.
Features: TypeAlias = Any
# Kernels of more examples than this are approximated by as many landmarks.
LANDMARKS = 4096


@dataclass(frozen=True)
class KernelBasis:
    """The eigenbasis of a centered kernel.

    Attributes:
        eigenvalues: L, positive, ``[r]``.
        train: U, orthonormal columns orthogonal to ones, ``[n, r]``.
        evaluation: E of the evaluation examples, ``[m, r]``.
        outside: Squared norm of what the basis does not hold of each evaluation example, ``[m]``.
        mean_squared_norm: Of the centered features of the training examples, the unit of lambda.
        error: Share of the kernel's trace that the landmarks leave out; 0 if the basis is exact.
    """

    eigenvalues: Tensor
    train: Tensor
    evaluation: Tensor
    outside: Tensor
    mean_squared_norm: float
    error: float = 0.0


def kernel_basis(
    features: Features, evaluation: Features | None, kernel: KernelName, most: int = LANDMARKS, seed: int = 0
) -> KernelBasis:
    """Return the basis of a kernel on the training examples.

    Args:
        features: Training examples, ``[n, ...]`` tensor or SciPy sparse matrix; the kernel ``[n, n]`` itself if it is
            precomputed.
        evaluation: Evaluation examples, likewise; kernel rows ``[m, n]`` if it is precomputed. None for none.
        kernel: ``"linear"``; ``"ntk"``, that of the infinitely wide two-layer ReLU network (``relu_ntk``);
            ``"laplace"``, ``exp(-|x - y|_1 / width)``, whose width is the mean distance of two training examples; or
            ``"precomputed"``.
        most: Landmarks, for more examples than these.
        seed: Seed of the landmarks.
    """
    if kernel == "precomputed":
        return _of_kernel(features, features[:0] if evaluation is None else evaluation, None)
    features = _flat(features)
    evaluation = features[:0] if evaluation is None else _flat(evaluation)
    n, p = features.shape
    if kernel == "laplace":
        width = mean_distance(features) or 1.0
        features, evaluation = features / width, evaluation / width
    if kernel == "linear" and not sparse.issparse(features) and p <= min(n, most):
        return _of_features(features, evaluation)
    if n <= most:
        rows = kernel_rows(evaluation, features, kernel)
        return _of_kernel(kernel_rows(features, features, kernel), rows, _squared_norms(evaluation, kernel))
    generator = torch.Generator().manual_seed(seed)
    landmarks = features[torch.randperm(n, generator=generator)[:most].sort().values.numpy()]
    values, vectors = _eigh(kernel_rows(landmarks, landmarks, kernel))
    to_features = vectors / values.sqrt()
    train = kernel_rows(features, landmarks, kernel) @ to_features
    error = 1 - float(train.square().sum(dtype=torch.float64) / _squared_norms(features, kernel).sum())
    return _of_features(train, kernel_rows(evaluation, landmarks, kernel) @ to_features, max(error, 0.0))


def kernel_rows(x: Features, y: Features, kernel: KernelName) -> Tensor:
    """Return a kernel between examples, ``[n, m]``, in their precision; of sparse examples, in float32.

    The angle of the tangent kernel is an arccosine: between examples of nearly one direction it has half the digits,
    which changes the kernel by less than ``1e-3`` of it in float32. The Laplace kernel is that of width one.
    """
    if kernel == "laplace":
        return torch.cdist(x, y, p=1).neg_().exp_()
    inner = _dense(x @ y.T)
    if kernel == "linear":
        return inner
    norms = _squared_norms(x, "linear").sqrt()[:, None] * _squared_norms(y, "linear").sqrt()
    cosine = (inner / norms.clamp(min=torch.finfo(inner.dtype).tiny)).clamp_(-1, 1)
    return inner.mul_((math.pi - cosine.arccos_()) / (2 * math.pi))


def mean_distance(features: Tensor) -> float:
    """Return the mean L1 distance of two examples of ``[n, p]``, by sorting each feature.

    The k-th smallest of n numbers is the larger one of k - 1 pairs and the smaller one of n - k.
    """
    n = len(features)
    signs = 2 * torch.arange(n, dtype=features.dtype, device=features.device) - (n - 1)
    return 2 * float((signs @ features.sort(dim=0).values).sum()) / (n * (n - 1))


def some_rows(features: Features, rows: Tensor, kernel: KernelName | None = None) -> Features:
    """Return the features of some examples; of a precomputed kernel, their rows and columns."""
    if kernel == "precomputed":
        return features[rows][:, rows]
    return features[rows.cpu().numpy()] if sparse.issparse(features) else features[rows]


def joined(parts: Sequence[Features]) -> Features:
    """Return the features of all examples of several parts, in this order."""
    return sparse.vstack(parts).tocsr() if sparse.issparse(parts[0]) else torch.cat(list(parts))


def _of_features(train: Tensor, evaluation: Tensor, error: float = 0.0) -> KernelBasis:
    mean = train.mean(dim=0)
    train, evaluation = train - mean, evaluation - mean
    values, vectors = _eigh(train.T @ train)
    scale = vectors / values.sqrt()
    coordinates = evaluation @ vectors
    outside = (evaluation.square().sum(dim=1) - coordinates.square().sum(dim=1)).clamp(min=0)
    norm = float(train.square().sum(dtype=torch.float64)) / len(train)
    return KernelBasis(values, train @ scale, evaluation @ scale, outside, norm, error)


def _of_kernel(kernel: Tensor, rows: Tensor, squared_norms: Tensor | None) -> KernelBasis:
    means = kernel.mean(dim=1)
    total = means.mean()
    own = rows.mean(dim=1)
    centered_rows = rows - own[:, None] - means + total
    kernel = kernel - means[:, None] - means + total
    norm = float(kernel.diagonal().mean(dtype=torch.float64))
    values, vectors = _eigh(kernel)
    evaluation = centered_rows @ (vectors / values)
    outside = rows.new_zeros(len(rows))
    if squared_norms is not None:
        inside = (evaluation.square() * values).sum(dim=1)
        outside = (squared_norms - 2 * own + total - inside).clamp(min=0)
    return KernelBasis(values, vectors, evaluation, outside, norm)


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues above rounding, and their vectors."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1].clamp(min=0)
    if not bool(kept.any()):
        raise InputError("All examples have the same features, so nothing can be learned from them: give others.")
    return values[kept], vectors[:, kept]


def _flat(features: Features) -> Features:
    return features.tocsr() if sparse.issparse(features) else features.flatten(1)


def _dense(product: Any) -> Tensor:
    return torch.from_numpy(product.toarray().astype(np.float32)) if sparse.issparse(product) else product


def _squared_norms(features: Features, kernel: KernelName) -> Tensor:
    """Return the kernel of each example with itself, ``[n]``."""
    if kernel == "laplace":
        return features.new_ones(len(features))
    if sparse.issparse(features):
        norms = torch.from_numpy(np.asarray(features.multiply(features).sum(axis=1), dtype=np.float32).ravel())
    else:
        norms = features.square().sum(dim=1)
    return norms if kernel == "linear" else norms / 2
