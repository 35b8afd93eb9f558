"""What the command line shows: progress bars while it works, and tables of results."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from attribution_core.evaluation.comparison import paired_quality
from attribution_core.progress import announcing, listening
from attribution_core.runs import RETRAINING_OUTCOMES, Run
from attribution_core.runs.labels import split_name

if TYPE_CHECKING:  # torch takes seconds to load
    from attribution_core.evaluation.fidelity import Correlation
    from attribution_core.evaluation.summarization import SummarizationCurve
    from attribution_core.export.export import ExportSummary
    from attribution_core.scoring.estimate import Estimate
    from attribution_core.workflows.verify import Verification

out, err = Console(), Console(stderr=True)


class Bars:
    """Shows the progress of each activity inside the block as a line with a bar, and prints each announcement once."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=err
        )
        self._tasks: dict[str, TaskID] = {}
        self._announced: set[str] = set()
        self._inside = ExitStack()

    def __enter__(self) -> Bars:
        self._inside.enter_context(self._progress)
        self._inside.enter_context(listening(self._show))
        self._inside.enter_context(announcing(self.announce))
        return self

    def __exit__(self, *_: object) -> None:
        self._inside.close()

    def announce(self, sentence: str) -> None:
        """Print a sentence, unless it was printed before: a command may open the same data twice."""
        if sentence not in self._announced:
            self._announced.add(sentence)
            out.print(escape(sentence), soft_wrap=True, highlight=False)

    def _show(self, done: int, total: int, what: str) -> None:
        name = what.partition(",")[0]  # "training, epoch 3 of 20" updates the line of "training"
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(escape(what), total=total)
        self._progress.update(self._tasks[name], completed=done, total=total, description=escape(what))


def scored_in_words(run: Run) -> str:
    """Return how many training examples were scored, and how many of the other splits have a label quality."""
    scored, words = run.evaluation, f"{len(run.examples):,} training examples scored"
    if "label_quality" not in scored:
        return words
    sizes = scored["split"].value_counts()
    others = " and ".join(f"{sizes.get(split, 0):,} {split}" for split in ("validation", "test"))
    return f"{words}, and the labels of {others} examples"


def print_not_credible(run: Run) -> None:
    """Print which methods have effects that removing one example cannot have."""
    for method in run.effect_methods:
        share = run.share_not_credible(method)
        if share >= 0.001:  # as it is printed
            title = run.measure(method).title
            out.print(
                f"{escape(title)}: {share:.1%} of the effects are larger than removing one example can cause; the app "
                "marks them. Use their ranking, not their size.",
                soft_wrap=True,
                highlight=False,
            )


def print_label_quality(run: Run) -> None:
    """Print the models that were candidates for judging labels, with their losses, the chosen one in bold."""
    details = run.manifest.details.get("label_quality", {})
    chosen = details.get("chosen")
    if chosen is None:  # skipped, or scored by an earlier version
        return
    table = Table("label quality: candidates", Column("held-out loss (nats)", justify="right"))
    for name, loss in sorted(details["candidates"].items(), key=lambda item: item[1]):
        mark, suffix = ("[bold]", " (chosen)[/bold]") if name == chosen else ("", "")
        table.add_row(f"{mark}{escape(name)}{suffix}", f"{loss:.4f}")
    out.print(table)


def print_detection(run: Run) -> None:
    """Print how early each score finds the wrong labels, if these are known."""
    details = run.manifest.details.get("detection", {})
    if "scores" not in details:
        return
    table = Table("score", "area", "AUC", "in 5%", "in 10%", "in 20%")
    for name, row in sorted(details["scores"].items(), key=lambda item: -item[1]["area"]):
        shares = [f"{row[share]:.0%}" for share in ("5%", "10%", "20%")]
        table.add_row(name, f"{row['area']:.3f}", f"{row['auc']:.3f}", *shares)
    out.print(
        f"Share of the {details['wrong_labels']:,} known wrong labels of training examples that each score finds among "
        "its top suspects (a random order has area 0.5):",
        soft_wrap=True,
    )
    out.print(table)


def print_verification(verification: Verification, examples: int) -> None:
    """Print how well each score predicts the outcome of retraining."""
    table = Table(Column("score", no_wrap=True), "predicts", "Pearson", "Spearman", "at most", "LDS")
    for name, method in verification.methods.items():
        single, ceiling = method.single, "" if method.ceiling is None else f"{method.ceiling:.2f}"
        correlations = [with_interval(each) for each in (single.pearson, single.spearman)]
        table.add_row(name, RETRAINING_OUTCOMES[method.truth], *correlations, ceiling, with_interval(method.lds))
    out.print(table)
    for name, method in verification.methods.items():
        if (found := method.strongest) is not None:
            limit = "" if found.ceiling is None else f" of at most {found.ceiling:.2f}"
            out.print(
                f"Of the {found.pairs:,} strongest pairs by {name}, {found.signs:.0%} have the predicted sign; "
                f"Spearman {found.spearman:.2f}{limit}.",
                soft_wrap=True,
                highlight=False,
            )
    most = verification.lds_ceiling
    noise = "" if most is None else f" Retraining noise limits the LDS to {most:.2f}."
    out.print(
        f"Removed {examples:,} examples one at a time and trained on {verification.halves:,} random halves, with "
        f"{verification.seeds} seeds each, at {verification.seconds:.1f} s for each training. Brackets are 95% "
        f"intervals.{noise}",
        soft_wrap=True,
        highlight=False,
    )


def print_export(summary: ExportSummary) -> None:
    """Print what an export holds of each split, where it is, and what it could not keep."""
    told = [
        f"{of['kept']:,} {name} examples ({of['relabelled']:,} relabeled), dropped {of['dropped']:,}"
        for name, of in _changed(summary.counts)
    ]
    out.print(f"Kept {'; kept '.join(told)}: {escape(str(summary.path))}", soft_wrap=True)
    for note in summary.notes:
        out.print(escape(note), soft_wrap=True, highlight=False)


def print_cleaning(before: Run, after: Run) -> None:
    """Print how retraining on the cleaned data changed the accuracy (or R²) on the same test examples and labels."""
    cleaning = after.manifest.details["cleaning"]
    told = [
        f"{of['kept']:,} {name} examples kept ({of['relabelled']:,} relabeled), {of['dropped']:,} dropped"
        for name, of in _changed({"train": cleaning, **cleaning.get("evaluation", {})})
    ]
    tested = [run.evaluation[run.evaluation["split"] == "test"] for run in (before, after)]
    paired = paired_quality(*tested)
    low, high = paired.interval
    out.print(
        f"[bold]{escape(after.title)}[/bold]: {'; '.join(told)}. The {after.quality_name} on the same "
        f"{paired.examples:,} test examples changed from {paired.before:.1%} to {paired.after:.1%}: "
        f"{100 * paired.difference:+.1f} points (95% interval {100 * low:+.1f} to {100 * high:+.1f}, over the choice "
        "of test examples, for one training each).",
        soft_wrap=True,
        highlight=False,
    )
    out.print(f"Open it:  samplescope open {escape(str(after.path))}", soft_wrap=True)


def _changed(counts: dict[str, dict[str, int]]) -> list[tuple[str, dict[str, int]]]:
    """Return the counts of the training examples and of the other splits that the decisions change."""
    told = {name: of for name, of in counts.items() if name == "train" or of["dropped"] or of["relabelled"]}
    return [(split_name(name), of) for name, of in told.items()]


def print_summarization(curve: SummarizationCurve, quality_name: str) -> None:
    """Print test accuracy, or R², by strategy and share removed."""
    table = Table(Column("removed", no_wrap=True), *curve.accuracy)
    intervals = [curve.interval(name) for name in curve.accuracy]
    for row, fraction in enumerate(curve.fractions):
        pairs = [(mean[row], width[row]) for mean, width in intervals]
        cells = [f"{mean:.1%}" + (f" ± {width:.1%}" if width >= 0 else "") for mean, width in pairs]
        table.add_row(f"{fraction:.0%}", *cells)
    out.print(f"Test {quality_name} after training on the rest, mean and 95% interval over the seeds:")
    out.print(table)


def with_interval(correlation: Correlation | None) -> str:
    """Format a number with its interval; empty if there is none."""
    if correlation is None:
        return ""
    return f"{correlation.value:.2f} [{correlation.low:.2f}, {correlation.high:.2f}]"


def print_estimate(estimated: Estimate) -> None:
    """Print the seconds of each stage, and the total time and memory."""
    from attribution_core.scoring.stages import STAGES  # loads torch

    titles = {stage.name: stage.title for stage in STAGES}
    table = Table("stage", Column("seconds", justify="right"))
    for name, seconds in estimated.seconds.items():
        table.add_row(titles[name], f"{seconds:,.1f}")
    for name, reason in estimated.skipped.items():
        table.add_row(titles[name], f"[dim]skipped: {escape(reason)}[/dim]")
    out.print(table)
    out.print(
        f"Scoring takes about {estimated.total:,.0f} s on this machine under its present load, and "
        f"{estimated.memory / 1e9:.1f} GB of memory at the peak.",
        soft_wrap=True,
        highlight=False,
    )
