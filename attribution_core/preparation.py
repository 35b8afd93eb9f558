"""What a configuration asks for: its dataset, its model and where that computes, before anything is trained."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attribution_core.config import ScoreConfig
from attribution_core.datasets import (
    KNOWN,
    Dataset,
    Splits,
    as_tensors,
    common_size,
    open_dataset,
    pixel_statistics,
    with_decisions,
)
from attribution_core.errors import InputError
from attribution_core.methods.influence_pairs import Pair
from attribution_core.models import ARCHITECTURES, build_model, device_named
from attribution_core.progress import Progress
from attribution_core.runs import Run
from attribution_core.runs.cleaned import APPLIED


@dataclass(frozen=True)
class Prepared:
    """A dataset and a model, ready to be trained.

    Attributes:
        config: What was asked for, with an absolute path to the data.
        splits: The dataset.
        model_name: Of the zoo; never ``"auto"``.
        input_shape: Of one example.
        device: Of the model.
    """

    config: ScoreConfig
    splits: Splits
    model_name: str
    input_shape: tuple[int, ...]
    device: torch.device

    @property
    def build(self) -> Callable[[int], nn.Module]:
        """Makes the model with fresh weights from a seed, on the device, in evaluation mode; can be pickled."""
        classes = len(self.splits.train.class_names)
        return functools.partial(_built, self.model_name, classes, self.input_shape, self.config.hidden, self.device)

    @property
    def named_splits(self) -> dict[str, Dataset]:
        """``"train"``, ``"validation"`` and ``"test"``."""
        return {"train": self.splits.train, "validation": self.splits.validation, "test": self.splits.test}

    def processes(self, asked: int) -> int:
        """Of trainings side by side: none beside this one on a GPU, which they would share badly."""
        return 0 if self.device.type == "cuda" else asked

    def sides(self, progress: Progress | None = None) -> dict[str, Pair]:
        """Inputs, standardised by the training images, and labels of each split."""
        size = self.input_shape[1], self.input_shape[2]
        statistics = pixel_statistics(self.splits.train, size=size, progress=progress)
        return {
            name: as_tensors(part, size=size, statistics=statistics, progress=progress)
            for name, part in self.named_splits.items()
        }


def prepare(config: ScoreConfig, progress: Progress | None = None) -> Prepared:
    """Opens the dataset and settles what the configuration leaves open.

    Raises:
        InputError: Bad data, or options that do not go with it.
    """
    config = config.model_copy(update={"data": _absolute(config.data)})
    device = device_named(config.device)
    splits = open_dataset(
        config.data,
        seed=config.seed,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        max_train=config.max_train,
        progress=progress,
    )
    size = (config.image_size,) * 2 if config.image_size else common_size(splits.train)
    name = _model_name(config.model, splits.train.mode, size)
    _require_classes(name, config.recipe.loss)
    if config.decisions is not None:  # after the size is settled: what is compared must see the same images
        file = config.decisions.resolve()
        config, splits = config.model_copy(update={"decisions": file}), with_decisions(splits, file)
    return Prepared(config, splits, name, (len(splits.train.mode), *size), device)


def prepare_run(run: Run, data: str | None, device: str, progress: Progress | None = None) -> Prepared:
    """What a run was made from, to do more with it.

    Args:
        run: A scored run.
        data: Where the dataset lies now, if it was moved.
        device: As in :class:`ScoreConfig`.
        progress: Called with (done, total, what).

    Raises:
        InputError: A run that is not finished, or data that has changed.
    """
    before = run.manifest.dataset
    if not run.manifest.measures or before is None:
        raise InputError(f"The run {run.id} is not finished: run the same score command again first.")
    moved: dict[str, Any] = {"data": data} if data else {}
    if (run.path / APPLIED).is_file():
        moved["decisions"] = run.path / APPLIED  # its own copy, whatever became of the run that was reviewed
    prepared = prepare(ScoreConfig.model_validate({**run.manifest.config, "device": device, **moved}), progress)
    found = prepared.splits.fingerprint()
    if before.fingerprint != found:
        raise InputError(
            f"The data at {prepared.config.data} has changed since {run.path} scored it, or is other data (fingerprint "
            f"{before.fingerprint[:12]} then, {found[:12]} now): give the place of that dataset as --data."
        )
    return prepared


def _built(
    name: str, outputs: int, shape: tuple[int, ...], hidden: tuple[int, ...], device: torch.device, seed: int
) -> nn.Module:
    return build_model(name, outputs, shape, hidden, seed=seed).to(device).eval()


def _model_name(name: str, mode: str, size: tuple[int, ...]) -> str:
    if name != "auto":
        return name
    return "cnn4" if mode == "RGB" and min(size) >= ARCHITECTURES["cnn4"].min_side else "mlp"


def _require_classes(name: str, loss: str) -> None:
    if name in ARCHITECTURES and not ARCHITECTURES[name].classifies:
        classifiers = ", ".join(each for each, model in ARCHITECTURES.items() if model.classifies)
        raise InputError(f"{name} does not tell classes of images apart: choose one of {classifiers} or auto.")
    if loss != "cross_entropy":
        raise InputError(
            f"A run scores the labels of images by their probabilities, which {loss} does not give: train with "
            "cross_entropy."
        )


def _absolute(data: str) -> str:
    """A path is kept absolute, so that the run finds its data from anywhere; a known name stays a name.

    Also where a folder is called so: the demo's own run is, and ``open_dataset`` takes the name first.
    """
    if data in (known.name for known in KNOWN):
        return data
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else data
