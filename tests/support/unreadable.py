"""Folders that may not be read: tests may run as root, whom no permission bits stop."""

import os

import pytest


def lock(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """Have the listing of every folder whose path has this ending refused."""
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith(ending):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
