"""The stage that linearizes the model: F-SI, SI, NTK influence, and their curves."""

import functools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from attribution_core.evaluation.retraining import accuracy
from attribution_core.gradients import jacobian, plan_parameters
from attribution_core.methods.linalg.blocked import BLOCK_BYTES
from attribution_core.methods.linearized.build import head_of
from attribution_core.methods.linearized.kernel_studies import estimate_error
from attribution_core.methods.linearized.mean_effects import iterate_effects_and_means
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.over_time import fsi_over_time
from attribution_core.methods.linearized.sample_information import functional_sample_information, sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.runs import RunWriter
from attribution_core.scoring.linearization import feature_rows, linearize_run, schedule_of
from attribution_core.scoring.probe import Probe, timed
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage, credible_effects
from attribution_core.scoring.stages.kernel_curves import GROUPS, decays_of, times_of, write_kernel_curves
from attribution_core.scoring.trial import require_gradients
from attribution_core.training import Recipe, outputs_of

# Curves are drawn over at most this many evaluation examples.
CURVE_EXAMPLES = 100
_SHARED = "linearized"
_PASSED = 64  # rows of a linearized model that the probe passes over


class LinearizedStage(Stage):
    """Write columns fsi and si, effects/ntk.zarr, evolution/fsi.zarr, and the kernel regime's curves."""

    name = "linearised"
    title = "F-SI, SI and NTK influence"
    order = 20
    details_name = "fsi"
    essential = True

    @override
    def require_model(self, model: nn.Module, inputs: Tensor, recipe: Recipe, parameters: str) -> None:
        if parameters == "head":
            head_of(model, inputs)
        else:
            require_gradients(model, inputs, parameters)

    @override
    def bytes_needed(self, sizes: RunSizes) -> int:
        return linearized_bytes(sizes)

    @override
    def seconds_probe(self, probe: Probe) -> float:
        """Time one decomposition and many passes, over a model of made-up features."""
        n, m = probe.sizes.n, probe.sizes.validation
        rows, features = feature_rows(probe.sizes)
        p = min(n * rows, features)
        linear, one = (_made_up(probe, rows, p, count) for count in (min(_PASSED, n), 1))
        schedule = GradientDescent(1.0 / float(linear.eigenvalues[-1]), probe.config.steps)
        fsi = timed(lambda: functional_sample_information(linear, schedule), 2)
        si = timed(lambda: sample_information(linear, schedule))
        some = linear.evaluated_on(slice(probe.sizes.m))
        passes = fsi + si + timed(lambda: some.removal_effects(schedule))
        fewer, times = linear.evaluated_on(slice(CURVE_EXAMPLES)), times_of(schedule)[1:]
        passes += (len(decays_of(rows)) + 2) * timed(lambda: estimate_error(fewer, [1.0]))
        decompositions = 1 + (GROUPS if n // GROUPS * rows > p else 0)
        if "original_label" in probe.prepared.splits.train.groups:
            times += times_of(schedule, rows)  # for the influencers, whose products are no longer than those of F-SI
        products = 4 * n * rows * p * p + (2 * m * rows * p * p if m * rows > p else 0)
        fixed, whole = (timed(functools.partial(fsi_over_time, each, schedule, times)) for each in (one, linear))
        passes += max(0.0, whole - fixed)
        seconds = fixed + passes * n / len(linear.features) + products / probe.flops
        seconds += decompositions * probe.seconds_for_decomposition * p**3
        if rows > 1:
            seconds += (n + m) * _seconds_for_jacobian(probe)
        return seconds + (n + m) * probe.seconds_for_outputs

    @override
    def write(self, scoring: ScoringRun) -> None:
        writer, (inputs, targets) = scoring.writer, scoring.tensors_by_split["validation"]
        linear, trained, route = shared_linearized(scoring)
        schedule = schedule_of(linear.eigenvalues, linear.num_train, scoring.config)
        scores = {
            "fsi": functional_sample_information(linear, schedule),
            "si": sample_information(linear, schedule),
        }
        writer.add_columns("examples", {name: values.cpu().numpy() for name, values in scores.items()})
        influence = _write_effects(writer, linear, schedule, scores["fsi"], scoring.prepared.evaluated)
        scores["ntk_mean"] = influence
        writer.add_column("examples", "ntk_mean", influence.cpu().double().numpy())
        times = times_of(schedule)
        writer.write_evolution("fsi", times, _evolution(linear, schedule, times, scores["fsi"]))
        outputs = linear.predictions(schedule).cpu()
        details = {
            "route": route,
            "features": int(linear.features.shape[2]),
            "precision": str(linear.features.dtype).removeprefix("torch."),
            "kept_energy": linear.kept_energy,
            "learning_rate": schedule.learning_rate,
            "steps": schedule.steps,
            "weight_decay": schedule.weight_decay,
            "evaluated_on": f"{len(outputs):,} validation examples",
            **_quality(outputs, outputs_of(trained, inputs).cpu(), targets.cpu()),
        }
        evaluated = linear.evaluated_on(slice(CURVE_EXAMPLES))
        write_kernel_curves(writer, evaluated, schedule, influence, scoring.known_wrong)
        writer.describe("fsi", details, scores)


def shared_linearized(scoring: ScoringRun) -> tuple[LinearizedModel, nn.Module, str]:
    """Return what :func:`linearize_run` makes of a run; the stages of a run share it."""

    def make() -> tuple[LinearizedModel, nn.Module, str]:
        tensors = scoring.tensors_by_split
        return linearize_run(scoring.writer.path, scoring.config, scoring.initial_model(), tensors)

    return scoring.shared(_SHARED, make)


def release_linearized(scoring: ScoringRun) -> None:
    """Free the linearized model, which is as large as the data."""
    scoring.release(_SHARED)


def linearized_bytes(sizes: RunSizes) -> int:
    """Return the bytes that the linearized model and its decomposition hold at their peak."""
    rows, features = feature_rows(sizes)
    n, m, p = sizes.n, sizes.validation, min(sizes.n * rows, features)
    return 8 * ((2 * n + m) * rows * p + 3 * p * p + 2 * n * CURVE_EXAMPLES) + 2 * BLOCK_BYTES


def _quality(outputs: Tensor, theirs: Tensor, targets: Tensor) -> dict[str, float]:
    """The linearised model's accuracy and how often it says what the trained one says; of values, both as R²."""
    values = targets.is_floating_point()
    said = theirs[:, 0] if values else theirs.argmax(dim=1)
    return {
        "linear_r2" if values else "linear_accuracy": accuracy(outputs, targets, "mse"),
        "agreement_with_model": accuracy(outputs, said, "mse"),
    }


def _write_effects(
    writer: RunWriter,
    linear: LinearizedModel,
    schedule: GradientDescent,
    information: Tensor,
    evaluated: int,
) -> Tensor:
    """Write effects/ntk.zarr on the first ``evaluated`` validation examples; return mean effects on all, ``[n]``."""
    means = []

    def blocks() -> Iterator[tuple[slice, np.ndarray]]:
        for rows, effects, mean in iterate_effects_and_means(linear, schedule, information, evaluated):
            means.append(mean)
            yield rows, effects.cpu().numpy()

    some = linear.evaluated_on(slice(evaluated))
    credible = credible_effects(some.predictions(schedule), some.evaluation_targets, "mse")
    writer.write_effects("ntk", evaluated, blocks(), credible)
    return torch.cat(means)


def _evolution(
    linear: LinearizedModel,
    schedule: GradientDescent,
    times: list[float],
    now: Tensor,
) -> np.ndarray:
    """F-SI at the given times, ``[times, n]``; ``now`` is that at the schedule's own."""
    others = [time for time in times if time != schedule.steps]
    found = dict(zip(others, fsi_over_time(linear, schedule, others).cpu().numpy(), strict=True))
    return np.stack([found.get(time, now.cpu().numpy()) for time in times])


def _made_up(probe: Probe, rows: int, features: int, count: int) -> LinearizedModel:
    """Return a linearized model with ``count`` training examples and as many features as the run's will have."""
    sizes, generator = probe.sizes, torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(probe.device)

    eigenvalues = torch.logspace(-6, 0, features, dtype=torch.float64).to(probe.device)
    scale = (eigenvalues / sizes.n).sqrt()
    m, k = sizes.validation, sizes.outputs
    outputs = drawn(count, k), drawn(m, k), drawn(count, k), drawn(m, k)
    return LinearizedModel(
        drawn(count, rows, features) * scale, eigenvalues, drawn(m, rows, features) * scale, *outputs
    )


def _seconds_for_jacobian(probe: Probe) -> float:
    inputs, _ = probe.rows(8)
    plan = plan_parameters(probe.model, inputs[:1], probe.config.parameters)
    return timed(lambda: jacobian(probe.model, inputs, plan)) / len(inputs)
