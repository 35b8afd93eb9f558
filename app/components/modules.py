"""The JavaScript modules of the components, as the browser asks for them."""

from __future__ import annotations

import hashlib
from pathlib import Path

_FOLDER = Path(__file__).parent / "gallery"

# Name -> text. Read once: what is asked for by name is looked up here, and never in the file system.
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(_FOLDER.glob("*.js"))}

# The modules import each other by relative addresses, so that they share this, and the browser may keep them forever.
VERSION = hashlib.sha256("\0".join([*SCRIPTS, *SCRIPTS.values()]).encode()).hexdigest()[:16]


def address(name: str) -> str:
    """Return the address of a module."""
    return f"/api/components/{VERSION}/{name}"
