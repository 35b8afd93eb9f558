"""Where a model computes, and the mode it computes in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from attribution_core.errors import InputError


def device_named(name: str) -> torch.device:
    """``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; ``"auto"`` is a GPU where there is one.

    Raises:
        InputError: It can't be used here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {name!r} cannot be used here: give cpu, cuda or auto.") from error
    return device


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Puts the model in evaluation mode, and back into the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
