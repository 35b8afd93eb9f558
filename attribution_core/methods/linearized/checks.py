"""Checks of the tensors that a linearized model is made from."""

from collections.abc import Mapping

import torch
from torch import Tensor

from attribution_core.errors import InputError


def checked_outputs(
    train_outputs: Tensor, evaluation_outputs: Tensor, train_targets: Tensor, evaluation_targets: Tensor, device: object
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return outputs and targets in float64 on one device.

    Args:
        train_outputs: ``f_0`` on the training inputs, ``[n, k]``.
        evaluation_outputs: ``f_0`` on the evaluation inputs, ``[m, k]``.
        train_targets: Training targets, ``[n, k]``.
        evaluation_targets: Evaluation targets, ``[m, k]``.
        device: Device of the results.

    Raises:
        InputError: Shapes do not match, or values are not finite.
    """
    given = {
        "training outputs": train_outputs,
        "evaluation outputs": evaluation_outputs,
        "training targets": train_targets,
        "evaluation targets": evaluation_targets,
    }
    if train_outputs.ndim != 2:
        raise InputError(f"Outputs must be [examples, outputs], not {list(train_outputs.shape)}.")
    k = train_outputs.shape[1]
    for name, expected in (
        ("training targets", (len(train_outputs), k)),
        ("evaluation outputs", (len(evaluation_targets), k)),
        ("evaluation targets", (len(evaluation_outputs), k)),
    ):
        shape = given[name].shape
        if shape != expected:
            raise InputError(f"The {name} must be {list(expected)} (one-hot for classes), not {list(shape)}.")
    for name, values in given.items():
        check_finite(values, name)
    a, b, c, d = (each.to(device=device, dtype=torch.float64) for each in given.values())  # type: ignore[call-overload]
    return a, b, c, d


def check_finite(values: Tensor, name: str) -> None:
    """Raise InputError if a value is not a finite number."""
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"The {name} contain values that are not finite numbers: check the inputs and the weights.")


def check_state(state: Mapping[str, Tensor]) -> None:
    """Raise InputError if tensors of a saved model are missing or their shapes do not match."""
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
        raise InputError(f"These tensors are not those of a linearized model ({error!r}).") from error
    if wrong:
        raise InputError(f"Shapes of this linearized model's tensors do not match: {', '.join(wrong)}.")
