"""From a configuration to a run: the dataset and one resumable stage after another."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from torch import nn

from attribution_core.datasets import Splits
from attribution_core.errors import InputError
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.prepare import Prepared, prepare
from attribution_core.runs import Run, RunWriter, fingerprint
from attribution_core.runs.names import MANIFEST_FILE
from attribution_core.runs.schema import RunManifest
from attribution_core.runs.store import read_manifest
from attribution_core.scoring.memory_check import require_memory
from attribution_core.scoring.stages import STAGES, ScoringRun
from attribution_core.scoring.support import skip_reasons, skipped_titles

__all__ = ["ScoreConfig", "score"]

# Fields that say where and how, not what: they may differ when a run is resumed.
_NOT_FINGERPRINTED = {"out", "device", "download"}


def score(
    config: ScoreConfig,
    model: nn.Module | None = None,
    announce: Callable[[str], None] | None = None,
    splits: Splits | None = None,
    on_scores: Callable[[], None] | None = None,
) -> Run:
    """Score a dataset, or resume a run that was cut off: only unfinished stages are done again.

    Args:
        config: What to score, and how.
        model: A module to score as it is (or to fine-tune, by the configuration), in place of the one that the
            configuration names.
        announce: Called with a sentence for each stage that the run will skip, before anything is trained.
        splits: A dataset that is open already, such as one of torch objects, in place of the one at ``config.data``,
            which then only names the run's default folder; the configuration's options of splits do not apply.
        on_scores: Called once, as soon as the run has scores that can be looked at, while others are still to come.

    Returns:
        The run, opened.

    Raises:
        InputError: Bad data or options, in one sentence; a run that would not fit into the memory that is free; or a
            directory that holds another run.
    """
    prepared = prepare(config, model, splits, config.folder)
    config = prepared.config
    plain, config_print = _identity(prepared)
    data_print = prepared.splits.fingerprint()
    reasons = skip_reasons(prepared)  # before a folder is made
    require_memory(prepared, reasons)
    for title, reason in skipped_titles(reasons).items():
        if announce:
            announce(f"Without {title}: {reason}")
    title = f"{prepared.splits.name}, {prepared.source.title}" + (", cleaned" if config.decisions else "")
    with RunWriter.start(config.folder, plain, config_print, title) as writer:
        _check_same_data(writer, data_print)
        stages = [stage for stage in STAGES if stage.is_wanted(config)]
        writer.plan({stage.name: stage.title for stage in stages})
        scoring = ScoringRun(writer, prepared, reasons)
        for stage in stages:
            if not writer.is_done(stage.name, data_print):
                if stage.reads_tensors:
                    _ = scoring.tensors_by_split  # read before the stage, so that its seconds are its own
                with writer.stage(stage.name, data_print):
                    stage.run(scoring)
            if on_scores and writer.manifest.measures:
                on_scores()
                on_scores = None
    return Run.open(config.folder)


def _identity(prepared: Prepared) -> tuple[dict[str, Any], str]:
    """Return the configuration as plain data and its fingerprint, or those of an equal run in its folder.

    A run of an earlier version lacks options that were added later. If today's defaults for these make it what is asked
    for now, it is resumed under its own configuration. Files that the model is made from are part of the fingerprint,
    and so is what the run is to choose by the features of a frozen network.
    """
    config, digests = prepared.config, prepared.source.digests
    plain = _plain(config)
    if digests:
        chosen = {"chosen": sorted(prepared.open_fields)} if prepared.open_fields else {}
        return plain, fingerprint({**plain, "digests": digests, **chosen})
    if (config.folder / MANIFEST_FILE).is_file():
        before = read_manifest(config.folder)
        try:
            filled = _plain(ScoreConfig.of_run(before.config, **_evaluated_all(before, config)))
        except ValidationError:  # an option or a value that no longer exists
            filled = {}
        if filled == plain:
            return before.config, before.fingerprint
    return plain, fingerprint(plain)


def _evaluated_all(before: RunManifest, config: ScoreConfig) -> dict[str, Any]:
    """Return the limit of evaluated examples for a run of a version without one, if it is no limit for the run."""
    most, counted = config.max_evaluation, before.dataset is not None and before.dataset.sizes.get("validation")
    is_none = "max_evaluation" not in before.config and most is not None and counted and counted <= most
    return {"max_evaluation": most} if is_none else {}


def _plain(config: ScoreConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude=_NOT_FINGERPRINTED)


def _check_same_data(writer: RunWriter, data_print: str) -> None:
    before = writer.manifest.dataset
    if before is not None and before.fingerprint != data_print:
        raise InputError(
            f"The data of the run {writer.path} has changed since (fingerprint {before.fingerprint[:12]} then, "
            f"{data_print[:12]} now): give another --out, or delete that run."
        )
