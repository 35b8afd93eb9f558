"""From a configuration to a run: dataset, training, predictions, scores, one resumable stage after another."""

import functools
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError
from torch import nn

from attribution_core.datasets import Dataset, Splits
from attribution_core.datasets.features import TFIDF, describe
from attribution_core.errors import InputError
from attribution_core.evaluation.detection import known_wrong
from attribution_core.methods.types import InputsAndTargets
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.encodings import write_vectors
from attribution_core.preparation.prepare import Prepared, prepare, vectors_made_of
from attribution_core.runs import MEASURES, Run, RunWriter, fingerprint
from attribution_core.runs.labels import VALUE_RANGE, label_names
from attribution_core.runs.names import APPLIED_DECISIONS_FILE, MANIFEST_FILE
from attribution_core.runs.schema import BASE_COLUMNS, DatasetSummary, Unreadable, ValuesSummary
from attribution_core.runs.store import read_manifest
from attribution_core.scoring.memory_needed import require_memory
from attribution_core.scoring.predictions import predictions, quality
from attribution_core.scoring.recorded_training import kept_steps, write_training
from attribution_core.scoring.stages.classes import write_classes
from attribution_core.scoring.stages.contributions import write_contributions
from attribution_core.scoring.stages.detection import write_detection
from attribution_core.scoring.stages.influence import write_influence
from attribution_core.scoring.stages.linearised import linearised, write_linearised_scores, write_live_model
from attribution_core.scoring.stages.map import write_embeddings, write_map
from attribution_core.scoring.stages.neighbours import write_near_duplicates
from attribution_core.scoring.stages.sensitivity import write_sensitivities
from attribution_core.scoring.support import skipped_parts
from attribution_core.scoring.weight_warnings import weight_warnings, weight_warnings_of_values
from attribution_core.training import train

__all__ = ["ScoreConfig", "score"]

# Fields that say where and how, not what: they may differ when a run goes on.
_NOT_FINGERPRINTED = {"out", "device"}


def score(
    config: ScoreConfig,
    model: nn.Module | None = None,
    announce: Callable[[str], None] | None = None,
    splits: Splits | None = None,
) -> Run:
    """Score a dataset, or go on with a run that was cut off; only unfinished stages are done again.

    Args:
        config: What to score, and how.
        model: A module to score as it is (or to fine-tune, by the configuration), in place of one that this names.
        announce: Called with a sentence for each part that the run will not have, before anything is trained.
        splits: A dataset that was opened, such as one of torch objects, in place of the one at ``config.data``, which
            then only names the run's default folder; the configuration's options of splits do not apply.

    Returns:
        The run, opened.

    Raises:
        InputError: Bad data or options, in one sentence; a run that would not fit into the memory that is free; or a
            directory that holds another run.
    """
    prepared = prepare(config, model, splits, config.folder)
    config, splits = prepared.config, prepared.splits
    plain, config_print = _identity(config, prepared.source.digests)
    data_print = splits.fingerprint()
    reasons = skipped_parts(prepared)  # before a folder is made
    require_memory(prepared)
    for part, reason in reasons.items():
        if announce:
            announce(f"Without {part}: {reason}")
    title = f"{splits.name}, {prepared.source.title}" + (", cleaned" if config.decisions else "")
    with RunWriter.start(config.folder, plain, config_print, title) as writer:
        _check_same_data(writer, data_print)
        if not writer.is_done("dataset", data_print):
            with writer.stage("dataset", data_print):
                _write_dataset(writer, prepared, data_print)
        tensors_by_split = functools.cache(lambda: prepared.tensors_by_split())
        stages = _stages(writer, prepared, tensors_by_split)
        missing = {name: write for name, write in stages.items() if not writer.is_done(name, data_print)}
        if missing:
            tensors_by_split()  # before the stages, so that their seconds are their own
        for stage, write in missing.items():
            with writer.stage(stage, data_print):
                write()
    return Run.open(config.folder)


def _identity(config: ScoreConfig, digests: dict[str, str]) -> tuple[dict[str, Any], str]:
    """The configuration as plain data and its fingerprint; or those of the run in its folder, where both ask alike.

    A run of an earlier version lacks options that came later. Where today's defaults for these make it what is asked
    for now, it goes on as what it was. Files that the model is made from belong to what it is.
    """
    plain = _plain(config)
    if digests:
        return plain, fingerprint({**plain, "digests": digests})
    if (config.folder / MANIFEST_FILE).is_file():
        before = read_manifest(config.folder)
        try:
            filled = _plain(ScoreConfig.model_validate(before.config))
        except ValidationError:  # an option or a value that there is no more
            filled = {}
        if filled == plain:
            return before.config, before.fingerprint
    return plain, fingerprint(plain)


def _plain(config: ScoreConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude=_NOT_FINGERPRINTED)


# -- the stages ------------------------------------------------------------------------------------------------------


def _stages(
    writer: RunWriter,
    prepared: Prepared,
    tensors_by_split: Callable[[], dict[str, InputsAndTargets]],
) -> dict[str, Callable[[], None]]:
    """What comes after the dataset, in this order."""
    config, splits = prepared.config, prepared.splits
    strata, wrong = splits.train.strata_names, known_wrong(_table(splits.train))

    def build() -> nn.Module:
        return prepared.build(config.seed)

    made = functools.cache(lambda: linearised(writer.path, config, build(), tensors_by_split()))

    def keep_live_model() -> None:
        write_live_model(writer, made()[0])
        made.cache_clear()  # as large as the data

    return {
        "training": lambda: _train(writer, prepared, build(), tensors_by_split()),
        "linearised": lambda: write_linearised_scores(writer, config, made(), tensors_by_split(), wrong),
        "live": keep_live_model,
        "contributions": lambda: write_contributions(writer, config, build(), tensors_by_split()),
        "sensitivity": lambda: write_sensitivities(writer, config, build(), tensors_by_split(), splits.train.strata),
        "influence": lambda: write_influence(writer, config, build(), tensors_by_split()),
        "embeddings": lambda: write_embeddings(writer, build(), tensors_by_split()),
        "neighbours": lambda: write_near_duplicates(writer, tensors_by_split()["train"][1], prepared.device),
        "map": lambda: write_map(writer, config, prepared.device),
        "classes": lambda: write_classes(writer, strata),
        "detection": lambda: write_detection(writer, wrong),
    }


def _write_dataset(
    writer: RunWriter,
    prepared: Prepared,
    data_print: str,
) -> None:
    splits, named = prepared.splits, prepared.named_splits
    if prepared.config.decisions is not None:
        with writer.path_for(APPLIED_DECISIONS_FILE) as path:
            shutil.copyfile(prepared.config.decisions, path)
    writer.update(
        dataset=DatasetSummary(
            name=splits.name,
            location=splits.location,
            class_names=splits.train.class_names,
            sizes={name: len(split) for name, split in named.items()},
            mode=splits.train.mode,
            values=_values(splits.train),
            unreadable=[Unreadable(where=each.where, why=each.why) for each in splits.unreadable],
            notes=splits.notes,
            fingerprint=data_print,
        )
    )
    _write_tables(writer, {name: _table(split) for name, split in named.items()})
    if prepared.vectors is not None:  # the table holds the examples as text
        if splits.train.kind == "text" and prepared.config.encoder != TFIDF:
            write_vectors(writer, prepared.vectors, vectors_made_of(prepared.config, splits))
        return
    images = {"train": [splits.train], "evaluation": [splits.validation, splits.test]}
    for split, parts in images.items():
        writer.write_thumbnails(
            split,  # type: ignore[arg-type]
            (part[i][0] for part in parts for i in range(len(part))),
        )


def _write_tables(writer: RunWriter, tables: dict[str, pd.DataFrame]) -> None:
    """The training split is one table; validation and test, in this order, are the other."""
    writer.write_table("examples", tables["train"])
    held_out = [tables[split].assign(split=split) for split in ("validation", "test")]
    writer.write_table("evaluation", pd.concat(held_out, ignore_index=True))


def _train(
    writer: RunWriter,
    prepared: Prepared,
    model: nn.Module,
    tensors_by_split: dict[str, InputsAndTargets],
) -> None:
    config = prepared.config
    recipe = config.recipe.model_copy(update={"seed": config.seed})
    steps = kept_steps(recipe, len(tensors_by_split["train"][0]))[:-1]
    write_training(writer, train(model, tensors_by_split["train"], recipe, record=steps))
    tables = {
        split: pd.concat([_table(part), predictions(model, tensors_by_split[split], part)], axis=1)
        for split, part in prepared.named_splits.items()
    }
    _write_tables(writer, tables)
    metric = "accuracy" if prepared.splits.train.values is None else "r2"
    metrics = {f"{split}_{metric}": quality(table) for split, table in tables.items()}
    metrics |= {f"{split}_loss": float(table["loss"].mean()) for split, table in tables.items()}
    parameters = sum(p.numel() for p in model.parameters())
    about = {
        "name": prepared.model_name,
        "parameters": parameters,
        "input_shape": list(prepared.input_shape),
        "digests": prepared.source.digests,
    }
    writer.update(metrics=metrics, model=about)
    if config.training == "none":
        _note_weight_warnings(writer, tables["train"], prepared.splits.train)


def _note_weight_warnings(writer: RunWriter, examples: pd.DataFrame, train: Dataset) -> None:
    """Writes beside the dataset's notes what speaks against weights that were given."""
    if train.values is None:
        found = weight_warnings(examples["predicted"].to_numpy(), examples["label"].to_numpy(), train.class_names)
    else:
        found = weight_warnings_of_values(quality(examples))
    before = writer.manifest.dataset
    if before is not None and found:
        notes = list(dict.fromkeys([*before.notes, *found]))
        writer.update(dataset=before.model_copy(update={"notes": notes}))


# -- their parts -----------------------------------------------------------------------------------------------------


def _values(dataset: Dataset) -> ValuesSummary | None:
    known = dataset.values
    if known is None:
        return None
    return ValuesSummary(name=known.name, mean=known.mean, scale=known.scale, ranges=known.range_names)


def _table(dataset: Dataset) -> pd.DataFrame:
    """Ids, labels and group columns; a group that has the name of one of our columns gets ``_in_data`` behind it."""
    taken = {*BASE_COLUMNS, *MEASURES, VALUE_RANGE, "umap_x", "umap_y"}
    groups = dataset.groups.reset_index(drop=True).rename(columns=lambda c: f"{c}_in_data" if c in taken else c)
    names = label_names(dataset.labels, dataset.class_names)
    own = pd.DataFrame({"id": dataset.ids, "label": dataset.labels, "label_name": names})
    if dataset.values is not None:
        own[VALUE_RANGE] = np.array(dataset.strata_names, dtype=object)[dataset.strata]
    if dataset.kind != "image":
        own["text"] = [describe(dataset[i][0]) for i in range(len(dataset))]
    return pd.concat([own, groups], axis=1)


def _check_same_data(writer: RunWriter, data_print: str) -> None:
    before = writer.manifest.dataset
    if before is not None and before.fingerprint != data_print:
        raise InputError(
            f"The data of the run {writer.path} has changed since (fingerprint {before.fingerprint[:12]} then, "
            f"{data_print[:12]} now): give another --out, or delete that run."
        )
