"""Several pytest processes at once (pytest-xdist): they share the cores, and what is slow to make is made once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

# Read by the libraries when they are first imported, here and in every process that a test starts.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def share_cores(config: pytest.Config) -> None:
    """Give each worker its part of the cores; workers inherit the environment of the process that starts them."""
    if workers := getattr(config.option, "numprocesses", None):
        for name in _THREADS:
            os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // workers)))


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Make a folder in the first worker that needs it, and return it in every worker.

    Args:
        factory: The fixture ``tmp_path_factory``.
        name: Name of the folder.
        make: Makes it at a path.

    Returns:
        The folder, which tests must not change.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # the workers' own folders are in it
    folder = root / name
    finished = root / f"{name}.finished"
    with FileLock(root / f"{name}.lock"):
        if not finished.exists():
            make(folder)
            finished.touch()
    return folder
