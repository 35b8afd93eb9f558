"""Compute influence functions at any damping while the user waits, from what a run keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from attribution_core.errors import InputError
from attribution_core.methods.influence.kept import InfluenceAtDamping, KeptInfluence
from attribution_core.runs import Run
from attribution_core.runs.names import KEPT_INFLUENCE_FILE


@dataclass(frozen=True)
class EffectsAtDamping:
    """Effects of single examples at one damping, as in ``run.effects("influence")``; threads may share an instance."""

    _influence: InfluenceAtDamping

    def effects_of(self, example: int) -> np.ndarray:
        """Return the effects of a training example on each validation example, ``[m]``."""
        return self._influence.effects_of(example).numpy()

    def effects_on(self, evaluated: int) -> np.ndarray:
        """Return the effects of each training example on a validation example, ``[n]``."""
        return self._influence.effects_on(evaluated).numpy()


@dataclass(frozen=True)
class LiveInfluence:
    """Compute a run's influence functions at any damping; threads may share an instance."""

    _kept: KeptInfluence

    @classmethod
    def open(cls, run: Run) -> LiveInfluence:
        """Read what a run keeps.

        Args:
            run: A scored run.

        Raises:
            InputError: The run keeps nothing to compute influence from, or its file is damaged.
        """
        file = run.path / KEPT_INFLUENCE_FILE
        if not file.is_file():
            reason = run.manifest.details.get("any_damping", {}).get("skipped", "score the data again to add it")
            raise InputError(f"The run {run.id} keeps nothing to compute influence at another damping from: {reason}.")
        try:
            return cls(KeptInfluence.from_state(load_file(file)))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise InputError(f"{file} is damaged ({error}). Score the data again.") from error

    def at(self, multiple: float) -> EffectsAtDamping:
        """Return the effects at a multiple of the run's own damping, which costs one decomposition for a checkpoint."""
        return EffectsAtDamping(self._kept.at(multiple))
