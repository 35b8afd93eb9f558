"""From a configuration to a dataset and a model that are ready to be trained."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attribution_core.datasets import (
    BUILTIN_DATASETS,
    Dataset,
    Splits,
    TorchData,
    common_size,
    open_dataset,
    with_decisions,
)
from attribution_core.datasets.defaults import AUTO, TFIDF
from attribution_core.datasets.evaluated import evaluated_first
from attribution_core.datasets.features import has_minilm, table_features, text_features
from attribution_core.datasets.opening import sentences_about
from attribution_core.errors import InputError
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models import ARCHITECTURES, device_named
from attribution_core.models.pretrained import is_backbone
from attribution_core.preparation.config import ScoreConfig, usual_rate
from attribution_core.preparation.encodings import read_vectors
from attribution_core.preparation.frozen_trunk import FrozenTrunk, freeze_trunk
from attribution_core.preparation.image_reader import ImageReader
from attribution_core.preparation.model_source import ModelSource, ModelTask, model_source
from attribution_core.progress import announce
from attribution_core.training import Recipe

# Training examples that a model is tried on before a run.
_TRIED = 4


@dataclass(frozen=True)
class Prepared:
    """A dataset and a model, ready to be trained.

    Attributes:
        config: The configuration with nothing left open: absolute paths, and what the data and the model decide.
        splits: The dataset, with any decisions applied.
        source: Where the model comes from.
        input_shape: Shape of one example, as what is trained takes it.
        device: Device of the model.
        frozen_trunk: Where the model is cut if only its last layers are trained; None if all of it is.
        vectors: Vectors of texts and rows, by split; None for images, which are read when they are needed.
        run: The run's directory, which may keep what a frozen network made of the images.
        open_fields: Fields of the recipe that the features of a frozen network decide, since nobody set them.
    """

    config: ScoreConfig
    splits: Splits
    source: ModelSource
    input_shape: tuple[int, ...]
    device: torch.device
    frozen_trunk: FrozenTrunk | None = None
    vectors: dict[str, Tensor] | None = None
    run: Path | None = None
    open_fields: frozenset[str] = frozenset()

    @property
    def model_name(self) -> str:
        """Name of the model, or where else it comes from; never ``"auto"``."""
        return self.source.name

    @property
    def build(self) -> Callable[[int], nn.Module]:
        """Function that makes what is trained from a seed, on the device and in evaluation mode.

        It can be pickled if the model's source can.
        """
        return functools.partial(_build, self.source.make, self.frozen_trunk, self.device)

    @functools.cached_property
    def initial_model(self) -> nn.Module:
        """The model at its initial weights, built once; not to be changed."""
        return self.build(self.config.seed)

    @functools.cached_property
    def few_examples(self) -> InputsAndTargets:
        """Inputs and targets of a few training examples far apart, on which a model is tried."""
        count = len(self.splits.train)
        return self.some(np.unique(np.linspace(0, count - 1, min(_TRIED, count)).astype(np.int64)))

    @property
    def two_inputs(self) -> Tensor:
        """Two of these inputs, on the device."""
        return self.few_examples[0][:2].to(self.device)

    @property
    def evaluated(self) -> int:
        """Number of validation examples that effects are measured on: the first ones."""
        most, count = self.config.max_evaluation, len(self.splits.validation)
        return count if most is None else min(most, count)

    def evaluation(self, tensors_by_split: dict[str, InputsAndTargets]) -> InputsAndTargets:
        """Return the inputs and targets of the validation examples that effects are measured on."""
        inputs, targets = tensors_by_split["validation"]
        return inputs[: self.evaluated], targets[: self.evaluated]

    @property
    def named_splits(self) -> dict[str, Dataset]:
        """The splits ``"train"``, ``"validation"`` and ``"test"``."""
        return self.splits.by_name

    def processes(self, wanted: int) -> int:
        """Return the number of processes to train in: none beside this one on a GPU, which they would share badly."""
        return 0 if self.device.type == "cuda" else wanted

    def tensors_by_split(self) -> dict[str, InputsAndTargets]:
        """Return inputs and targets of each split, standardized by the training split or as the model expects."""
        if self.vectors is None:
            kept = read_vectors(self.run, self.features_made_of) if self.keeps_features else None
            if kept is not None:
                return {name: (kept[name], part.targets) for name, part in self.named_splits.items()}
            read = self._reader(self.splits.train)
            return {name: read(part) for name, part in self.named_splits.items()}
        trunk = self._trunk() or (lambda inputs: inputs)
        return {name: (trunk(self.vectors[name]).cpu(), part.targets) for name, part in self.named_splits.items()}

    @property
    def keeps_features(self) -> bool:
        """Whether a run keeps what a frozen network made of its images: the vectors that its head takes."""
        return self.vectors is None and self.frozen_trunk is not None and len(self.input_shape) == 1

    @property
    def features_made_of(self) -> str:
        """What identifies these vectors: the data, the network's weights, and how it takes images."""
        source = self.source
        return f"{self.splits.fingerprint()} {source.name} {source.digests} {source.input_shape} {source.preprocessing}"

    def some(self, rows: np.ndarray) -> InputsAndTargets:
        """Return inputs and targets of some training examples, standardized by themselves, for trials."""
        chosen = self.splits.train.subset(rows)
        if self.vectors is None:
            return self._reader(chosen)(chosen)
        trunk = self._trunk() or (lambda inputs: inputs)
        return trunk(self.vectors["train"][torch.from_numpy(rows)]).cpu(), chosen.targets

    def _reader(self, train: Dataset) -> ImageReader:
        shape, preprocessing = self.source.input_shape, self.source.preprocessing
        return ImageReader.for_training(train, shape, preprocessing, self._trunk())

    def _trunk(self) -> Callable[[Tensor], Tensor] | None:
        """Return the frozen part of the network, with its weights for the run's own seed."""
        if self.frozen_trunk is None:
            return None
        network = self.source.make(self.config.seed).to(self.device).eval()
        if is_backbone(self.source.name):  # 13 in place of 22 ms an image on one slow core
            network = network.to(memory_format=torch.channels_last)
        return self.frozen_trunk.trunk(network)


def prepare(
    config: ScoreConfig,
    model: nn.Module | None = None,
    splits: Splits | None = None,
    run: Path | None = None,
) -> Prepared:
    """Open the dataset, find the model and settle what the configuration leaves open.

    Args:
        config: What to score, and how.
        model: A module to score, in place of the one that the configuration names.
        splits: An opened dataset, in place of the one that the configuration names; its own target and task count.
        run: The run's directory, which may keep vectors that an encoder or a frozen network made.

    Raises:
        InputError: Bad data, or options that do not go with it.
    """
    device, data = device_named(config.device), _absolute(config.data)
    opened = open_splits(config, data) if splits is None else splits
    for sentence in sentences_about(opened):
        announce(sentence)
    decided = opened if config.decisions is None else with_decisions(opened, config.decisions.resolve())
    decided = evaluated_first(decided, config.max_evaluation, config.seed)
    # Sizes and vectors are those of all examples opened, before any decision: runs that are compared must see the same.
    shape: tuple[int, ...]
    if opened.train.kind == "image":
        shape, vectors = (len(opened.train.mode), *common_size(opened.train)), None
        side = int(np.median(opened.train.sizes, axis=0).max())
    else:
        _require_vector_options(config, opened.train.kind, data)
        vectors = _vectors(config, opened, decided, device, run)
        shape, side = tuple(vectors["train"].shape[1:]), None
    source = model_source(config, ModelTask(opened.train.class_names, shape, side), model)
    resolved = _resolve(config, data, opened, splits is not None, source)
    frozen_trunk, input_shape = _freeze(resolved, source)
    open_fields = frozenset[str]()
    if source.trainable == "head" and source.training != "none":
        open_fields = frozenset({"weight_decay", "learning_rate"} - config.recipe.model_fields_set)
    return Prepared(resolved, decided, source, input_shape, device, frozen_trunk, vectors, run, open_fields)


def vectors_made_of(config: ScoreConfig, splits: Splits) -> str:
    """Return what identifies the vectors that a run keeps: its data and its encoder."""
    return f"{splits.fingerprint()} {config.encoder}"


# -- The data --------------------------------------------------------------------------------------------------------


def open_splits(config: ScoreConfig, data: str | TorchData) -> Splits:
    """Open the dataset that a configuration names, or another one in its place, with its options of splits."""
    return open_dataset(
        data,
        seed=config.seed,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        max_train=config.max_train,
        target=config.target,
        task=config.task,
    )


def _absolute(data: str) -> str:
    """Return an absolute path, by which the run finds its data from anywhere; a built-in dataset keeps its name.

    It does so beside a folder of that name too: the demo's run is one, and ``open_dataset`` prefers the name.
    """
    if data in (known.name for known in BUILTIN_DATASETS):
        return data
    try:
        path = Path(data).expanduser()
        return str(path.resolve()) if path.exists() else data
    except (OSError, RuntimeError, ValueError):  # opening it reports that this is no path
        return data


def _require_vector_options(config: ScoreConfig, kind: str, data: str) -> None:
    """Raise InputError where options are for another kind of examples than texts or rows."""
    if config.image_size is not None:
        raise InputError(f"An image size was given, but the data at {data} holds no images: leave it out.")
    if kind == "table" and config.names_encoder:
        raise InputError(f"An encoder was given, but the data at {data} holds no texts: leave it out.")


def _vectors(
    config: ScoreConfig, opened: Splits, decided: Splits, device: torch.device, run: Path | None
) -> dict[str, Tensor]:
    """Return the vectors of texts or rows by split: those that a run keeps, or new ones."""
    kept = read_vectors(run, vectors_made_of(config, decided))
    if kept is not None:
        return kept
    if opened.train.kind == "text":
        encoder = config.encoder if config.names_encoder else TFIDF
        vectors = text_features(opened.by_name, encoder, str(device))
    else:
        vectors = table_features(opened.by_name)
    own = decided.by_name
    rows = {name: pd.Index(part.ids).get_indexer(pd.Index(own[name].ids)) for name, part in opened.by_name.items()}
    return {name: vectors[name][torch.from_numpy(kept)] for name, kept in rows.items()}


# -- The configuration -----------------------------------------------------------------------------------------------


def _resolve(config: ScoreConfig, data: str, opened: Splits, was_open: bool, source: ModelSource) -> ScoreConfig:
    """Return the configuration with nothing left open.

    Args:
        config: What to score, and how.
        data: The dataset's name or absolute path.
        opened: The dataset.
        was_open: Whether the caller opened it, so that its target and task replace those of the configuration.
        source: The model.
    """
    settled: dict[str, Any] = {
        "data": data,
        "recipe": _recipe(config.recipe, opened.train.values is not None, source.training),
        "training": source.training,
        "trainable": source.trainable,
    }
    if config.encoder == AUTO and not (opened.train.kind == "text" and has_minilm()):
        settled["encoder"] = TFIDF
    if was_open:
        settled |= {"target": opened.target, "task": opened.task}
    if source.name not in ARCHITECTURES:
        settled["model"] = source.name
    if config.weights is not None:
        settled["weights"] = config.weights.expanduser().resolve()
    if config.decisions is not None:
        settled["decisions"] = config.decisions.resolve()
    return config.model_copy(update=settled)


def _recipe(recipe: Recipe, predicts_values: bool, training: str) -> Recipe:
    """Return a recipe that suits the labels: squared errors of values, cross-entropy of classes."""
    usual: dict[str, Any] = {"learning_rate": usual_rate(recipe.optimizer, predicts_values)}
    if predicts_values:
        usual["loss"] = "mse"
    settled = {name: usual[name] for name in usual.keys() - recipe.model_fields_set}
    if training == "none":  # weights that are scored as they are have no training, however long it is by default
        settled["epochs"] = 0
    needed, given = "mse" if predicts_values else "cross_entropy", settled.get("loss", recipe.loss)
    if given != needed:
        labels = "values by their squared errors" if predicts_values else "labels by their probabilities"
        raise InputError(f"A run scores {labels}, which the loss {given} does not give: train with {needed}.")
    return recipe.model_copy(update=settled)


# -- The model -------------------------------------------------------------------------------------------------------


def _freeze(config: ScoreConfig, source: ModelSource) -> tuple[FrozenTrunk | None, tuple[int, ...]]:
    """Return where the model is cut, if it is, and the shape of one example as what is trained takes it."""
    if source.trainable == "all":
        return None, source.input_shape
    if config.training in ("auto", "scratch"):
        raise InputError(
            f"With --train {config.trainable} the rest of the network keeps the weights given, and none were given: "
            "give --weights FILE, or --training fine-tune if the model comes with weights of its own."
        )
    whole, few = source.make(config.seed).eval(), torch.zeros(2, *source.input_shape)
    frozen_trunk = freeze_trunk(whole, few, source.trainable)
    return frozen_trunk, tuple(frozen_trunk.trunk(whole)(few).shape[1:])


def _build(
    make: Callable[[int], nn.Module], frozen_trunk: FrozenTrunk | None, device: torch.device, seed: int
) -> nn.Module:
    model = make(seed)
    return (model if frozen_trunk is None else frozen_trunk.last_layers(model)).to(device).eval()
