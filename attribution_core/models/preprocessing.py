"""What a model expects of its images: a size, and the numbers that pixels are standardised by."""

from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Number = Annotated[float, Field(allow_inf_nan=False)]
Side = Annotated[int, Field(ge=4, le=1024)]


def _two_sides(size: object) -> object:
    """One side stands for a square."""
    return (size, size) if isinstance(size, int) else size


class Preprocessing(BaseModel):
    """What is done to an image before a model sees it, as ``torchvision.transforms.Normalize`` does it.

    Attributes:
        mean: Of each channel, of pixels in 0..1; by default those of the training images.
        std: The same for the standard deviation.
        size: (height, width) in pixels, or one side; by default what the images share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[Number, ...] | None = None
    std: tuple[Annotated[Number, Field(gt=0)], ...] | None = None
    size: Annotated[tuple[Side, Side] | None, BeforeValidator(_two_sides)] = None

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        given = len(self.mean or ()), len(self.std or ())
        if given not in ((0, 0), (1, 1), (3, 3)):
            raise ValueError(f"mean and std go together and have 1 number or 3 each, not {given[0]} and {given[1]}")
        return self

    @property
    def channels(self) -> int | None:
        """Of the images that the model takes; None where nothing is said."""
        return len(self.mean) if self.mean else None
