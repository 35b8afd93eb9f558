"""The stage of influence functions: what the loss on an example would be without another, about the trained weights."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor, nn

from attribution_core.methods.influence.damping import SHARES, sweep_of
from attribution_core.methods.influence.functions import default_damping
from attribution_core.methods.influence.spectrum import InfluenceSpectrum, influence_spectrum
from attribution_core.methods.types import InputsAndTargets
from attribution_core.models import load_weights
from attribution_core.preparation.config import ScoreConfig
from attribution_core.runs import RunWriter
from attribution_core.runs.names import FINAL_WEIGHTS_FILE
from attribution_core.scoring.stages.base import points_of, skipped_by_choice, write_or_skip

# Of a network whose influence functions are computed unasked: cnn4 (1.2 million) takes half a minute on one core for
# 3,000 examples, of ResNet-18 (11 million) fitting the sketch alone took five minutes.
MOST_PARAMETERS = 3_000_000
_ROWS = 512  # of the effects, written at once


def write_influence(
    writer: RunWriter,
    config: ScoreConfig,
    model: nn.Module,
    tensors_by_split: dict[str, InputsAndTargets],
) -> None:
    """Writes column self_influence, effects/influence.zarr and the curve over the damping.

    Where the model does not allow it, the run says so instead, unless influence functions were asked for.

    Args:
        writer: The run, trained.
        config: What to score, and how.
        model: Of the run's kind, whatever its weights.
        tensors_by_split: Inputs and labels of ``"train"`` and ``"validation"``.

    Raises:
        InputError: Influence functions were asked for and the model does not allow them.
    """

    def write() -> None:
        load_weights(model, writer.path / FINAL_WEIGHTS_FILE)
        train, evaluation = tensors_by_split["train"], tensors_by_split["validation"]
        _write(
            writer,
            config,
            influence_spectrum(model, train, evaluation, config.recipe.loss, seed=config.seed),
        )

    write_or_skip(writer, "self_influence", why_influence_skipped(config, model), config.influence == "on", write)


def why_influence_skipped(config: ScoreConfig, model: nn.Module) -> str:
    """Why there are no influence functions, known beforehand; empty where there are."""
    size = sum(parameter.numel() for parameter in model.parameters())
    if config.influence == "auto" and size > MOST_PARAMETERS:
        return f'the network has {size:,} parameters, with which they would take long: ask for them with influence="on"'
    return skipped_by_choice(config, config.influence, "influence functions")


def _write(writer: RunWriter, config: ScoreConfig, spectrum: InfluenceSpectrum) -> None:
    default, largest = default_damping(spectrum), float(spectrum.values[-1])
    sweep = sweep_of(spectrum, sorted({*SHARES, default / largest}))
    # Weight decay is curvature too, and part of the damping.
    damping = config.damping or max(default, config.recipe.weight_decay)
    effects = spectrum.effects(damping)
    writer.write_effects("influence", effects.shape[1], _blocks(effects))
    writer.add_column("examples", "self_influence", spectrum.self_influence(damping).cpu().double().numpy())
    series = {"effects on an example": sweep.agreement, "self-influence": sweep.self_agreement}
    writer.write_curve("damping", points_of(sweep.share.tolist(), series))
    sketched = {} if spectrum.kept_energy is None else {"kept_energy": spectrum.kept_energy}
    how = f"in a sketch of {len(spectrum.values):,} dimensions" if sketched else "exact"
    details = {
        "route": f"Gauss-Newton matrix of the whole network, {how}",
        **sketched,
        "damping": damping,
        "share_of_largest_eigenvalue": damping / largest,
        "evaluated_on": f"{effects.shape[1]:,} validation examples",
    }
    writer.describe("self_influence", details, ["self_influence"])


def _blocks(effects: Tensor) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(effects), _ROWS):
        rows = slice(start, start + _ROWS)
        yield rows, effects[rows].cpu().numpy()
