"""From a configuration to a run: dataset, training, predictions, scores, one resumable stage after another."""

import copy
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor, nn

from attribution_core.datasets import Dataset, Splits, as_tensors, common_size, open_dataset, pixel_statistics
from attribution_core.errors import InputError
from attribution_core.gradients import select_parameters
from attribution_core.methods.gradient_descent import GradientDescent
from attribution_core.methods.linearize import DIMENSION, head_of, linearize
from attribution_core.methods.linearized import LinearizedModel
from attribution_core.methods.unique_information import functional_sample_information, sample_information
from attribution_core.models import ARCHITECTURES, build_model, load_weights
from attribution_core.progress import Progress
from attribution_core.runs import MEASURES, Run, RunWriter, fingerprint
from attribution_core.runs.schema import BASE_COLUMNS, DatasetSummary, Unreadable
from attribution_core.training import Recipe, loss_values, outputs_of, train

# Up to this many rows (examples times outputs) or parameters the whole network is linearised without a sketch: its
# eigendecomposition then takes seconds.
EXACT_SIZE = 4096
# Fields that say where and how, not what: they may differ when a run goes on.
_NOT_FINGERPRINTED = {"out", "device"}

Pair = tuple[Tensor, Tensor]


class ScoreConfig(BaseModel):
    """What to score, and how.

    Attributes:
        data: A known dataset's name, or a path.
        out: The run's directory; ``runs/NAME`` by default.
        model: A model of the zoo, or ``"auto"``: ``mlp`` for grey or small images, ``cnn4`` for colour.
        hidden: Hidden sizes of ``mlp``.
        image_size: Side in pixels to resize to; by default what the images share (or up to 64 where they differ).
        recipe: How the model is trained.
        parameters: What is linearised: ``"head"`` retrains the last layer, from zero, on the trained network's features
            (exact, since the model is linear in its head); ``"all"`` (or a regular expression) is the network at its
            initial weights, as in unique information, sketched above ``EXACT_SIZE``.
        sketch: Which coordinates are kept then: ``"kronecker"``, the leading ones of all layers together in a basis
            fitted to the data, or ``"coordinates"``, random ones of each parameter tensor, as in the paper.
        dimension: How many.
        steps: Training time of the linearised model: gradient flow for the time of so many steps at the largest
            monotone learning rate, ``1 / lambda_max`` of the kernel; infinite for the end.
        weight_decay: Of the linearised model, beside the sum of losses, as a multiple of the mean squared feature norm.
        seed: Of the splits, the initial weights, the batch order and the sketch.
        validation_fraction: Share set aside for validation where the data has none.
        test_fraction: The same for test.
        max_train: Use a stratified subset of so many training examples.
        device: ``"auto"`` takes CUDA when there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    data: str
    out: Path | None = None
    model: str = "auto"
    hidden: tuple[int, ...] = ()
    image_size: int | None = Field(None, ge=4, le=1024)
    recipe: Recipe = Recipe()
    parameters: str = "head"
    sketch: Literal["kronecker", "coordinates"] = "kronecker"
    dimension: int = Field(DIMENSION, ge=1)
    steps: float = Field(1000, ge=0)
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False)
    seed: int = Field(0, ge=0)
    validation_fraction: float = Field(0.15, gt=0, lt=1)
    test_fraction: float = Field(0.15, gt=0, lt=1)
    max_train: int | None = Field(None, ge=2)
    device: str = "auto"

    @property
    def folder(self) -> Path:
        """Where the run goes."""
        return self.out or Path("runs") / Path(self.data).name.split(".")[0]


def score(config: ScoreConfig, progress: Progress | None = None) -> Run:
    """Score a dataset, or go on with a run that was cut off; only unfinished stages are done again.

    Args:
        config: What to score, and how.
        progress: Called with (done, total, what).

    Returns:
        The run, opened.

    Raises:
        InputError: Bad data or options, in one sentence; or a directory that holds another run.
    """
    config = config.model_copy(update={"data": _absolute(config.data)})
    device = _device(config.device)
    splits = open_dataset(
        config.data,
        seed=config.seed,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        max_train=config.max_train,
        progress=progress,
    )
    plain = config.model_dump(mode="json", exclude=_NOT_FINGERPRINTED)
    data_print = splits.fingerprint()
    size = (config.image_size,) * 2 if config.image_size else common_size(splits.train)
    name = _model_name(config.model, splits.train.mode, size)
    shape = (len(splits.train.mode), *size)
    build = _builder(config, name, len(splits.train.class_names), shape, device)
    _check_parameters(build(), torch.zeros(1, *shape), config.parameters)  # before a folder is made
    with RunWriter.start(config.folder, plain, fingerprint(plain), title=f"{splits.name}, {name}") as writer:
        _check_same_data(writer, data_print)
        if not writer.is_done("dataset", data_print):
            with writer.stage("dataset", data_print):
                _write_dataset(writer, splits, data_print, progress)
        if all(writer.is_done(stage, data_print) for stage in ("training", "linearised")):
            return Run.open(config.folder)
        statistics = pixel_statistics(splits.train, size=size, progress=progress)
        sides = {
            split: as_tensors(part, size=size, statistics=statistics, progress=progress)
            for split, part in _named(splits).items()
        }
        if not writer.is_done("training", data_print):
            with writer.stage("training", data_print):
                _train(writer, config, name, build(), sides, splits, progress)
        if not writer.is_done("linearised", data_print):
            with writer.stage("linearised", data_print):
                _score_linearised(writer, config, build, sides, progress)
    return Run.open(config.folder)


# -- the stages ------------------------------------------------------------------------------------------------------


def _write_dataset(writer: RunWriter, splits: Splits, data_print: str, progress: Progress | None) -> None:
    named = _named(splits)
    writer.update(
        dataset=DatasetSummary(
            name=splits.name,
            location=splits.location,
            class_names=splits.train.class_names,
            sizes={name: len(split) for name, split in named.items()},
            mode=splits.train.mode,
            unreadable=[Unreadable(where=each.where, why=each.why) for each in splits.unreadable],
            notes=splits.notes,
            fingerprint=data_print,
        )
    )
    _write_tables(writer, {name: _table(split) for name, split in named.items()})
    images = {"train": [splits.train], "evaluation": [splits.validation, splits.test]}
    for split, parts in images.items():
        writer.write_thumbnails(
            split,  # type: ignore[arg-type]
            (part[i][0] for part in parts for i in range(len(part))),
            progress,
        )


def _write_tables(writer: RunWriter, tables: dict[str, pd.DataFrame]) -> None:
    """The training split is one table; validation and test, in this order, are the other."""
    writer.write_table("examples", tables["train"])
    held_out = [tables[split].assign(split=split) for split in ("validation", "test")]
    writer.write_table("evaluation", pd.concat(held_out, ignore_index=True))


def _train(
    writer: RunWriter,
    config: ScoreConfig,
    name: str,
    model: nn.Module,
    sides: dict[str, Pair],
    splits: Splits,
    progress: Progress | None,
) -> None:
    recipe = config.recipe.model_copy(update={"seed": config.seed})
    trajectory = train(model, sides["train"], recipe, progress=progress)
    for moment in ("initial", "final"):
        with writer.path_for(f"model/{moment}.safetensors") as path:
            save_file(getattr(trajectory, moment), path)
    class_names = splits.train.class_names
    tables = {
        split: pd.concat([_table(part), _predictions(model, sides[split], class_names)], axis=1)
        for split, part in _named(splits).items()
    }
    _write_tables(writer, tables)
    metrics = {f"{split}_accuracy": float(table["correct"].mean()) for split, table in tables.items()}
    metrics |= {f"{split}_loss": float(table["loss"].mean()) for split, table in tables.items()}
    parameters = sum(p.numel() for p in model.parameters())
    shape = list(sides["train"][0].shape[1:])
    writer.update(metrics=metrics, model={"name": name, "parameters": parameters, "input_shape": shape})


def _score_linearised(
    writer: RunWriter,
    config: ScoreConfig,
    build: Callable[[], nn.Module],
    sides: dict[str, Pair],
    progress: Progress | None,
) -> None:
    linear, trained, route = _linearised(writer, config, build, sides, progress)
    schedule = _schedule(linear.eigenvalues, len(sides["train"][0]), config)
    scores = {
        "fsi": functional_sample_information(linear, schedule, progress=progress),
        "si": sample_information(linear, schedule, progress=progress),
    }
    for name, values in scores.items():
        writer.add_column("examples", name, values.cpu().numpy())
    blocks = ((rows, effects.cpu().numpy()) for rows, effects in linear.iterate_effects(schedule, progress))
    writer.write_effects("ntk", len(linear.evaluation_targets), blocks)
    times, evolution = _evolution(linear, schedule, progress)
    writer.write_evolution("fsi", times, evolution)
    guesses = linear.predictions(schedule).argmax(dim=1).cpu()
    theirs = outputs_of(trained, sides["validation"][0]).argmax(dim=1).cpu()
    details = {
        "route": route,
        "features": int(linear.features.shape[2]),
        "kept_energy": linear.kept_energy,
        "learning_rate": schedule.learning_rate,
        "steps": schedule.steps,
        "weight_decay": schedule.weight_decay,
        "evaluated_on": f"{len(guesses):,} validation examples",
        "linear_accuracy": float((guesses == sides["validation"][1]).double().mean()),
        "agreement_with_model": float((guesses == theirs).double().mean()),
    }
    writer.update(measures=list(scores), details={**writer.manifest.details, "fsi": details})


# -- their parts -----------------------------------------------------------------------------------------------------


def _linearised(
    writer: RunWriter,
    config: ScoreConfig,
    build: Callable[[], nn.Module],
    sides: dict[str, Pair],
    progress: Progress | None,
) -> tuple[LinearizedModel, nn.Module, str]:
    """The linearised model, the trained one it stands for, and the route in words."""
    model = build()
    sketch: Literal["kronecker", "coordinates"] | None = None
    if config.parameters == "head":
        load_weights(model, writer.path / "model" / "final.safetensors")
        trained = model
        model = _with_zero_head(model, sides["train"][0])
        route = "the head, retrained from zero on the trained network's features (exact)"
    else:
        trained = copy.deepcopy(model)
        load_weights(trained, writer.path / "model" / "final.safetensors")
        rows = len(sides["train"][0]) * outputs_of(model, sides["train"][0][:1]).shape[1]
        shapes = dict(model.named_parameters())
        width = sum(shapes[name].numel() for name in select_parameters(model, config.parameters))
        sketched = min(rows, width) > EXACT_SIZE
        sketch = config.sketch if sketched else None
        kept = f"{config.sketch} sketch" if sketched else "exact"
        route = f"the network at its initial weights, {config.parameters} parameters, {kept}"
    linear = linearize(
        model,
        sides["train"],
        sides["validation"],
        sketch=sketch,
        dimension=config.dimension,
        parameters=config.parameters,
        seed=config.seed,
        progress=progress,
    )
    return linear, trained, route


def _schedule(eigenvalues: Tensor, examples: int, config: ScoreConfig) -> GradientDescent:
    """Gradient flow in units of the data: rate ``1 / lambda_max``, decay in mean squared feature norms."""
    if len(eigenvalues) == 0:
        raise InputError("The model's features are zero on every training example, so nothing can be learnt from them.")
    decay = config.weight_decay * float(eigenvalues.sum()) / examples
    return GradientDescent(1.0 / float(eigenvalues[-1]), config.steps, decay)


def _evolution(
    linear: LinearizedModel, schedule: GradientDescent, progress: Progress | None
) -> tuple[list[float], np.ndarray]:
    """F-SI from a hundredth to a hundred times the schedule's time, two times a decade: ``[times, n]``."""
    middle = schedule.steps if math.isfinite(schedule.steps) and schedule.steps > 0 else 1000.0
    times = [middle * 10 ** (half / 2) for half in range(-4, 5)]
    scores = []
    for step, time in enumerate(times):
        scores.append(functional_sample_information(linear, replace(schedule, steps=time)).cpu().numpy())
        if progress:
            progress(step + 1, len(times), "F-SI over training time")
    return times, np.stack(scores)


def _builder(
    config: ScoreConfig, name: str, num_outputs: int, shape: tuple[int, ...], device: torch.device
) -> Callable[[], nn.Module]:
    """Makes the model at its initial weights, on the device, in evaluation mode."""
    return lambda: build_model(name, num_outputs, shape, config.hidden, seed=config.seed).to(device).eval()


def _with_zero_head(model: nn.Module, inputs: Tensor) -> nn.Module:
    """A copy whose last layer gives zero, so that its training starts from nothing."""
    model = copy.deepcopy(model)
    head = head_of(model, inputs)
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return model


def _predictions(model: nn.Module, pair: Pair, class_names: list[str]) -> pd.DataFrame:
    """Predicted class, confidence, margin, loss (nats) and correctness of each example."""
    outputs = outputs_of(model, pair[0]).double().cpu()
    labels = pair[1]
    losses = loss_values(outputs, labels, "cross_entropy")
    probabilities = outputs.softmax(dim=1)
    own = probabilities.gather(1, labels[:, None])[:, 0]
    others = probabilities.scatter(1, labels[:, None], -math.inf).amax(dim=1)
    confidence, predicted = probabilities.max(dim=1)
    names = np.array(class_names, dtype=object)
    return pd.DataFrame(
        {
            "predicted": predicted.numpy(),
            "predicted_name": names[predicted.numpy()],
            "confidence": confidence.numpy(),
            "margin": (own - others).numpy(),
            "loss": losses.numpy(),
            "correct": (predicted == labels).numpy(),
        }
    )


def _table(dataset: Dataset) -> pd.DataFrame:
    """Ids, labels and group columns; a group that has the name of one of our columns gets ``_in_data`` behind it."""
    names = np.array(dataset.class_names, dtype=object)
    taken = {*BASE_COLUMNS, *MEASURES, "umap_x", "umap_y"}
    groups = dataset.groups.reset_index(drop=True).rename(columns=lambda c: f"{c}_in_data" if c in taken else c)
    own = pd.DataFrame({"id": dataset.ids, "label": dataset.labels, "label_name": names[dataset.labels]})
    return pd.concat([own, groups], axis=1)


def _named(splits: Splits) -> dict[str, Dataset]:
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}


def _check_parameters(model: nn.Module, inputs: Tensor, parameters: str) -> None:
    if parameters == "head":
        head_of(model, inputs)
    select_parameters(model, parameters)


def _model_name(name: str, mode: str, size: tuple[int, ...]) -> str:
    if name != "auto":
        return name
    return "cnn4" if mode == "RGB" and min(size) >= ARCHITECTURES["cnn4"].min_side else "mlp"


def _absolute(data: str) -> str:
    """A path is kept absolute, so that the run finds its data from anywhere; a known name stays a name."""
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else data


def _check_same_data(writer: RunWriter, data_print: str) -> None:
    before = writer.manifest.dataset
    if before is not None and before.fingerprint != data_print:
        raise InputError(
            f"The data of the run {writer.path} has changed since (fingerprint {before.fingerprint[:12]} then, "
            f"{data_print[:12]} now): give another --out, or delete that run."
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {name!r} cannot be used here: give cpu, cuda or auto.") from error
    return device


class _CallableModule(ModuleType):
    """Lets ``attribution_core.score`` be this module and the function alike, in whatever order they are imported."""

    def __call__(self, config: ScoreConfig, progress: Progress | None = None) -> Run:
        return score(config, progress)


sys.modules[__name__].__class__ = _CallableModule
