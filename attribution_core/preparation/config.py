"""What to score, and how: the configuration of a run."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from attribution_core.datasets.features import TFIDF
from attribution_core.datasets.targets import Task as TargetTask
from attribution_core.methods.linearized.build import DIMENSION
from attribution_core.models.preprocessing import Preprocessing
from attribution_core.training import Recipe

# Squared errors have no slope that levels off, and 0.05, which suits cross-entropy, is near to diverging. On Concrete,
# Energy and diabetes, four seeds each, a tenth of the rows came to R² as low as -2.6 at 0.05, and one training of fewer
# diverged; at 0.01 none came below 0.2, and all rows to at most 0.04 less.
RATE_OF_VALUES = 0.01


class ScoreConfig(BaseModel):
    """What to score, and how.

    Attributes:
        data: A known dataset's name, or a path.
        out: The run's directory; ``runs/NAME`` by default.
        target: The column to be told, where the data is a table; by default the one called label, target, class or y.
        task: Whether labels are classes (``"classification"``) or values to predict (``"regression"``, which
            trains on their squared errors, in standard deviations); ``"auto"`` takes texts, and whole numbers where
            they are few, as classes, and other numbers as values.
        encoder: What makes vectors of texts: ``"tfidf"``, or the folder of a sentence encoder (sentence-transformers).
        model: A model of the zoo, or ``"auto"``: ``mlp`` for grey or small images, ``cnn4`` for colour;
            ``"FILE.py:FUNCTION"``, which returns the module (:mod:`attribution_core.models.user_file`);
            ``"torchvision/NAME"`` or ``"timm/NAME"``, with their published weights.
        weights: A file of weights for the model, safetensors or a state dict of PyTorch's.
        training: From ``"scratch"``, a ``"fine-tune"`` of the weights that are given, or ``"none"``: these are scored
            as they are. ``"auto"`` takes given weights as they are, fine-tunes published ones, and else trains from
            scratch.
        trainable: The part that is trained and measured: ``"all"``, the ``"last-block"`` or the ``"head"``. Earlier
            layers keep the weights they were given, and images pass through them once
            (:mod:`attribution_core.preparation.frozen_trunk`).
        preprocessing: What the model expects of images, in place of what its file or library says, or of the size and
            the pixel statistics of the training images.
        hidden: Hidden sizes of ``mlp``.
        image_size: Side in pixels to resize to; by default what the images share (or up to 64 where they differ).
        recipe: How the model is trained. Of values its loss is ``"mse"``, and its learning rate ``RATE_OF_VALUES``
            where none is given.
        parameters: What is linearised: ``"head"`` retrains the last layer, from zero, on the trained network's features
            (exact, since the model is linear in its head); ``"all"`` (or a regular expression) is the network at its
            initial weights, as in unique information, sketched above ``EXACT_SIZE``.
        sketch: Which coordinates are kept then: ``"kronecker"``, the leading ones of all layers together in a basis
            fitted to the data, or ``"coordinates"``, random ones of each parameter tensor, as in the paper.
        dimension: How many.
        steps: Training time of the linearised model: gradient flow for the time of so many steps at the largest
            monotone learning rate, ``1 / lambda_max`` of the kernel; infinite for the end.
        weight_decay: Of the linearised model, beside the sum of losses, as a multiple of the mean squared feature norm.
        contributions: What each example contributed over training (HYDRA): ``"free"`` of the Hessian, as in the paper,
            for every pair; ``"exact"``, with it, for the mean (about four times the training more); ``"auto"`` is
            ``"free"`` where the model allows it; or ``"off"``.
        sensitivity: How sensitive the model is to each example (memory-perturbation equation), by the posterior:
            ``"kfac"``, ``"diagonal"``, ``"full"``, or what an optimiser knows, ``"adam"`` or ``"iblr"``; ``"auto"`` is
            ``"iblr"`` for models trained by it and else ``"kfac"``, where the model allows it; or ``"off"``.
        influence: Influence functions at the trained weights; ``"auto"`` where the model allows them, ``"on"`` or
            ``"off"``.
        damping: Of their curvature, weight decay included; by default it follows the curvature's spectrum, and is at
            least the weight decay.
        map: Places of all examples on a map of the trained network's embeddings, by ``"umap"``, or ``"off"``: some ten
            seconds, most of them for compiling.
        seed: Of the splits, the initial weights, the batch order, the sketch and the map.
        validation_fraction: Share set aside for validation where the data has none.
        test_fraction: The same for test.
        max_train: Use a stratified subset of so many training examples.
        decisions: A CSV file with columns id, action (drop or relabel) and label, applied to the training examples
            once they are opened; see :func:`attribution_core.workflows.clean.clean`.
        device: ``"auto"`` takes CUDA when there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    data: str
    out: Path | None = None
    target: str | None = None
    task: TargetTask = "auto"
    encoder: str = TFIDF
    model: str = "auto"
    weights: Path | None = None
    training: Literal["auto", "scratch", "fine-tune", "none"] = "auto"
    trainable: Literal["all", "last-block", "head"] = "all"
    preprocessing: Preprocessing | None = None
    hidden: tuple[int, ...] = ()
    image_size: int | None = Field(None, ge=4, le=1024)
    recipe: Recipe = Recipe()
    parameters: str = "head"
    sketch: Literal["kronecker", "coordinates"] = "kronecker"
    dimension: int = Field(DIMENSION, ge=1)
    steps: float = Field(1000, ge=0)
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False)
    contributions: Literal["auto", "free", "exact", "off"] = "auto"
    sensitivity: Literal["auto", "kfac", "diagonal", "full", "adam", "iblr", "off"] = "auto"
    influence: Literal["auto", "on", "off"] = "auto"
    damping: float | None = Field(None, gt=0, allow_inf_nan=False)
    map: Literal["umap", "off"] = "umap"
    seed: int = Field(0, ge=0)
    validation_fraction: float = Field(0.15, gt=0, lt=1)
    test_fraction: float = Field(0.15, gt=0, lt=1)
    max_train: int | None = Field(None, ge=2)
    decisions: Path | None = None
    device: str = "auto"

    @property
    def folder(self) -> Path:
        """Where the run goes."""
        return self.out or Path("runs") / Path(self.data).name.split(".")[0].replace(":", "-")
