"""Train a model and record its trajectory."""

import functools
import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from attribution_core.errors import InputError
from attribution_core.memory import AdaptiveBatchSize
from attribution_core.models import evaluation_mode
from attribution_core.models.runtime import differentiable_attention
from attribution_core.models.weights import StateDict
from attribution_core.progress import report
from attribution_core.training.iblr import IBLR
from attribution_core.training.losses import loss_values, require_targets
from attribution_core.training.recipe import Recipe
from attribution_core.training.sgd import SGD
from attribution_core.training.trajectory import Trajectory, batches

# A loss that has grown by this factor has diverged, even while it is finite.
_DIVERGED = 1000.0
# Inputs with targets: any torch dataset of (input, target), or a pair of tensors.
LabeledData = TorchDataset | tuple[Tensor, Tensor]


def as_pair(data: LabeledData) -> tuple[Tensor, Tensor]:
    """Return the inputs ``[n, ...]`` and targets ``[n]`` or ``[n, k]`` of labeled data.

    Raises:
        InputError: There is no example, the inputs are not tensors of one shape, or targets and inputs differ in
            number.
    """
    if isinstance(data, tuple):
        inputs, targets = data
    else:
        try:
            whole = next(iter(DataLoader(data, batch_size=len(data))), None)  # type: ignore[arg-type]
        except (TypeError, RuntimeError) as error:
            raise InputError(
                f"A dataset must give (tensor, target) pairs of one shape ({error}): convert its items."
            ) from error
        if whole is None:
            raise InputError("The dataset is empty: give at least one example.")
        inputs, targets = whole
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise InputError(
            f"There must be at least one input and as many targets, but there are {len(inputs)} inputs and "
            f"{len(targets)} targets: give each input one target."
        )
    return inputs, torch.as_tensor(targets)


def train(
    model: nn.Module,
    data: LabeledData,
    recipe: Recipe,
    record: Literal["checkpoints", "every_step", "none"] | Collection[int] = "none",
    sample_weights: Tensor | None = None,
    on_step: Callable[[Tensor, float], None] | None = None,
    validation: LabeledData | None = None,
) -> Trajectory:
    """Train ``model`` in place, in its own dtype and on its own device.

    A step minimizes ``(1/B) sum_i weight_i loss_i + weight_decay/2 |w|^2`` over a batch of B examples (a short last
    batch has its own B), with every parameter decayed, including biases. A batch that does not fit into memory
    goes through the model in parts, halved until they fit, whose gradients are summed: equal except for rounding.

    Args:
        model: Model to train in place; it is left in evaluation mode.
        data: Training examples: inputs ``[n, ...]`` and targets.
        recipe: Training recipe.
        record: Which states to keep besides the first and the last: those after each epoch, after every step, after the
            given numbers of steps, or none.
        sample_weights: Factor of each example's loss, ``[n]``; ones by default. Zero removes an example's gradient but
            keeps its place in its batch.
        on_step: Function called with a step's batch ``[b]`` and learning rate, between its gradients and its update.
        validation: Validation examples, for a schedule whose plateau loss counts theirs.

    Returns:
        The trajectory.

    Raises:
        InputError: The sample weights have another length, the loss cannot take the targets, the plateau loss needs
            validation examples, training diverged, or a batch does not fit into memory and cannot be split.
    """
    watched = _validation_of(recipe, validation)
    inputs, targets, weights = _tensors_for(model, data, recipe, sample_weights)
    device = inputs.device
    trajectory = Trajectory(recipe, len(inputs), weights.cpu(), model, (inputs, targets), state_of(model))
    optimizer = optimizer_of(model, recipe, len(inputs))
    plateau = _plateau(recipe) if recipe.schedule == "plateau" else None
    steps, an_epoch = trajectory.steps, -(-len(inputs) // recipe.batch_size)
    total, first = torch.zeros((), device=device), torch.zeros((), device=device)
    parts = AdaptiveBatchSize(recipe.batch_size)
    model.train()
    for step, batch in enumerate(batches(recipe, len(inputs))):
        batch = batch.to(device)
        rate = plateau.optimizer.param_groups[0]["lr"] if plateau else recipe.rate(step, steps)
        optimizer.param_groups[0]["lr"] = rate
        trajectory.rates.append(float(rate))
        if isinstance(optimizer, IBLR):
            optimizer.draw()
        gradients = functools.partial(_gradients, model, (inputs, targets, weights), batch, recipe.loss)
        losses = parts.run(gradients, len(batch))
        trajectory.part_sizes.append(parts.size)
        if on_step:
            on_step(batch, trajectory.rates[-1])
        optimizer.step()
        first = losses.mean() if step == 0 else first
        total += losses.sum()
        ends_epoch = (step + 1) % an_epoch == 0
        wanted = ends_epoch if record == "checkpoints" else record == "every_step"
        if wanted or (not isinstance(record, str) and step + 1 in record):
            trajectory.checkpoints[step + 1] = state_of(model)
            trajectory.second_moments[step + 1] = second_moments_of(model, optimizer, recipe)
        if ends_epoch:  # the only host round trip of an epoch
            trajectory.epoch_losses.append(float(total) / len(inputs))
            _refuse_divergence(trajectory.epoch_losses, first, recipe)
            total.zero_()
            if plateau:
                also = 0.0 if watched is None else mean_loss(model, watched, recipe.loss)
                plateau.step(trajectory.epoch_losses[-1] + also)
        report(step + 1, steps, f"training, epoch {step // an_epoch + 1} of {recipe.epochs}")
    model.eval()
    trajectory.final = state_of(model)
    if trajectory.rates and not all(bool(value.isfinite().all()) for value in model.parameters()):
        raise InputError(
            "Training diverged in its last step, after which weights are not finite numbers: use a learning rate below "
            f"{recipe.learning_rate:g}."
        )
    trajectory.second_moments[steps] = second_moments_of(model, optimizer, recipe)
    return trajectory


def _plateau(recipe: Recipe) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    """Return the schedule of a rate that falls when the loss no longer does, on an optimizer of its own."""
    holder = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.learning_rate)
    return torch.optim.lr_scheduler.ReduceLROnPlateau(holder, factor=recipe.factor, patience=recipe.patience)


def _validation_of(recipe: Recipe, validation: LabeledData | None) -> tuple[Tensor, Tensor] | None:
    """Return the validation examples if the recipe's schedule watches their loss.

    Raises:
        InputError: It does, and there are none.
    """
    if recipe.schedule != "plateau" or recipe.plateau_loss == "training":
        return None
    if validation is None:
        raise InputError(
            f"The plateau loss {recipe.plateau_loss!r} needs validation examples, and this training has none: pass "
            "validation=, or plateau_loss='training'."
        )
    return as_pair(validation)


def _refuse_divergence(losses: list[float], first: Tensor, recipe: Recipe) -> None:
    """Raise InputError if the last epoch's mean loss is not finite, or far above that of the first batch.

    The measures of a model that was left at such a loss would be finite and mean nothing. The bound is at least that of
    guessing, so that weights which fit from the start may move.
    """
    loss, bound = losses[-1], _DIVERGED * max(float(first), 1.0)
    if math.isfinite(loss) and loss <= bound:
        return
    what = f"the mean loss is {loss:.3g}, after {float(first):.3g} at the start"
    what = what if math.isfinite(loss) else "the loss is not a finite number"
    raise InputError(
        f"Training diverged in epoch {len(losses)}: {what}. Use a learning rate below {recipe.learning_rate:g}."
    )


def _tensors_for(
    model: nn.Module, data: LabeledData, recipe: Recipe, sample_weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs, targets and sample weights on the model's device, and in its dtype.

    Raises:
        InputError: The sample weights have another length, or the loss cannot take the targets.
    """
    inputs, targets = as_pair(data)
    example = next(model.parameters())
    inputs = inputs.to(device=example.device, dtype=example.dtype if inputs.is_floating_point() else None)
    targets = targets.to(example.device)
    require_targets(targets, recipe.loss)
    weights = torch.ones(len(inputs)) if sample_weights is None else sample_weights.detach()
    if weights.shape != (len(inputs),):
        raise InputError(f"sample_weights must be [{len(inputs)}], one for each example, not {list(weights.shape)}.")
    return inputs, targets, weights.to(device=example.device, dtype=example.dtype)


def _gradients(
    model: nn.Module, data: tuple[Tensor, Tensor, Tensor], batch: Tensor, loss: str, part_size: int
) -> Tensor:
    """Set the parameters' gradients to those of a batch's mean weighted loss; return the batch's losses, ``[b]``.

    Raises:
        InputError: The batch is larger than a part, but the model normalizes by the statistics of a whole batch.
    """
    inputs, targets, weights = data
    model.zero_grad()  # here, because this is repeated when memory runs out
    with repeatable():
        if part_size >= len(batch):
            losses = loss_values(model(inputs[batch]), targets[batch], loss)
            (weights[batch] * losses).mean().backward()
            return losses.detach()
        _refuse_parts(model, len(batch))
        found = []
        for part in batch.split(part_size):
            losses = loss_values(model(inputs[part]), targets[part], loss)
            ((weights[part] * losses).sum() / len(batch)).backward()
            found.append(losses.detach())
    return torch.cat(found)


def _refuse_parts(model: nn.Module, examples: int) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise InputError(
                f"A batch of {examples:,} examples does not fit into memory, and splitting it would change "
                f"what layer {name!r} ({type(module).__name__}) normalizes by: choose a smaller batch size "
                "(--batch-size)."
            )


@contextmanager
def repeatable() -> Iterator[None]:
    """Choose the same algorithms each time, so that training is repeatable bit for bit on a GPU."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with differentiable_attention():
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def optimizer_of(model: nn.Module, recipe: Recipe, examples: int) -> torch.optim.Optimizer | SGD:
    """Return the recipe's optimizer of all of the model's parameters, for training on ``examples`` examples."""
    parameters, rate, decay = model.parameters(), recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return SGD(parameters, rate, recipe.momentum, decay)
    betas = recipe.momentum, recipe.second_momentum
    if recipe.optimizer == "iblr":
        return IBLR(parameters, rate, betas, decay, examples, recipe.seed)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=rate, betas=betas, weight_decay=decay)


def second_moments_of(model: nn.Module, optimizer: torch.optim.Optimizer | SGD, recipe: Recipe) -> StateDict:
    """Return the optimizer's estimate of each weight's curvature, by name, on the CPU; empty for SGD or untrained.

    For Adam it is the debiased average of squared gradients (memory-perturbation equation, eq. 48); for iBLR it is s
    (eq. 52).
    """
    found = {}
    for name, weight in model.named_parameters():
        state = optimizer.state.get(weight, {})
        if "precision" in state:
            found[name] = state["precision"].cpu().clone()
        elif "exp_avg_sq" in state:
            debiased = state["exp_avg_sq"] / (1 - recipe.second_momentum ** float(state["step"]))
            found[name] = debiased.cpu().clone()
    return found


def outputs_of(model: nn.Module, inputs: Tensor, batch_size: int = 512) -> Tensor:
    """Return the model's outputs ``[n, k]`` for inputs ``[n, ...]``, in evaluation mode, in batches, without gradients.

    Raises:
        InputError: Not even one example fits into memory.
    """
    example = next(model.parameters())

    def of_part(where: slice) -> Tensor:
        part = inputs[where]
        return model(part.to(device=example.device, dtype=example.dtype if part.is_floating_point() else None))

    with evaluation_mode(model), torch.no_grad():
        parts = [outputs for _, outputs in AdaptiveBatchSize(batch_size).map_slices(of_part, len(inputs))]
        return torch.cat(parts) if parts else of_part(slice(0))  # [0, k] for no examples


def mean_loss(model: nn.Module, pair: tuple[Tensor, Tensor], loss: str) -> float:
    """Return the mean loss over inputs and their targets, with the model in evaluation mode."""
    outputs = outputs_of(model, pair[0])
    return float(loss_values(outputs, pair[1].to(outputs.device), loss).mean())


def state_of(model: nn.Module) -> StateDict:
    """Return a copy of the model's parameters and buffers, on the CPU."""
    state = model.state_dict()
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
