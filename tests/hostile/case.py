"""One hostile input: how it is made, and what is said about it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

# Quick settings, for those that come through further than they should.
_QUICK = ["--epochs", "1", "--model", "linear", "--map", "off", "--contributions", "off", "--influence", "off"]


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        name: What is wrong.
        make: Writes it into a folder, and returns the command line that is given it.
        sentence: Part of what must be said.
    """

    Make: ClassVar = Callable[[Path], list[str]]

    name: str
    make: Callable[[Path], list[str]]
    sentence: str


def score(data: str | Path, *options: str) -> list[str]:
    """The command line that scores it."""
    return ["score", str(data), *_QUICK, *options]
