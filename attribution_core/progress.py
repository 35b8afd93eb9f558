"""Telling a caller how far a loop has come, without slowing the loop down."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

# Called with (done, total, what), for example (120, 4000, "checking images").
Progress = Callable[[int, int, str], None]

_SECONDS_BETWEEN_CALLS = 0.05


def reported(items: Iterable[Item], total: int, what: str, progress: Progress | None) -> Iterator[Item]:
    """Yields the items and tells ``progress`` how many are done, at most 20 times a second and once at the end.

    Args:
        items: What the caller loops over.
        total: How many items there will be.
        what: The activity in a few words, as a person reads it.
        progress: Whom to tell; None is nobody.

    Yields:
        Each item, in order.
    """
    told = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if progress is not None and done < total and now - told >= _SECONDS_BETWEEN_CALLS:
            progress(done, total, what)
            told = now
    if progress is not None:
        progress(done, total, what)
