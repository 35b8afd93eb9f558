"""A stage of a scoring run: what it is called, when it is skipped, what it costs and what it writes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import pandas as pd
import torch
from torch import Tensor, nn

from attribution_core.errors import InputError
from attribution_core.evaluation.detection import known_wrong
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models import load_weights
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.encodings import write_vectors
from attribution_core.preparation.prepare import Prepared
from attribution_core.runs import CredibleEffects, RunWriter
from attribution_core.runs.names import ENCODINGS_FILE, FINAL_WEIGHTS_FILE
from attribution_core.runs.tables import curve_points
from attribution_core.scoring.head_recipe import head_recipe
from attribution_core.scoring.predictions import example_table
from attribution_core.scoring.probe import Probe
from attribution_core.scoring.sizes import RunSizes
from attribution_core.training import Recipe, loss_values, outputs_of

Result = TypeVar("Result")


class ScoringRun:
    """A run while it is scored: what its stages share.

    Attributes:
        writer: The run's directory, open for writing.
        prepared: The dataset and the model.
        config: What to score, and how.
        skip_reasons: Why each stage is skipped, by its name, as far as that was known beforehand; may be empty.
    """

    def __init__(self, writer: RunWriter, prepared: Prepared, skip_reasons: dict[str, str]) -> None:
        self.writer, self.prepared, self.skip_reasons = writer, prepared, skip_reasons
        # That of the run, which may have settled its recipe before it was resumed.
        recipe = Recipe.model_validate(writer.manifest.config["recipe"])
        self.config = prepared.config.model_copy(update={"recipe": recipe})
        self._shared: dict[str, Any] = {}

    @cached_property
    def tensors_by_split(self) -> dict[str, InputsAndTargets]:
        """Inputs and targets of ``"train"``, ``"validation"`` and ``"test"``, read once."""
        tensors = self.prepared.tensors_by_split()
        if self.prepared.keeps_features and not (self.writer.path / ENCODINGS_FILE).is_file():
            features = {name: pair[0] for name, pair in tensors.items()}
            write_vectors(self.writer, features, self.prepared.features_made_of)
        return tensors

    @property
    def evaluation(self) -> InputsAndTargets:
        """Inputs and targets of the validation examples that effects are measured on."""
        return self.prepared.evaluation(self.tensors_by_split)

    @cached_property
    def known_wrong(self) -> Tensor | None:
        """Which training labels are known to be wrong, bool ``[n]``; None where nothing is known."""
        return known_wrong(example_table(self.prepared.splits.train))

    @cached_property
    def credible_effects(self) -> CredibleEffects:
        """Which effects on the validation examples are credible for the trained model."""
        model = self.initial_model()
        load_weights(model, self.writer.path / FINAL_WEIGHTS_FILE)
        inputs, targets = self.evaluation
        return credible_effects(outputs_of(model, inputs), targets, self.config.recipe.loss)

    def settle_recipe(self) -> Recipe:
        """Return the recipe, after choosing what the features of a frozen network decide; keep it in the run."""
        if self.prepared.open_fields:
            features, targets = self.tensors_by_split["train"]
            recipe = head_recipe(self.prepared.config.recipe, self.prepared.open_fields, features, targets)
            self.config = self.config.model_copy(update={"recipe": recipe})
            settled = recipe.model_dump(mode="json")
            self.writer.update(config={**self.writer.manifest.config, "recipe": settled})
        return self.config.recipe

    def initial_model(self) -> nn.Module:
        """Return a new copy of the model at its initial weights, on the run's device."""
        return self.prepared.build(self.config.seed)

    def shared(self, name: str, make: Callable[[], Result]) -> Result:
        """Return what ``make`` makes, which the first stage that asks for it has made."""
        if name not in self._shared:
            self._shared[name] = make()
        return self._shared[name]

    def release(self, name: str) -> None:
        """Free what stages shared under this name; a later stage would make it again."""
        self._shared.pop(name, None)


class Stage(ABC):
    """One part of a scoring run, such as a family of measures.

    A file in this package that defines a subclass adds a stage: scoring runs it, the estimate and the memory check
    sum over it, the command line and the page New run list it.

    Attributes:
        name: Key of the stage in run.json.
        title: What people call it, as it reads within a sentence.
        order: Stages run in ascending order.
        option: The field of :class:`ScoreConfig` that chooses it: ``"off"`` skips it, ``"auto"`` skips it where the
            model does not allow it, and any other choice makes that an error. None: it is always tried.
        needs: Name of the stage without whose results it is skipped; may be empty.
        needs_training: Whether it is skipped for a model at random weights, neither trained nor given.
        details_name: Key of its details in run.json, which say why it was skipped; its name by default.
        essential: Whether there is no run without it, so that a refusal is an error.
        reads_tensors: Whether the examples are read as tensors before it is run.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    order: ClassVar[int]
    option: ClassVar[str | None] = None
    needs: ClassVar[str] = ""
    needs_training: ClassVar[bool] = False
    details_name: ClassVar[str] = ""
    essential: ClassVar[bool] = False
    reads_tensors: ClassVar[bool] = True

    @abstractmethod
    def write(self, scoring: ScoringRun) -> None:
        """Write the stage's results into the run.

        Raises:
            InputError: The model or the data does not allow them. The run then says why the stage was skipped, unless
                it is essential or was asked for by name.
        """

    def require_model(self, model: nn.Module, inputs: Tensor, recipe: Recipe, parameters: str) -> None:  # noqa: B027
        """Check that a model allows this stage.

        Args:
            model: At any weights.
            inputs: Two examples.
            recipe: How it is trained.
            parameters: What F-SI linearizes, as in :class:`ScoreConfig`.

        Raises:
            InputError: It does not; the sentence names the layer.
        """

    def require(self, prepared: Prepared) -> None:
        """Check that a run's model, data and configuration allow this stage; those of the model alone by default.

        Raises:
            InputError: They do not.
        """
        config = prepared.config
        self.require_model(prepared.initial_model, prepared.two_inputs, config.recipe, config.parameters)

    def bytes_needed(self, sizes: RunSizes) -> int:  # noqa: ARG002
        """Return the bytes that the stage holds at its peak, besides the inputs; 0 for next to nothing."""
        return 0

    def seconds_probe(self, probe: Probe) -> float:  # noqa: ARG002
        """Return the seconds that the stage will take, measured on a few rows; 0 for next to nothing."""
        return 0.0

    def is_wanted(self, config: ScoreConfig) -> bool:  # noqa: ARG002
        """Return whether a run has this stage at all; one that a configuration has to ask for is not even skipped."""
        return True

    def is_required(self, config: ScoreConfig) -> bool:
        """Return whether the stage was asked for by name, so that it must not be skipped for its model's sake."""
        return self.essential or (self.option is not None and getattr(config, self.option) not in ("auto", "off"))

    def why_skipped(self, prepared: Prepared) -> str:
        """Return why a run will not have this stage, as far as that is known beforehand; empty where it will.

        Raises:
            InputError: A stage that is required is not allowed.
        """
        config = prepared.config
        if self.option is not None and getattr(config, self.option) == "off":
            return f"turned off ({self.option}=off)"
        if self.needs_training and config.recipe.epochs == 0 and config.training != "none":
            return "the model was not trained"
        try:
            self.require(prepared)
        except InputError as error:
            if self.is_required(config):
                raise
            return str(error)
        return ""

    def run(self, scoring: ScoringRun) -> None:
        """Write the stage's results, or say in the run's details why it has none.

        Raises:
            InputError: A required stage cannot be written.
        """
        reason = scoring.skip_reasons[self.name] or self._why_needed_is_missing(scoring.writer)
        name = self.details_name or self.name
        if reason:
            scoring.writer.describe(name, {"skipped": reason})
        else:
            write_or_skip(scoring.writer, name, lambda: self.write(scoring), self.is_required(scoring.config))

    def _why_needed_is_missing(self, writer: RunWriter) -> str:
        return str(writer.manifest.details.get(self.needs, {}).get("skipped", ""))


def write_or_skip(writer: RunWriter, name: str, write: Callable[[], None], required: bool = False) -> None:
    """Write a part of a run, or say in its details why it was skipped.

    Args:
        writer: The run.
        name: Key of the details.
        write: Writes the part, or raises InputError with the reason.
        required: Whether the part was asked for, so that the reason is an error.
    """
    try:
        write()
    except InputError as error:
        if required:
            raise
        writer.describe(name, {"skipped": str(error)})


def add_notes(writer: RunWriter, sentences: Sequence[str]) -> None:
    """Add sentences that a user should read before trusting a score to the dataset's notes, each once."""
    before = writer.manifest.dataset
    if before is not None and sentences:
        notes = list(dict.fromkeys([*before.notes, *sentences]))
        writer.update(dataset=before.model_copy(update={"notes": notes}))


def credible_effects(outputs: Tensor, targets: Tensor, loss: str) -> CredibleEffects:
    """Return which effects on examples are credible, from their outputs ``[m, k]`` before any removal."""
    outputs, targets = outputs.double().cpu(), targets.cpu()
    values = (loss_values(each, targets, loss).numpy() for each in (outputs, torch.zeros_like(outputs)))
    return CredibleEffects.of_losses(*values)


def curve_rows(x: Sequence[float], series: dict[str, Tensor]) -> pd.DataFrame:
    """Return columns series, x and y of one curve, from the values of each series at x."""
    return curve_points(x, {name: values.cpu().numpy() for name, values in series.items()})
