"""Devices of models, and evaluation mode."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from attribution_core.errors import InputError


def device_named(name: str) -> torch.device:
    """Return the device called ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; ``"auto"`` prefers a GPU.

    Raises:
        InputError: The device cannot be used on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {name!r} cannot be used on this machine: choose cpu, cuda or auto.") from error
    return device


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode, with differentiable attention, then restore its mode."""
    was_training = model.training
    model.eval()
    try:
        with differentiable_attention():
            yield
    finally:
        model.train(was_training)


@contextmanager
def forward_mode() -> Iterator[None]:
    """Hide a warning that PyTorch raises while it loads its forward-mode rules; a user can do nothing about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        yield


@contextmanager
def differentiable_attention() -> Iterator[None]:
    """Compute attention from its formula, layer by layer.

    The fused kernels have neither second nor forward-mode derivatives, and their backward passes are not repeatable bit
    for bit on a GPU. The fast path of PyTorch's Transformer layers skips the layers within, whose factors are recorded.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
