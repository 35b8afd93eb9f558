"""Weights in files: read without running anything, and loaded only where they fit."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from attribution_core.errors import InputError

# Kinds of files that PyTorch itself writes: a zip with a pickle in it, of which only tensors are taken.
_PICKLED = (".pt", ".pth", ".bin")
# A counter of batches that old checkpoints lack, and that nothing here reads.
_COUNTER = "num_batches_tracked"

StateDict = dict[str, Tensor]


def read_weights(path: str | Path) -> StateDict:
    """The tensors of a safetensors file, or of a state dict that ``torch.save`` wrote, by name, on the CPU.

    Raises:
        InputError: No such file, or one that holds anything else.
    """
    path = Path(path)
    if path.suffix in _PICKLED:
        return _read_pickled(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"Could not read weights from {path}: expected a safetensors file ({error}).") from error


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a file of weights into ``model``; InputError if it is not one, or is for another architecture."""
    load_state(model, read_weights(path), path)


def load_state(model: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load what was read from ``path`` into ``model``; InputError where names or shapes differ."""
    own = model.state_dict()
    counters = {name: own[name] for name in own if name.endswith(_COUNTER) and name not in state}
    state = {**state, **counters}
    wrong = sorted(set(own) ^ set(state)) or [name for name in own if own[name].shape != state[name].shape]
    if wrong:
        raise InputError(
            f"The weights in {path} are for another model: {len(wrong)} tensors are missing, unknown or of another "
            f"shape, {wrong[0]!r} among them."
        )
    spoilt = [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if spoilt:
        raise InputError(
            f"Finite weights were expected in {path}, and {len(spoilt)} tensors have NaN or infinity in them, "
            f"{spoilt[0]!r} among them: take a checkpoint from before the training diverged."
        )
    model.load_state_dict(state)


def digest_of_file(path: str | Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"Could not read {path}: {error.strerror}.") from error


def digest_of_state(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_pickled(path: Path) -> StateDict:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"Could not read weights from {path}: {error.strerror}.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(
            f"{path} is not a state dict alone, and what else a pickle holds could run code, so it is not opened: "
            "save model.state_dict(), best with safetensors.torch.save_file."
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]  # as checkpoints of training loops hold it beside the optimiser's
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no state dict, names with a tensor each: save model.state_dict().")
    return {str(name): value for name, value in state.items()}
