"""Load weights only into models that they fit, by the names that other programs may have put before theirs."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.models.checkpoints import StateDict, WeightSet, read_checkpoint

# A counter of batches that old checkpoints lack and that no code here reads.
_COUNTER = "num_batches_tracked"
# Modules that only wrap another: torch.compile, DataParallel, and those of distributed training. Their names stand
# within those of the weights.
_WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Words in the names of moving averages, which are taken only where the weights themselves are missing.
_AVERAGES = ("ema", "avg", "average", "averaged", "swa", "teacher")


def read_weights(path: str | Path, own: Mapping[str, Tensor], head: str = "") -> StateDict:
    """Read the tensors of a file that fit a model, under the model's names, on the CPU.

    A checkpoint may hold other things beside them, and their names may have prefixes that are not the model's, such
    as ``module.`` or ``model.``.

    Args:
        path: A file, as :func:`attribution_core.models.checkpoints.read_checkpoint` takes it.
        own: The model's state.
        head: Name of a layer whose tensors are left out where the file lacks them or has others.

    Raises:
        InputError: There is no such file, or it holds something else, weights of another model, or several sets that
            fit; the message names the first tensor that does not fit.
    """
    return fitting(own, read_checkpoint(path), path, head)


def fitting(own: Mapping[str, Tensor], sets: Sequence[WeightSet], path: str | Path, head: str = "") -> StateDict:
    """Return the set of tensors that fits a model; see :func:`read_weights`, whose file ``path`` names.

    Raises:
        InputError: None fits, or several different ones do.
    """
    found = [named for label, given in sets for named in _renamings(own, label, given, head)]
    fits = [named for named in found if not _misfits(own, named[1])]
    if not fits and head:
        body = {name: value for name, value in own.items() if not name.startswith(f"{head}.")}
        return fitting(body, [(label, _without_head(state, head)) for label, state in found], path)
    if not fits:
        nearest = min((state for _, state in found), key=lambda state: sum(map(len, _differences(own, state))))
        raise InputError(f"The weights in {path} are for another model: {_misfits(own, nearest)}.")
    fits = [named for named in fits if not _is_average(named[0])] or fits
    if any(not _equal(state, fits[0][1]) for _, state in fits[1:]):
        labels = " and ".join(dict.fromkeys(repr(label) for label, _ in fits))
        raise InputError(
            f"{path} holds several sets of weights that fit this model, {labels}: save the one that you mean in a file "
            "of its own."
        )
    return fits[0][1]


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a file of weights into ``model``.

    Raises:
        InputError: The file does not hold weights, or is for another architecture.
    """
    load_state(model, read_weights(path, model.state_dict()), path)


def load_state(model: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load tensors that were read from ``path`` into ``model``.

    Raises:
        InputError: Names or shapes differ, or a value is not finite.
    """
    own = model.state_dict()
    counters = {name: own[name] for name in own if name.endswith(_COUNTER) and name not in state}
    state = {**state, **counters}
    if misfit := _misfits(own, state):
        raise InputError(f"The weights in {path} are for another model: {misfit}.")
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


def _renamings(own: Mapping[str, Tensor], label: str, given: StateDict, head: str) -> Iterator[WeightSet]:
    """Yield a set of tensors under its own names, and under those that it has without and with a prefix."""
    yield label, given
    names = {_without_wrappers(name): name for name in own}
    plain = {_without_wrappers(name): value for name, value in given.items()}
    first = next((name for name in names if not head or not name.startswith(f"{head}.")), next(iter(names), ""))
    prefixes = [name.removesuffix(first) for name in plain if first and f".{name}".endswith(f".{first}")]
    for prefix in dict.fromkeys(["", *prefixes]):
        inside = {name.removeprefix(prefix): value for name, value in plain.items() if name.startswith(prefix)}
        where = f"{label}/{prefix}".strip("/.")
        yield where, {names.get(name, name): value for name, value in inside.items()}
    saved = next(iter(plain), "")
    for prefix in dict.fromkeys(name.removesuffix(saved) for name in names if name.endswith(f".{saved}")):
        yield label, {names.get(f"{prefix}{name}", name): value for name, value in plain.items()}


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _without_head(state: StateDict, head: str) -> StateDict:
    return {name: value for name, value in state.items() if not name.startswith(f"{head}.")}


def _differences(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[list[str], list[str], list[str]]:
    """Return the names that are missing, unknown, and of another shape."""
    missing = [name for name in own if name not in state and not name.endswith(_COUNTER)]
    unknown = [name for name in state if name not in own]
    return missing, unknown, [name for name in own if name in state and own[name].shape != state[name].shape]


def _misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Return what does not fit, the first of each kind by name; empty where all does."""
    missing, unknown, shapes = _differences(own, state)
    found = []
    if shapes:
        name = shapes[0]
        more = f", and {len(shapes) - 1} more have other shapes" if len(shapes) > 1 else ""
        found.append(f"{name!r} must be {list(own[name].shape)}, but it is {list(state[name].shape)}{more}")
    for names, what in ((missing, "missing"), (unknown, "not in the model")):
        if names:
            found.append(f"{names[0]!r} is {what}" + (f", and {len(names) - 1} more" if len(names) > 1 else ""))
    return "; ".join(found)


def _is_average(label: str) -> bool:
    words = label.lower().replace(".", "_").replace("/", "_").split("_")
    return any(word in _AVERAGES for word in words)


def _equal(one: StateDict, other: StateDict) -> bool:
    """Return whether tensors of the same names are the same ones or hold equal values."""
    return all(value is other[name] or torch.equal(value, other[name]) for name, value in one.items() if name in other)
