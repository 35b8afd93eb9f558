"""Measure how much of a run's dataset can be removed: orders of removal by F-SI, and the accuracy that remains."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from attribution_core.evaluation.retraining import Trainer
from attribution_core.evaluation.summarization import (
    STRATEGIES,
    SummarizationCurve,
    linear_accuracies,
    removal_order,
    retrained_accuracies,
    scores_by_information,
    summarization_curve,
)
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.methods.types import InputsAndTargets
from attribution_core.preparation.prepare import Prepared
from attribution_core.preparation.prepare_run import Data, prepare_run
from attribution_core.runs import Run, RunWriter
from attribution_core.runs.names import SUMMARIZATION_FILE
from attribution_core.scoring.linearization import linearize_run, schedule_of
from attribution_core.scoring.stages.base import curve_rows


@dataclass(frozen=True)
class Summaries:
    """Hold test accuracies against the share removed, by strategy.

    Attributes:
        linear: Accuracies of the linearized model, in closed form.
        retrained: Accuracies of the run's model, really retrained on the remaining examples.
    """

    linear: SummarizationCurve
    retrained: SummarizationCurve


def summarize(
    path: Path,
    seeds: int = 3,
    balanced: bool = False,
    step: float = 0.05,
    processes: int = 0,
    data: Data = None,
    device: str = "auto",
    model: nn.Module | None = None,
) -> Summaries:
    """Remove a run's training examples in several orders, retrain on the rest, and measure the accuracy.

    The run gets the curves ``summarization`` and ``summarization_linear``, the column ``summary_rank`` (the order of
    ``"bottom iterative"``) and details. Each training is stored as it ends, so a stopped call resumes where it was. If
    the run linearizes the head, the features are those of the network trained on everything, so the linearized
    accuracies are too high once much was removed.

    Args:
        path: Directory of the run.
        seeds: Number of trainings for each point, each from other weights and in another order; also the number of
            random orders.
        balanced: Whether to preserve the shares of the classes, or of the ranges of values.
        step: Share to remove before the remaining examples are scored again.
        processes: Number of processes that train in parallel, with one thread each; 0 trains in this process, with its
            own threads. Not for a GPU.
        data: New path of the dataset, if it was moved, or the torch dataset that was scored.
        device: Device to compute on; ``"auto"`` takes CUDA if available.
        model: The module before fine-tuning, if the scored model came from a program.

    Raises:
        InputError: The run does not exist or is not finished, or its data has changed.
    """
    run = Run.open(path)
    with RunWriter.start(run.path, run.manifest.config, run.manifest.fingerprint, run.title) as writer:
        prepared = prepare_run(run, data, device, model)
        tensors_by_split = prepared.tensors_by_split()
        linear, schedule = _linear(run, prepared, tensors_by_split)
        validated = len(tensors_by_split["validation"][1])
        scored, tested = linear.evaluated_on(slice(validated)), linear.evaluated_on(slice(validated, None))
        strata = torch.from_numpy(prepared.splits.train.strata)
        orders = _orders(scored, schedule, strata, seeds, balanced, step)
        at_once = linear_accuracies([tested] * seeds, schedule, tensors_by_split["test"][1])
        trainer = Trainer(
            partial(_from_seed, prepared.build, prepared.config.seed),
            tensors_by_split["train"],
            tensors_by_split["test"],
            prepared.config.recipe,
            None,
        )
        retrained = retrained_accuracies(trainer, prepared.processes(processes), run.path / SUMMARIZATION_FILE)
        found = Summaries(summarization_curve(orders, at_once), summarization_curve(orders, retrained))
        _write(writer, found, orders, balanced)
    return found


def _linear(
    run: Run,
    prepared: Prepared,
    tensors_by_split: dict[str, InputsAndTargets],
) -> tuple[LinearizedModel, GradientDescent]:
    """Load the run's linearized model, evaluated on its validation examples and then on its test examples."""
    config, parts = prepared.config, zip(tensors_by_split["validation"], tensors_by_split["test"], strict=True)
    inputs, labels = (torch.cat(part) for part in parts)
    tensors_by_split = {"train": tensors_by_split["train"], "validation": (inputs, labels)}
    model = linearize_run(run.path, config, prepared.build(config.seed), tensors_by_split)[0]
    return model, schedule_of(model.eigenvalues, model.num_train, config)


def _orders(
    model: LinearizedModel,
    schedule: GradientDescent,
    strata: Tensor,
    seeds: int,
    balanced: bool,
    step: float,
) -> dict[str, list[Tensor]]:
    """Return an order of removal for each strategy and seed; only the random orders differ between seeds."""
    information = scores_by_information(model, schedule)
    orders: dict[str, list[Tensor]] = {}
    for name in STRATEGIES:
        by_seed = range(seeds if name == "random" else 1)
        drawn = [removal_order(information, strata, name, balanced, step, seed) for seed in by_seed]
        orders[name] = drawn if name == "random" else drawn * seeds
    return orders


def _from_seed(build: Callable[[int], torch.nn.Module], first: int, seed: int) -> torch.nn.Module:
    """Return the model at the run's own initial weights for seed 0, then at others."""
    return build(first + seed)


def _write(writer: RunWriter, found: Summaries, orders: dict[str, list[Tensor]], balanced: bool) -> None:
    for name, curve in (("summarization", found.retrained), ("summarization_linear", found.linear)):
        means = {strategy: curve.interval(strategy)[0] for strategy in curve.accuracy}
        writer.write_curve(name, curve_rows([100 * fraction for fraction in curve.fractions], means))
    order = orders["bottom iterative"][0]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    writer.add_column("examples", "summary_rank", rank.numpy())
    details = {
        "balanced": balanced,
        "seeds": len(orders["random"]),
        "fractions": found.retrained.fractions,
        "retrained": {
            name: [each.tolist() for each in found.retrained.interval(name)] for name in found.retrained.accuracy
        },
    }
    writer.describe("summarization", details, ["summary_rank"])
