"""Read the sets of tensors in files of weights, whatever their suffix, without running code from them."""

import pickle
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from attribution_core.errors import InputError

StateDict = dict[str, Tensor]
# A set of tensors with the name that a checkpoint gives it; empty where a file holds nothing else.
WeightSet = tuple[str, StateDict]

# Sets are looked for within this many levels of dictionaries.
_LEVELS = 3
# What torch.save pickles first where it writes no zip, as before PyTorch 1.6.
_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
# First bytes of other files that are taken for weights.
_OTHERS = {
    b"\x89HDF": "an HDF5 file, as Keras writes it",
    b"\x1f\x8b": "compressed: unpack it first",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself: run `git lfs pull` first",
    b"<": "a web page, not the file itself: download it again",
}
_REFUSED = re.compile(r"GLOBAL ([\w.]+)")
# What PyTorch raises about files that it did not write, or that were cut short.
_DAMAGED = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError)
_SAVE = "torch.save(model.state_dict(), FILE)"


def read_checkpoint(path: str | Path) -> list[WeightSet]:
    """Return the sets of tensors in a safetensors file or a file of ``torch.save``, told apart by their content.

    A set is a dictionary from names to tensors. Training programs keep one beside other things, under names such as
    ``state_dict`` or ``model``.

    Raises:
        InputError: The file cannot be read, or holds no such set.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder: give the file of weights in it.") from error
    except OSError as error:
        raise InputError(f"Weights cannot be read from {path}: {error.strerror}.") from error
    if start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] <= path.stat().st_size:
        try:
            return [("", load_file(path))]
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"Weights cannot be read from {path}, a damaged safetensors file ({error}): copy it again."
            ) from error
    if start[:1] == b"\x80" and _MAGIC not in start:
        raise InputError(
            f"{path} was written by pickle, not by PyTorch, and reading it could run code: save it with {_SAVE}."
        )
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        sets = list(_sets_in(_unpickled(path), "", 0))
        if not sets:
            raise InputError(
                f"{path} must hold a state dict, which maps names to tensors, but it does not: save it with {_SAVE}."
            )
        return sets
    what = next((what for first, what in _OTHERS.items() if start.startswith(first)), "neither")
    raise InputError(
        f"Weights cannot be read from {path}, which must be a safetensors file or one of torch.save, but is {what}."
    )


def _unpickled(path: Path) -> object:
    """Return what ``torch.save`` wrote, of tensors and plain values alone."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():  # of a path, PyTorch would look at the suffix
            warnings.simplefilter("ignore", UserWarning)  # of TorchScript, which is refused below
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"Weights cannot be read from {path}: {error.strerror}.") from error
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
    ) as error:
        raise InputError(f"{path} {_refusal(str(error))}.") from error


def _refusal(message: str) -> str:
    """Return why PyTorch refused a file, from its message."""
    if "TorchScript" in message:
        return f"is a TorchScript archive, which holds code: save the weights of the Python model, with {_SAVE}"
    found = _REFUSED.search(message)
    kind = found.group(1) if found else ""
    if kind.startswith("numpy."):
        return (
            f"holds NumPy values ({kind}) beside or in place of tensors, and reading them could run code: save tensors "
            f"alone, with {_SAVE}"
        )
    if kind:
        return (
            f"must hold only a state dict, but it holds an object of {kind.rstrip('.')}, and reading it could run "
            f"code: save the weights alone, with {_SAVE}"
        )
    return f"must hold only a state dict, but it is damaged or holds something else: save it with {_SAVE}"


def _sets_in(value: object, label: str, level: int) -> Iterator[WeightSet]:
    """Yield the dictionaries from names to tensors alone, with the names that lead to them."""
    if not isinstance(value, Mapping) or not value:
        return
    if all(isinstance(each, Tensor) for each in value.values()):
        yield label, {str(name): each.detach() for name, each in value.items()}
    elif level < _LEVELS:
        for name, each in value.items():
            yield from _sets_in(each, f"{label}/{name}".strip("/"), level + 1)
        yield from _loose(value, label)


def _loose(value: Mapping, label: str) -> Iterator[WeightSet]:
    """Yield the tensors that stand beside other things in a dictionary without any set in it."""
    tensors = {str(name): each.detach() for name, each in value.items() if isinstance(each, Tensor)}
    if tensors:
        yield label, tensors
