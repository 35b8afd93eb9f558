"""F-SI at training times that a run does not store, computed on a background thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import numpy as np
import streamlit as st

from attribution_core.errors import InputError
from attribution_core.runs import Run

_KEPT = 64  # results of a run


class Information(Protocol):
    """The interface that computes the scores: :class:`attribution_core.workflows.live_information.LiveInformation`."""

    def at(self, steps: float) -> np.ndarray:
        """Return F-SI of every training example at a training time, ``[n]`` in nats."""


class LiveScores:
    """The scores of one run on request, shared by all sessions; the latest request is computed first.

    Args:
        open_information: Opens the model; called once, on the thread, and may take seconds.

    Attributes:
        problem: Why nothing can be computed; empty if nothing is wrong.
    """

    def __init__(self, open_information: Callable[[], Information]) -> None:
        self._open = open_information
        self._information: Information | None = None
        self._results: OrderedDict[float, np.ndarray] = OrderedDict()
        self._asked: list[float] = []
        self._lock = threading.Lock()
        self._working = False
        self.problem = ""

    def ask(self, time: float) -> np.ndarray | None:
        """Return the scores at a time if they are known; else start computing them and return None."""
        with self._lock:
            if time in self._results:
                self._results.move_to_end(time)
                return self._results[time]
            if not self.problem:
                # Dragging a slider requests many times; the user waits for the last one.
                self._asked = [*(other for other in self._asked if other != time), time]
                self._start()
        return None

    def prepare(self) -> None:
        """Open the model in advance, so that the first request does not wait for it."""
        with self._lock:
            if self._information is None and not self.problem:
                self._start()

    def ready(self, time: float) -> bool:
        """Return whether there is nothing to wait for: the scores are known, or cannot be computed."""
        with self._lock:
            return time in self._results or bool(self.problem)

    def _start(self) -> None:
        if not self._working:
            self._working = True
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        try:
            if self._information is None:
                self._information = self._open()
            while (time := self._next()) is not None:
                self._keep(time, self._information.at(time))
        except InputError as error:
            self._give_up(str(error))
        except Exception as error:
            self._give_up(f"{type(error).__name__}: {error}")
            raise

    def _keep(self, time: float, result: np.ndarray) -> None:
        with self._lock:
            self._results[time] = result
            while len(self._results) > _KEPT:
                self._results.popitem(last=False)

    def _next(self) -> float | None:
        with self._lock:
            while self._asked:
                time = self._asked.pop()
                if time not in self._results:
                    return time
            self._working = False
            return None

    def _give_up(self, problem: str) -> None:
        with self._lock:
            self.problem, self._asked, self._working = problem, [], False


def scores_of(run: Run) -> LiveScores:
    """Return the live scores of a run; the object is the same until the run changes."""
    return _shared(run, run.version)


@st.cache_resource(max_entries=2, show_spinner=False)
def _shared(_run: Run, version: str) -> LiveScores:  # noqa: ARG001 (a cache key)
    def open_information() -> Information:
        from attribution_core.workflows.live_information import LiveInformation  # imports torch, which takes seconds

        return LiveInformation.open(_run)

    return LiveScores(open_information)
