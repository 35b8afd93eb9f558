"""The size and pixel statistics that a model expects of its images."""

from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Number = Annotated[float, Field(allow_inf_nan=False)]
Side = Annotated[int, Field(ge=4, le=1024)]


def _two_sides(size: object) -> object:
    """Turn a single side into a square."""
    return (size, size) if isinstance(size, int) else size


class Preprocessing(BaseModel):
    """Resizing and normalization of images before a model sees them, as in ``torchvision.transforms.Normalize``.

    Attributes:
        mean: Mean of each channel, for pixels in 0..1; by default that of the training images.
        std: Standard deviation of each channel; by default that of the training images.
        size: (height, width) in pixels, or one side; by default the size that the images share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[Number, ...] | None = None
    std: tuple[Annotated[Number, Field(gt=0)], ...] | None = None
    size: Annotated[tuple[Side, Side] | None, BeforeValidator(_two_sides)] = None

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        given = len(self.mean or ()), len(self.std or ())
        if given not in ((0, 0), (1, 1), (3, 3)):
            raise ValueError(f"mean and std must both have 1 number or 3, not {given[0]} and {given[1]}")
        return self

    @property
    def channels(self) -> int | None:
        """Number of channels that the model takes; None if it is not stated."""
        return len(self.mean) if self.mean else None
