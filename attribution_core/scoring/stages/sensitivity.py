"""The stage of the memory-perturbation equation: how sensitive the model was to each example as it was trained."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from attribution_core.methods.sensitivity.evolution import MemoryEvolution, memory_evolution, regularisation_at
from attribution_core.methods.sensitivity.groups import leave_one_class_out
from attribution_core.methods.sensitivity.perturbation import PosteriorName
from attribution_core.methods.types import InputsAndTargets
from attribution_core.preparation.config import ScoreConfig
from attribution_core.runs import RunWriter
from attribution_core.scoring.recorded_training import add_kept_states, kept_epochs, kept_steps, read_training
from attribution_core.scoring.stages.base import points_of, skipped_by_choice, write_or_skip
from attribution_core.training import Trajectory, loss_values

# Of the curve of sensitivities in order, as in the paper's figure 6(a).
GROUPS = 60
ROUTES: dict[PosteriorName, str] = {
    "kfac": "Kronecker-factored Gauss-Newton matrix of each layer",
    "diagonal": "diagonal of the Gauss-Newton matrix",
    "full": "whole Gauss-Newton matrix",
    "adam": "Adam's second moment",
    "iblr": "precision that iBLR learnt",
}


def write_sensitivities(
    writer: RunWriter,
    config: ScoreConfig,
    model: nn.Module,
    tensors_by_split: dict[str, InputsAndTargets],
    strata: np.ndarray,
) -> None:
    """Writes columns variance, error, sensitivity and loo_loss, evolution/sensitivity.zarr and the curves.

    Where the model allows none of it, the run says so instead, unless a posterior was asked for by name.

    Args:
        writer: The run, trained.
        config: What to score, and how.
        model: Of the run's kind, whatever its weights.
        tensors_by_split: Inputs and labels of ``"train"`` and ``"test"``.
        strata: The class, or the range of the value, of each training example, int64 ``[n]``.

    Raises:
        InputError: A posterior was asked for that the model or its training does not allow.
    """

    def write() -> None:
        trajectory = read_training(writer, config, model, tensors_by_split["train"])
        add_kept_states(writer, trajectory)
        _write(writer, config, trajectory, tensors_by_split["test"], strata)

    reason = skipped_by_choice(config, config.sensitivity, "sensitivities")
    write_or_skip(writer, "sensitivity", reason, config.sensitivity != "auto", write)


def _write(
    writer: RunWriter,
    config: ScoreConfig,
    trajectory: Trajectory,
    test: InputsAndTargets,
    strata: np.ndarray,
) -> None:
    n, labels, posterior = trajectory.num_examples, trajectory.data[1], _posterior_of(config)
    members, classes = torch.from_numpy(strata).to(labels.device), int(strata.max()) + 1
    given = config.training == "none"  # one moment, and nothing known of the time trained
    steps, epochs = kept_steps(trajectory.recipe, n), kept_epochs(trajectory.recipe.epochs)
    found = memory_evolution(trajectory, posterior, [0] if given else steps, test, early_stopping=not given)
    last = found.last
    columns = {
        "variance": last.error_variance,
        "error": last.error.norm(dim=1),
        "sensitivity": last.sensitivity,
        "loo_loss": last.loo_loss,
    }
    writer.add_columns("examples", {name: values.cpu().double().numpy() for name, values in columns.items()})
    own = loss_values(last.outputs, labels, trajectory.recipe.loss)
    what = "range" if labels.is_floating_point() else "class"
    by_class = {
        f"without the {what}": leave_one_class_out(last, members, classes),
        "training": torch.stack([own[members == label].mean() for label in range(classes)]),
    }
    writer.write_curve("loco", points_of(range(classes), by_class))
    if not given:
        writer.write_evolution("sensitivity", epochs, found.sensitivity.cpu().numpy())
        losses = {"loo_nll": found.loo_loss, "test_nll": found.test_loss, "training": found.train_loss}
        writer.write_curve("loo_nll", points_of(epochs, losses))
    moments = ["as given"] if given else [f"after epoch {epoch}" for epoch in epochs]
    writer.write_curve("sensitivity_groups", _by_group(found, moments))
    decay = config.recipe.weight_decay if given else regularisation_at(trajectory, trajectory.steps)
    details = {
        "route": ROUTES[posterior],
        "posterior": posterior,
        "delta": decay * n,
        "evaluated_on": f"{len(test[0]):,} test examples",
    }
    writer.describe("sensitivity", details, columns)


def _posterior_of(config: ScoreConfig) -> PosteriorName:
    if config.sensitivity in ("auto", "off"):
        return "iblr" if config.recipe.optimizer == "iblr" and config.training != "none" else "kfac"
    return config.sensitivity  # type: ignore[return-value]


def _by_group(found: MemoryEvolution, moments: list[str]) -> pd.DataFrame:
    """Figure 6: x is the share of the examples, most sensitive first, in percent."""
    grouped = found.grouped(min(GROUPS, found.sensitivity.shape[1]))
    shares = [100 * (group + 0.5) / grouped.shape[1] for group in range(grouped.shape[1])]
    series = dict(zip(moments, grouped, strict=True))
    return points_of(shares, series)
