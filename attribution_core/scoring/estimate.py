"""Time and memory of a run before it is made; :mod:`attribution_core.scoring.probe` says what is measured, and why."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from attribution_core.errors import InputError
from attribution_core.memory import free_bytes, peak_bytes, used_bytes
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.prepare import Prepared, prepare
from attribution_core.progress import report, silenced
from attribution_core.scoring.memory_check import peak_of, why_not_enough_memory
from attribution_core.scoring.probe import Probe
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages import STAGES, Stage, dependents_of
from attribution_core.scoring.support import skip_reasons


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        seconds: Seconds of each stage by its name, in order; without stages that this run skips or that take next to
            nothing.
        memory: Bytes at the peak, of the GPU where the model computes on one.
        base: Bytes among these that are there however many examples there are, and that this process holds already.
        examples: Number of training examples.
        skipped: Why this run skips a stage, by the stage's name.
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
        """Refuse a plan that does not fit into the memory that was free.

        Raises:
            InputError: It does not fit; the sentence names the number of training examples that would.
        """
        if self.refusal:
            raise InputError(self.refusal)


def estimate(config: ScoreConfig) -> Estimate:
    """Estimate what scoring a dataset will take on this machine, as busy as it is now.

    Args:
        config: What to score, and how.

    Raises:
        InputError: Bad data or options, as :func:`attribution_core.score` would say.
    """
    began = time.perf_counter()
    prepared = prepare(config)
    return estimate_prepared(prepared, time.perf_counter() - began)


def estimate_prepared(prepared: Prepared, seconds_to_open: float) -> Estimate:
    """Estimate the same for a dataset that is open, which took ``seconds_to_open``."""
    device = prepared.device
    free, base = free_bytes(device), used_bytes(device)
    sizes = RunSizes(prepared)
    probe = Probe(prepared, sizes, seconds_to_open)
    planned: list[Stage] = []
    seconds: dict[str, float] = {}
    reasons = skip_reasons(prepared)
    for done, stage in enumerate(STAGES):
        report(done, len(STAGES), f"probing {stage.title}")
        if reasons[stage.name]:
            continue
        try:
            with silenced():
                seconds[stage.name] = stage.seconds_probe(probe)
            planned.append(stage)
        except InputError as error:
            if stage.is_required(prepared.config):
                raise
            reasons |= {each.name: str(error) for each in (stage, *dependents_of(stage))}
    skipped = {name: reason for name, reason in reasons.items() if reason}
    memory = max(base + peak_of(sizes, planned), peak_bytes(device))  # the probes' own peak included
    refusal = why_not_enough_memory(sizes, planned, free, base)
    taking_time = {name: value for name, value in seconds.items() if value}
    return Estimate(taking_time, memory, base, sizes.n, skipped, free, refusal)
