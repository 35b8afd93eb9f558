"""Requests for background jobs, validated before a process starts. Loads without torch, since pages need it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from attribution_core.datasets.builtin import BUILTIN_DATASETS
from attribution_core.datasets.targets import Task
from attribution_core.errors import InputError, validation_message
from attribution_core.models.catalog import ARCHITECTURES, CLASSIFIERS
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.settings import GROUPS, SETTINGS, Setting, configuration_from

__all__ = [
    "DATASETS",
    "GROUPS",
    "MODELS",
    "OPTIONS",
    "SETTINGS",
    "JobProgress",
    "JobRequest",
    "JobResult",
    "Kind",
    "RunName",
    "Setting",
    "configuration_from",
    "is_python_file",
    "run_name",
    "why_impossible",
]

_LONGEST_NAME = 150  # bytes; file systems allow 255, and the kind of a job stands before it

# The datasets that open by name, and what they hold.
DATASETS = {each.name: each.description for each in BUILTIN_DATASETS}
# The models that a run can train without a file or a library, and what they are.
MODELS = {
    "auto": "for color images the head of a network with published weights, otherwise mlp",
    **{name: ARCHITECTURES[name].description for name in CLASSIFIERS},
}


def run_name(name: str) -> str:
    """Return a name if it can be that of a run's directory: one path component, neither hidden nor too long.

    Raises:
        ValueError: It cannot.
    """
    safe = name == PurePath(name).name and "\\" not in name and name.isprintable() and not name.startswith(".")
    if not (safe and name.strip() and len(name.encode(errors="replace")) <= _LONGEST_NAME):
        raise ValueError(
            "a run's name must be the name of one folder, without slashes or a leading dot and at most "
            f"{_LONGEST_NAME} bytes long"
        )
    return name


def is_python_file(model: str) -> bool:
    """Return whether a configuration's model is from a Python file."""
    return ".py" in model


def no_python_file(model: str) -> str:
    """Return a model's name unless it is from a Python file: no page executes a file because some run names it.

    Raises:
        ValueError: It is from a Python file.
    """
    if is_python_file(model):
        raise ValueError(
            "a model from a Python file is scored only in a terminal (samplescope score DATA --model FILE.py:NAME)"
        )
    return model


RunName = Annotated[str, AfterValidator(run_name)]


class _Options(BaseModel):
    """What every job on a finished run takes."""

    model_config = ConfigDict(extra="forbid")

    data: str | None = None
    device: str = "auto"


class _ParallelOptions(_Options):
    processes: int | None = Field(None, ge=0, le=1024)


class ScoreOptions(ScoreConfig):
    """A configuration that a page may ask for: without Python files, and without ``out``, which is the job's target."""

    data: str = Field(min_length=1, max_length=4096)
    model: Annotated[str, AfterValidator(no_python_file)] = "auto"
    out: None = Field(None, exclude=True)


class SurveyOptions(BaseModel):
    """What identifies a dataset: the arguments of :func:`attribution_core.datasets.survey.survey`."""

    model_config = ConfigDict(extra="forbid")

    data: str = Field(min_length=1, max_length=4096)
    target: str | None = None
    task: Task = "auto"


def why_impossible(options: Mapping[str, Any]) -> str:
    """Return why no run can have the options of :class:`ScoreOptions`, in a sentence; empty if one may.

    It reads neither the data nor the model: a check does that.
    """
    try:
        config = ScoreOptions.model_validate(options)
    except ValidationError as error:
        return validation_message(error)
    return "" if config.sensitivity in ("auto", "off") else config.why_no_sensitivity


class VerifyOptions(_ParallelOptions):
    """Options of :func:`attribution_core.workflows.verify.verify`; without ``processes``, one for each core."""

    examples: int = Field(40, ge=3)
    halves: int = Field(50, ge=0)
    seeds: int = Field(2, ge=1)


class ResponsesOptions(_Options):
    """Options of :func:`attribution_core.workflows.responses.compare_responses`."""

    examples: int = Field(5, ge=2)


class WithoutOptions(_ParallelOptions):
    """Options of :func:`attribution_core.workflows.group_removal.verify_group`; ``rows`` are those of the group."""

    rows: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    seeds: int = Field(2, ge=1)


class ContributionsOptions(_Options):
    """Options of :func:`attribution_core.workflows.contributions.average_contributions`."""

    seeds: int = Field(5, ge=2, le=1000)


class SummarizeOptions(_ParallelOptions):
    """Options of :func:`attribution_core.workflows.summarize.summarize`; without ``processes``, one for each core."""

    seeds: int = Field(3, ge=1)
    balanced: bool = False
    step: float = Field(0.05, gt=0, lt=1)


class RegularizationOptions(_Options):
    """Options of :func:`attribution_core.workflows.regularization.choose_regularization`."""

    values: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = []


class CleanOptions(_Options):
    """Options of :func:`attribution_core.workflows.clean.clean`.

    ``parent`` is the run whose decisions are applied; the job's target is the run it makes.
    """

    parent: RunName


Kind = Literal[
    "survey",
    "check",
    "score",
    "verify",
    "responses",
    "without",
    "contributions",
    "summarize",
    "regularization",
    "clean",
]
OPTIONS: dict[Kind, type[BaseModel]] = {
    "survey": SurveyOptions,
    "check": ScoreOptions,
    "score": ScoreOptions,
    "verify": VerifyOptions,
    "responses": ResponsesOptions,
    "without": WithoutOptions,
    "contributions": ContributionsOptions,
    "summarize": SummarizeOptions,
    "regularization": RegularizationOptions,
    "clean": CleanOptions,
}


class JobRequest(BaseModel):
    """Content of job.json: what a job does, to which run, and since when."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    target: RunName
    options: dict[str, JsonValue]
    started: str

    @classmethod
    def checked(cls, kind: str, target: str, options: Mapping[str, Any], started: str) -> JobRequest:
        """Return a request whose options the kind accepts, as plain data.

        The options of a check or a score stay as they were given, so that the same options lead to the same check;
        those of the other kinds gain their defaults.

        Raises:
            InputError: There is no such kind, the target cannot be a run's name, or the kind does not accept the
                options.
        """
        try:
            request = cls.model_validate({"kind": kind, "target": target, "options": dict(options), "started": started})
            accepted = OPTIONS[request.kind].model_validate(request.options)
        except ValidationError as error:
            raise InputError(validation_message(error)) from error
        if isinstance(accepted, ScoreOptions):
            return request
        return request.model_copy(update={"options": accepted.model_dump(mode="json")})


class JobProgress(BaseModel):
    """Content of progress.json: what a job is doing, and how far it is with that.

    ``stages`` are the titles of the stages of the run that it makes, by name and in order.
    """

    model_config = ConfigDict(extra="forbid")

    done: int = 0
    total: int = 0
    what: str = "starting"
    stages: dict[str, str] = Field(default_factory=dict)


class JobResult(BaseModel):
    """Content of result.json: how a job ended, its result, and the seconds it took."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["done", "failed"]
    message: str = ""
    result: dict[str, JsonValue] = Field(default_factory=dict)
    seconds: float
