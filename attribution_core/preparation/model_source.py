"""Finds a run's model: by name in the zoo, in a user's file, in torchvision or timm, or as a program's module.

Color images go through a pretrained network, frozen, of which the head alone is trained, unless another model is named.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from attribution_core.errors import InputError, first_sentence
from attribution_core.models import ARCHITECTURES, build_model, evaluation_mode
from attribution_core.models.downloads import fetch_weights
from attribution_core.models.plain import plain_copy, unwrapped
from attribution_core.models.preprocessing import Preprocessing
from attribution_core.models.pretrained import (
    FOR_PHOTOGRAPHS,
    Backbone,
    backbone_preprocessing,
    find_weights,
    is_backbone,
    network_for_photographs,
)
from attribution_core.models.user_file import (
    UserModel,
    errors_reported,
    is_user_model,
    load_preprocessing,
    parse_user_model,
    require_class_names,
)
from attribution_core.models.watching import running_layers
from attribution_core.models.weights import digest_of_file, digest_of_state
from attribution_core.preparation.config import ScoreConfig
from attribution_core.progress import announce

FROM_PYTHON = "python:"
Training = Literal["auto", "scratch", "fine-tune", "none"]
Trainable = Literal["all", "last-block", "head"]


@dataclass(frozen=True)
class ModelTask:
    """What a model must predict, and from what.

    Attributes:
        class_names: Names of the classes in the order of the labels; empty for a regression.
        shape: Shape of one example as the data have it: (channels, height, width) of an image, or (features,).
        side: Longer side of a typical image in pixels, before any resizing; None for other examples.
    """

    class_names: Sequence[str]
    shape: tuple[int, ...]
    side: int | None = None

    @property
    def outputs(self) -> int:
        """Number of outputs: one for each class, or one for a value."""
        return len(self.class_names) or 1

    @property
    def has_images(self) -> bool:
        """Whether the examples are images."""
        return len(self.shape) == 3


@dataclass(frozen=True)
class ModelSource:
    """A model that is not built yet. It can be sent to other processes unless it is a module of a program.

    Attributes:
        name: Its name, as a configuration gives it.
        make: Function that builds the module from a seed, on the CPU.
        input_shape: Shape of one example.
        preprocessing: What the model expects of images; None leaves the choice to the training images.
        training: How its weights are trained; ``"auto"`` trains them from scratch.
        trainable: Which of its layers are trained.
        digests: Digests of the files that it is made from, by their role.
    """

    name: str
    make: Callable[[int], nn.Module]
    input_shape: tuple[int, ...]
    preprocessing: Preprocessing | None = None
    training: Training = "auto"
    trainable: Trainable = "all"
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name without folders."""
        return Path(self.name).name if is_user_model(self.name) else self.name


def model_source(config: ScoreConfig, task: ModelTask, module: nn.Module | None = None) -> ModelSource:
    """Find the model that a configuration names, with its weights and what it expects of images.

    Args:
        config: What to score, and how.
        task: What the model must predict, and from what.
        module: The calling program's module, in place of a model by name.

    Raises:
        InputError: There is no such model, its weights do not fit or are missing, or the options contradict each other.
    """
    if module is not None:
        return _of_program(config, task, module)
    if config.model.startswith(FROM_PYTHON):
        raise InputError(
            f"The model of this run, {config.model.removeprefix(FROM_PYTHON)}, came from a Python program, and only a "
            "program can continue with it: put the model into a file and score with --model FILE.py:FUNCTION --weights "
            "FILE."
        )
    if is_user_model(config.model):
        return _of_file(config, task)
    if is_backbone(config.model):
        return _of_library(config, task)
    if config.model == "auto" and _takes_photographs(config, task):
        return _for_photographs(config, task)
    return _of_zoo(config, task)


def _takes_photographs(config: ScoreConfig, task: ModelTask) -> bool:
    """Return whether the model ``auto`` is the frozen network for photographs: for color images of a fair size.

    Training from scratch or training all layers, given weights and hidden sizes ask for a network of the zoo.
    """
    return (
        task.has_images
        and task.shape[0] == 3
        and min(_size(config, config.preprocessing, task)) >= ARCHITECTURES["cnn4"].min_side
        and config.training in ("auto", "fine-tune")
        and config.trainable != "all"
        and config.weights is None
        and not config.hidden
    )


def _for_photographs(config: ScoreConfig, task: ModelTask) -> ModelSource:
    """Return the best network for photographs whose weights are on this machine, with the head alone trained."""
    name = FOR_PHOTOGRAPHS[0] if config.download else network_for_photographs()
    trainable = "head" if config.trainable == "auto" else config.trainable
    source = _of_library(config.model_copy(update={"model": name, "trainable": trainable}), task)
    more = "" if name == FOR_PHOTOGRAPHS[0] else ", --download fetches a better one"
    announce(
        f"Model: {name} with its published weights, frozen, with a new head, at {source.input_shape[-1]} pixels, "
        f"because the images are in color. --model chooses another{more}."
    )
    return source


def _require_outputs(outputs: object, inputs: Tensor, task: ModelTask, name: str) -> None:
    """Raise InputError unless there is one output for each class, or one for a value, of each example."""
    given = str(list(outputs.shape)) if isinstance(outputs, Tensor) else type(outputs).__name__
    if given == str([len(inputs), task.outputs]):
        return
    what_to_do = "change its last layer"
    if isinstance(outputs, dict):
        given, what_to_do = f"a {given} of {', '.join(map(str, outputs))}", "return the logits alone"
    elif isinstance(outputs, list | tuple):
        given, what_to_do = f"a {given} of {len(outputs)}", "return the logits alone"
    each = f"each of the {task.outputs} classes" if task.class_names else "the value"
    raise InputError(
        f"{name} must give one output for {each}, of shape [{len(inputs)}, {task.outputs}] for {len(inputs)} "
        f"examples; it gave {given}: {what_to_do}."
    )


def _outputs(model: nn.Module, inputs: Tensor, name: str) -> object:
    example = next(model.parameters(), None)
    if example is None:
        raise InputError(f"{name} has no parameters, so it cannot be scored: choose another model.")
    running = None
    try:
        with evaluation_mode(model), torch.no_grad(), running_layers(model) as running:
            return model(inputs.to(example.dtype))
    except Exception as error:  # the user's code may raise anything
        raise InputError(
            f"{name} does not take inputs of shape {list(inputs.shape[1:])}, because {running} raised "
            f"{type(error).__name__} ({first_sentence(error)}): correct it, or if it needs another size, give "
            "--image-size, or PREPROCESSING in the model's file."
        ) from error


def _of_zoo(config: ScoreConfig, task: ModelTask) -> ModelSource:
    name, weights = config.model, _weights(config)
    shape = _candidates(config, config.preprocessing, task, name)[0]
    if name == "auto":
        color = task.has_images and task.shape[0] == 3 and min(shape[1:]) >= ARCHITECTURES["cnn4"].min_side
        name = "cnn4" if color else "mlp"
    if name in ARCHITECTURES and not ARCHITECTURES[name].classifies:
        classifiers = ", ".join(each for each, model in ARCHITECTURES.items() if model.classifies)
        raise InputError(f"{name} does not predict classes or values: choose one of {classifiers} or auto.")
    if config.training in ("fine-tune", "none") and weights is None:
        raise InputError(
            f"{name} comes without weights, but --training {config.training} needs some: give --weights FILE."
        )
    make = functools.partial(_build, name, task.outputs, shape, config.hidden, weights)
    training, digests = _training(config, "none"), _digests(weights=weights)
    return ModelSource(name, make, shape, config.preprocessing, training, _trainable(config), digests)


def _of_file(config: ScoreConfig, task: ModelTask) -> ModelSource:
    file, function = parse_user_model(config.model)
    _refuse_hidden(config)
    require_class_names(file, task.class_names)
    preprocessing = config.preprocessing or load_preprocessing(file)
    weights, reference = _weights(config), f"{file}:{function}"

    def made(shape: tuple[int, ...]) -> UserModel:
        return UserModel(file, function, task.outputs, shape, tuple(task.class_names), weights)

    shape = _shape(config, preprocessing, task, lambda shape: made(shape)(config.seed), reference)
    digests = _digests(file=file, weights=weights)
    training, trainable = _training(config, "none"), _trainable(config)
    return ModelSource(reference, made(shape), shape, preprocessing, training, trainable, digests)


def _of_library(config: ScoreConfig, task: ModelTask) -> ModelSource:
    _refuse_hidden(config)
    if not task.has_images:
        raise InputError(f"{config.model} takes images, but the data holds none: choose mlp or linear.")
    preprocessing = config.preprocessing or backbone_preprocessing(config.model, task.side)
    weights = _weights(config)
    if weights is None and config.training != "scratch":
        weights = fetch_weights(config.model) if config.download else find_weights(config.model)
    make = Backbone(config.model, task.outputs, weights)
    if config.training == "none" and not make.has_pretrained_head:
        outputs = f"{task.outputs} classes" if task.class_names else "the value"
        raise InputError(
            f"The weights of {config.model} have no head for {outputs}, so it cannot be scored as it is: train a new "
            "head with --train head."
        )
    shape = _shape(config, preprocessing, task, lambda _: make(config.seed), config.model)
    training = "fine-tune" if config.training == "auto" else config.training
    digests = _digests(weights=weights)
    return ModelSource(config.model, make, shape, preprocessing, training, _trainable(config), digests)


def _of_program(config: ScoreConfig, task: ModelTask, module: nn.Module) -> ModelSource:
    _refuse_hidden(config)
    if config.training == "scratch" or config.weights is not None:
        raise InputError(
            "A module from Python keeps its own weights and cannot be reset to fresh ones: leave weights out and use "
            'training="none" or "fine-tune", or give the model as FILE.py:FUNCTION.'
        )
    module = unwrapped(module, f"The module {type(module).__name__}")
    name = FROM_PYTHON + type(module).__name__

    def made(shape: tuple[int, ...]) -> Callable[[int], nn.Module]:
        return functools.partial(_copied, module, shape, name)

    shape = _shape(config, config.preprocessing, task, lambda shape: made(shape)(config.seed), name)
    make, training = made(shape), "none" if config.training == "auto" else config.training
    digests = {"module": digest_of_state(make(config.seed).state_dict())}
    return ModelSource(name, make, shape, config.preprocessing, training, _trainable(config), digests)


def _build(
    name: str, outputs: int, shape: tuple[int, ...], hidden: tuple[int, ...], weights: Path | None, seed: int
) -> nn.Module:
    return build_model(name, outputs, shape, hidden, weights, seed)


def _copied(module: nn.Module, shape: tuple[int, ...], name: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]), errors_reported(name):
        torch.manual_seed(seed)
        return plain_copy(module, shape, name).cpu()


def _shape(
    config: ScoreConfig,
    preprocessing: Preprocessing | None,
    task: ModelTask,
    build: Callable[[tuple[int, ...]], nn.Module],
    name: str,
) -> tuple[int, ...]:
    """Return the shape of an example as the model takes it; gray images become color if it takes no others."""
    shapes = _candidates(config, preprocessing, task, name)
    refusals = []
    for shape in shapes:
        inputs = torch.zeros(2, *shape)
        try:
            outputs = _outputs(build(shape), inputs, name)
        except InputError as error:
            refusals.append(error)
        else:
            _require_outputs(outputs, inputs, task, name)
            return shape
    raise refusals[0]


def _candidates(
    config: ScoreConfig, preprocessing: Preprocessing | None, task: ModelTask, name: str
) -> list[tuple[int, ...]]:
    if not task.has_images:
        return [task.shape]
    size, channels = _size(config, preprocessing, task), preprocessing.channels if preprocessing else None
    if channels is not None and channels < task.shape[0]:
        raise InputError(f"{name} takes gray images (it has one mean), but these are in color: convert them to gray.")
    return [(each, *size) for each in ([channels] if channels else sorted({task.shape[0], 3}))]


def _size(config: ScoreConfig, preprocessing: Preprocessing | None, task: ModelTask) -> tuple[int, ...]:
    if config.image_size:
        return config.image_size, config.image_size
    return (preprocessing.size if preprocessing else None) or task.shape[1:]


def _weights(config: ScoreConfig) -> Path | None:
    if config.weights is None:
        return None
    if config.training == "scratch":
        raise InputError("Training from scratch uses no weights: leave out --weights, or use --training fine-tune.")
    return config.weights.expanduser().resolve()


def _training(config: ScoreConfig, with_weights: Training) -> Training:
    """Return how to train the weights; with ``"auto"``, given weights are treated as ``with_weights`` says."""
    return with_weights if config.training == "auto" and config.weights is not None else config.training


def _trainable(config: ScoreConfig) -> Trainable:
    return "all" if config.trainable == "auto" else config.trainable


def _digests(**files: Path | None) -> dict[str, str]:
    return {what: digest_of_file(file) for what, file in files.items() if file is not None}


def _refuse_hidden(config: ScoreConfig) -> None:
    if config.hidden:
        raise InputError(
            f"{config.model} has no hidden sizes to choose: leave out --hidden, or choose mlp or two_layer."
        )
