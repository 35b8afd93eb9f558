"""Prepares a run that exists: finds its data and its model again, and checks that they are still the same."""

from typing import Any

from torch import nn

from attribution_core.datasets import Splits, TorchData, opens_by_name
from attribution_core.errors import InputError
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.model_source import ModelSource
from attribution_core.preparation.prepare import Prepared, open_splits, prepare
from attribution_core.runs import Run
from attribution_core.runs.names import APPLIED_DECISIONS_FILE

# A dataset's path or name, or one that exists only in a Python program.
Data = str | TorchData | Splits | None


def prepare_run(run: Run, data: Data, device: str, model: nn.Module | None = None) -> Prepared:
    """Prepare the dataset and the model that a run was made from, to do more with it.

    Args:
        run: A scored run.
        data: Present path of the dataset if it was moved; or the torch dataset that was scored, or what
            ``open_dataset`` made of it.
        device: Device to compute on, as in :class:`ScoreConfig`.
        model: The module that was scored, as it was before, if the run's model came from a Python program.

    Raises:
        InputError: The run is not finished or scored weights as they were given, or its data or its model has changed
            or exists only in a program.
    """
    if not run.manifest.measures or run.manifest.dataset is None:
        raise InputError(f"The run {run.id} is not finished: give the command that scored it again first.")
    config = _configuration_of(run, data, device)
    if config.training == "none":
        raise InputError(
            f"The run {run.id} scored weights as they were given, so it is unknown how they were trained and "
            "nothing can be retrained in the same way: score with --training scratch or fine-tune first."
        )
    prepared = prepare(config, model, splits_of_program(run, data), run.path)
    _require_same_model(run, prepared.source)
    _require_same_data(run, prepared)
    return prepared


def splits_of_program(run: Run, data: Data) -> Splits | None:
    """Return a run's dataset before any decision if it exists only in a program; None if the configuration names it.

    Raises:
        InputError: It exists only in a program that did not pass it.
    """
    if isinstance(data, Splits):
        return data
    if data is not None and not isinstance(data, str):
        return open_splits(ScoreConfig.of_run(run.manifest.config), data)
    before = run.manifest.dataset
    if data is None and before is not None and not before.location and not opens_by_name(before.name):
        raise InputError(
            f"The examples of {run.id} are in a torch dataset ({before.name}), which exists only in a program: do this "
            "in Python with data=DATASET."
        )
    return None


def _configuration_of(run: Run, data: Data, device: str) -> ScoreConfig:
    """Return a run's configuration with this device, the data's present path and the run's copy of its decisions."""
    moved: dict[str, Any] = {"data": data} if isinstance(data, str) and data else {}
    if (run.path / APPLIED_DECISIONS_FILE).is_file():  # the reviewed run may have changed or be gone
        moved["decisions"] = run.path / APPLIED_DECISIONS_FILE
    return ScoreConfig.of_run(run.manifest.config, device=device, **moved)


def _require_same_model(run: Run, source: ModelSource) -> None:
    before = run.manifest.model.get("digests", {})
    changed = [what for what, digest in source.digests.items() if before.get(what) != digest]
    if changed:
        raise InputError(
            f"The {' and the '.join(changed)} of the model {source.name} changed since {run.path} was scored: restore "
            "the earlier version, or score again with another --out."
        )


def _require_same_data(run: Run, prepared: Prepared) -> None:
    before, found = run.manifest.dataset, prepared.splits.fingerprint()
    if before is None or before.fingerprint == found:
        return
    raise InputError(
        f"The data at {prepared.config.data} is not the data that {run.path} scored, or has changed since (fingerprint "
        f"{before.fingerprint[:12]} then, {found[:12]} now): give the path of that dataset as --data."
    )
