"""What can be asked of a background job, checked before its process starts; loads without torch, as pages need it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from attribution_core.errors import InputError, validation_message

_LONGEST_NAME = 150  # bytes; file systems allow 255, and the kind of a job stands before it

# The datasets that open by name, and the models that a run can train, with what they are: attribution_core.datasets and
# .models know more, but bring torch. tests/test_jobs.py holds these to them.
DATASETS = {
    "fashion-demo": (
        "4,000 images of clothing from Fashion-MNIST, 28 x 28, with 100 wrong labels planted among 2,000 for training"
    ),
    "digits": "1,797 handwritten digits, 8 x 8",
}
MODELS = {
    "auto": "mlp for grey or small images, cnn4 for colour",
    "linear": "one linear layer: multinomial logistic or linear regression",
    "mlp": "fully connected ReLU network; hidden sizes to choose, 1024 by default",
    "two_layer": "wide two-layer ReLU network whose first layer alone is trained; 10,000 units by default",
    "lenet5": "LeNet-5 with ReLU and max pooling, 28 pixels and up",
    "cnn4": "four convolutions and two linear layers, 28 pixels and up",
    "alexnet": "AlexNet for small images, 28 pixels and up; wide at the end, so 20 million parameters and more",
    "vgg13": "VGG-13 for small images, 28 pixels and up",
    "resnet18": "ResNet-18 for small images, 32 pixels and up",
    "resnet20": "ResNet-20, the narrow one for small images, 28 pixels and up",
}


def run_name(name: str) -> str:
    """The name of a run's directory: one component of a path, neither hidden nor too long.

    Raises:
        ValueError: It is not one.
    """
    safe = name == PurePath(name).name and "\\" not in name and name.isprintable() and not name.startswith(".")
    if not (safe and name.strip() and len(name.encode(errors="replace")) <= _LONGEST_NAME):
        raise ValueError(
            f"a run's name is that of one folder, without slashes or a leading dot, of at most {_LONGEST_NAME} bytes"
        )
    return name


def no_code(model: str) -> str:
    """A model that is no file of Python: a page must not run such a file because a run that was sent to one names it.

    Raises:
        ValueError: It is one.
    """
    if ".py" in model:
        raise ValueError(
            "a model from a file of Python is scored in a terminal alone (samplescope score DATA --model FILE.py:NAME)"
        )
    return model


RunName = Annotated[str, AfterValidator(run_name)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ScoreOptions(BaseModel):
    """Hold fields of :class:`attribution_core.preparation.config.ScoreConfig`; the job checks them before it starts.

    The directory, ``out``, is not among them: it is the job's target.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    data: str = Field(min_length=1, max_length=4096)
    model: Annotated[str, AfterValidator(no_code)] = "auto"
    out: None = Field(None, exclude=True)


class VerifyOptions(_Options):
    """Options of :func:`attribution_core.workflows.verify.verify`; by default, one process for each core."""

    examples: int = Field(40, ge=3)
    halves: int = Field(50, ge=0)
    seeds: int = Field(2, ge=1)
    processes: int | None = Field(None, ge=0, le=1024)
    data: str | None = None
    device: str = "auto"


class SummarizeOptions(_Options):
    """Options of :func:`attribution_core.workflows.summarize.summarize`; by default, one process for each core."""

    seeds: int = Field(3, ge=1)
    balanced: bool = False
    step: float = Field(0.05, gt=0, lt=1)
    processes: int | None = Field(None, ge=0, le=1024)
    data: str | None = None
    device: str = "auto"


class CleanOptions(_Options):
    """The run whose decisions make the cleaned set; the target is the run to be made."""

    parent: RunName
    data: str | None = None
    device: str = "auto"


Kind = Literal["check", "score", "verify", "summarize", "clean"]
KINDS: dict[Kind, type[BaseModel]] = {
    "check": ScoreOptions,
    "score": ScoreOptions,
    "verify": VerifyOptions,
    "summarize": SummarizeOptions,
    "clean": CleanOptions,
}


class JobRequest(BaseModel):
    """The content of job.json."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    target: RunName
    options: dict[str, JsonValue]
    started: str

    @classmethod
    def checked(cls, kind: str, target: str, options: Mapping[str, Any], started: str) -> JobRequest:
        """What is asked for, with the options as plain data.

        Raises:
            InputError: A kind that does not exist, a target that is no run's name, or options that the kind does not
                take.
        """
        try:
            asked = cls.model_validate({"kind": kind, "target": target, "options": dict(options), "started": started})
            known = KINDS[asked.kind].model_validate(asked.options)
        except ValidationError as error:
            raise InputError(validation_message(error)) from error
        return asked.model_copy(update={"options": known.model_dump(mode="json")})


class JobProgress(BaseModel):
    """The content of progress.json: what a job does now, and how far it is with that."""

    model_config = ConfigDict(extra="forbid")

    done: int = 0
    total: int = 0
    what: str = "starting"


class JobResult(BaseModel):
    """The content of result.json: how a job ended by itself, after how many seconds, and what came of it."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["done", "failed"]
    message: str = ""
    result: dict[str, JsonValue] = Field(default_factory=dict)
    seconds: float
