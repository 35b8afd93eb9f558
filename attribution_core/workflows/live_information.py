"""Compute F-SI and NTK influence at any training time while the user waits, from the model that a run keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from attribution_core.errors import InputError
from attribution_core.methods.linearized.decomposition import EXACT_WORK
from attribution_core.methods.linearized.model import LinearizedModel, squared_error_change
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.runs import Run
from attribution_core.runs.names import LIVE_MODEL_FILE


@dataclass(frozen=True)
class LiveInformation:
    """Compute F-SI and NTK influence of a run's examples at any training time; threads may share an instance.

    Attributes:
        linear: The run's linearized model, evaluated on its validation examples.
        shown: The same, evaluated on those of them that effects are measured on.
        schedule: The run's own training schedule.
        range: The first and the last training time for which the run holds values.
    """

    linear: LinearizedModel
    shown: LinearizedModel
    schedule: GradientDescent
    range: tuple[float, float]

    @classmethod
    def open(cls, run: Run, exact: bool = False) -> LiveInformation:
        """Read the linearized model that a run keeps.

        Args:
            run: A scored run.
            exact: Whether to compute in the precision of the run at any size. Otherwise runs that need more than
                ``EXACT_WORK`` multiplications are computed in float32, more than twice as fast. On the demo (2,000
                examples, 1,025 features, 10 classes) no value then has a relative error above 1e-5, at any time for
                which the run holds values (``tests/workflows/test_live_information.py``).

        Raises:
            InputError: The run keeps no linearized model (the message says why), or its file is damaged.
        """
        facts = run.manifest.details.get("fsi", {})
        file = run.path / LIVE_MODEL_FILE
        if not file.is_file() or "learning_rate" not in facts:
            raise InputError(_why_not(run))
        rate, steps, decay = (float(facts[name]) for name in ("learning_rate", "steps", "weight_decay"))
        try:
            state = load_file(file)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file} is damaged ({error}). Score the data again.") from error
        linear = LinearizedModel.from_state(state, None if exact or math.isinf(steps) else _precision(state))
        linear.evaluation_energy(state["gradient"][None].to(linear.features.dtype))  # computed before threads need it
        times, _ = run.evolution("fsi")
        shown = linear.evaluated_on(slice(run.manifest.evaluated))
        return cls(linear, shown, GradientDescent(rate, steps, decay), (float(times.min()), float(times.max())))

    @property
    def steps(self) -> float:
        """Training time of the run itself, in steps."""
        return self.schedule.steps

    @property
    def precision(self) -> str:
        """Precision of the computation for each example: ``"float64"`` or ``"float32"``."""
        return str(self.linear.features.dtype).removeprefix("torch.")

    def at(self, steps: float) -> np.ndarray:
        """Return the F-SI of every training example after training for ``steps`` steps: ``[n]``, nats, float64.

        The learning rate, weight decay and evaluation examples are the run's (unique information, eqs. 8 and 16).

        Raises:
            InputError: The time is negative, or infinite where float32 cannot compute it.
        """
        return functional_sample_information(self.linear, self._until(steps)).numpy()

    def effects_of(self, example: int, steps: float, on_training: bool = False) -> np.ndarray:
        """Return the NTK influence of a training example after ``steps`` steps, on each validation example: ``[m]``.

        It is the change of half the squared error without the example (unique information, eq. 8), as in
        ``run.effects("ntk")``, which holds it for the run's own training time. Costs one solve.

        Args:
            example: Position of the training example.
            steps: Training time.
            on_training: Return the influence on each training example instead, ``[n]``. That on itself is what it would
                lose by not being trained on.
        """
        schedule = self._until(steps)
        linear = self.linear.evaluated_on_training(slice(None)) if on_training else self.shown
        change = linear.group_prediction_change([example], schedule)
        error = linear.predictions(schedule) - linear.evaluation_targets
        return squared_error_change(change, error).cpu().numpy()

    def effects_on(self, evaluated: int, steps: float, on_training: bool = False) -> np.ndarray:
        """Return the NTK influence of each training example on a validation example: ``[n]``; see ``effects_of``.

        Costs the leave-one-out of every example, and their product with the one's features. With ``on_training``,
        ``evaluated`` is the position of a training example.
        """
        one = slice(evaluated, evaluated + 1)
        linear = self.linear.evaluated_on_training(one) if on_training else self.shown.evaluated_on(one)
        return linear.removal_effects(self._until(steps))[:, 0].cpu().numpy()

    def _until(self, steps: float) -> GradientDescent:
        return GradientDescent(self.schedule.learning_rate, steps, self.schedule.weight_decay)


def _precision(state: dict[str, torch.Tensor]) -> torch.dtype | None:
    """Return float32 for large models, and None, which keeps their precision, for others."""
    n, _, p = state["features"].shape
    return torch.float32 if n * state["residuals"].shape[2] * p**2 > EXACT_WORK else None


def _why_not(run: Run) -> str:
    reason = run.manifest.details.get("live", {}).get("skipped", "run the same score command again to add it")
    return f"The run {run.id} keeps no linearized model to compute F-SI from: {reason}."
