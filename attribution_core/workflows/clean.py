"""Retrain on a cleaned dataset, as a new run that records the run it comes from."""

from pathlib import Path

from torch import nn

from attribution_core.errors import InputError
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.prepare_run import Data, prepare_run, splits_of_program
from attribution_core.runs import Run, RunWriter
from attribution_core.runs.cleaned import changes, cleaned_folder, write_decisions
from attribution_core.scoring.score import score


def clean(
    run: Path,
    out: Path | None = None,
    data: Data = None,
    device: str = "auto",
    model: nn.Module | None = None,
) -> Run:
    """Apply a run's decisions to its examples, and train and score the rest with the run's configuration.

    Decisions about validation and test examples are applied, too; the two runs are compared on the examples that both
    have with the same label. The current decisions are written into the reviewed run and copied into the new one; a
    second call with the same decisions resumes the new run. Its details name, under ``"cleaning"``, the run it comes
    from with that run's metrics, the numbers of dropped, relabeled and kept training examples, and under
    ``"evaluation"`` those of validation and test examples.

    Args:
        run: Directory of the reviewed run.
        out: Directory of the new run; by default ``RUN-cleaned`` beside the old one, see :func:`cleaned_folder`.
        data: New path of the dataset, if it was moved, or the torch dataset that was scored.
        device: Device to compute on; ``"auto"`` takes CUDA if available.
        model: The module before fine-tuning, if the scored model came from a program.

    Returns:
        The new run.

    Raises:
        InputError: The run does not exist or is not finished, no decision changes anything, the decisions leave a class
            or a split without examples, the data has changed, or the directory holds another run.
    """
    parent = Run.open(run)
    out = Path(out) if out is not None else cleaned_folder(parent)
    file, counts = write_decisions(parent), changes(parent)
    splits = splits_of_program(parent, data)
    # Different data must not pass as the reviewed run's: prepare_run checks them against its fingerprint.
    where = prepare_run(parent, splits or data, device, model).config.data
    config = ScoreConfig.of_run(parent.manifest.config, data=where, out=out, decisions=file, device=device)
    if out.resolve() == parent.path:
        raise InputError(f"{out} is the run that was reviewed. Give another --out.")
    child = score(config, model, splits=splits)
    link = {
        "parent": parent.id,
        "parent_title": parent.title,
        "parent_metrics": parent.manifest.metrics,
        **counts["train"],
        "evaluation": {split: counts[split] for split in ("validation", "test")},
    }
    if child.manifest.details.get("cleaning") == link:
        return child
    manifest = child.manifest
    with RunWriter.start(child.path, manifest.config, manifest.fingerprint, manifest.title) as writer:
        writer.describe("cleaning", link)
    return Run.open(child.path)
