"""Measure memory, and split work on examples into smaller batches when it runs out."""

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
    """Return the memory available on a device, in bytes; None if the system does not report it.

    For the CPU, this is the machine's available memory or what the container's limit leaves (Linux, control groups 2).
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    try:
        machine = 1024 * _read_number(Path("/proc/meminfo"), "MemAvailable:")
    except (OSError, StopIteration):
        return None
    try:
        limit, used = (int((_CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        return min(machine, limit - used + _read_number(_CONTAINER / "memory.stat", "inactive_file"))
    except (OSError, StopIteration, ValueError):  # no container, or one without a limit, which reads "max"
        return machine


def _read_number(file: Path, name: str) -> int:
    lines = file.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def used_bytes(device: torch.device) -> int:
    """Return the device memory that this process uses, in bytes; its peak so far if the system does not report it."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_bytes(device)


def peak_bytes(device: torch.device) -> int:
    """Return the largest amount of device memory that this process has used, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class AdaptiveBatchSize:
    """Batch size that is halved, permanently, whenever memory runs out.

    Attributes:
        size: Largest number of examples to process together.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, work: Callable[[int], Result], count: int) -> Result:
        """Return ``work(batch_size)`` for ``count`` examples, with the largest batch size that fits into memory.

        Raises:
            InputError: Not even one example fits.
        """
        size = min(self.size, count)
        while (found := try_within_memory(functools.partial(work, size))) is None:
            if size == 1:
                raise InputError(
                    "There is not enough memory for even one example at a time: use smaller images, a smaller model, "
                    "or another device."
                )
            size = self.size = size // 2
        return found

    def map_slices(self, work: Callable[[slice], Result], count: int) -> Iterator[tuple[slice, Result]]:
        """Split ``range(count)`` into slices that fit into memory; yield each slice, in order, with ``work`` of it.

        Raises:
            InputError: Not even one example fits.
        """
        start = 0
        while start < count:
            part, result = self.run(functools.partial(_run_slice, work, start), count - start)
            yield part, result
            start = part.stop


def try_within_memory(work: Callable[[], Result]) -> Result | None:
    """Return what ``work`` returns, which is never None; None if memory ran out, after releasing what ``work`` took."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside the except block, because the error's traceback keeps the failed tensors alive.
    torch.cuda.empty_cache()
    return None


def _run_slice(work: Callable[[slice], Result], start: int, size: int) -> tuple[slice, Result]:
    part = slice(start, start + size)
    return part, work(part)
