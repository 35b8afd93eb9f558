"""A run's training on disk: first and last weights, learning rates, and checkpoints after some of its epochs."""

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from attribution_core.gradients.plan import as_inputs
from attribution_core.preparation.config import ScoreConfig
from attribution_core.runs import RunWriter
from attribution_core.runs.names import (
    FINAL_WEIGHTS_FILE,
    INITIAL_WEIGHTS_FILE,
    TRAINING_STEPS_FILE,
    checkpoint_file,
)
from attribution_core.training import Recipe, Trajectory

_STATE, _SECOND_MOMENT = "state/", "second_moment/"


def kept_epochs(epochs: int) -> list[int]:
    """Return the epochs after which a checkpoint is kept: 1, 2, 5, 10, 20, 50 and so on, and the last."""
    series = (digit * 10**power for power in range(len(str(epochs))) for digit in (1, 2, 5))
    return [*(epoch for epoch in series if epoch < epochs), *([epochs] if epochs else [])]


def kept_steps(recipe: Recipe, examples: int) -> list[int]:
    """Return the same in steps of the optimizer."""
    return [recipe.model_copy(update={"epochs": epoch}).steps(examples) for epoch in kept_epochs(recipe.epochs)]


def write_training(writer: RunWriter, trajectory: Trajectory) -> None:
    """Write model/initial and final.safetensors, and trajectory/."""
    for name, weights in ((INITIAL_WEIGHTS_FILE, trajectory.initial), (FINAL_WEIGHTS_FILE, trajectory.final)):
        with writer.path_for(name) as path:
            save_file(weights, path)
    with writer.path_for(TRAINING_STEPS_FILE) as path:
        sizes = torch.tensor(trajectory.part_sizes, dtype=torch.int64)
        save_file({"rates": torch.tensor(trajectory.rates, dtype=torch.float64), "part_sizes": sizes}, path)
    for step in kept_steps(trajectory.recipe, trajectory.num_examples):
        # The state after the last step is model/final.safetensors.
        state = {} if step == trajectory.steps else trajectory.checkpoints[step]
        named = {_STATE + name: value for name, value in state.items()}
        named |= {_SECOND_MOMENT + name: value for name, value in trajectory.second_moments[step].items()}
        with writer.path_for(checkpoint_file(step)) as path:
            save_file(named, path)


def read_training(
    writer: RunWriter, config: ScoreConfig, model: nn.Module, train_data: tuple[Tensor, Tensor]
) -> Trajectory:
    """Read the run's training from its first weights to its last, which the model has afterwards.

    Args:
        writer: A trained run.
        config: The configuration that it was scored with.
        model: A model of the run's kind, at any weights.
        train_data: Inputs and targets of the training split.
    """
    initial, final = (load_file(writer.path / name) for name in (INITIAL_WEIGHTS_FILE, FINAL_WEIGHTS_FILE))
    model.load_state_dict(final)
    example = next(model.parameters())
    data = as_inputs(train_data[0], example), train_data[1].to(example.device)
    recipe = config.recipe.model_copy(update={"seed": config.seed})
    trajectory = Trajectory(recipe, len(train_data[0]), torch.ones(len(train_data[0])), model, data, initial, final)
    steps = load_file(writer.path / TRAINING_STEPS_FILE)
    trajectory.rates = steps["rates"].tolist()
    trajectory.part_sizes = steps["part_sizes"].tolist() if "part_sizes" in steps else []  # of an earlier version
    return trajectory


def add_kept_states(writer: RunWriter, trajectory: Trajectory) -> None:
    """Read the checkpoints and second moments that were kept, into the trajectory."""
    for step in kept_steps(trajectory.recipe, trajectory.num_examples):
        named = load_file(writer.path / checkpoint_file(step))
        if step != trajectory.steps:
            trajectory.checkpoints[step] = _with_prefix(named, _STATE)
        trajectory.second_moments[step] = _with_prefix(named, _SECOND_MOMENT)


def _with_prefix(named: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
