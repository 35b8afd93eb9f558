"""What a configuration asks for: its dataset, its model and where that computes, before anything is trained."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
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
    opens_by_name,
    with_decisions,
)
from attribution_core.datasets.features import TFIDF, table_features, text_features
from attribution_core.errors import InputError
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models import ARCHITECTURES, device_named
from attribution_core.preparation.config import RATE_OF_VALUES, ScoreConfig
from attribution_core.preparation.encodings import read_vectors
from attribution_core.preparation.frozen_trunk import FrozenTrunk, freeze_trunk
from attribution_core.preparation.image_reader import ImageReader
from attribution_core.preparation.model_source import ModelSource, ModelTask, model_source
from attribution_core.runs import Run
from attribution_core.runs.names import APPLIED_DECISIONS_FILE

# Where a dataset lies; or one that only a program has.
Data = str | TorchData | Splits | None


@dataclass(frozen=True)
class Prepared:
    """A dataset and a model, ready to be trained.

    Attributes:
        config: What was asked for, with absolute paths, and how its weights are treated.
        splits: The dataset.
        source: Where the model comes from.
        input_shape: Of one example, as what is trained takes it.
        device: Of the model.
        frozen_trunk: Where the model is cut, whose last layers alone are trained; None where all of it is.
        vectors: Of texts and rows, by split; images are read when they are needed.
    """

    config: ScoreConfig
    splits: Splits
    source: ModelSource
    input_shape: tuple[int, ...]
    device: torch.device
    frozen_trunk: FrozenTrunk | None = None
    vectors: dict[str, Tensor] | None = None

    @property
    def model_name(self) -> str:
        """Of the zoo, or where else it comes from; never ``"auto"``."""
        return self.source.name

    @property
    def build(self) -> Callable[[int], nn.Module]:
        """Makes what is trained from a seed, on the device, in evaluation mode; can be pickled where the source can."""
        return functools.partial(_built, self.source.make, self.frozen_trunk, self.device)

    @functools.cached_property
    def initial_model(self) -> nn.Module:
        """The model at its initial weights, built once; not to be changed."""
        return self.build(self.config.seed)

    @property
    def two_inputs(self) -> Tensor:
        """Two examples of zeros, on which a model is tried."""
        return torch.zeros(2, *self.input_shape, device=self.device)

    @property
    def named_splits(self) -> dict[str, Dataset]:
        """``"train"``, ``"validation"`` and ``"test"``."""
        return self.splits.by_name

    def processes(self, asked: int) -> int:
        """Of trainings side by side: none beside this one on a GPU, which they would share badly."""
        return 0 if self.device.type == "cuda" else asked

    def tensors_by_split(
        self,
    ) -> dict[str, InputsAndTargets]:
        """Inputs, standardised by the training split or as the model expects them, and labels of each split."""
        if self.vectors is None:
            read = self._reader(self.splits.train)
            return {name: read(part) for name, part in self.named_splits.items()}
        trunk = self._trunk() or (lambda inputs: inputs)
        return {name: (trunk(self.vectors[name]).cpu(), part.targets) for name, part in self.named_splits.items()}

    def some(self, rows: np.ndarray) -> InputsAndTargets:
        """Inputs and labels of some training examples, standardised by themselves, to try things on."""
        chosen = self.splits.train.subset(rows)
        if self.vectors is None:
            return self._reader(chosen)(chosen)
        trunk = self._trunk() or (lambda inputs: inputs)
        return trunk(self.vectors["train"][torch.from_numpy(rows)]).cpu(), chosen.targets

    def _reader(
        self,
        train: Dataset,
    ) -> ImageReader:
        shape, preprocessing = self.source.input_shape, self.source.preprocessing
        return ImageReader.for_training(train, shape, preprocessing, self._trunk())

    def _trunk(self) -> Callable[[Tensor], Tensor] | None:
        """The frozen part of the network, with the weights that it has for the run's own seed."""
        if self.frozen_trunk is None:
            return None
        return self.frozen_trunk.trunk(self.source.make(self.config.seed).to(self.device).eval())


def prepare(
    config: ScoreConfig,
    model: nn.Module | None = None,
    splits: Splits | None = None,
    run: Path | None = None,
) -> Prepared:
    """Opens the dataset and settles what the configuration leaves open.

    Args:
        config: What to score, and how.
        model: A module to score, in place of one that the configuration names.
        splits: The dataset as it was opened, in place of the one that the configuration names.
        run: The run's directory, which may keep vectors that an encoder made.

    Raises:
        InputError: Bad data, or options that do not go with it.
    """
    config = config.model_copy(update={"data": _absolute(config.data)})
    device = device_named(config.device)
    if splits is None:
        splits = _opened(config, config.data)
    else:  # as they were opened: what is asked for here does not apply
        config = config.model_copy(update={"target": splits.target, "task": splits.task})
    if splits.train.kind != "image":
        return _prepare_vectors(config, splits, device, model, run)
    prepared = _with_model(config, splits, (len(splits.train.mode), *common_size(splits.train)), device, model)
    if config.decisions is None:
        return prepared
    # After the size is settled: what is compared must see the same images.
    file = config.decisions.resolve()
    config = prepared.config.model_copy(update={"decisions": file})
    return replace(prepared, config=config, splits=with_decisions(splits, file))


def _opened(
    config: ScoreConfig,
    data: str | TorchData,
) -> Splits:
    """A dataset, by a run's options."""
    return open_dataset(
        data,
        seed=config.seed,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        max_train=config.max_train,
        target=config.target,
        task=config.task,
    )


def prepare_run(run: Run, data: Data, device: str, model: nn.Module | None = None) -> Prepared:
    """What a run was made from, to do more with it.

    Args:
        run: A scored run.
        data: Where the dataset lies now, if it was moved; or the torch dataset that was scored, or what
            ``open_dataset`` made of it.
        device: As in :class:`ScoreConfig`.
        model: The module that was scored, as it was before, where the run's model came from a Python program.

    Raises:
        InputError: A run that is not finished, or data or a model that has changed or only a program has.
    """
    before = run.manifest.dataset
    if not run.manifest.measures or before is None:
        raise InputError(f"The run {run.id} is not finished: run the same score command again first.")
    moved: dict[str, Any] = {"data": data} if isinstance(data, str) and data else {}
    if (run.path / APPLIED_DECISIONS_FILE).is_file():
        moved["decisions"] = (
            run.path / APPLIED_DECISIONS_FILE
        )  # its own copy, whatever became of the run that was reviewed
    config = ScoreConfig.model_validate({**run.manifest.config, "device": device, **moved})
    if config.training == "none":
        raise InputError(
            f"The run {run.id} scored weights as they were given, and how they came about is not known, so nothing can "
            "be trained again in the same way: score with --training scratch or fine-tune first."
        )
    prepared = prepare(config, model, splits_of_program(run, data), run.path)
    _require_same_model(run, prepared.source)
    found = prepared.splits.fingerprint()
    if before.fingerprint != found:
        raise InputError(
            f"The data at {prepared.config.data} has changed since {run.path} scored it, or is other data (fingerprint "
            f"{before.fingerprint[:12]} then, {found[:12]} now): give the place of that dataset as --data."
        )
    return prepared


def splits_of_program(
    run: Run,
    data: Data,
) -> Splits | None:
    """A run's dataset before any decision, where only a program has it; None where the run's configuration names it.

    Raises:
        InputError: A program has it, and did not give it.
    """
    if isinstance(data, Splits):
        return data
    if data is not None and not isinstance(data, str):
        return _opened(ScoreConfig.model_validate(run.manifest.config), data)
    before = run.manifest.dataset
    if data is None and before is not None and not before.location and not opens_by_name(before.name):
        raise InputError(
            f"The examples of {run.id} are in a torch dataset ({before.name}), which only a program has: do this in "
            "Python with data=DATASET."
        )
    return None


def _require_same_model(run: Run, source: ModelSource) -> None:
    before = run.manifest.model.get("digests", {})
    changed = [what for what, digest in source.digests.items() if before.get(what) != digest]
    if changed:
        raise InputError(
            f"The {' and the '.join(changed)} of the model {source.name} changed since {run.path} was scored: put back "
            "what it was then, or score again with another --out."
        )


def _prepare_vectors(
    config: ScoreConfig,
    splits: Splits,
    device: torch.device,
    model: nn.Module | None,
    run: Path | None,
) -> Prepared:
    """Of texts or rows."""
    kind = splits.train.kind
    if config.image_size is not None:
        raise InputError(f"An image size was given, and the data at {config.data} holds no images: leave it out.")
    if kind == "table" and config.encoder != TFIDF:
        raise InputError(f"An encoder was given, and the data at {config.data} holds no texts: leave it out.")
    opened = splits
    if config.decisions is not None:
        file = config.decisions.resolve()
        config, splits = config.model_copy(update={"decisions": file}), with_decisions(splits, file)
    vectors = read_vectors(run, vectors_made_of(config, splits))
    if vectors is None:
        # Of all that was opened, before any decision: what is compared must see the same vectors.
        if kind == "text":
            vectors = text_features(opened.by_name, config.encoder, str(device))
        else:
            vectors = table_features(opened.by_name)
        kept = pd.Index(opened.train.ids).get_indexer(pd.Index(splits.train.ids))
        vectors["train"] = vectors["train"][torch.from_numpy(kept)]
    prepared = _with_model(config, splits, tuple(vectors["train"].shape[1:]), device, model)
    return replace(prepared, vectors=vectors)


def vectors_made_of(config: ScoreConfig, splits: Splits) -> str:
    """What decides the vectors that a run keeps."""
    return f"{splits.fingerprint()} {config.encoder}"


def _with_model(
    config: ScoreConfig, splits: Splits, shape: tuple[int, ...], device: torch.device, model: nn.Module | None
) -> Prepared:
    """For examples of this shape."""
    source = model_source(config, ModelTask(splits.train.class_names, shape), model)
    config = _settled(_with_recipe(config, splits), source)
    if config.trainable == "all":
        return Prepared(config, splits, source, source.input_shape, device)
    if config.training in ("auto", "scratch"):
        raise InputError(
            f"With --train {config.trainable} the rest of the network stays as it was given, and it was given no "
            "weights: give --weights FILE, or --training fine-tune where the model comes with weights of its own."
        )
    whole, few = source.make(config.seed).eval(), torch.zeros(2, *source.input_shape)
    frozen_trunk = freeze_trunk(whole, few, config.trainable)
    return Prepared(config, splits, source, tuple(frozen_trunk.trunk(whole)(few).shape[1:]), device, frozen_trunk)


def _with_recipe(config: ScoreConfig, splits: Splits) -> ScoreConfig:
    """With a recipe that goes with the labels: squared errors of values, cross-entropy of classes."""
    recipe, classes = config.recipe, splits.train.values is None
    if not classes:
        usual = {"loss": "mse", "learning_rate": RATE_OF_VALUES}
        recipe = recipe.model_copy(update={name: usual[name] for name in usual.keys() - recipe.model_fields_set})
    fitting = "cross_entropy" if classes else "mse"
    if recipe.loss != fitting:
        of = "labels by their probabilities" if classes else "values by their squared errors"
        raise InputError(f"A run scores {of}, which {recipe.loss} does not give: train with {fitting}.")
    return config.model_copy(update={"recipe": recipe})


def _settled(config: ScoreConfig, source: ModelSource) -> ScoreConfig:
    """With what the model's source decides: absolute paths, and how its weights are treated."""
    own = {} if source.name in ARCHITECTURES else {"model": source.name}
    weights = {} if config.weights is None else {"weights": config.weights.expanduser().resolve()}
    # Weights that are scored as they are have no training, however long it is by default.
    untrained = {"recipe": config.recipe.model_copy(update={"epochs": 0})} if source.training == "none" else {}
    return config.model_copy(update={"training": source.training, **own, **weights, **untrained})


def _built(
    make: Callable[[int], nn.Module], frozen_trunk: FrozenTrunk | None, device: torch.device, seed: int
) -> nn.Module:
    model = make(seed)
    return (model if frozen_trunk is None else frozen_trunk.last_layers(model)).to(device).eval()


def _absolute(data: str) -> str:
    """A path is kept absolute, so that the run finds its data from anywhere; a known name stays a name.

    Also where a folder is called so: the demo's own run is, and ``open_dataset`` takes the name first.
    """
    if data in (known.name for known in BUILTIN_DATASETS):
        return data
    try:
        path = Path(data).expanduser()
        return str(path.resolve()) if path.exists() else data
    except (OSError, RuntimeError, ValueError):  # what no path can be is told where it is opened
        return data
