"""Scores of a run against really training again, and what that says of each."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.evaluation.fidelity import (
    Fidelity,
    ValueWithInterval,
    ceiling_between_seeds,
    fidelity,
    lds_estimate,
)
from attribution_core.evaluation.retraining import Retrained, random_halves, retrain_without
from attribution_core.methods.curvature.losses import means_of
from attribution_core.preparation.prepare import Data, Prepared, prepare_run
from attribution_core.progress import retitled
from attribution_core.runs import Run, RunWriter
from attribution_core.runs.names import RETRAINING_FILE, VERIFICATION_FILE
from attribution_core.runs.verification import VERIFICATION_COLUMNS
from attribution_core.training import loss_values

# What each score of a run foretells about a removal; the others foretell nothing that a retraining shows.
TRUTHS = {
    "influence": "loss_change",
    "hydra": "loss_change",
    "ntk": "loss_change",
    "contribution": "mean_loss_change",
    "fsi": "output_change",
    "sensitivity": "own_probability_change",
    "self_influence": "own_loss_change",
    "loo_loss": "own_loss",
}
# Told by random halves too: those that predict a loss on other examples, and add up.
ADDITIVE = ("loss_change", "mean_loss_change")


@dataclass(frozen=True)
class MethodFidelity:
    """How one score of a run agrees with retraining.

    Attributes:
        truth: What it foretells, a key of :data:`attribution_core.runs.RETRAINING_OUTCOMES`.
        single: Over the examples removed one by one.
        ceiling: The rank correlation that retraining noise leaves possible there; None for a single seed.
        lds: Linear datamodelling score over random halves; None where there are too few halves, or it has none.
        by_example: Over the examples removed one by one, of the means over evaluation examples: the points that the
            run keeps. The same as ``single`` for a score with one number an example.
        by_example_ceiling: Of its rank correlation.
    """

    truth: str
    single: Fidelity
    ceiling: float | None
    lds: ValueWithInterval | None
    by_example: Fidelity
    by_example_ceiling: float | None


@dataclass(frozen=True)
class Verification:
    """What retraining says of a run's scores.

    Attributes:
        methods: By the name of the score.
        lds_ceiling: The score that retraining noise leaves possible over halves; None for a single seed or no halves.
        halves: Random halves of the training examples.
        seeds: Trainings of each.
        seconds: Of one training, on average.
    """

    methods: dict[str, MethodFidelity]
    lds_ceiling: float | None
    halves: int
    seeds: int
    seconds: float


def verify(
    path: Path,
    examples: int = 40,
    halves: int = 50,
    seeds: int = 2,
    processes: int = 0,
    data: Data = None,
    device: str = "auto",
    model: nn.Module | None = None,
) -> Verification:
    """Train a run's model again without some of its examples, and compare its scores with what happens.

    Everything that was trained is kept in the run's ``retraining.parquet`` at once; called again, also with larger
    numbers, only what is missing is trained. What was found stands in the run's details under ``"verification"``, and
    what each score foretold beside what happened in its ``verification.parquet``.

    Args:
        path: The run's directory.
        examples: Training examples to remove one by one, three or more: half drawn at random, half those that the
            run's scores are strongest on (see :func:`chosen_examples`).
        halves: Random halves of the data to train on; 0 or four and more.
        seeds: Trainings of each kind, from other weights and in another order; with one, noise can't be told.
        processes: That train side by side, of one thread each; 0: this one, with its own threads. Not on a GPU.
        data: Where the dataset lies now, if it was moved; or the torch dataset that was scored.
        device: ``"auto"`` takes CUDA when there is one.
        model: The module that was fine-tuned, as it was before, where it came from a program.

    Raises:
        InputError: No such run, an unfinished one, data that has changed, or numbers that say nothing.
    """
    run = Run.open(path)
    _check(examples, halves, seeds)
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        prepared = prepare_run(run, data, device, model)
        config = prepared.config
        chosen = chosen_examples(run, min(examples, len(run.examples)))
        removed = ~random_halves(len(run.examples), halves)
        tensors_by_split = prepared.tensors_by_split()
        trainings = _Trainings(run, prepared, tensors_by_split, range(config.seed, config.seed + seeds), processes)
        ones = trainings([[], *([i] for i in chosen)], True, "without one example")
        kept = trainings([row.nonzero()[:, 0].tolist() for row in removed], False, "on random halves")
        real = real_changes(ones, chosen, tensors_by_split["train"][1], config.recipe.loss)
        predicted = {name: effects for name in TRUTHS if (effects := _predicted(run, name)) is not None}
        found = Verification(
            {
                name: _method(effects, TRUTHS[name], chosen, real[TRUTHS[name]], removed, kept)
                for name, effects in predicted.items()
            },
            ceiling_between_seeds(kept.losses.transpose(0, 1)) if halves else None,
            halves,
            seeds,
            float(ones.seconds.mean()),
        )
        points = [_points(name, effects[chosen], chosen, real[TRUTHS[name]]) for name, effects in predicted.items()]
        with writer.path_for(VERIFICATION_FILE) as file:
            pd.concat(points, ignore_index=True).to_parquet(file, index=False)
        writer.describe("verification", {**asdict(found), "chosen": chosen})
    return found


def chosen_examples(run: Run, count: int) -> list[int]:
    """Training examples to remove, by turns one drawn at random and the one on which the run's scores are strongest.

    Removing most examples changes next to nothing, so a random sample alone would mostly compare noise. More examples
    begin with the same ones. Strength is the mean rank of the sizes of the scores that foretell something.
    """
    n = len(run.examples)
    drawn = torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()
    columns = [name for name in TRUTHS if name in run.examples.columns]
    strength = run.examples[columns].abs().rank().mean(axis=1).to_numpy()
    strongest = np.argsort(-strength, kind="stable").tolist() if columns else drawn
    by_turns = [i for pair in zip(drawn, strongest, strict=True) for i in pair]
    return list(dict.fromkeys(by_turns))[:count]


def real_changes(ones: Retrained, chosen: list[int], labels: Tensor, loss: str) -> dict[str, Tensor]:
    """What really happened, by the keys of :data:`attribution_core.runs.RETRAINING_OUTCOMES`.

    Args:
        ones: Training on everything, then without each chosen example.
        chosen: Their indices.
        labels: Of all the training examples, ``[n]``.
        loss: Of the training.

    Returns:
        ``[seeds, examples]`` each; ``"loss_change"`` ``[seeds, examples, m]``.
    """
    seeds = ones.losses.shape[1]
    before = torch.stack([ones.own_outputs[0][s][chosen] for s in range(seeds)]).double()  # [seeds, e, k]
    after = torch.stack([torch.cat([row[s] for row in ones.own_outputs[1:]]) for s in range(seeds)]).double()
    own = labels[chosen]
    loss_before, loss_after = (torch.stack([loss_values(each, own, loss) for each in side]) for side in (before, after))
    change = (ones.losses[1:] - ones.losses[:1]).transpose(0, 1)
    means = [means_of(side.flatten(0, 1), loss).reshape(side.shape) for side in (before, after)]  # type: ignore[arg-type]
    moved = (ones.outputs[1:] - ones.outputs[:1]).double().square().sum(dim=3).mean(dim=2).T / 2
    return {
        "loss_change": change,
        "mean_loss_change": change.mean(dim=2),
        "output_change": moved,
        "own_probability_change": (means[1] - means[0]).abs().sum(dim=2),
        "own_loss_change": loss_after - loss_before,
        "own_loss": loss_after,
    }


class _Trainings:
    """Trains the run's model without groups of its examples."""

    def __init__(
        self,
        run: Run,
        prepared: Prepared,
        tensors_by_split: dict[str, tuple[Tensor, Tensor]],
        seeds: range,
        processes: int,
    ) -> None:
        self._run, self._prepared, self._tensors_by_split, self._seeds = run, prepared, tensors_by_split, seeds
        self._processes = prepared.processes(processes)

    def __call__(self, removals: list[list[int]], keeps_places: bool, what: str) -> Retrained:
        with retitled(lambda _: f"retraining {what}"):
            return retrain_without(
                self._prepared.build,
                self._tensors_by_split["train"],
                removals,
                self._prepared.config.recipe,
                self._tensors_by_split["validation"],
                self._seeds,
                keeps_places=keeps_places,
                processes=self._processes,
                kept_in=self._run.path / RETRAINING_FILE,
            )


def _predicted(run: Run, name: str) -> Tensor | None:
    """What a score foretells of all training examples, ``[n]`` or ``[n, m]``; None where the run does not have it."""
    if name in run.examples.columns:
        return torch.from_numpy(run.examples[name].to_numpy(dtype=np.float64, copy=True))
    try:
        return torch.from_numpy(np.asarray(run.effects(name)[:]))
    except InputError:
        return None


def _method(
    effects: Tensor, truth: str, chosen: list[int], real: Tensor, removed: Tensor, kept: Retrained
) -> MethodFidelity:
    lds = None
    if truth in ADDITIVE and len(removed):
        losses = kept.losses.mean(dim=1)
        if truth == "mean_loss_change":
            losses = losses.mean(dim=1, keepdim=True)
        lds = lds_estimate(effects.reshape(len(effects), -1), removed, losses)
    single, ceiling = fidelity(effects[chosen], real.mean(dim=0)), ceiling_between_seeds(real.flatten(1))
    if effects.ndim == 1:
        return MethodFidelity(truth, single, ceiling, lds, single, ceiling)
    means = fidelity(_means(effects[chosen]), _means(real).mean(dim=0))
    return MethodFidelity(truth, single, ceiling, lds, means, ceiling_between_seeds(_means(real)))


def _points(name: str, effects: Tensor, chosen: list[int], real: Tensor) -> pd.DataFrame:
    """What a score foretold of each removed example, ``[e]`` or ``[e, m]``, and what happened, ``[seeds, e, ...]``."""
    estimate, truths = (effects, real) if effects.ndim == 1 else (_means(effects), _means(real))
    values = {
        "method": name,
        "row": chosen,
        "estimate": estimate.cpu().numpy(),
        "truth": truths.double().mean(dim=0).cpu().numpy(),
        "spread": truths.double().std(dim=0).cpu().numpy() if len(truths) > 1 else np.nan,
    }
    return pd.DataFrame(values).astype(VERIFICATION_COLUMNS)


def _means(values: Tensor) -> Tensor:
    """Over the evaluation examples, which come last."""
    return values.double().mean(dim=-1)


def _check(examples: int, halves: int, seeds: int) -> None:
    if examples < 3 or halves in (1, 2, 3) or halves < 0 or seeds < 1:
        raise InputError(
            "Verifying needs 3 examples or more, no halves or 4 and more, and a seed; given "
            f"{examples}, {halves} and {seeds}."
        )
