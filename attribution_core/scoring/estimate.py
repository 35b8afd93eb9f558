"""Estimate a run's time and memory before it starts, from what :mod:`attribution_core.scoring.probes` measures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from attribution_core.errors import InputError
from attribution_core.memory import free_bytes, peak_bytes, used_bytes
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.prepare import Prepared, prepare
from attribution_core.progress import report, silenced
from attribution_core.scoring.memory_needed import MemoryNeeded, why_not_enough_memory
from attribution_core.scoring.probes import Probe


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        seconds: Of each stage, in order; without those that this run will not have.
        memory: Bytes at the peak, of the GPU where the model computes on one.
        base: Bytes of these that are there however many examples there are, and that this process holds already.
        examples: Training examples.
        skipped: Stages that this run will not have, and why.
        free: Bytes that this process could have besides; None where that is not known.
        refusal: Why the run does not fit into these, and what would; empty where it fits.
    """

    seconds: dict[str, float]
    memory: int
    base: int
    examples: int
    skipped: dict[str, str] = field(default_factory=dict)
    free: int | None = None
    refusal: str = ""

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())

    def require_memory(self) -> None:
        """Refuses a plan that does not fit into the memory that was free.

        Raises:
            InputError: It does not; with the number of training examples that would.
        """
        if self.refusal:
            raise InputError(self.refusal)


def estimate(
    config: ScoreConfig,
) -> Estimate:
    """What scoring a dataset will take on this machine, as busy as it is now.

    Args:
        config: What to score, and how.

    Raises:
        InputError: Bad data or options, as :func:`attribution_core.score` would say.
    """
    began = time.perf_counter()
    prepared = prepare(config)
    return estimate_prepared(prepared, time.perf_counter() - began)


def estimate_prepared(
    prepared: Prepared,
    seconds_to_open: float,
) -> Estimate:
    """The same for a dataset that is open, which took so many seconds."""
    device = prepared.device
    free, base = free_bytes(device), used_bytes(device)
    sizes = MemoryNeeded(prepared)
    probe = Probe(prepared, sizes)
    stages: dict[str, Callable[[], float]] = {
        "dataset": lambda: probe.dataset(seconds_to_open),
        "training": probe.training,
        "linearised": probe.linearised,
        "contributions": probe.contributions,
        "sensitivity": probe.sensitivity,
        "influence": probe.influence,
        "neighbours": probe.neighbours,
        "map": probe.map,
    }
    seconds, skipped = {}, {}
    for done, (name, measure) in enumerate(stages.items()):
        report(done, len(stages), f"probing {name}")
        reason = sizes.why_skipped(name)
        try:
            if not reason:
                with silenced():
                    seconds[name] = measure()
        except InputError as error:
            if name in ("dataset", "training", "linearised"):
                raise
            reason = str(error)
        if reason:
            skipped[name] = reason
    memory = max(base + sizes.peak(seconds), peak_bytes(device))  # the probes' own peak included
    refusal = why_not_enough_memory(sizes, seconds, free, base)
    return Estimate(seconds, memory, base, sizes.n, skipped, free, refusal)
