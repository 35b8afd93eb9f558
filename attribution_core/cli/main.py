"""The command ``samplescope``."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from attribution_core.cli import output
from attribution_core.cli.output import Bars, err, out
from attribution_core.cli.score_options import Out, takes_configuration
from attribution_core.errors import InputError, resource_error, validation_message
from attribution_core.jobs.jobs import usable_cores
from attribution_core.runs import MEASURES, Run

if TYPE_CHECKING:
    from attribution_core.preparation.config import ScoreConfig  # brings torch

app = typer.Typer(
    help="SampleScope: what does each training example do?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
INTERRUPTED = 130

# Forms that ``export`` writes; ends of a score that hint at a wrong label; what a positive effect says of an example.
ExportFormat = Literal["same", "csv", "parquet", "folder"]
Suspicious = Literal["high", "low", "none"]
Positive = Literal["helpful", "harmful"]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="By default a free one from 8501 up.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]


@app.command()
def demo(
    out_: Out = None,
    port: Port = 0,
    no_browser: NoBrowser = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only score; do not open the app.")] = False,
) -> None:
    """Score the demo dataset (Fashion-MNIST with 5% wrong labels planted) and open the app."""
    from attribution_core.scoring.score import ScoreConfig

    run = _score(ScoreConfig(data="fashion-demo", out=out_))
    if not no_open:
        _serve(run.path, port, no_browser)


@app.command()
@takes_configuration
def score(config: "ScoreConfig") -> None:
    """Train a model on DATA and score every training example; run it again to go on after an interruption."""
    run = _score(config)
    out.print(f"Look at it:  samplescope open {escape(str(run.path))}", soft_wrap=True)


@app.command()
@takes_configuration
def estimate(config: "ScoreConfig") -> None:
    """Say what `score` with the same options would take here, from a probe of a few batches; makes no run."""
    from attribution_core.scoring.estimate import estimate as estimate_

    with Bars():
        found = estimate_(config)
    output.print_estimate(found)
    found.require_memory()


@app.command("open")
def open_(
    run: Annotated[Path, typer.Argument(help="A run's directory, or a folder of runs.")],
    port: Port = 0,
    no_browser: NoBrowser = False,
) -> None:
    """Open a run in the browser, on this machine only."""
    _serve(run, port, no_browser)


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help="A run's directory.")],
    examples: Annotated[int, typer.Option(min=3, help="Training examples to remove, one by one.")] = 40,
    halves: Annotated[int, typer.Option(min=0, help="Random halves of the data to train on; 0 for none.")] = 50,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each; with one, noise can't be told.")] = 2,
    processes: Annotated[int | None, typer.Option(min=1, help="Trainings side by side; by default one a core.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the dataset lies now, if it was moved.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Really train again without some examples, and say how well each score foretold it; goes on where it was."""
    from attribution_core.workflows.verify import verify as verify_

    with Bars():
        found = verify_(run, examples, halves, seeds, processes or usable_cores(), data, device)
    output.print_verification(found, examples)


@app.command()
def clean(
    run: Annotated[Path, typer.Argument(help="A reviewed run's directory.")],
    out_: Annotated[Path | None, typer.Option("--out", help="The new run's directory; by default RUN-cleaned.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the dataset lies now, if it was moved.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Retrain and score with your decisions applied, and compare on the test set; goes on where it was."""
    from attribution_core.workflows.clean import clean as clean_

    with Bars():
        after = clean_(run, out_, data, device)
    output.print_cleaning(Run.open(run), after)


@app.command()
def summarize(
    run: Annotated[Path, typer.Argument(help="A run's directory.")],
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each.")] = 3,
    balanced: Annotated[bool, typer.Option("--balanced", help="Keep the classes' shares.")] = False,
    step: Annotated[float, typer.Option(help="Share removed before what is left is scored again.")] = 0.05,
    processes: Annotated[int | None, typer.Option(min=1, help="Trainings side by side; by default one a core.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the dataset lies now, if it was moved.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Remove examples by their information, train on what is left, and say what it costs; goes on where it was."""
    from attribution_core.workflows.summarize import summarize as summarize_

    with Bars():
        curve = summarize_(run, seeds, balanced, step, processes or usable_cores(), data, device).retrained
    output.print_summarization(curve, Run.open(run).quality_name)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run's directory.")],
    format_: Annotated[
        ExportFormat,
        typer.Option("--format", help="same: as the data came; csv: the list."),
    ],
    out_: Annotated[Path, typer.Option("--out", help="The file to write.")],
    data: Annotated[str | None, typer.Option(help="Where the dataset lies now, if it was moved.")] = None,
) -> None:
    """Write the dataset with your decisions applied; the source is never touched."""
    from attribution_core.export.export import export_run

    with Bars():
        summary = export_run(Run.open(run), format_, out_, data=data)
    out.print(
        f"Kept {summary.kept:,} training examples ({summary.relabelled:,} relabelled), dropped {summary.dropped:,}: "
        f"{escape(str(summary.path))}",
        soft_wrap=True,
    )


@app.command("import")
def import_(
    run: Annotated[Path, typer.Argument(help="A finished run's directory.")],
    scores: Annotated[Path | None, typer.Option(help="A .csv, .tsv or .parquet with ids, or a .npy.")] = None,
    name: Annotated[str | None, typer.Option(help="By default the column's, or the file's.")] = None,
    title: Annotated[str, typer.Option(help="Name for people.")] = "",
    unit: Annotated[str, typer.Option(help="Of the values; none is assumed.")] = "",
    definition: Annotated[str, typer.Option(help="What they mean, in a sentence.")] = "",
    suspicious: Annotated[
        Suspicious | None,
        typer.Option(help="End of a score that hints at a wrong label; by default none."),
    ] = None,
    positive: Annotated[
        Positive | None,
        typer.Option(help="What a positive effect says of the training example; by default helpful."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="In place of an earlier import of that name.")] = False,
    remove: Annotated[str | None, typer.Option(help="Name of an import to take out again.")] = None,
) -> None:
    """Take scores that another library made into a run, to see and compare them.

    A table has a column id, as run.examples has it, and a column for each score. A .npy holds a score for each training
    example, in the run's order; or effects, a row for each training example and a column for each validation example,
    then perhaps each test example.

    From cleanlab, whose label quality is low where a label is suspicious (in Python, then in the shell):

      quality = get_label_quality_scores(labels, probabilities)
      table = pd.DataFrame({"id": run.examples["id"], "quality": quality})
      table.to_csv("cleanlab.csv", index=False)

      samplescope import RUN --scores cleanlab.csv --suspicious low

    From kronfluence, whose scores have a row for each query (here: each validation example), and so are transposed:

      found = analyzer.load_pairwise_scores("scores")["all_modules"]
      np.save("ekfac.npy", found.T.float().numpy())

      samplescope import RUN --scores ekfac.npy --title EKFAC

    Effects of kronfluence, TRAK, dattri and TracIn are positive where an example is helpful, as ours are; where it is
    the other way round, say --positive harmful. They keep their own scale.
    """
    from attribution_core.workflows.import_scores import About, import_file, remove_scores

    if (scores is None) == (remove is None):
        raise InputError("Give --scores FILE to import, or --remove NAME to take an import out again, one of the two.")
    if remove is not None:
        remove_scores(run, remove)
        out.print(f"Took {escape(remove)} out of {escape(str(run))}.", soft_wrap=True, highlight=False)
        return
    about = About(title, unit, definition, suspicious, positive)
    with Bars():
        found = import_file(run, scores, name, about, replace)  # type: ignore[arg-type]  # not both are None
    for each, score in found.items():
        what = "effects" if score.measure.kind == "effect" else "scores"
        note = f", {score.note}" if score.note else ""
        out.print(f"Imported the {what} {each}{escape(note)}.", soft_wrap=True, highlight=False)
    out.print(f"Look at them:  samplescope open {escape(str(run))}", soft_wrap=True)


@app.command()
def methods() -> None:
    """List the measures: definition, unit, equation and source."""
    for measure in MEASURES.values():
        out.print(f"[bold]{measure.name}[/bold]  {escape(measure.title)} ({measure.unit or 'no unit'})")
        out.print(f"  {escape(measure.definition)}", highlight=False)
        out.print(f"  {escape(measure.equation)}", highlight=False)
        out.print(f"  {escape(measure.paper or 'comes with every run')}\n", highlight=False)


@app.command()
def datasets() -> None:
    """List the datasets that open by name; any other is opened by its path."""
    from attribution_core.datasets import BUILTIN_DATASETS, FORMATS

    table = Table("name", "what", "licence", "source")
    for known in BUILTIN_DATASETS:
        table.add_row(known.name, known.description, known.license, known.source)
    out.print(table)
    forms = "; ".join(form.description for form in FORMATS)
    out.print(f"Or hf:NAME of the Hugging Face hub; by path: {escape(forms)}.", soft_wrap=True, highlight=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def reproduce(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="An experiment that --list shows.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder that holds mnist/, cifar10/, uci/, text/ ...")] = None,
    out_: Annotated[Path | None, typer.Option("--out", help="Folder for the table and the figure.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show what there is, and what held.")] = False,
) -> None:
    """Repeat a published result; further options are the experiment's own (-- --help shows them)."""
    from attribution_core.experiments.registry import EXPERIMENTS, experiment_named, run_experiment

    if list_:
        table = Table("name", "what", "source", "state", "minutes")
        table.columns[0].no_wrap = True
        for each in EXPERIMENTS:
            table.add_row(each.name, each.title, each.source, each.state, f"{each.minutes:g}")
        out.print(table)
        return
    if name is None:
        raise InputError("Which experiment? samplescope reproduce --list shows them all.")
    if experiment_named(name).needs_data_root and data_root is None and "--help" not in context.args:
        raise InputError(f"The experiment {name} needs data: give the folder that holds them as --data-root DIR.")
    given = {"--data-root": data_root, "--out": out_}
    options = [text for option, path in given.items() if path is not None for text in (option, str(path))]
    code = run_experiment(name, [*options, *context.args])
    if code:
        raise typer.Exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; the process's own by default. ``--debug`` anywhere shows tracebacks.

    Returns:
        0; 2 for bad input, told in one sentence; 1 for a fault of ours; 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        result = app([each for each in arguments if each != "--debug"], standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # the last resort: one sentence for a person, a traceback for who asks for it
        if debug:
            raise
        return _explain(error)
    if code == INTERRUPTED:
        err.print("Stopped. The same command goes on where it was.")
    return code


def _explain(error: Exception) -> int:
    error = resource_error(error) or error
    if isinstance(error, InputError):
        err.print(f"[red]Error:[/red] {escape(str(error))}", soft_wrap=True, highlight=False)
        return 2
    if isinstance(error, ValidationError):
        err.print(f"[red]Error:[/red] {escape(validation_message(error))}", soft_wrap=True, highlight=False)
        return 2
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # a usage error of the option parser
        err.print(f"[red]Error:[/red] {escape(error.format_message())} Try --help.", soft_wrap=True, highlight=False)
        return 2
    message = f"Something went wrong that should not ({type(error).__name__}: {error}); --debug shows where."
    err.print(f"[red]Error:[/red] {escape(message)}", soft_wrap=True, highlight=False)
    return 1


def _score(config: "ScoreConfig") -> Run:
    from attribution_core.scoring.score import score as score_
    from attribution_core.scoring.stages import STAGES

    announced: list[str] = []

    def announce(sentence: str) -> None:
        announced.append(sentence)
        out.print(escape(sentence), soft_wrap=True, highlight=False)

    with Bars():
        run = score_(config, announce=announce)
    for note in run.manifest.dataset.notes if run.manifest.dataset else ():
        out.print(escape(note), soft_wrap=True, highlight=False)
    details = run.manifest.details["fsi"]
    out.print(
        f"[bold]{escape(run.title)}[/bold]: {len(run.examples):,} training examples scored. Test {run.quality_name} "
        f"{run.quality['test']:.1%}; F-SI by {escape(details['route'])}.",
        soft_wrap=True,
        highlight=False,
    )
    for stage in STAGES:
        reason = run.manifest.details.get(stage.details_name or stage.name, {}).get("skipped")
        sentence = f"Without {stage.title}: {reason}"
        if reason and stage.option is not None and sentence not in announced:
            out.print(escape(sentence), soft_wrap=True, highlight=False)
    output.print_detection(run)
    return run


def _serve(path: Path, port: int, no_browser: bool) -> None:
    """Start the app as a process of its own: the core does not know it."""
    command = [sys.executable, "-m", "samplescope_app.serve", str(path)]
    command += ["--port", str(port)] if port else []
    command += ["--no-browser"] if no_browser else []
    code = subprocess.run(command, check=False).returncode
    if code:
        raise typer.Exit(code)


if __name__ == "__main__":
    sys.exit(main())
