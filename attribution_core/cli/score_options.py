"""The options of a run on the command line, for every command that takes them."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from attribution_core.preparation.config import ScoreConfig

# What the options of these names allow, as ScoreConfig does.
Sketch = Literal["kronecker", "coordinates"]
Contributions = Literal["auto", "free", "exact", "off"]
Sensitivity = Literal["auto", "kfac", "diagonal", "full", "off"]
Map = Literal["umap", "off"]
Influence = Literal["auto", "on", "off"]
Training = Literal["auto", "scratch", "fine-tune", "none"]
Task = Literal["auto", "classification", "regression"]
Trainable = Literal["all", "last-block", "head"]

Out = Annotated[Path | None, typer.Option("--out", help="The run's directory; by default runs/NAME.")]


def takes_configuration(command: Callable[["ScoreConfig"], None]) -> Callable[..., None]:
    """The command with a run's options in place of its configuration."""

    @functools.wraps(command)
    def taking(**options: object) -> None:
        command(_configuration(**options))  # type: ignore[arg-type]

    del taking.__wrapped__  # Typer reads the signature, and is to see that of the options
    taking.__signature__ = inspect.signature(_configuration)  # type: ignore[attr-defined]
    taking.__annotations__ = {name: kind for name, kind in _configuration.__annotations__.items() if name != "return"}
    return taking


def _configuration(
    data: Annotated[str, typer.Argument(help="A path, or a name that `samplescope datasets` lists.")],
    model: Annotated[
        str,
        typer.Option(
            help="linear, mlp, two_layer, lenet5, cnn4, alexnet, vgg13, resnet18, resnet20 or auto; FILE.py:FUNCTION, "
            "which returns a module; torchvision/resnet18, resnet34, resnet50 or densenet121; timm/NAME."
        ),
    ] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Of the model: safetensors, or a state dict (.pt).")] = None,
    training: Annotated[
        Training,
        typer.Option(help="auto: weights given by --weights are scored as they are (none), published ones fine-tuned."),
    ] = "auto",
    trainable: Annotated[
        Trainable,
        typer.Option("--train", help="What is trained and measured; the rest stays as it was given."),
    ] = "all",
    out_: Out = None,
    target: Annotated[str | None, typer.Option(help="Of a table: the column to be told.")] = None,
    task: Annotated[
        Task,
        typer.Option(help="What labels are: classes, or values of a regression; by default what they look like."),
    ] = "auto",
    encoder: Annotated[str, typer.Option(help="Of texts: tfidf, or a sentence encoder's folder.")] = "tfidf",
    hidden: Annotated[
        list[int] | None, typer.Option(help="A hidden size of mlp or two_layer; can be repeated.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(min=4, max=1024, help="Resize to this side, in pixels.")] = None,
    epochs: Annotated[int, typer.Option(min=0, help="Passes over the data.")] = 20,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Peak, of SGD with momentum 0.9; by default 0.05, or 0.01 where values are predicted."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    parameters: Annotated[
        str, typer.Option(help="What F-SI linearises: head (trained features), all (initial weights), or a regex.")
    ] = "head",
    sketch: Annotated[
        Sketch,
        typer.Option(help="For large networks: the leading coordinates, or the paper's."),
    ] = ("kronecker"),
    dimension: Annotated[int, typer.Option(min=1, help="How many: in all, or of each tensor.")] = 2000,
    steps: Annotated[float, typer.Option(min=0, help="Training time of the linearised model; inf for the end.")] = 1000,
    weight_decay: Annotated[float, typer.Option(min=0, help="Of the linearised model, in mean squared norms.")] = 0.0,
    contributions: Annotated[
        Contributions,
        typer.Option(help="Over training (HYDRA): free of the Hessian, exact, off, or free if possible."),
    ] = "auto",
    sensitivity: Annotated[
        Sensitivity,
        typer.Option(help="Posterior for the memory-perturbation equation, off, or kfac if possible."),
    ] = "auto",
    influence: Annotated[
        Influence,
        typer.Option(help="Influence functions at the trained weights: on, off, or where possible."),
    ] = "auto",
    damping: Annotated[float | None, typer.Option(help="Of their curvature; by default it follows the data.")] = None,
    map_: Annotated[Map, typer.Option("--map", help="A map of what the network sees: umap, or off.")] = "umap",
    max_train: Annotated[int | None, typer.Option(min=2, help="Score a stratified subset of this size.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> "ScoreConfig":
    from attribution_core.preparation.config import ScoreConfig  # brings torch
    from attribution_core.training import Recipe

    rate = {} if learning_rate is None else {"learning_rate": learning_rate}
    recipe = Recipe(epochs=epochs, batch_size=batch_size, **rate)
    return ScoreConfig(
        data=data, out=out_, target=target, task=task, encoder=encoder, model=model, weights=weights,
        training=training, trainable=trainable, hidden=tuple(hidden or ()), image_size=image_size,
        recipe=recipe, parameters=parameters, sketch=sketch, dimension=dimension, steps=steps,
        weight_decay=weight_decay,
        contributions=contributions, sensitivity=sensitivity, influence=influence,
        damping=damping, map=map_, seed=seed, max_train=max_train, device=device,
    )  # fmt: skip
