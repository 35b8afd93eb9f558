"""The stage that keeps the linearized model, from which the app computes F-SI at any training time."""

from safetensors.torch import save_file
from typing_extensions import override

from attribution_core.errors import InputError
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.runs import RunWriter
from attribution_core.runs.names import LIVE_MODEL_FILE
from attribution_core.scoring.sizes import RunSizes
from attribution_core.scoring.stages.base import ScoringRun, Stage, write_or_skip
from attribution_core.scoring.stages.linearized import linearized_bytes, release_linearized, shared_linearized

# The linearized model is kept up to this size, in bytes: with features that the outputs share, or one row for each.
LARGEST_SHARED, LARGEST_SEPARATE = 2**30, 2**27


class LiveStage(Stage):
    """Write what F-SI at any training time is computed from."""

    name = "live"
    title = "F-SI at any training time"
    order = 30

    @override
    def bytes_needed(self, sizes: RunSizes) -> int:
        """Count the linearized model, which is made again where a run is resumed here."""
        return linearized_bytes(sizes)

    @override
    def write(self, scoring: ScoringRun) -> None:
        linear, _, _ = shared_linearized(scoring)
        release_linearized(scoring)  # as large as the data, and no later stage needs it
        write_live_model(scoring.writer, linear)


def write_live_model(writer: RunWriter, linear: LinearizedModel) -> None:
    """Write a linearized model into a run, or say in the run's details why it is too large.

    It is as large as the features; where these differ between outputs, an answer would also take longer than a person
    waits.
    """
    write_or_skip(writer, "live", lambda: _write(writer, linear))


def _write(writer: RunWriter, linear: LinearizedModel) -> None:
    state = {name: values.contiguous().cpu() for name, values in linear.state().items()}
    size = sum(values.nbytes for values in state.values())
    limit = LARGEST_SHARED if linear.features.shape[1] == 1 else LARGEST_SEPARATE
    if size > limit:
        raise InputError(f"it would take {size / 2**20:,.0f} MiB, and the limit is {limit // 2**20:,} MiB")
    with writer.path_for(LIVE_MODEL_FILE) as path:
        save_file(state, path)
