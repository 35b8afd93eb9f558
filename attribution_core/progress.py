"""Progress: loops report how far they are, work announces what a person should read, and whoever listens is called.

    with progress.listening(lambda done, total, what: print(f"{what}: {done} of {total}")):
        run = ac.score(config)

The listener is a context variable, so no function passes it on; another thread or process has none. An exception that
a listener raises stops the work at that step: :class:`Cancelled` is there for it.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")

# Called with (done, total, what), for example (120, 4000, "checking images").
Listener = Callable[[int, int, str], None]

_SECONDS_BETWEEN_CALLS = 0.05
_listener: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)
_reader: ContextVar[Callable[[str], None] | None] = ContextVar("reader_of_announcements", default=None)


class Cancelled(Exception):  # noqa: N818 (a request, not an error)
    """Stop the work that reports its progress: for listeners to raise."""


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Call ``listener`` with the progress of the work inside the block, and no other one.

    Args:
        listener: Called with (done, total, what); whatever it raises stops the work. None listens to nothing.
    """
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


@contextmanager
def announcing(reader: Callable[[str], None]) -> Iterator[None]:
    """Call ``reader`` with each sentence that the work inside the block announces."""
    before = _reader.set(reader)
    try:
        yield
    finally:
        _reader.reset(before)


def announce(sentence: str) -> None:
    """Tell the reader of announcements, if there is one, a sentence."""
    reader = _reader.get()
    if reader is not None:
        reader(sentence)


@contextmanager
def silenced() -> Iterator[None]:
    """Report nothing of the work inside the block, which is a step of something that reports itself."""
    with listening(None):
        yield


@contextmanager
def retitled(title: Callable[[str], str]) -> Iterator[None]:
    """Report the work inside the block under other titles.

    Args:
        title: Takes the title of an activity and returns the one to report.
    """
    outer = _listener.get()
    if outer is None:
        yield
        return

    def listener(done: int, total: int, what: str) -> None:
        outer(done, total, title(what))

    with listening(listener):
        yield


def report(done: int, total: int, what: str) -> None:
    """Tell the listener, if there is one, that ``done`` of ``total`` steps of the activity ``what`` are done."""
    listener = _listener.get()
    if listener is not None:
        listener(done, total, what)


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Yield the items and report how many are done, at most 20 times a second and once at the end.

    Args:
        items: What the caller loops over.
        total: How many items there will be.
        what: The activity in a few words, as a person reads it.

    Yields:
        Each item, in order.
    """
    reported = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if done < total and now - reported >= _SECONDS_BETWEEN_CALLS:
            report(done, total, what)
            reported = now
    report(done, total, what)
