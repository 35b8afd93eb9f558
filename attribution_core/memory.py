"""Memory: how much there is, and work on examples in smaller parts where it runs out."""

from __future__ import annotations

import functools
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

from attribution_core.errors import InputError, is_out_of_memory

Result = TypeVar("Result")
_CONTAINER = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int | None:
    """Memory that a device could give now; None where it does not say.

    Of the CPU it is the machine's, or what the limit of the container leaves (Linux, control groups 2).
    """
    if device.type == "cuda":
        held_for_later = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held_for_later
    try:
        machine = 1024 * _named_number(Path("/proc/meminfo"), "MemAvailable:")
    except (OSError, StopIteration):
        return None
    try:
        limit, held = (int((_CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        return min(machine, limit - held + _named_number(_CONTAINER / "memory.stat", "inactive_file"))
    except (OSError, StopIteration, ValueError):  # in no container, or in one without a limit, which says "max"
        return machine


def _named_number(file: Path, name: str) -> int:
    lines = file.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def used_bytes(device: torch.device) -> int:
    """What this process holds of a device's memory now; at its peak so far where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_bytes(device)


def peak_bytes(device: torch.device) -> int:
    """The most that this process has held of a device's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class AdaptiveBatchSize:
    """How many examples go through a model together: halved, for good, whenever memory runs out.

    Attributes:
        size: So many at most.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, work: Callable[[int], Result], count: int) -> Result:
        """What ``work`` on ``count`` examples gives, told how many of them to take together so that it fits.

        Raises:
            InputError: Not even one fits.
        """
        size = min(self.size, count)
        while (found := try_within_memory(functools.partial(work, size))) is None:
            if size == 1:
                raise InputError(
                    "There is not enough memory for even one example at a time: take smaller images, a smaller model, "
                    "or another device."
                )
            size = self.size = size // 2
        return found

    def map_slices(self, work: Callable[[slice], Result], count: int) -> Iterator[tuple[slice, Result]]:
        """Each part of ``range(count)``, in order, and what ``work`` on it gives.

        Raises:
            InputError: Not even one example fits.
        """
        start = 0
        while start < count:
            where, result = self.run(functools.partial(_on_part, work, start), count - start)
            yield where, result
            start = where.stop


def try_within_memory(work: Callable[[], Result]) -> Result | None:
    """What ``work`` gives, which is never None; None where memory ran out, with what it had taken given back."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Behind the except block, since the error's traceback holds what failed.
    torch.cuda.empty_cache()
    return None


def _on_part(work: Callable[[slice], Result], start: int, size: int) -> tuple[slice, Result]:
    where = slice(start, start + size)
    return where, work(where)
