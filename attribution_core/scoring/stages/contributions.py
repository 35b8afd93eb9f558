"""The stage that replays training: what each example contributed over the whole of it (HYDRA)."""

from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.methods.hydra.contributions import hydra, refuse_for_hydra
from attribution_core.methods.types import InputsAndTargets
from attribution_core.preparation.config import ScoreConfig
from attribution_core.runs import RunWriter
from attribution_core.scoring.recorded_training import read_training
from attribution_core.scoring.stages.base import skipped_by_choice, write_or_skip
from attribution_core.training import Trajectory


def write_contributions(
    writer: RunWriter,
    config: ScoreConfig,
    model: nn.Module,
    tensors_by_split: dict[str, InputsAndTargets],
) -> None:
    """Writes column contribution, effects/hydra.zarr and evolution/contribution.zarr.

    Where training can't be followed or repeated, the run says so instead, unless contributions were asked for.

    Args:
        writer: The run, trained.
        config: What to score, and how.
        model: Of the run's kind, whatever its weights.
        tensors_by_split: Inputs and labels of ``"train"`` and ``"validation"``.

    Raises:
        InputError: Contributions were asked for and the model does not allow them, or training again does not end at
            the recorded weights.
    """
    reason = why_skipped(config, model, tensors_by_split["train"][0])

    def write() -> None:
        _write(writer, config, read_training(writer, config, model, tensors_by_split["train"]), tensors_by_split)

    write_or_skip(writer, "contribution", reason, config.contributions != "auto", write)


def _write(
    writer: RunWriter,
    config: ScoreConfig,
    trajectory: Trajectory,
    tensors_by_split: dict[str, InputsAndTargets],
) -> None:
    pairs = hydra(trajectory, tensors_by_split["validation"])
    mean, by_epoch, growth = pairs.effect.mean(dim=1), pairs.by_epoch, {}
    route = "Hessian-free (the paper's approximation), from every pair"
    if config.contributions == "exact":
        exact = hydra(trajectory, tensors_by_split["validation"], hessian=True, objective="mean")
        mean, by_epoch, growth = exact.effect, exact.by_epoch, {"growth": exact.growth}
        route = "exact (with the Hessian); effects on single examples are Hessian-free"
    effects = pairs.effect.cpu().numpy()
    writer.write_effects("hydra", effects.shape[1], [(slice(0, len(effects)), effects)])
    writer.add_column("examples", "contribution", mean.cpu().double().numpy())
    if by_epoch is not None:
        writer.write_evolution("contribution", range(1, len(by_epoch) + 1), by_epoch.cpu().numpy())
    details = {
        "route": route,
        "replayed_steps": trajectory.steps,
        "evaluated_on": f"{effects.shape[1]:,} validation examples",
        **growth,
    }
    writer.describe("contribution", details, ["contribution"])


def why_skipped(config: ScoreConfig, model: nn.Module, inputs: Tensor) -> str:
    """Why the model's training can't be followed, in a sentence; empty where it can.

    Raises:
        InputError: That sentence, where contributions were asked for.
    """
    reason = skipped_by_choice(config, config.contributions, "contributions")
    if reason:
        return reason
    try:
        if config.training == "none":
            raise InputError("the weights were given as they are, so there is no training to follow")
        refuse_for_hydra(model, inputs, config.recipe)
    except InputError as error:
        if config.contributions != "auto":
            raise
        return str(error)
    return ""
