"""Memory that a run needs, from its sizes alone, and the refusal of one that would not fit.

Each stage has a formula for the size of the arrays that it holds at one time, with n training and m validation
examples, k outputs, |w| parameters, and a linearized model of p features in a rows for each example
(:mod:`attribution_core.scoring.probes` measures the time). Besides these, a run holds only its inputs and what opening
the data took. ``tests/benchmarks/estimate.py`` compares the formulas with real runs.
"""

import copy
from bisect import bisect_right
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients import select_parameters
from attribution_core.memory import free_bytes, used_bytes
from attribution_core.methods.analysis.embedding_map import MOST
from attribution_core.methods.influence.spectrum import DIMENSION
from attribution_core.methods.linalg.blocked import BLOCK_BYTES
from attribution_core.methods.linearized.build import head_inputs
from attribution_core.preparation.prepare import Prepared
from attribution_core.runs.names import MANIFEST_FILE
from attribution_core.runs.store import read_manifest
from attribution_core.scoring.recorded_training import kept_epochs
from attribution_core.scoring.stages.base import skipped_by_choice
from attribution_core.scoring.stages.contributions import why_skipped
from attribution_core.scoring.stages.influence import why_influence_skipped
from attribution_core.scoring.stages.linearised import CURVE_EXAMPLES, EXACT_SIZE
from attribution_core.training import outputs_of

_SAFETY = 0.9  # of the memory that is free, for a plan that is proposed
_FEWEST = 100  # training examples that are worth scoring


class MemoryNeeded:
    """Sizes of a run that is to be made, and the bytes that each stage holds at its peak.

    Attributes:
        model: Of the run's kind, at its initial weights.
        n: Training examples.
        m: Validation examples.
        tested: Test examples.
        size: Parameters.
        device: Whose memory it is.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.model = prepared.build(prepared.config.seed)
        self.n, self.m, self.tested = (len(split) for split in prepared.splits)
        self.size = sum(parameter.numel() for parameter in self.model.parameters())
        self.device = prepared.device
        self._config = prepared.config
        self._few = torch.zeros(2, *prepared.input_shape, device=self.device)

    def peak(self, stages: Collection[str]) -> int:
        """Bytes that a run of these stages holds at most: all examples as the model takes them, and a stage's own.

        Raises:
            InputError: The model does not allow a stage.
        """
        inputs = 4 * self._few[0].numel() * (self.n + self.m + self.tested)
        return inputs + max((_FORMULAS[stage](self) for stage in stages if stage in _FORMULAS), default=0)

    def fitting(self, stages: Collection[str], free: int) -> int:
        """Of how many training examples a run of these stages fits into so many bytes, with some to spare."""

        def peak_of(examples: int) -> int:
            fewer = copy.copy(self)
            fewer.n = examples
            return fewer.peak(stages)

        return max(0, bisect_right(range(self.n + 1), _SAFETY * free, key=peak_of) - 1)

    def stages_left(self, done: Collection[str]) -> list[str]:
        """Stages that hold much, which are not done and which the model and the configuration allow."""
        return [stage for stage in _FORMULAS if stage not in done and self._allows(stage)]

    def why_skipped(self, stage: str) -> str:
        """Why the run will not have a stage, where that is known beforehand; else empty."""
        config = self._config
        if stage == "contributions":
            return why_skipped(config, self.model, self._few)
        if stage == "sensitivity":
            return skipped_by_choice(config, config.sensitivity, "sensitivities")
        if stage == "map" and config.map == "off":
            return "the map was turned off"
        if stage == "influence":
            return why_influence_skipped(config, self.model)
        return ""

    def _allows(self, stage: str) -> bool:
        try:
            return not self.why_skipped(stage) and self.peak([stage]) > 0
        except InputError:  # for which the run will leave it out
            return False

    # -- the stages ------------------------------------------------------------------------------------------------

    def _training(self) -> int:
        recipe = self._config.recipe
        states = len(kept_epochs(recipe.epochs)) + 5  # gradients, momentum, both ends, a copy
        return 4 * self.size * states + 2 * min(recipe.batch_size, self.n) * self._activation_bytes

    def _linearised(self) -> int:
        rows, features = self.feature_rows
        p = min(self.n * rows, features)
        return 8 * ((2 * self.n + self.m) * rows * p + 3 * p * p + 2 * self.n * CURVE_EXAMPLES) + 2 * BLOCK_BYTES

    def _contributions(self) -> int:
        return 4 * (3 * self.n * self.m + self._config.recipe.epochs * self.n) + self.m * self._activation_bytes

    def _sensitivity(self) -> int:
        return 4 * self.size * 8 + BLOCK_BYTES

    def _influence(self) -> int:
        size = min(self.n * self.outputs, self.size, DIMENSION)
        return 8 * 4 * size**2 + 4 * (2 * (self.n + self.m) * size + 3 * self.n * self.m) + 4 * 1024 * size

    def _neighbours(self) -> int:
        return 8 * self.n * self.head_width + 2 * BLOCK_BYTES

    def _map(self) -> int:
        points = self.n + self.m + self.tested
        return 4 * points * self.head_width + 2 * BLOCK_BYTES + 8 * 100 * min(points, MOST)

    # -- what they are made of -------------------------------------------------------------------------------------

    @property
    def outputs(self) -> int:
        """Of the model, k."""
        return self._passed[0]

    @property
    def _activation_bytes(self) -> int:
        """Of the outputs of all layers, for one example."""
        return self._passed[1]

    @cached_property
    def _passed(self) -> tuple[int, int]:
        """What one example tells: outputs, and bytes of those of all layers."""
        numbers: list[int] = []

        def count(_module: nn.Module, _given: tuple, result: object) -> None:
            results = result if isinstance(result, tuple) else (result,)
            numbers.extend(each.numel() for each in results if isinstance(each, Tensor))

        leaves = [module for module in self.model.modules() if not list(module.children())]
        hooks = [module.register_forward_hook(count) for module in leaves]
        try:
            outputs = outputs_of(self.model, self._few[:1])
        finally:
            for hook in hooks:
                hook.remove()
        return outputs.shape[1], 4 * sum(numbers)

    @cached_property
    def head_width(self) -> int:
        """Inputs of the model's last layer.

        Raises:
            InputError: The model does not end in a linear layer.
        """
        return int(head_inputs(self.model, self._few[:1]).shape[1])

    @property
    def feature_rows(self) -> tuple[int, int]:
        """Rows of the linearised model's features for each example, and how many features."""
        config = self._config
        if config.parameters == "head":
            return 1, self.head_width + 1
        named = dict(self.model.named_parameters())
        width = sum(named[name].numel() for name in select_parameters(self.model, config.parameters))
        return self.outputs, config.dimension if min(self.n * self.outputs, width) > EXACT_SIZE else width


_FORMULAS: dict[str, Callable[[MemoryNeeded], int]] = {
    "training": MemoryNeeded._training,
    "linearised": MemoryNeeded._linearised,
    "live": MemoryNeeded._linearised,  # which is made again where a run goes on
    "contributions": MemoryNeeded._contributions,
    "sensitivity": MemoryNeeded._sensitivity,
    "influence": MemoryNeeded._influence,
    "neighbours": MemoryNeeded._neighbours,
    "map": MemoryNeeded._map,
}


def require_memory(prepared: Prepared) -> None:
    """Refuses a run that would not fit into the memory of its device that is free now.

    Only stages that are not done in the run's folder count. It takes a fraction of a second, since nothing is timed.

    Raises:
        InputError: It does not fit; with the number of training examples that would.
    """
    needed = MemoryNeeded(prepared)
    stages = needed.stages_left(_stages_done(prepared.config.folder))
    refusal = why_not_enough_memory(needed, stages, free_bytes(prepared.device), used_bytes(prepared.device))
    if refusal:
        raise InputError(refusal)


def why_not_enough_memory(needed: MemoryNeeded, stages: Collection[str], free: int | None, held: int) -> str:
    """Why a run of these stages does not fit into memory, and what would, in a sentence; empty where it fits.

    Args:
        needed: By the run.
        stages: Of the run, those that are to be done.
        free: Bytes that are free now; None where that is not known, and nothing is refused.
        held: Bytes that this process holds already.
    """
    more = needed.peak(stages) if stages else 0
    if free is None or more <= free:
        return ""
    fitting = needed.fitting(stages, free)
    fewer = f"score {fitting:,} training examples (--max-train {fitting}), " if fitting >= _FEWEST else ""
    return (
        f"This run would need about {(held + more) / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free on this "
        f"{'GPU' if needed.device.type == 'cuda' else 'machine'}: {fewer}take smaller images, or leave measures out."
    )


def _stages_done(folder: Path) -> set[str]:
    """Of the run in a folder, if there is one."""
    if not (folder / MANIFEST_FILE).is_file():
        return set()
    return {name for name, stage in read_manifest(folder).stages.items() if stage.status == "done"}
