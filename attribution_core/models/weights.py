"""Read weights from files without running code, and load them only into models that they fit."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from attribution_core.errors import InputError

# Files that PyTorch writes: a zip with a pickle in it, from which only tensors are read.
_PICKLED = (".pt", ".pth", ".bin")
# A counter of batches that old checkpoints lack and that no code here reads.
_COUNTER = "num_batches_tracked"

StateDict = dict[str, Tensor]


def read_weights(path: str | Path) -> StateDict:
    """Read the tensors of a safetensors file, or of a state dict from ``torch.save``, by name, on the CPU.

    Raises:
        InputError: There is no such file, or it holds something else.
    """
    path = Path(path)
    if path.suffix in _PICKLED:
        return _read_pickled(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"Weights cannot be read from {path}, which must be a safetensors file ({error}): give another file."
        ) from error


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a file of weights into ``model``.

    Raises:
        InputError: The file does not hold weights, or is for another architecture.
    """
    load_state(model, read_weights(path), path)


def load_state(model: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load tensors that were read from ``path`` into ``model``.

    Raises:
        InputError: Names or shapes differ, or a value is not finite.
    """
    own = model.state_dict()
    counters = {name: own[name] for name in own if name.endswith(_COUNTER) and name not in state}
    state = {**state, **counters}
    wrong = sorted(set(own) ^ set(state)) or [name for name in own if own[name].shape != state[name].shape]
    if wrong:
        raise InputError(
            f"The weights in {path} are for another model: {len(wrong)} tensors are missing, unknown or of another "
            f"shape, {wrong[0]!r} among them. Give weights of this model."
        )
    floating = {name: value for name, value in state.items() if value.is_floating_point()}
    nonfinite = [name for name, value in floating.items() if not bool(value.isfinite().all())]
    if nonfinite:
        raise InputError(
            f"The weights in {path} must be finite, but {len(nonfinite)} tensors hold NaN or infinity, "
            f"{nonfinite[0]!r} among them: use a checkpoint from before the training diverged."
        )
    model.load_state_dict(state)


def digest_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's content.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def digest_of_state(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and values, in the order of the names."""
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
        raise InputError(f"Weights cannot be read from {path}: {error.strerror}.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(
            f"{path} must hold only a state dict, because anything else in a pickle could run code: save "
            "model.state_dict(), best with safetensors.torch.save_file."
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]  # checkpoints of training loops hold it beside the optimizer's
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            f"{path} must hold a state dict, which maps names to tensors, but it does not: save model.state_dict()."
        )
    return {str(name): value for name, value in state.items()}
