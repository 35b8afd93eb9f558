"""The record of one training: its checkpoints, and enough to replay it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.models.weights import StateDict
from attribution_core.training.recipe import Recipe


@dataclass
class Trajectory:
    """The trajectory of one training.

    The batches follow from the recipe's seed (:func:`batches`), so they are never stored.

    Attributes:
        recipe: Training recipe.
        num_examples: Number of training examples n.
        sample_weights: Factor of each example's loss, ``[n]``.
        model: Trained model, in its final state unless it was changed since; not saved.
        data: Inputs ``[n, ...]`` and targets of training, on the model's device; not saved.
        initial: State before the first step.
        final: State after the last step.
        checkpoints: States by number of steps: after each epoch, or after every step.
        second_moments: Adam's or iBLR's estimate of each weight's curvature, at the checkpoints and after the last
            step.
        rates: Learning rate used in each step.
        part_sizes: Largest number of examples that went through the model together, in each step; empty if whole
            batches did.
        epoch_losses: Mean training loss of each epoch, measured during training.
    """

    recipe: Recipe
    num_examples: int
    sample_weights: Tensor
    model: nn.Module
    data: tuple[Tensor, Tensor]
    initial: StateDict
    final: StateDict = field(default_factory=dict)
    checkpoints: dict[int, StateDict] = field(default_factory=dict)
    second_moments: dict[int, StateDict] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    part_sizes: list[int] = field(default_factory=list)
    epoch_losses: list[float] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Number of optimizer steps of the whole training."""
        return self.recipe.steps(self.num_examples)

    @property
    def states(self) -> dict[int, StateDict]:
        """The recorded states by number of steps: the first, the checkpoints and the last."""
        return {0: self.initial, **self.checkpoints, self.steps: self.final}

    def require_states(self, steps: Sequence[int]) -> None:
        """Raise InputError unless there are steps, and each of them has a recorded state."""
        missing = [step for step in steps if step not in self.states]
        if missing or not steps:
            raise InputError(
                f"There is no checkpoint after step {missing[0] if missing else None}: train with "
                f"record='checkpoints', and choose from {', '.join(str(step) for step in sorted(self.states)[:8])}, ..."
            )

    @contextmanager
    def at(self, step: int) -> Iterator[nn.Module]:
        """Yield the model in the recorded state after a number of steps, and restore it afterwards."""
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        try:
            self.model.load_state_dict(self.states[step])
            yield self.model
        finally:
            self.model.load_state_dict(before)

    def until(self, epochs: int) -> "Trajectory":
        """Return the trajectory of the first epochs, as if training had ended there; needs that epoch's checkpoint.

        Raises:
            InputError: There is no checkpoint after that epoch.
        """
        recipe = self.recipe.model_copy(update={"epochs": epochs})
        step = recipe.steps(self.num_examples)
        if step == self.steps:
            return self
        if step not in self.checkpoints:
            raise InputError(f"There is no checkpoint after epoch {epochs}: train with record='checkpoints'.")
        return replace(
            self,
            recipe=recipe,
            final=self.checkpoints[step],
            checkpoints={at: state for at, state in self.checkpoints.items() if at <= step},
            second_moments={at: state for at, state in self.second_moments.items() if at <= step},
            rates=self.rates[:step],
            part_sizes=self.part_sizes[:step],
            epoch_losses=self.epoch_losses[:epochs],
        )

    def save(self, folder: Path) -> None:
        """Write ``initial``, ``final`` and ``step-*`` as safetensors into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.initial, folder / "initial.safetensors")
        save_file(self.final, folder / "final.safetensors")
        for step, state in self.checkpoints.items():
            save_file(state, folder / f"step-{step:07d}.safetensors")


def batches(recipe: Recipe, examples: int) -> Iterator[Tensor]:
    """Yield the indices of each step's batch, in order: each epoch is a seeded permutation, cut into batches.

    One generator on the CPU is seeded once, so that the order is the same on every device and can be replayed.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    for _ in range(recipe.epochs):
        yield from torch.randperm(examples, generator=generator).split(recipe.batch_size)
