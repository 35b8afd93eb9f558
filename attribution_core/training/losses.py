"""The losses that models are trained with, and the targets that they take."""

import torch
from torch import Tensor
from torch.nn import functional as F

from attribution_core.errors import InputError


def loss_values(outputs: Tensor, targets: Tensor, loss: str) -> Tensor:
    """Return the loss of each example, ``[b]``, from outputs ``[b, k]`` and targets ``[b]`` or ``[b, k]``.

    ``"cross_entropy"`` is in nats (of the sigmoid if there is one output), ``"binary_cross_entropy"`` in nats, summed
    over outputs; any other loss is half the squared error.
    """
    if loss == "cross_entropy":
        if outputs.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(outputs[:, 0], targets.to(outputs.dtype), reduction="none")
        return F.cross_entropy(outputs, targets, reduction="none")
    values = as_outputs(targets, outputs.shape[1]).to(outputs.dtype)
    if loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(outputs, values, reduction="none").sum(dim=1)
    return 0.5 * (outputs - values).square().sum(dim=1)


def require_targets(targets: Tensor, loss: str) -> None:
    """Raise InputError if the loss is binary cross-entropy and a value is outside 0..1, where it has no minimum."""
    values = targets.is_floating_point() or targets.ndim > 1
    if loss == "binary_cross_entropy" and values and not bool(((targets >= 0) & (targets <= 1)).all()):
        raise InputError(
            f"binary_cross_entropy takes targets in 0..1, not {float(targets.min()):g}..{float(targets.max()):g}: "
            "rescale them, or use mse."
        )


def as_outputs(targets: Tensor, num_outputs: int) -> Tensor:
    """Return targets shaped as outputs: classes ``[b]`` as one-hot ``[b, k]`` (0/1 for one output), values unchanged.

    Raises:
        InputError: A class has no output, or the values have another width.
    """
    if targets.ndim == 2 and targets.shape[1] == num_outputs:
        return targets
    if targets.is_floating_point() and num_outputs == 1 and targets.ndim == 1:
        return targets[:, None]
    if targets.is_floating_point() or targets.ndim != 1:
        raise InputError(
            f"Targets for {num_outputs} outputs must be classes [n] or values [n, {num_outputs}], not "
            f"{str(targets.dtype).removeprefix('torch.')} {list(targets.shape)}."
        )
    classes = max(num_outputs, 2)
    if len(targets) and (int(targets.min()) < 0 or int(targets.max()) >= classes):
        raise InputError(
            f"Labels must be in 0..{classes - 1} for {num_outputs} outputs, but they range from "
            f"{int(targets.min())} to {int(targets.max())}: correct them."
        )
    if num_outputs == 1:
        return targets[:, None].to(torch.get_default_dtype())
    return F.one_hot(targets, num_outputs).to(torch.get_default_dtype())
