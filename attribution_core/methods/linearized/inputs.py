"""What a linearised model is made from, checked and decomposed."""

from collections.abc import Mapping

import torch
from torch import Tensor

from attribution_core.errors import InputError


def check_sides(
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
        check_finite(given, name)
    a, b, c, d = (side.to(device=device, dtype=torch.float64) for side in sides.values())  # type: ignore[call-overload]
    return a, b, c, d


def check_finite(values: Tensor, name: str) -> None:
    """InputError where some value is not a finite number."""
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"The {name} hold values that are not finite numbers: check the inputs and the weights.")


def check_state(state: Mapping[str, Tensor]) -> None:
    """InputError where the named tensors of a saved model are not all there, or do not fit together."""
    try:
        (n, a, p), (m, _, _) = state["features"].shape, state["evaluation_features"].shape
        c = state["residuals"].shape[2]
        expected = {
            "residuals": (n, a, c),
            "eigenvalues": (p,),
            "gradient": (c, p),
            "evaluation_features": (m, a, p),
            "evaluation_outputs": (m, a * c),
            "evaluation_targets": (m, a * c),
        }
        wrong = [name for name, shape in expected.items() if state[name].shape != shape]
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"These tensors are not those of a linearised model ({error!r}).") from error
    if wrong:
        raise InputError(f"The tensors of this linearised model do not fit together: {', '.join(wrong)}.")


def positive_eigenpairs(gram: Tensor) -> tuple[Tensor, Tensor]:
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
