"""What to score, and how: the configuration of a run. Loads without torch, so that help and forms can describe it."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from attribution_core.datasets.defaults import AUTO, TFIDF
from attribution_core.datasets.targets import Task as TargetTask
from attribution_core.methods.linearized.defaults import DIMENSION
from attribution_core.models.preprocessing import Preprocessing
from attribution_core.training.recipe import Recipe

# Squared errors have no slope that levels off, and 0.05, which suits cross-entropy, is near to diverging. On Concrete,
# Energy and diabetes, four seeds each, a tenth of the rows gave an R² as low as -2.6 at 0.05, and one training on fewer
# rows diverged; at 0.01 no R² was below 0.2, and all rows gave at most 0.04 less.
RATE_OF_VALUES = 0.01
# Adam divides its steps by the root of the mean squared gradient, and iBLR by its precision, so the 0.05 that suits SGD
# is too large for them. Test accuracies (means of three seeds) on the demo, 300 images of it, digits, 1,000 images of
# MNIST with LeNet-5, 2,000 film reviews, and a head on 1,400 photographs: SGD .827 .747 .973 .934 .679 .692; Adam .766
# .662 .980 .113 .669 .688 at 0.05, .822 .747 .978 .938 .684 .693 at 0.003 and .826 .742 .973 .903 .685 .700 at 0.001.
# AdamW differs from Adam by at most .005. iBLR, whose draws are noisy while examples are few, .782 .536 .977 .113 .679
# .689 at 0.05 with test losses of up to 31, and .757 .647 .960 .113 .677 .700 at 0.02 with losses of up to 5.
_RATES = {"sgd": Recipe.model_fields["learning_rate"].default, "adam": 0.003, "adamw": 0.003, "iblr": 0.02}
# Of squared errors, R² on Concrete, Energy and diabetes: SGD .798 .931 .544; Adam .851 .940 .521 at 0.01 and .775 .925
# .548 at 0.001; iBLR .580 .843 -.597 at 0.001 and .553 .741 -.273 at 0.0003, and at 0.01 it diverges on two of them.
_RATES_OF_VALUES = {"sgd": RATE_OF_VALUES, "adam": RATE_OF_VALUES, "adamw": RATE_OF_VALUES, "iblr": 0.001}


# Effects on single examples are to be looked at, and take time and space for each of them. Scores, whose means cost no
# more on all, are over all: with 2,000 training examples of MNIST, mean NTK influence on 1,000 of its 9,000 validation
# examples has a rank correlation of .64 with that on all of them; F-SI has .995.
MOST_EVALUATED = 1000


def usual_rate(optimizer: str, predicts_values: bool) -> float:
    """Return the learning rate that a run uses unless one is given."""
    return (_RATES_OF_VALUES if predicts_values else _RATES)[optimizer]


# The fields under the headings that help and forms show them by; the fields of the recipe stand in place of ``recipe``.
GROUPS = {
    "Data": (
        "data",
        "target",
        "task",
        "encoder",
        "image_size",
        "max_train",
        "max_evaluation",
        "validation_fraction",
        "test_fraction",
    ),
    "Model": ("model", "hidden", "weights", "download", "training", "trainable"),
    "Training": ("recipe", "seed", "device"),
    "Measures": (
        "score",
        "cross_fit",
        "contributions",
        "sensitivity",
        "influence",
        "damping",
        "map",
        "parameters",
        "sketch",
        "dimension",
        "steps",
        "weight_decay",
    ),
}


class ScoreConfig(BaseModel):
    """What to score, and how. The same descriptions appear in ``samplescope score --help`` and on the page New run."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", use_attribute_docstrings=True)

    data: str
    """A path, or a name that `samplescope datasets` lists."""

    out: Path | None = None
    """Directory of the run. Default: runs/NAME, after the data."""

    target: str | None = Field(None, title="Target column")
    """Column to predict. Default: the one named label, target, class or y."""

    task: TargetTask = "auto"
    """Whether to predict classes (classification) or numbers (regression, trained on squared errors in standard
    deviations). auto: texts, and whole numbers of few distinct values, are classes; other numbers are values."""

    encoder: str = Field(AUTO, title="Sentence encoder")
    """What turns texts into vectors: tfidf; minilm, a sentence encoder that the extra text brings; or the folder of a
    sentence-transformers model. auto: tfidf, and label quality takes minilm where it is installed and has the lower
    leave-one-out loss."""

    model: str = "auto"
    """Model to train: linear, mlp, two_layer, lenet5, cnn4, alexnet, vgg13, resnet18, resnet20; FILE.py:FUNCTION, where
    the function returns a module; torchvision/resnet18, resnet34, resnet50 or densenet121, or timm/NAME, with their
    published weights; or auto: for color images the head of a network with published weights, and otherwise mlp (cnn4
    for color images trained from scratch)."""

    weights: Path | None = None
    """File with weights for the model: safetensors, or a PyTorch state dict or a checkpoint with one."""

    download: bool = Field(False, title="Download weights")
    """Let torchvision or timm download published weights that are not on this machine, once, into their caches; with
    the model auto, those of a better network than the one that comes with SampleScope. Otherwise nothing is ever
    downloaded."""

    training: Literal["auto", "scratch", "fine-tune", "none"] = Field("auto", title="Training mode")
    """Train from scratch, fine-tune the weights given, or score them as they are (none). auto: weights from a file are
    scored as they are, published weights are fine-tuned, and everything else is trained from scratch."""

    trainable: Literal["auto", "all", "last-block", "head"] = Field("auto", title="Trained layers")
    """Layers to train and measure: all of them, the last block, or the head. The layers before keep the weights given,
    and the images pass through them once. auto: the head of the network that the model auto takes for color images, all
    layers of every other model."""

    preprocessing: Preprocessing | None = None
    """What the model expects of images, in place of what its file or library says, or of the size and the pixel
    statistics of the training images."""

    hidden: tuple[int, ...] = Field((), title="Hidden sizes")
    """Hidden sizes of mlp, or the width of two_layer."""

    image_size: int | None = Field(None, ge=4, le=1024)
    """Side in pixels to resize images to. Default: the size they share, or where sizes differ their median, 64 at
    most."""

    recipe: Recipe = Recipe()
    """How to train the model. A regression uses the loss mse, and the learning rate follows from the optimizer and the
    labels unless one is given."""

    parameters: str = Field("head", title="Linearized parameters")
    """Parameters that F-SI, SI and NTK influence linearize. head: the last layer, retrained from zero on the trained
    features (exact, since the model is linear in its head). all, or a regular expression: the network at its initial
    weights, as in unique information, sketched if it is large."""

    sketch: Literal["kronecker", "coordinates"] = "kronecker"
    """How to sketch the parameters of a large network: kronecker keeps the leading coordinates of all layers together
    in a basis fitted to the data; coordinates keeps random ones of each tensor, as in the paper."""

    dimension: int = Field(DIMENSION, ge=1, title="Sketch dimension")
    """Coordinates that the sketch keeps: in all (kronecker), or of each tensor (coordinates)."""

    steps: float = Field(1000, ge=0, title="Linearized training steps")
    """Training time of the linearized model, in steps of gradient flow at the largest monotone learning rate, 1 /
    lambda_max of the kernel; inf trains to the end."""

    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False, title="Linearized weight decay")
    """Weight decay of the linearized model beside the sum of losses, as a multiple of the mean squared feature
    norm."""

    score: Literal["all", "train"] = Field("all", title="Label quality of")
    """Examples that get a label quality and a suggested label: those of all splits, or those of training only (train).
    All other measures are of training examples."""

    cross_fit: int = Field(0, ge=0, le=20, title="Cross-fitting folds")
    """Train the model this many times more, each time without another fold of the training examples, so that label
    quality can also judge labels by what the model says of examples that it never saw; 2 to 20 folds, or 0 for
    none."""

    contributions: Literal["auto", "free", "exact", "off"] = Field("auto", title="Contribution (HYDRA)")
    """Contribution (HYDRA), summed over training: free of the Hessian, as in the paper, for every pair of examples
    (training by sgd); exact, with the Hessian, for the mean over the evaluation examples (about four times the training
    time more); auto is free for sgd and exact for adam and adamw, where the model allows it; or off."""

    sensitivity: Literal["auto", "kfac", "diagonal", "full", "adam", "iblr", "off"] = Field(
        "auto", title="Sensitivity (MPE)"
    )
    """Sensitivity (MPE), by the posterior that the memory-perturbation equation uses: kfac, diagonal, full, or what
    the optimizer knows (adam, iblr). auto is iblr for models trained by it and otherwise kfac, where the model allows
    it; or off."""

    influence: Literal["auto", "on", "off"] = Field("auto", title="Influence function")
    """Influence function at the trained weights: on, off, or auto, which is on where the model allows it."""

    damping: float | None = Field(None, gt=0, allow_inf_nan=False, title="Influence function damping")
    """Damping of the curvature that influence functions invert, weight decay included. Default: it follows the
    curvature's spectrum and is at least the weight decay."""

    map: Literal["umap", "off"] = "umap"
    """Map of all examples, similar ones next to each other, by UMAP of the trained network's embeddings; or
    off."""

    seed: int = Field(0, ge=0)
    """Seed of the splits, the initial weights, the batch order, the sketch and the map."""

    validation_fraction: float = Field(0.15, gt=0, lt=1)
    """Share of the examples held out for validation if the data has no validation split."""

    test_fraction: float = Field(0.15, gt=0, lt=1)
    """Share of the examples held out for testing if the data has no test split."""

    max_train: int | None = Field(None, ge=2, title="Training examples")
    """Draw a stratified subset of this many training examples. Default: all."""

    max_evaluation: int | None = Field(MOST_EVALUATED, ge=1, title="Validation examples with effects")
    """Measure the effects of training examples on single validation examples on at most this many of them, a
    stratified sample that then comes first among the run's validation examples. Scores, which are means, are over all
    of them."""

    decisions: Path | None = None
    """CSV file with the columns id, action (drop or relabel), label and, unless all are about training examples, split,
    applied to the examples once they are opened; see `samplescope clean`."""

    device: str = "auto"
    """auto, cpu or cuda; auto uses a GPU if there is one."""

    @field_validator("cross_fit")
    @classmethod
    def _require_folds(cls, value: int) -> int:
        if value == 1:
            raise ValueError("Cross-fitting needs 2 to 20 folds, or 0 for none")
        return value

    @property
    def why_no_sensitivity(self) -> str:
        """Why no training by this configuration has the posterior of its sensitivities, in a sentence; or nothing.

        That ``full`` is too large depends on the model, so it is not known here.
        """
        optimizer, trains = self.recipe.optimizer, self.training != "none"
        needed = {"adam": ("adam", "adamw"), "iblr": ("iblr",)}.get(self.sensitivity, ())
        if needed and not (trains and optimizer in needed):
            given = f"this run trains by {optimizer}" if trains else "weights that are scored as they are have none"
            train = f"train by it (--optimizer {needed[0]}), or " if trains else ""
            return (
                f"The posterior {self.sensitivity} of sensitivities is the second moment that the optimizer "
                f"{' or '.join(needed)} learns while it trains, and {given}: {train}choose another posterior "
                "(--sensitivity kfac)."
            )
        if self.recipe.weight_decay == 0 and not (trains and optimizer == "sgd"):
            return (
                "Sensitivities need regularization, which training time gives only where SGD trains, and this "
                "weight decay is zero: give --train-weight-decay above zero, or --sensitivity off."
            )
        return ""

    @classmethod
    def of_run(cls, stored: dict[str, Any], **changed: Any) -> Self:
        """Return the configuration of a run from what its run.json holds, with some fields changed.

        A run of a version before ``max_evaluation`` has effects on all its validation examples.
        """
        return cls.model_validate({"max_evaluation": None, **stored, **changed})

    @property
    def names_encoder(self) -> bool:
        """Whether texts become the vectors of a sentence encoder."""
        return self.encoder not in (AUTO, TFIDF)

    @property
    def folder(self) -> Path:
        """Directory of the run: ``out``, or its default."""
        return self.out or Path("runs") / Path(self.data).name.split(".")[0].replace(":", "-")
