"""Compare a run's scores with real retraining, to measure how far each can be trusted."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.evaluation.fidelity import (
    Correlation,
    Fidelity,
    StrongestPairs,
    ceiling_between_seeds,
    fidelity,
    fidelity_of_strongest,
    lds_with_interval,
)
from attribution_core.evaluation.retraining import Retrained, random_halves, retrain_without
from attribution_core.methods.curvature.losses import means_of
from attribution_core.preparation.prepare import Prepared
from attribution_core.preparation.prepare_run import Data, prepare_run
from attribution_core.progress import retitled
from attribution_core.runs import Run, RunWriter
from attribution_core.runs.names import RETRAINING_FILE, VERIFICATION_FILE
from attribution_core.runs.verification import VERIFICATION_COLUMNS
from attribution_core.training import loss_values

# The outcome of a removal that each score predicts; other scores predict nothing that retraining can show.
PREDICTED_OUTCOMES = {
    "influence": "loss_change",
    "hydra": "loss_change",
    "ntk": "loss_change",
    "contribution": "mean_loss_change",
    "fsi": "output_change",
    "sensitivity": "own_probability_change",
    "self_influence": "own_loss_change",
    "loo_loss": "own_loss",
}
# Outcomes that random halves can also test: losses on other examples, whose predictions add up.
ADDITIVE = ("loss_change", "mean_loss_change")


@dataclass(frozen=True)
class MethodFidelity:
    """Hold how well one score of a run agrees with retraining.

    Attributes:
        truth: The outcome that the score predicts, a key of :data:`attribution_core.runs.RETRAINING_OUTCOMES`.
        single: Agreement over the examples removed one by one.
        ceiling: The largest rank correlation that retraining noise allows for ``single``; None for a single seed.
        lds: Linear datamodelling score over random halves; None without halves, or if the score is not additive.
        by_example: Agreement over the examples removed one by one, of the means over evaluation examples: the points
            that the run keeps. Equal to ``single`` for a score with one number for each example.
        by_example_ceiling: The largest rank correlation that retraining noise allows for ``by_example``.
        strongest: Agreement over the strongest predicted pairs; None for a score with one number for each example.
    """

    truth: str
    single: Fidelity
    ceiling: float | None
    lds: Correlation | None
    by_example: Fidelity
    by_example_ceiling: float | None
    strongest: StrongestPairs | None = None


@dataclass(frozen=True)
class Verification:
    """Hold what retraining shows about a run's scores.

    Attributes:
        methods: Agreement of each score, by its name.
        lds_ceiling: The largest datamodelling score that retraining noise allows; None for a single seed or no halves.
        halves: Number of random halves of the training examples.
        seeds: Number of trainings for each removal.
        seconds: Mean time of one training, in seconds.
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
    """Retrain a run's model without some of its examples, and compare its scores with the outcomes.

    Each training is stored in the run's ``retraining.parquet`` as it ends; a later call, also with larger numbers,
    trains only what is missing. The results are in the run's details under ``"verification"``, and the prediction of
    each score beside the outcome in its ``verification.parquet``.

    Args:
        path: Directory of the run.
        examples: Number of training examples to remove one by one, at least three: half drawn at random, half those
            with the run's strongest scores (see :func:`chosen_examples`).
        halves: Number of random halves of the data to train on; 0, or at least four.
        seeds: Number of trainings for each removal, each from other weights and in another order; a single one does
            not show the noise.
        processes: Number of processes that train in parallel, with one thread each; 0 trains in this process, with its
            own threads. Not for a GPU.
        data: New path of the dataset, if it was moved, or the torch dataset that was scored.
        device: Device to compute on; ``"auto"`` takes CUDA if available.
        model: The module before fine-tuning, if the scored model came from a program.

    Raises:
        InputError: The run does not exist or is not finished, its data has changed, or a number is too small.
    """
    run = Run.open(path)
    _check(examples, halves, seeds)
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        prepared = prepare_run(run, data, device, model)
        config = prepared.config
        chosen = chosen_examples(run, min(examples, len(run.examples)))
        removed = ~random_halves(len(run.examples), halves)
        tensors_by_split = prepared.tensors_by_split()
        trainings = Trainings(run, prepared, tensors_by_split, range(config.seed, config.seed + seeds), processes)
        ones = trainings([[], *([i] for i in chosen)], True, "without one example")
        kept = trainings([row.nonzero()[:, 0].tolist() for row in removed], False, "on random halves")
        real = retraining_outcomes(ones, chosen, tensors_by_split["train"][1], config.recipe.loss)
        predicted = {name: effects for name in PREDICTED_OUTCOMES if (effects := _predicted(run, name)) is not None}
        found = Verification(
            {
                name: _method(effects, PREDICTED_OUTCOMES[name], chosen, real[PREDICTED_OUTCOMES[name]], removed, kept)
                for name, effects in predicted.items()
            },
            ceiling_between_seeds(kept.losses.transpose(0, 1)) if halves else None,
            halves,
            seeds,
            float(ones.seconds.mean()),
        )
        points = [
            _points(name, effects[chosen], chosen, real[PREDICTED_OUTCOMES[name]])
            for name, effects in predicted.items()
        ]
        with writer.path_for(VERIFICATION_FILE) as file:
            pd.concat(points, ignore_index=True).to_parquet(file, index=False)
        writer.describe("verification", {**asdict(found), "chosen": chosen})
    return found


def chosen_examples(run: Run, count: int) -> list[int]:
    """Choose training examples to remove, alternating random ones with those that have the run's strongest scores.

    Removing most examples changes next to nothing, so a random sample alone would mostly compare noise. A larger
    ``count`` starts with the same examples. Strength is the mean rank of the absolute values of the scores in
    :data:`PREDICTED_OUTCOMES`.
    """
    n = len(run.examples)
    drawn = torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()
    columns = [name for name in PREDICTED_OUTCOMES if name in run.examples.columns]
    strength = run.examples[columns].abs().rank().mean(axis=1).to_numpy()
    strongest = np.argsort(-strength, kind="stable").tolist() if columns else drawn
    by_turns = [i for pair in zip(drawn, strongest, strict=True) for i in pair]
    return list(dict.fromkeys(by_turns))[:count]


def retraining_outcomes(ones: Retrained, chosen: list[int], labels: Tensor, loss: str) -> dict[str, Tensor]:
    """Compute the real outcomes of the removals, by the keys of :data:`attribution_core.runs.RETRAINING_OUTCOMES`.

    Args:
        ones: Training on everything, then without each chosen example.
        chosen: Indices of the chosen examples.
        labels: Labels of all training examples, ``[n]``.
        loss: Loss of the training.

    Returns:
        Outcomes, ``[seeds, examples]`` each; ``"loss_change"`` is ``[seeds, examples, m]``.
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


class Trainings:
    """Train the run's model without groups of its examples."""

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
        """Train without each group of examples, from each seed."""
        with retitled(lambda _: f"retraining {what}"):
            return retrain_without(
                self._prepared.build,
                self._tensors_by_split["train"],
                removals,
                self._prepared.config.recipe,
                self._prepared.evaluation(self._tensors_by_split),
                self._seeds,
                keeps_places=keeps_places,
                processes=self._processes,
                results_file=self._run.path / RETRAINING_FILE,
            )


def _predicted(run: Run, name: str) -> Tensor | None:
    """Return a score of all training examples, ``[n]`` or ``[n, m]``; None if the run does not have it."""
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
        lds = lds_with_interval(effects.reshape(len(effects), -1), removed, losses)
    single, ceiling = fidelity(effects[chosen], real.mean(dim=0)), ceiling_between_seeds(real.flatten(1))
    if effects.ndim == 1:
        return MethodFidelity(truth, single, ceiling, lds, single, ceiling)
    means = fidelity(_means(effects[chosen]), _means(real).mean(dim=0))
    strongest = fidelity_of_strongest(effects[chosen], real)
    return MethodFidelity(truth, single, ceiling, lds, means, ceiling_between_seeds(_means(real)), strongest)


def _points(name: str, effects: Tensor, chosen: list[int], real: Tensor) -> pd.DataFrame:
    """Return a row for each removed example from predictions ``[e]`` or ``[e, m]`` and outcomes ``[seeds, e, ...]``."""
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
    """Return means over the evaluation examples, the last dimension."""
    return values.double().mean(dim=-1)


def _check(examples: int, halves: int, seeds: int) -> None:
    if examples < 3 or halves in (1, 2, 3) or halves < 0 or seeds < 1:
        raise InputError(
            "Verification needs at least 3 examples, either no halves or at least 4, and at least 1 seed; given are "
            f"{examples}, {halves} and {seeds}."
        )
