"""Average a run's contributions over more trainings, from other initial weights and in other batch orders."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.methods.hydra.contributions import Contributions
from attribution_core.preparation.prepare_run import Data, prepare_run
from attribution_core.progress import retitled
from attribution_core.runs import Run, RunWriter
from attribution_core.runs.names import CONTRIBUTIONS_FILE, VERIFICATION_FILE
from attribution_core.runs.schema import CONTRIBUTION_SPREAD
from attribution_core.runs.verification import read_verification
from attribution_core.scoring.stages import STAGES
from attribution_core.scoring.stages.base import ScoringRun
from attribution_core.scoring.stages.classes import write_classes
from attribution_core.scoring.stages.contributions import RunContributions, contributions_of, write_contributions
from attribution_core.scoring.stages.detection import write_detection
from attribution_core.training import train

_OVER = "; mean over "


@dataclass(frozen=True)
class ContributionSpread:
    """How far the contributions of single trainings agree.

    Attributes:
        trainings: Number of trainings.
        spread: Median over the examples of the standard deviation between trainings.
        low: The contribution that 5% of the examples are below.
        high: The contribution that 5% of the examples are above.
    """

    trainings: int
    spread: float
    low: float
    high: float


def average_contributions(
    path: Path,
    seeds: int = 5,
    data: Data = None,
    device: str = "auto",
    model: nn.Module | None = None,
) -> ContributionSpread:
    """Train a run's model again from more seeds, and replace its contributions by the mean over all trainings.

    The run's own training is the first, with the run's seed; the others have the seeds that follow. Column
    ``contribution``, its contributions by epoch, the effects ``hydra`` and what is made of them become means, and
    column ``contribution_spread`` the standard deviation of one training. Each training is kept as it ends, so that a
    later call, also with a larger number, trains only what is missing. What verification found about the
    contributions before is removed.

    Args:
        path: Directory of the run.
        seeds: Number of trainings, two or more.
        data: New path of the dataset, if it was moved, or the torch dataset that was scored.
        device: Device to compute on; ``"auto"`` takes CUDA if available.
        model: The module before fine-tuning, if the scored model came from a program.

    Raises:
        InputError: The run does not exist, is not finished or has no contributions, its data has changed, there are
            fewer than two seeds, or a training diverged.
    """
    run = Run.open(path)
    if seeds < 2:
        raise InputError(f"An average over trainings needs two or more, not {seeds}.")
    if "contribution" not in run.scores:
        reason = run.manifest.details.get("contribution", {}).get("skipped", "they were not computed")
        raise InputError(f"The run {run.id} has no contributions to average: {str(reason).rstrip('.')}.")
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        prepared = prepare_run(run, data, device, model)
        scoring = ScoringRun(writer, prepared, {stage.name: "" for stage in STAGES})
        total = _read(run)
        while total.trainings < seeds:
            total = total.with_one(_one_training(scoring, total.trainings, seeds))
            with writer.path_for(CONTRIBUTIONS_FILE) as file:
                save_file(total.tensors(), file)
        _write(scoring, total)
    low, high = np.quantile(total.mean.numpy(), (0.05, 0.95))
    return ContributionSpread(total.trainings, float(total.spread.median()), float(low), float(high))


@dataclass(frozen=True)
class _Average:
    """Contributions of the trainings so far: means, and what their spread follows from.

    Attributes:
        trainings: Number of trainings.
        mean: Mean contribution, ``[n]``, float64.
        squares: Sum of squared differences from the mean (Welford), ``[n]``, float64.
        by_epoch: Mean contributions by epoch, ``[epochs, n]``.
        pairs: Mean effects on each validation example, ``[n, m]``; empty where the optimizer has none.
        growth: The largest growth of the trainings; 0 where there is none.
    """

    trainings: int
    mean: Tensor
    squares: Tensor
    by_epoch: Tensor
    pairs: Tensor
    growth: float

    @property
    def spread(self) -> Tensor:
        """Standard deviation of one training, ``[n]``."""
        return (self.squares / (self.trainings - 1)).sqrt()

    def with_one(self, found: RunContributions) -> "_Average":
        """Return the average with another training."""
        count, one = self.trainings + 1, found.mean.effect.double().cpu()
        mean = self.mean + (one - self.mean) / count
        by_epoch, pairs = self.by_epoch, self.pairs
        if found.mean.by_epoch is not None and by_epoch.numel():
            by_epoch = by_epoch + (found.mean.by_epoch.float().cpu() - by_epoch) / count
        if found.pairs is not None and pairs.numel():
            pairs = pairs + (found.pairs.float().cpu() - pairs) / count
        squares = self.squares + (one - self.mean) * (one - mean)
        return replace(
            self,
            trainings=count,
            mean=mean,
            squares=squares,
            by_epoch=by_epoch,
            pairs=pairs,
            growth=max(self.growth, found.mean.growth or 0.0),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return it as tensors, for a file."""
        numbers = {"trainings": torch.tensor(self.trainings), "growth": torch.tensor(self.growth, dtype=torch.float64)}
        vectors = {"mean": self.mean, "squares": self.squares, "by_epoch": self.by_epoch, "pairs": self.pairs}
        return numbers | {name: value.contiguous() for name, value in vectors.items()}


def _read(run: Run) -> _Average:
    """Return the average that a call before has kept, or that of the run's own training alone."""
    if (run.path / CONTRIBUTIONS_FILE).is_file():
        kept = load_file(run.path / CONTRIBUTIONS_FILE)
        vectors = {name: kept[name] for name in ("mean", "squares", "by_epoch", "pairs")}
        return _Average(trainings=int(kept["trainings"]), growth=float(kept["growth"]), **vectors)
    mean = torch.from_numpy(run.examples["contribution"].to_numpy(dtype=np.float64, copy=True))
    by_epoch, pairs = torch.zeros(0), torch.zeros(0)
    if "contribution" in run.evolutions:
        by_epoch = torch.from_numpy(np.asarray(run.evolution("contribution")[1][:], dtype=np.float32))
    if "hydra" in run.effect_methods:
        pairs = torch.from_numpy(np.asarray(run.effects("hydra")[:], dtype=np.float32))
    growth = run.manifest.details.get("contribution", {}).get("growth", 0.0)
    return _Average(1, mean, torch.zeros_like(mean), by_epoch, pairs, growth)


def _one_training(scoring: ScoringRun, number: int, seeds: int) -> RunContributions:
    """Train with the seed of a number from 0, the run's own, to below ``seeds``, and return the contributions."""
    config, tensors = scoring.config, scoring.tensors_by_split
    seed = config.seed + number
    recipe = config.recipe.model_copy(update={"seed": seed})
    evaluated, exact = scoring.prepared.evaluated, config.contributions == "exact"
    with retitled(lambda what: f"training {number + 1} of {seeds}: {what}"):
        trajectory = train(scoring.prepared.build(seed), tensors["train"], recipe, validation=tensors["validation"])
        return contributions_of(trajectory, tensors["validation"], evaluated, exact)


def _write(scoring: ScoringRun, total: _Average) -> None:
    """Write the means into the run, and what is made of them anew."""
    writer = scoring.writer
    before = writer.manifest.details["contribution"]
    by_epoch = total.by_epoch if total.by_epoch.numel() else None
    mean = Contributions(total.mean, by_epoch, growth=total.growth or None, spread=total.spread)
    route = f"{before['route'].partition(_OVER)[0]}{_OVER}{total.trainings} trainings"
    found = RunContributions(mean, total.pairs if total.pairs.numel() else None, route)
    details = {**before, "route": route, "trainings": total.trainings, "spread": float(total.spread.median())}
    write_contributions(scoring, found, details)
    writer.add_column("examples", CONTRIBUTION_SPREAD, total.spread.numpy())
    if found.pairs is not None:
        write_classes(writer, scoring.prepared.splits.train.strata_names, ["hydra"])
    write_detection(writer, scoring.known_wrong)
    _forget_verified(writer)


def _forget_verified(writer: RunWriter) -> None:
    """Remove what verification found about the contributions before; another call of it trains nothing for that."""
    details = dict(writer.manifest.details)
    if "verification" not in details:
        return
    found = details.pop("verification")
    methods = {name: facts for name, facts in found["methods"].items() if name not in ("contribution", "hydra")}
    if methods:
        details["verification"] = {**found, "methods": methods}
    points = read_verification(writer.path)
    with writer.path_for(VERIFICATION_FILE) as file:
        points[points["method"].isin(list(methods))].to_parquet(file, index=False)
    writer.update(details=details)
