"""Bit-exact replay of a recorded training that stops before each step for inspection."""

import copy
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.layers import LayerFactors, refuse_unfit
from attribution_core.gradients.per_example import loss_factors
from attribution_core.memory import AdaptiveBatchSize, try_within_memory
from attribution_core.models.plain import copy_of
from attribution_core.training import Recipe, Trajectory, batches, loss_values, optimizer_of, repeatable, state_of


@dataclass(frozen=True)
class Moment:
    """A step of training, before it is taken.

    Attributes:
        step: Number of the step, from 0.
        batch: Indices of its examples, ``[b]``.
        parts: Parts of the batch that fit into memory: the indices of the part's examples, and one factor per requested
            layer for the mean of the batch's weighted losses. Valid only until the step is taken.
    """

    step: int
    batch: Tensor
    parts: Iterable[tuple[Tensor, list[LayerFactors]]]


@dataclass(frozen=True)
class Snapshot:
    """State of a replay, from which it can resume.

    Attributes:
        step: Number of steps taken.
        model: State of the model.
        optimizer: State of the optimizer, with the momentum.
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]


class Replay:
    """Replays a trajectory on a copy of its model.

    Attributes:
        trajectory: The recorded training.
        model: Copy of the model at the weights before the current step, in training mode.
        inputs: Inputs of the training examples, ``[n, ...]``, on the model's device.
        targets: Targets of the training examples, ``[n]`` or ``[n, k]``.
        weights: Factor of each example's loss, ``[n]``.
        steps: Batch of every step.
        part_size: Number of examples that pass through the model together. The gradients of the steps themselves keep
            the sizes of the recorded training.

    Raises:
        InputError: The optimizer is not SGD, or a layer mixes the examples of a batch or draws at random during
            training; the message names the layer.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        refuse_other_optimizers(trajectory.recipe)
        refuse_mixed_examples(trajectory.model)
        refuse_random_layers(trajectory.model)
        self.trajectory = trajectory
        self.model = copy_of(trajectory.model).train()
        example = next(self.model.parameters())
        self.inputs, self.targets = trajectory.data
        self.weights = trajectory.sample_weights.to(example)
        self.steps = [batch.to(example.device) for batch in batches(trajectory.recipe, trajectory.num_examples)]
        self.part_size = AdaptiveBatchSize(min(trajectory.part_sizes, default=trajectory.recipe.batch_size))
        self._optimizer = optimizer_of(self.model, trajectory.recipe, trajectory.num_examples)
        self._taken = 0
        self.model.load_state_dict(trajectory.initial)

    def moments(self, until: int | None = None, layers: dict[str, nn.Module] | None = None) -> Iterator[Moment]:
        """Continue from the current step, and yield each step before it is taken.

        Args:
            until: Step to stop before; None continues to the end and compares the weights with the recorded ones.
            layers: Layers of ``self.model`` whose factors are needed.

        Raises:
            InputError: The replayed final weights differ from the recorded ones, or memory ran out.
        """
        for step in range(self._taken, len(self.steps) if until is None else until):
            moment, gradients = self._opened(step, layers or {})
            yield moment
            for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
                parameter.grad = gradient
            self._optimizer.param_groups[0]["lr"] = self.trajectory.rates[step]
            self._optimizer.step()
            self._taken = step + 1
        if until is None:
            self._check_end()

    def epoch_of(self, step: int) -> int:
        """Return the epoch, from 0, that a step belongs to."""
        return step * self.trajectory.recipe.epochs // len(self.steps)

    def final_model(self) -> nn.Module:
        """Return a copy of the model at the recorded final weights, in evaluation mode."""
        model = copy_of(self.trajectory.model).eval()
        model.load_state_dict(self.trajectory.final)
        return model

    def snapshot(self) -> Snapshot:
        """Return the current state."""
        return Snapshot(self._taken, state_of(self.model), copy.deepcopy(self._optimizer.state_dict()))

    def restore(self, snapshot: Snapshot) -> None:
        """Return to the state of a snapshot."""
        self._taken = snapshot.step
        self.model.load_state_dict(snapshot.model)
        self._optimizer.load_state_dict(copy.deepcopy(snapshot.optimizer))

    def _opened(self, step: int, layers: dict[str, nn.Module]) -> tuple[Moment, Iterable[Tensor | None]]:
        """Return a step for inspection, and the gradients of all parameters for it."""
        batch = self.steps[step]
        trained = self.trajectory.part_sizes[step] if self.trajectory.part_sizes else len(batch)
        if len(batch) <= min(trained, self.part_size.size):
            whole = try_within_memory(functools.partial(self._of_part, batch, len(batch), layers, True))
            if whole is not None:
                factors, gradients = whole
                return Moment(step, batch, [(batch, factors)]), gradients
            self.part_size.size = max(1, len(batch) // 2)
        # Sum over the same parts as in training, and without factors, so that the gradients are identical to the bit.
        summed = try_within_memory(functools.partial(self._summed, batch, trained))
        if summed is None:
            raise InputError(
                f"Replaying training in batches of {len(batch):,} does not fit into memory beside the evaluation "
                "examples: choose a smaller batch size (--batch-size), or fewer evaluation examples."
            )
        return Moment(step, batch, self._parts(batch, layers)), summed

    def _parts(self, batch: Tensor, layers: dict[str, nn.Module]) -> Iterator[tuple[Tensor, list[LayerFactors]]]:
        def of_part(where: slice) -> list[LayerFactors]:
            return self._of_part(batch[where], len(batch), layers, False)[0]

        for where, factors in self.part_size.map_slices(of_part, len(batch)):
            yield batch[where], factors

    def _summed(self, batch: Tensor, part_size: int) -> list[Tensor | None]:
        """Return the gradients of a batch, summed over its parts."""
        total: list[Tensor | None] = []
        for part in batch.split(part_size):
            _, gradients = self._of_part(part, len(batch), {}, True)
            pairs = zip(total, gradients, strict=True) if total else ((None, each) for each in gradients)
            total = [one if other is None else other if one is None else one + other for one, other in pairs]
        return total

    def _of_part(
        self, part: Tensor, examples: int, layers: dict[str, nn.Module], with_gradients: bool
    ) -> tuple[list[LayerFactors], tuple[Tensor | None, ...]]:
        """Return the factors of a part of the batch, and what that part adds to the gradients of the batch's loss."""
        weights, targets = self.weights[part], self.targets[part]

        def loss(outputs: Tensor) -> Tensor:
            losses = weights * loss_values(outputs, targets, self.trajectory.recipe.loss)
            return losses.mean() if len(part) == examples else losses.sum() / examples

        parameters = list(self.model.parameters()) if with_gradients else []
        with repeatable():
            return loss_factors(self.model, self.inputs[part], layers, loss, parameters)

    def _check_end(self) -> None:
        replayed = state_of(self.model)
        moved = [name for name, value in self.trajectory.final.items() if not torch.equal(replayed[name], value)]
        if moved:
            raise InputError(
                f"The replay did not end at the recorded weights (first: {moved[0]}), so it differs from the training: "
                "replay with the same data, device, number of threads and versions."
            )


def refuse_other_optimizers(recipe: Recipe) -> None:
    """Raise InputError unless the recipe uses SGD."""
    if recipe.optimizer != "sgd":
        raise InputError(
            f"HYDRA supports SGD with momentum and weight decay, not {recipe.optimizer}: train with "
            'Recipe(optimizer="sgd"), whose cosine schedule and momentum 0.9 work well on most small networks.'
        )


def refuse_mixed_examples(model: nn.Module) -> None:
    """Raise InputError, with the layer's name, if a layer mixes the examples of a batch during training."""
    refuse_unfit(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise InputError(
                f"Layer {name!r} ({type(module).__name__}) mixes the examples of a batch during training, so none "
                "has a gradient of its own: train a model with GroupNorm or LayerNorm."
            )


def refuse_random_layers(model: nn.Module) -> None:
    """Raise InputError, with the layer's name, if a layer draws at random, which prevents a replay."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise InputError(
                f"Layer {name!r} ({type(module).__name__}) draws at random during training, so training cannot be "
                "repeated: follow it with HydraAccumulator, or use a model without such layers, or p=0."
            )
