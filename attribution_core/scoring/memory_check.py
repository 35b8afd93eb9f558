"""Memory that a run needs, from its sizes alone, and the refusal of a run that would not fit.

Each stage has a formula for the arrays that it holds together (:meth:`Stage.bytes_needed`); besides, a run holds its
inputs and what opening the data took. Compared with real runs in ``tests/benchmarks/estimate.py``.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from attribution_core.errors import InputError
from attribution_core.memory import free_bytes, used_bytes
from attribution_core.preparation.prepare import Prepared
from attribution_core.runs.names import MANIFEST_FILE
from attribution_core.runs.store import read_manifest
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages import STAGES, Stage

_SAFETY = 0.9  # of the memory that is free, for a plan that is proposed
_FEWEST = 100  # training examples that are worth scoring


def peak_of(sizes: RunSizes, stages: Iterable[Stage]) -> int:
    """Return the bytes that a run of these stages holds at its peak: its inputs, and the largest stage."""
    return sizes.input_bytes + max((stage.bytes_needed(sizes) for stage in stages), default=0)


def most_examples(sizes: RunSizes, stages: Collection[Stage], free: int) -> int:
    """Return the largest number of training examples whose run fits into ``free`` bytes with a tenth to spare."""

    def peak_with(examples: int) -> int:
        return peak_of(sizes.with_examples(examples), stages)

    return max(0, bisect_right(range(sizes.n + 1), _SAFETY * free, key=peak_with) - 1)


def stages_left(sizes: RunSizes, reasons: Mapping[str, str], done: Collection[str] = ()) -> list[Stage]:
    """Return the stages that hold much, are not done, and that there is no reason to skip."""
    left = (stage for stage in STAGES if stage.name not in done and not reasons[stage.name])
    return [stage for stage in left if stage.bytes_needed(sizes)]


def require_memory(prepared: Prepared, reasons: Mapping[str, str]) -> None:
    """Refuse a run that would not fit into the memory of its device that is free now.

    Only stages that are not done in the run's folder count. It takes a fraction of a second, since nothing is timed.

    Args:
        prepared: The dataset and the model.
        reasons: Why stages are skipped, as :func:`attribution_core.scoring.support.skip_reasons` returns them.

    Raises:
        InputError: It does not fit; the sentence names the number of training examples that would.
    """
    sizes = RunSizes(prepared)
    stages = stages_left(sizes, reasons, _stages_done(prepared.config.folder))
    refusal = why_not_enough_memory(sizes, stages, free_bytes(prepared.device), used_bytes(prepared.device))
    if refusal:
        raise InputError(refusal)


def why_not_enough_memory(sizes: RunSizes, stages: Collection[Stage], free: int | None, held: int) -> str:
    """Return why a run of these stages does not fit into memory, and what would, in a sentence; empty where it fits.

    Args:
        sizes: Sizes of the run.
        stages: Its stages that are not done yet.
        free: Bytes that are free now; None where that is not known, and nothing is refused.
        held: Bytes that this process holds already.
    """
    more = peak_of(sizes, stages) if stages else 0
    if free is None or more <= free:
        return ""
    fitting = most_examples(sizes, stages, free)
    fewer = f"score {fitting:,} training examples (--max-train {fitting}), " if fitting >= _FEWEST else ""
    return (
        f"This run would need about {(held + more) / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free on this "
        f"{'GPU' if sizes.device.type == 'cuda' else 'machine'}: {fewer}use smaller images, or turn measures off."
    )


def _stages_done(folder: Path) -> set[str]:
    """Return the stages that are done in the run of a folder, if there is one."""
    if not (folder / MANIFEST_FILE).is_file():
        return set()
    return {name for name, stage in read_manifest(folder).stages.items() if stage.status == "done"}
