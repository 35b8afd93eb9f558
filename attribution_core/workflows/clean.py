"""Closing the loop: retrain on the cleaned set, as a new run that knows which one it comes from."""

from pathlib import Path

from torch import nn

from attribution_core.errors import InputError
from attribution_core.preparation.config import ScoreConfig
from attribution_core.preparation.prepare import Data, prepare_run, splits_of_program
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
    """Apply a run's decisions to its training examples, and train and score what is left as the run itself was.

    Validation and test examples stay as they are, so that the accuracies of the two runs are of the same images. The
    decisions in force are written into the run that was reviewed, and copied into the new one; called again with the
    same decisions, the new run goes on where it was. Its details name under ``"cleaning"`` the run it comes from, with
    that run's metrics, and how many examples were dropped, relabelled and kept.

    Args:
        run: The directory of the run that was reviewed.
        out: The new run's directory; ``RUN-cleaned`` beside it by default, see :func:`cleaned_folder`.
        data: Where the dataset lies now, if it was moved; or the torch dataset that was scored.
        device: ``"auto"`` takes CUDA when there is one.
        model: The module that was fine-tuned, as it was before, where it came from a program.

    Returns:
        The new run.

    Raises:
        InputError: No such run, an unfinished one, no decision that changes anything, decisions that leave a class
            without examples, data that has changed, or a directory that holds another run.
    """
    parent = Run.open(run)
    out = Path(out) if out is not None else cleaned_folder(parent)
    file, counts = write_decisions(parent), changes(parent)
    splits = splits_of_program(parent, data)
    # Other data would be compared with themselves.
    where = prepare_run(parent, splits or data, device, model).config.data
    options = {**parent.manifest.config, "data": where, "out": out, "decisions": file, "device": device}
    if out.resolve() == parent.path:
        raise InputError(f"{out} is the run that was reviewed: give another --out.")
    child = score(ScoreConfig.model_validate(options), model, splits=splits)
    link = {
        "parent": parent.id,
        "parent_title": parent.title,
        "parent_metrics": parent.manifest.metrics,
        **counts,
    }
    if child.manifest.details.get("cleaning") == link:
        return child
    manifest = child.manifest
    with RunWriter.start(child.path, manifest.config, manifest.fingerprint, manifest.title) as writer:
        writer.describe("cleaning", link)
    return Run.open(child.path)
