"""What training leaves behind: enough to replay it, and its checkpoints."""

from collections.abc import Iterator
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
    """The path of one training run.

    The batches of a step follow from the recipe's seed (:func:`batches`), so they are never stored.

    Attributes:
        recipe: How it was trained.
        num_examples: n.
        sample_weights: ``[n]``, the factor of each example's loss.
        model: The model that was trained, and is at the final state unless it was changed since; not saved.
        data: Inputs ``[n, ...]`` and targets it was trained on, on its device; not saved.
        initial: State before the first step.
        final: State after the last.
        checkpoints: State after the given number of steps: after each epoch, or after every step.
        second_moments: What Adam or iBLR knows of each weight's curvature, after the last step and at the checkpoints.
        rates: Learning rate of each step, as it was used.
        part_sizes: How many examples of a batch went through the model together, in each step; empty where all did.
        epoch_losses: Mean training loss of each epoch, as met on the way.
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
        """Optimiser steps of the whole training."""
        return self.recipe.steps(self.num_examples)

    def until(self, epochs: int) -> "Trajectory":
        """The trajectory's first epochs, as if training had ended there; needs the checkpoint of that epoch.

        Raises:
            InputError: No checkpoint there.
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
    """The indices of every step's batch, in order: each epoch is a seeded permutation, cut into batches.

    One generator on the CPU, seeded once, so that the order is the same on every device and can be replayed.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    for _ in range(recipe.epochs):
        yield from torch.randperm(examples, generator=generator).split(recipe.batch_size)
