r"""What if some training examples were gone: closed forms that answer at once, and retraining that checks them.

For a group G of training examples and evaluation example j:

- **linearized**: the linearized model that the run keeps, trained without G in closed form, by one solve with ``|G|``
  rows (:meth:`~attribution_core.methods.linearized.model.LinearizedModel.group_change`). With the change ``c`` of its
  outputs and its error ``u``, half the squared error changes by ``|c|^2 / 2 - u.c``. For this model that is exact;
- **memory perturbation**: what the model would say of G itself, from the sensitivities and leave-one-out losses that
  the run holds (Nickl et al. 2023: eq. 17 in its second form, which ignores the covariances between the examples of G,
  and eq. 20). Where examples of G are alike, their predictions move farther than it says;
- **effects**: the sum over G of a method's effects of single examples. It leaves out that the examples of G stand in
  for each other: without one of two duplicates nothing changes, without both much does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.evaluation.fidelity import Fidelity, ceiling_between_seeds, fidelity
from attribution_core.methods.linearized.model import squared_error_change
from attribution_core.preparation.prepare_run import Data, prepare_run
from attribution_core.runs import Run, RunWriter
from attribution_core.workflows.live_information import LiveInformation
from attribution_core.workflows.verify import Trainings

LINEARIZED = "linearized"
# Methods whose effects are changes of losses, so that sums over a group estimate its removal.
SUMMED = ("influence", "ntk", "hydra")


@dataclass(frozen=True)
class OwnExamples:
    """How the predictions for a group's own examples change without it, by the memory-perturbation equation.

    Attributes:
        loss: Mean loss on them now.
        loss_without: Mean of their leave-one-out losses.
        moved: Mean of their sensitivities: how far their predictions move.
    """

    loss: float
    loss_without: float
    moved: float


@dataclass(frozen=True)
class GroupEstimate:
    """What is estimated to change without a group of training examples.

    Attributes:
        changes: Change of the loss on each evaluation example, ``[m]``, by method: ``"linearized"`` and ``"ntk"`` in
            half squared errors, the others in units of the loss.
        accuracy: Accuracy of the linearized model on the evaluation examples with the group and without; None where
            targets are values, or the run keeps no such model.
        flipped: Evaluation examples that the linearized model predicts otherwise without the group.
        own: What memory perturbation says of the group's own examples; None where the run has no sensitivities.
    """

    changes: dict[str, np.ndarray]
    accuracy: tuple[float, float] | None
    flipped: np.ndarray
    own: OwnExamples | None


@dataclass(frozen=True)
class GroupEstimator:
    """Answer what the removal of a group changes; threads may share an instance.

    Attributes:
        run: The run.
        information: Its linearized model; None if it keeps none.
    """

    run: Run
    information: LiveInformation | None

    @classmethod
    def open(cls, run: Run, read: Callable[[Run], LiveInformation] = LiveInformation.open) -> GroupEstimator:
        """Read what the answers need, which may take seconds.

        Args:
            run: A scored run.
            read: Returns the linearized model that a run keeps.

        Raises:
            InputError: The run has neither a linearized model nor effects of single examples.
        """
        try:
            information = read(run)
        except InputError:
            if not set(SUMMED) & set(run.effect_methods):
                raise
            information = None
        return cls(run, information)

    def without(self, rows: Sequence[int]) -> GroupEstimate:
        """Return the changes if all examples of the group were gone, before training.

        Args:
            rows: Positions of the group's examples in ``run.examples``.

        Raises:
            InputError: The group is empty, repeats an example, or leaves none.
        """
        group = sorted(rows)
        if not group or len(set(group)) < len(group) or len(group) >= len(self.run.examples):
            raise InputError("A group must have at least one training example, each once, and leave at least one.")
        changes, accuracy, flipped = {}, None, np.zeros(0, dtype=np.int64)
        if self.information is not None:
            changes[LINEARIZED], accuracy, flipped = self._linearized(self.information, group)
        for method in SUMMED:
            if method in self.run.effect_methods:
                effects = np.asarray(self.run.effects(method).oindex[np.array(group), :])
                changes[method] = effects.sum(axis=0, dtype=np.float64)
        return GroupEstimate(changes, accuracy, flipped, self._own(group))

    def _own(self, group: list[int]) -> OwnExamples | None:
        names = ["loss", "loo_loss", "sensitivity"]
        if not set(names) <= set(self.run.examples.columns):
            return None
        means = self.run.examples[names].iloc[group].mean()
        return OwnExamples(float(means["loss"]), float(means["loo_loss"]), float(means["sensitivity"]))

    def _linearized(
        self, information: LiveInformation, group: list[int]
    ) -> tuple[np.ndarray, tuple[float, float] | None, np.ndarray]:
        linear, schedule = information.shown, information.schedule
        before = linear.predictions(schedule)
        change = linear.group_prediction_change(group, schedule)
        loss = squared_error_change(change, before - linear.evaluation_targets)
        if self.run.values is not None or before.shape[1] == 1:
            return loss.cpu().numpy(), None, np.zeros(0, dtype=np.int64)
        labels, old, new = (each.argmax(dim=1) for each in (linear.evaluation_targets, before, before - change))
        right = tuple(float((each == labels).double().mean()) for each in (old, new))
        return loss.cpu().numpy(), (right[0], right[1]), torch.nonzero(old != new)[:, 0].cpu().numpy()


def verify_group(
    path: Path,
    rows: Sequence[int],
    seeds: int = 2,
    processes: int = 0,
    data: Data = None,
    device: str = "auto",
    model: nn.Module | None = None,
) -> None:
    """Retrain a run's model with all examples and without a group, and keep the results in ``retraining.parquet``.

    The group keeps its places in the batches, with a weight of zero, so that both trainings see the same noise. Read
    the outcome by :func:`attribution_core.runs.retraining.measured_without`. Arguments and errors are those of
    :func:`attribution_core.workflows.verify.verify`, and of :meth:`GroupEstimator.without`.
    """
    _retrain(path, [sorted(rows)], seeds, processes, data, device, model)


@dataclass(frozen=True)
class GroupFidelity:
    """How well a method estimates the removal of random groups.

    Attributes:
        size: Examples in each group.
        method: The method.
        pairs: Agreement of estimated and measured changes, over groups and evaluation examples.
        means: The same of the mean changes over the evaluation examples, over groups.
        pairs_ceiling: The largest rank correlation over pairs that the noise of retraining allows; None for one seed.
        means_ceiling: The same of means.
    """

    size: int
    method: str
    pairs: Fidelity
    means: Fidelity
    pairs_ceiling: float | None
    means_ceiling: float | None


def verify_groups(
    path: Path,
    groups: int = 20,
    sizes: Sequence[int] = (10, 100),
    seeds: int = 2,
    processes: int = 0,
    data: Data = None,
    device: str = "auto",
    model: nn.Module | None = None,
) -> list[GroupFidelity]:
    """Compare the estimates for random groups with retraining without them.

    Args:
        path: Directory of the run.
        groups: Number of groups of each size, at least three.
        sizes: Examples in each group, fewer than the run has.
        seeds: Trainings for each group.
        processes: As in :func:`attribution_core.workflows.verify.verify`.
        data: As there.
        device: As there.
        model: As there.

    Raises:
        InputError: A number is too small or too large, or as there.
    """
    run = Run.open(path)
    if groups < 3 or not all(0 < size < len(run.examples) for size in sizes):
        raise InputError(
            f"Groups must be at least 3, of 1 to {len(run.examples) - 1} examples; given are {groups} groups of "
            f"{' and '.join(map(str, sizes))}."
        )
    generator = torch.Generator().manual_seed(0)
    chosen = {
        size: [sorted(torch.randperm(len(run.examples), generator=generator)[:size].tolist()) for _ in range(groups)]
        for size in sizes
    }
    every = [group for some in chosen.values() for group in some]
    losses = _retrain(path, every, seeds, processes, data, device, model)
    real = (losses[1:] - losses[:1]).double().transpose(0, 1).split(groups, dim=1)  # [seeds, groups, m] for each size
    estimator = GroupEstimator.open(run)
    found = []
    for size, measured in zip(sizes, real, strict=True):
        estimates = [estimator.without(group).changes for group in chosen[size]]
        means = measured.mean(dim=2)
        ceilings = ceiling_between_seeds(measured.flatten(1)), ceiling_between_seeds(means)
        for method in estimates[0]:
            estimate = torch.from_numpy(np.stack([each[method] for each in estimates]))
            pairs = fidelity(estimate, measured.mean(dim=0))
            found.append(
                GroupFidelity(size, method, pairs, fidelity(estimate.mean(dim=1), means.mean(dim=0)), *ceilings)
            )
    return found


def _retrain(
    path: Path,
    groups: list[list[int]],
    seeds: int,
    processes: int,
    data: Data,
    device: str,
    model: nn.Module | None,
) -> Tensor:
    """Return losses on the evaluation examples with everything and without each group, ``[1 + groups, seeds, m]``."""
    if seeds < 1:
        raise InputError(f"Retraining needs at least 1 seed, not {seeds}.")
    run = Run.open(path)
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title):
        prepared = prepare_run(run, data, device, model)
        first = prepared.config.seed
        trainings = Trainings(run, prepared, prepared.tensors_by_split(), range(first, first + seeds), processes)
        return trainings([[], *groups], True, "without groups").losses
