"""The stage of the memory-perturbation equation: how sensitive the model was to each example as it was trained."""

import time

import pandas as pd
import torch
from torch import Tensor, nn
from typing_extensions import override

from attribution_core.errors import InputError
from attribution_core.gradients import plan_parameters
from attribution_core.methods.curvature.losses import prediction_errors
from attribution_core.methods.linalg.blocked import BLOCK_BYTES
from attribution_core.methods.sensitivity.evolution import MemoryEvolution, memory_evolution, regularization_at
from attribution_core.methods.sensitivity.groups import leave_one_class_out
from attribution_core.methods.sensitivity.perturbation import PosteriorName, memory_sensitivity, posterior_of
from attribution_core.methods.sensitivity.posteriors import DiagonalPosterior, require_full
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.prepare import Prepared
from attribution_core.runs import RunWriter
from attribution_core.scoring.probe import SAMPLE, Probe, timed
from attribution_core.scoring.recorded_training import add_kept_states, kept_epochs, kept_steps, read_training
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage, curve_rows
from attribution_core.scoring.trial import require_gradients
from attribution_core.training import Recipe, Trajectory, loss_values

# Of the curve of sensitivities in order, as in the paper's figure 6(a).
GROUPS = 60
ROUTES: dict[PosteriorName, str] = {
    "kfac": "Kronecker-factored Gauss-Newton matrix of each layer",
    "diagonal": "diagonal of the Gauss-Newton matrix",
    "full": "whole Gauss-Newton matrix",
    "adam": "Adam's second moment",
    "iblr": "precision that iBLR learned",
}


class SensitivityStage(Stage):
    """Write columns variance, error, sensitivity and loo_loss, evolution/sensitivity.zarr and the curves."""

    name = "sensitivity"
    title = "sensitivities (MPE)"
    order = 50
    option = "sensitivity"
    needs_training = True

    @override
    def require_model(self, model: nn.Module, inputs: Tensor, recipe: Recipe, parameters: str) -> None:
        require_gradients(model, inputs, "all", second=True)

    @override
    def require(self, prepared: Prepared) -> None:
        """Check besides that the training gives the posterior that was asked for, and that it is not too large."""
        if reason := prepared.config.why_no_sensitivity:
            raise InputError(reason)
        super().require(prepared)
        if prepared.config.sensitivity == "full":
            require_full(plan_parameters(prepared.initial_model, prepared.two_inputs, "all"))

    @override
    def bytes_needed(self, sizes: RunSizes) -> int:
        """Count the weights, their posterior, and what forms it."""
        return 4 * sizes.num_parameters * 8 + BLOCK_BYTES

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Time a posterior and a pass for each checkpoint."""
        n, loss, chosen = probe.sizes.n, probe.recipe.loss, probe.config.sensitivity
        name: PosteriorName = chosen if chosen in ("diagonal", "full") else "kfac"  # the costliest of the others
        inputs, targets = probe.rows(min(SAMPLE, n))
        few = slice(max(1, len(inputs) // 8))
        plan = plan_parameters(probe.model, inputs, "all")
        before = time.perf_counter()
        made = posterior_of(probe.model, inputs[few], plan, 1.0, loss, name, None)
        constant = time.perf_counter() - before

        def error(outputs: Tensor, where: slice) -> Tensor:
            return prediction_errors(outputs, targets[where].to(outputs.device), loss)

        if isinstance(made, DiagonalPosterior):
            each = timed(lambda: made.deviations(probe.model, inputs, error, False)) / len(inputs)
            # The posterior's own part takes about two training steps for each example.
            each += 2 * probe.seconds_for_step / min(probe.recipe.batch_size, n)
        else:
            whole = timed(lambda: memory_sensitivity(probe.model, (inputs, targets), 1.0, loss, name))
            each = whole / len(inputs)
        checkpoints = max(1, len(kept_epochs(probe.recipe.epochs)))  # one of weights that were given
        return checkpoints * (constant + n * each + probe.sizes.tested * probe.seconds_for_outputs)

    @override
    def write(self, scoring: ScoringRun) -> None:
        tensors = scoring.tensors_by_split
        trajectory = read_training(scoring.writer, scoring.config, scoring.initial_model(), tensors["train"])
        add_kept_states(scoring.writer, trajectory)
        given = scoring.config.training == "none"  # one moment, and nothing known of the time trained
        steps = [0] if given else kept_steps(trajectory.recipe, trajectory.num_examples)
        posterior = posterior_name(scoring.config)
        quick = posterior != "full"
        found = memory_evolution(
            trajectory, posterior, steps, tensors["test"], early_stopping=not given, along_error=quick
        )
        last = found.last
        columns = {
            "variance": last.error_variance,
            "error": last.error.norm(dim=1),
            "sensitivity": last.sensitivity,
            "loo_loss": last.loo_loss,
        }
        writer = scoring.writer
        writer.add_columns("examples", {name: values.cpu().double().numpy() for name, values in columns.items()})
        _write_by_class(scoring, trajectory, found)
        _write_curves(writer, found, kept_epochs(trajectory.recipe.epochs), given)
        decay = scoring.config.recipe.weight_decay if given else regularization_at(trajectory, trajectory.steps)
        delta, own = (each * trajectory.num_examples for each in (decay, scoring.config.recipe.weight_decay))
        parts = "" if delta == own else f" ({own:.3g} from the weight decay, {delta - own:.3g} from the training time)"
        details = {
            "route": f"{ROUTES[posterior]}; delta {delta:.3g}{parts}",
            "posterior": posterior,
            "delta": delta,
            "delta_of_objective": own,
            "evaluated_on": f"{len(tensors['test'][0]):,} test examples",
        }
        writer.describe("sensitivity", details, columns)


def _write_by_class(scoring: ScoringRun, trajectory: Trajectory, found: MemoryEvolution) -> None:
    """Write the curve of leave-one-class-out losses; of ranges where values are predicted."""
    labels, strata = trajectory.data[1], scoring.prepared.splits.train.strata
    members, classes = torch.from_numpy(strata).to(labels.device), int(strata.max()) + 1
    own = loss_values(found.last.outputs, labels, trajectory.recipe.loss)
    what = "range" if labels.is_floating_point() else "class"
    by_class = {
        f"without the {what}": leave_one_class_out(found.last, members, classes),
        "training": torch.stack([own[members == label].mean() for label in range(classes)]),
    }
    scoring.writer.write_curve("loco", curve_rows(range(classes), by_class))


def _write_curves(writer: RunWriter, found: MemoryEvolution, epochs: list[int], given: bool) -> None:
    if not given:
        writer.write_evolution("sensitivity", epochs, found.sensitivity.cpu().numpy())
        losses = {"loo_nll": found.loo_loss, "test_nll": found.test_loss, "training": found.train_loss}
        writer.write_curve("loo_nll", curve_rows(epochs, losses))
    moments = ["as given"] if given else [f"after epoch {epoch}" for epoch in epochs]
    writer.write_curve("sensitivity_groups", _by_group(found, moments))


def posterior_name(config: ScoreConfig) -> PosteriorName:
    """Return the posterior that sensitivities by a configuration use; with sensitivity off, that of ``auto``."""
    if config.sensitivity in ("auto", "off"):
        return "iblr" if config.recipe.optimizer == "iblr" and config.training != "none" else "kfac"
    return config.sensitivity  # type: ignore[return-value]


def _by_group(found: MemoryEvolution, moments: list[str]) -> pd.DataFrame:
    """Return figure 6: x is the share of the examples, most sensitive first, in percent."""
    grouped = found.grouped(min(GROUPS, found.sensitivity.shape[1]))
    shares = [100 * (group + 0.5) / grouped.shape[1] for group in range(grouped.shape[1])]
    series = dict(zip(moments, grouped, strict=True))
    return curve_rows(shares, series)
