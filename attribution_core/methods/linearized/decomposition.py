"""Features of a linearized model in the eigenbasis of its Gram matrix, from kernels or from Jacobians."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from attribution_core.errors import InputError
from attribution_core.methods.linalg.blocked import inner, rotated
from attribution_core.methods.linearized.checks import check_finite

# From this many feature entries on (half a gigabyte of float64), per-example work is done in float32.
SINGLE_PRECISION_FROM = 2**26
# Multiplications ``n k p^2`` that take a quarter of a second in float64 on two cores. Runs and pages, which rank
# examples, use float32 from there on: no place of the demo's 2,000 examples changes (2e10; median difference 1.9e-7).
EXACT_WORK = 10**10


class Decomposition(NamedTuple):
    """Features in the eigenbasis of the Gram matrix ``A``.

    Attributes:
        features: Features of the training examples, ``[n, a, p]``, in the precision of per-example work.
        eigenvalues: Positive eigenvalues of ``A``, ascending, ``[p]``, float64.
        evaluation_features: Features of the evaluation examples, ``[m, a, p]``.
        to_weights: Function from changes in the eigenbasis to changes in the Jacobian's coordinates; None if the
            eigenbasis is all there is.
    """

    features: Tensor
    eigenvalues: Tensor
    evaluation_features: Tensor
    to_weights: Callable[[Tensor], Tensor] | None


def decompose_kernels(
    kernel: Tensor, evaluation: Tensor, examples: tuple[int, int], outputs: int, dtype: torch.dtype | None
) -> Decomposition:
    """Return the features ``V Lambda^{1/2}`` of a training kernel.

    Args:
        kernel: Training kernel, ``[n k, n k]``; ``[n, n]`` if the outputs share their features.
        evaluation: Evaluation rows against training columns, ``[m k, n k]`` or ``[m, n]``.
        examples: Numbers of training and evaluation examples, n and m.
        outputs: Number of outputs, k.
        dtype: Precision of per-example work; None chooses it by size.

    Raises:
        InputError: Shapes do not match, values are not finite, or the kernel has negative eigenvalues.
    """
    (n, m), k = examples, outputs
    kernel, evaluation = kernel.double(), evaluation.double()
    a = kernel.shape[0] // n if n else 0
    if kernel.shape != (n * a, n * a) or a not in (1, k) or evaluation.shape != (m * a, n * a):
        raise InputError(
            f"Kernels of {n} training and {m} evaluation examples with {k} outputs must be [{n * k}, {n * k}] and "
            f"[{m * k}, {n * k}] (or [{n}, {n}] and [{m}, {n}] for shared features), not {list(kernel.shape)} and "
            f"{list(evaluation.shape)}."
        )
    check_finite(kernel, "training kernel")
    check_finite(evaluation, "evaluation kernel")
    eigenvalues, vectors = _positive_eigenpairs((kernel + kernel.T) / 2)
    root = eigenvalues.sqrt()
    kept = dtype or _default_precision(vectors.numel())
    features = (vectors * root).to(kept).reshape(n, a, -1)
    evaluation_features = (evaluation @ (vectors / root)).to(kept).reshape(m, a, -1)
    return Decomposition(features, eigenvalues, evaluation_features, None)


def decompose_jacobians(
    train: Tensor, evaluation: Tensor, examples: tuple[int, int], outputs: int, dtype: torch.dtype | None
) -> Decomposition:
    """Rotate Jacobians into the eigenbasis; decomposes the smaller of the two Gram matrices.

    Args:
        train: Jacobian of the training examples, ``[n, k, p]``; ``[n, 1, p]`` if the outputs share their features.
        evaluation: Jacobian of the evaluation examples, ``[m, k, p]`` or ``[m, 1, p]``.
        examples: Numbers of training and evaluation examples, n and m.
        outputs: Number of outputs, k.
        dtype: Precision of per-example work; None chooses it by size.

    Raises:
        InputError: Shapes do not match, or values are not finite.
    """
    (n, m), k = examples, outputs
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
        eigenvalues, vectors = _positive_eigenpairs(inner(rows, rows))
        scaled = vectors / eigenvalues.sqrt()
        features = (vectors * eigenvalues.sqrt()).to(kept).reshape(n, a, -1)
        evaluation_features = (inner(others, rows) @ scaled).to(kept).reshape(m, a, -1)

        def to_weights(changes: Tensor) -> Tensor:
            return (changes.double() @ scaled.T).to(rows.dtype) @ rows

        return Decomposition(features, eigenvalues, evaluation_features, to_weights)
    eigenvalues, vectors = _positive_eigenpairs(inner(rows.T, rows.T))
    features, evaluation_features = (
        rotated(each, vectors, kept).reshape(len(each) // a, a, -1) for each in (rows, others)
    )
    return Decomposition(features, eigenvalues, evaluation_features, lambda d: d.double() @ vectors.T)


def _positive_eigenpairs(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues above rounding, ascending ``[p]``, and their vectors ``[size, p]``."""
    values, vectors = torch.linalg.eigh(gram)
    largest = float(values.abs().max()) if len(values) else 0.0
    if len(values) and float(values[0]) < -1e-6 * largest:  # far beyond float32 rounding in the kernel
        raise InputError(
            f"A kernel must not have negative eigenvalues; the smallest of this one is {float(values[0]):.3g}, the "
            f"largest magnitude {largest:.3g}."
        )
    floor = largest * len(values) * torch.finfo(values.dtype).eps
    keep = values > floor
    return values[keep], vectors[:, keep]


def _default_precision(numbers: int) -> torch.dtype:
    return torch.float64 if numbers < SINGLE_PRECISION_FROM else torch.float32
