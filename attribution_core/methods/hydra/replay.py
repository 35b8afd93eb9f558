"""Bit-exact replay of a recorded training that stops before each step for inspection."""

import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.gradients.layers import LayerFactors, refuse_unfit
from attribution_core.gradients.per_example import loss_factors
from attribution_core.memory import AdaptiveBatchSize, try_within_memory
from attribution_core.methods.hydra.batch_statistics import Statistics, batch_norms, constant_statistics
from attribution_core.methods.hydra.updates import Needed, Vectors
from attribution_core.models.plain import copy_of
from attribution_core.training import Recipe, Trajectory, batches, loss_values, optimizer_of, repeatable, state_of

Result = TypeVar("Result")


@dataclass(frozen=True)
class Moment:
    """A step of training, before it is taken.

    Attributes:
        step: Number of the step, from 0.
        batch: Indices of its examples, ``[b]``.
        parts: Parts of the batch that fit into memory: the indices of the part's examples, and one factor per requested
            layer for the mean of the batch's weighted losses. Valid only until the step is taken.
        statistics: What BatchNorm layers normalize by in this step, constants in the factors; by layer.
    """

    step: int
    batch: Tensor
    parts: Iterable[tuple[Tensor, list[LayerFactors]]]
    statistics: dict[str, Statistics] = field(default_factory=dict)


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
        InputError: The optimizer is iBLR, or a layer mixes examples even in evaluation mode or draws at random during
            training; the message names the layer.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        refuse_iblr(trajectory.recipe)
        refuse_unfit(trajectory.model)
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
            before = [each.clone() for each in self.model.buffers()]
            moment, gradients = self._opened(step, layers or {})
            # The pass has updated the running statistics, which belong to the step: until then, they are as before.
            after = [each.clone() for each in self.model.buffers()]
            self._set_buffers(before)
            yield moment
            self._set_buffers(after)
            for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
                parameter.grad = gradient
            self._optimizer.param_groups[0]["lr"] = self.trajectory.rates[step]
            self._optimizer.step()
            self._taken = step + 1
        if until is None:
            self._check_end()

    def map_slices(self, work: Callable[[slice], Result], examples: int) -> Iterator[tuple[slice, Result]]:
        """Split a batch's ``range(examples)`` into slices that fit into memory; yield each with ``work`` of it.

        Raises:
            InputError: Not even one example fits, or the whole batch does not and BatchNorm needs it whole.
        """
        if not batch_norms(self.model):
            yield from self.part_size.map_slices(work, examples)
            return
        found = try_within_memory(functools.partial(work, slice(0, examples)))
        if found is None:
            raise _too_large(examples)
        yield slice(0, examples), found

    def last_update(self) -> dict[Needed, Vectors]:
        """Return the gradient of the last step and, after it, Adam's averages of gradients and of their squares.

        They are zero for a parameter that no loss depends on, and without averages for SGD.
        """
        found: dict[Needed, Vectors] = {"gradient": {}, "first": {}, "second": {}}
        for name, parameter in self.model.named_parameters():
            state, zero = self._optimizer.state.get(parameter, {}), torch.zeros_like(parameter)
            found["gradient"][name] = zero if parameter.grad is None else parameter.grad
            found["first"][name] = state.get("exp_avg", zero)
            found["second"][name] = state.get("exp_avg_sq", zero)
        return found

    def updates_before(self, layer: str) -> int:
        """Return how often a BatchNorm layer's running statistics were updated before training."""
        counted = self.trajectory.initial.get(f"{layer}.num_batches_tracked" if layer else "num_batches_tracked")
        return 0 if counted is None else int(counted)

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
        if batch_norms(self.model):
            return self._opened_with_statistics(step, batch, layers)
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
            raise _too_large(len(batch))
        return Moment(step, batch, self._parts(batch, layers)), summed

    def _opened_with_statistics(
        self, step: int, batch: Tensor, layers: dict[str, nn.Module]
    ) -> tuple[Moment, Iterable[Tensor | None]]:
        """Return the same for a model with BatchNorm, whose statistics are constants in the factors alone."""

        def of_batch() -> tuple[tuple[Tensor | None, ...], list[LayerFactors], dict[str, Statistics]]:
            _, gradients = self._of_part(batch, len(batch), {}, True)
            if not layers:
                return gradients, [], {}
            with constant_statistics(self.model) as statistics:
                factors, _ = self._of_part(batch, len(batch), layers, False)
            return gradients, factors, statistics

        found = try_within_memory(of_batch)
        if found is None:
            raise _too_large(len(batch))
        gradients, factors, statistics = found
        return Moment(step, batch, [(batch, factors)], statistics), gradients

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

    def _set_buffers(self, values: Iterable[Tensor]) -> None:
        for buffer, value in zip(self.model.buffers(), values, strict=True):
            buffer.copy_(value)

    def _check_end(self) -> None:
        replayed = state_of(self.model)
        moved = [name for name, value in self.trajectory.final.items() if not torch.equal(replayed[name], value)]
        if moved:
            raise InputError(
                f"The replay did not end at the recorded weights (first: {moved[0]}), so it differs from the training: "
                "replay with the same data, device, number of threads and versions."
            )


def _too_large(examples: int) -> InputError:
    return InputError(
        f"Replaying training in batches of {examples:,} does not fit into memory beside the evaluation examples: "
        "choose a smaller batch size (--batch-size), or fewer evaluation examples."
    )


def refuse_iblr(recipe: Recipe) -> None:
    """Raise InputError for iBLR, whose weights are drawn at random in each step."""
    if recipe.optimizer == "iblr":
        raise InputError(
            "HYDRA follows SGD, Adam and AdamW, not iblr, which draws its weights at random: train with another "
            "optimizer."
        )


def refuse_hessian_free(recipe: Recipe) -> None:
    """Raise InputError unless the recipe uses SGD, by which all steps share one direction without the Hessian."""
    refuse_iblr(recipe)
    if recipe.optimizer != "sgd":
        raise InputError(
            f"Hessian-free contributions need SGD with momentum and weight decay, not {recipe.optimizer}, whose steps "
            'scale every weight differently: use the exact ones (hessian=True; "mean" and "class" cost least), or '
            'train with Recipe(optimizer="sgd").'
        )


def refuse_random_layers(model: nn.Module) -> None:
    """Raise InputError, with the layer's name, if a layer draws at random, which prevents a replay."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise InputError(
                f"Layer {name!r} ({type(module).__name__}) draws at random during training, so training cannot be "
                "repeated: follow it with HydraAccumulator, or use a model without such layers, or p=0."
            )
