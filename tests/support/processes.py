"""Work in a process of its own, for a test to kill."""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from attribution_core.progress import listening

# A process starts as a copy of one that has imported these, which saves it the seconds of an import.
_IMPORTED = ["attribution_core.workflows.clean", "tests.support.sample_run"]


def kill_at(moment: str, work: Callable[..., object], *arguments: object, delay: float = 0) -> None:
    """Start some work in another process, and kill that once it reports a moment.

    Args:
        moment: Part of what the work reports as its progress.
        work: A function at the top of a module.
        *arguments: Its arguments.
        delay: Seconds between the report and the end of the process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report_to, args=(sender, work, *arguments))
    process.start()
    sender.close()
    with receiver, contextlib.suppress(EOFError):
        while moment not in receiver.recv():
            pass
        time.sleep(delay)
        process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"the work ended without reporting {moment!r}"


def _report_to(sender: Connection, work: Callable[..., object], *arguments: object) -> None:
    with listening(lambda *progress: sender.send(progress[-1])):
        work(*arguments)
