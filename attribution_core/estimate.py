"""Time and memory of a run before it is made: :mod:`attribution_core.probes` says what is measured, and what for."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from attribution_core.config import ScoreConfig
from attribution_core.errors import InputError
from attribution_core.preparation import Prepared, prepare
from attribution_core.probes import Probe
from attribution_core.progress import Progress

_SAFETY = 0.9  # of the examples that would just fit
_FEWEST = 100  # training examples that are worth scoring


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        seconds: Of each stage, in order; without those that this run will not have.
        memory: Bytes at the peak.
        base: Bytes of these that are there however many examples there are.
        examples: Training examples.
        left_out: Stages that this run will not have, and why.
    """

    seconds: dict[str, float]
    memory: int
    base: int
    examples: int
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())

    def require_room(self, free: int | None) -> None:
        """Refuses a plan that does not fit into so many bytes that are free now (None: not known).

        Raises:
            InputError: It does not; with the number of training examples that would, memory being linear in it.
        """
        if free is None or self.memory <= free:
            return
        fitting = int(_SAFETY * self.examples * (free - self.base) / (self.memory - self.base))
        fewer = f"score {fitting:,} training examples (--max-train {fitting}), " if fitting >= _FEWEST else ""
        raise InputError(
            f"This run would need about {self.memory / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free on this "
            f"machine: {fewer}take smaller images, or leave measures out."
        )


def estimate(config: ScoreConfig, progress: Progress | None = None) -> Estimate:
    """What scoring a dataset will take on this machine, as busy as it is now.

    Args:
        config: What to score, and how.
        progress: Called with (done, total, what).

    Raises:
        InputError: Bad data or options, as :func:`attribution_core.score` would say.
    """
    began = time.perf_counter()
    prepared = prepare(config, progress)
    return estimate_prepared(prepared, time.perf_counter() - began, progress)


def estimate_prepared(prepared: Prepared, seconds_to_open: float, progress: Progress | None = None) -> Estimate:
    """The same for a dataset that is open, which took so many seconds."""
    base = _resident_bytes()
    probe = Probe(prepared)
    stages: dict[str, Callable[[], tuple[float, int]]] = {
        "dataset": lambda: probe.dataset(seconds_to_open),
        "training": probe.training,
        "linearised": probe.linearised,
        "contributions": probe.contributions,
        "sensitivity": probe.sensitivity,
        "influence": probe.influence,
        "neighbours": probe.neighbours,
        "map": probe.map,
    }
    seconds, memory, left_out = {}, [0], {}
    for done, (name, measure) in enumerate(stages.items()):
        if progress:
            progress(done, len(stages), f"probing {name}")
        reason = probe.why_left_out(name)
        try:
            if not reason:
                seconds[name], held = measure()
                memory.append(held)
        except InputError as error:
            if name in ("dataset", "training", "linearised"):
                raise
            reason = str(error)
        if reason:
            left_out[name] = reason
    needed = base + probe.held_bytes + max(memory)
    return Estimate(seconds, max(needed, _peak_bytes()), base, probe.n, left_out)


def _resident_bytes() -> int:
    """What this process holds now; at its peak so far where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _peak_bytes()


def _peak_bytes() -> int:
    """The most that this process has held, its probes included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
