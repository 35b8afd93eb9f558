"""One hostile input: how to make it, and what the error must say."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

# Quick settings, in case an input gets further than it should.
_QUICK = ["--epochs", "1", "--model", "linear", "--map", "off", "--contributions", "off", "--influence", "off"]


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        name: What is wrong.
        make: Writes the input into a folder and returns the command line that reads it.
        sentence: Part of the error that must follow.
    """

    Make: ClassVar = Callable[[Path], list[str]]

    name: str
    make: Callable[[Path], list[str]]
    sentence: str


def score(data: str | Path, *options: str) -> list[str]:
    """Return the command line that scores ``data``."""
    return ["score", str(data), *_QUICK, *options]


def as_one_line(captured: str) -> str:
    """Join the lines of an error as a terminal wrapped it."""
    return " ".join(captured.split())
