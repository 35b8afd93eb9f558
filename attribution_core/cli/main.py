"""The command ``samplescope``."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from attribution_core.cli import output
from attribution_core.cli.arguments import Device, MovedData, NoBrowser, Port, Processes, RunFolder
from attribution_core.cli.contributions import contributions
from attribution_core.cli.output import Bars, err, out
from attribution_core.cli.regularization import regularization
from attribution_core.cli.responses import Responses, print_responses
from attribution_core.cli.score_options import Out, takes_configuration
from attribution_core.cli.without import without
from attribution_core.errors import InputError, resource_error, validation_message
from attribution_core.jobs.jobs import usable_cores
from attribution_core.preparation.config import ScoreConfig
from attribution_core.runs import MEASURES, Run

app = typer.Typer(
    help="SampleScope: what does each training example do?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
INTERRUPTED = 130
_NICENESS = 10  # of scoring beside the app, whose pages someone waits for

# Formats that ``export`` writes; the end of a score that hints at a wrong label; what a positive effect means.
ExportFormat = Literal["same", "csv", "parquet", "folder"]
Suspicious = Literal["high", "low", "none"]
Positive = Literal["helpful", "harmful"]


@app.command()
def demo(
    out_: Out = None,
    port: Port = 0,
    no_browser: NoBrowser = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Score without opening the app.")] = False,
) -> None:
    """Score the demo dataset, Fashion-MNIST with 5% wrong labels planted, and open the app with the first scores."""
    config = ScoreConfig(data="fashion-demo", out=out_)
    if no_open:
        _score(config)
        return
    # The app loads beside the scoring, and a line tells it when there is something to see.
    command = [*_serve_command(config.folder, port, no_browser), "--wait"]
    serving = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)

    def show() -> None:
        print("scored", file=serving.stdin, flush=True)
        if sys.platform != "win32":
            os.nice(_NICENESS)

    try:
        _score(config, show)
    except BaseException:
        serving.terminate()
        raise
    if code := serving.wait():
        raise typer.Exit(code)


@app.command()
@takes_configuration
def score(config: ScoreConfig) -> None:
    """Train a model on DATA and score every training example. Give the same command again to resume."""
    run = _score(config)
    out.print(f"Open it:  samplescope open {escape(str(run.path))}", soft_wrap=True)


@app.command()
@takes_configuration
def estimate(config: ScoreConfig) -> None:
    """Estimate the time and memory that `score` with the same options takes, without making a run."""
    from attribution_core.scoring.estimate import estimate as estimate_

    with Bars():
        estimated = estimate_(config)
    output.print_estimate(estimated)
    estimated.require_memory()


@app.command("open")
def open_(
    run: Annotated[Path, typer.Argument(help="Directory of a run, or a folder of runs.")],
    port: Port = 0,
    no_browser: NoBrowser = False,
    reviewer: Annotated[str, typer.Option(help="Name that your decisions get in the run. Default: none.")] = "",
) -> None:
    """Open a run in the browser; the app is reachable from this machine only."""
    _serve(run, port, no_browser, reviewer)


@app.command()
def verify(
    run: RunFolder,
    examples: Annotated[int, typer.Option(min=3, help="Training examples to remove, one at a time.")] = 40,
    halves: Annotated[int, typer.Option(min=0, help="Random halves of the data to train on; 0 for none.")] = 50,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each; noise takes two or more.")] = 2,
    responses: Responses = 0,
    processes: Processes = None,
    data: MovedData = None,
    device: Device = "auto",
) -> None:
    """Retrain without some examples and compare the outcome with each score. Give it again to resume."""
    from attribution_core.workflows.verify import verify as verify_

    with Bars():
        found = verify_(run, examples, halves, seeds, processes or usable_cores(), data, device)
    output.print_verification(found, examples)
    if responses:
        print_responses(run, responses, data, device)


app.command()(without)
app.command()(contributions)
app.command()(regularization)


@app.command()
def clean(
    run: Annotated[Path, typer.Argument(help="Directory of a reviewed run.")],
    out_: Annotated[Path | None, typer.Option("--out", help="Directory of the new run. Default: RUN-cleaned.")] = None,
    data: MovedData = None,
    device: Device = "auto",
) -> None:
    """Apply your decisions, retrain and score, and compare on the test set. Give it again to resume."""
    from attribution_core.workflows.clean import clean as clean_

    with Bars():
        after = clean_(run, out_, data, device)
    output.print_cleaning(Run.open(run), after)


@app.command()
def summarize(
    run: RunFolder,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each subset, from different seeds.")] = 3,
    balanced: Annotated[bool, typer.Option("--balanced", help="Keep the share of each class.")] = False,
    step: Annotated[float, typer.Option(help="Share to remove before scoring the rest again.")] = 0.05,
    processes: Processes = None,
    data: MovedData = None,
    device: Device = "auto",
) -> None:
    """Remove examples by their information, retrain on the rest and report the quality. Give it again to resume."""
    from attribution_core.workflows.summarize import summarize as summarize_

    with Bars():
        curve = summarize_(run, seeds, balanced, step, processes or usable_cores(), data, device).retrained
    output.print_summarization(curve, Run.open(run).quality_name)


@app.command()
def export(
    run: RunFolder,
    format_: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="same: the original format; csv: a list of the examples.",
        ),
    ],
    out_: Annotated[Path, typer.Option("--out", help="File to write.")],
    data: MovedData = None,
) -> None:
    """Write the dataset with your decisions applied. The source is never changed."""
    from attribution_core.export.export import export_run

    with Bars():
        summary = export_run(Run.open(run), format_, out_, data=data)
    output.print_export(summary)


@app.command("import")
def import_(
    run: Annotated[Path, typer.Argument(help="Directory of a finished run.")],
    scores: Annotated[
        Path | None, typer.Option(help="File of scores: .csv, .tsv or .parquet with ids, or .npy.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the scores. Default: that of the column or the file.")
    ] = None,
    title: Annotated[str, typer.Option(help="Title to show.")] = "",
    unit: Annotated[str, typer.Option(help="Unit of the values. Default: none.")] = "",
    definition: Annotated[str, typer.Option(help="What the scores mean, in a sentence.")] = "",
    suspicious: Annotated[
        Suspicious | None,
        typer.Option(help="End of the score that hints at a wrong label. Default: none."),
    ] = None,
    positive: Annotated[
        Positive | None,
        typer.Option(help="What a positive effect says of the training example. Default: helpful."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier import of that name.")] = False,
    remove: Annotated[str | None, typer.Option(help="Name of an import to remove.")] = None,
) -> None:
    """Import scores from another library into a run, to view and compare them.

    A table needs a column id, as in run.examples, and one column for each score. A .npy file holds one score for each
    training example, in the run's order; or effects, with one row for each training example and one column for each
    validation example, optionally followed by one for each test example, in the order of run.evaluation.

    From cleanlab, whose label quality is low for suspects (in Python, then in the shell):

      quality = get_label_quality_scores(labels, probabilities)
      table = pd.DataFrame({"id": run.examples["id"], "quality": quality})
      table.to_csv("cleanlab.csv", index=False)

      samplescope import RUN --scores cleanlab.csv --suspicious low

    From kronfluence, whose scores have one row for each query (here, each validation example) and must be transposed:

      scores = analyzer.load_pairwise_scores("scores")["all_modules"]
      np.save("ekfac.npy", scores.T.float().numpy())

      samplescope import RUN --scores ekfac.npy --title EKFAC

    Effects from kronfluence, TRAK, dattri and TracIn are positive for helpful examples, as in SampleScope. For effects
    of the opposite sign, give --positive harmful. Imported effects keep their own scale.
    """
    from attribution_core.workflows.import_scores import ScoreDescription, import_file, remove_scores

    if (scores is None) == (remove is None):
        raise InputError("Give either --scores FILE to import scores, or --remove NAME to remove an import.")
    if remove is not None:
        remove_scores(run, remove)
        out.print(f"Removed {escape(remove)} from {escape(str(run))}.", soft_wrap=True, highlight=False)
        return
    description = ScoreDescription(title, unit, definition, suspicious, positive)
    with Bars():
        imported = import_file(run, scores, name, description, replace)  # type: ignore[arg-type]  # checked above
    for each, score in imported.items():
        what = "effects" if score.measure.kind == "effect" else "scores"
        note = f", {score.note}" if score.note else ""
        out.print(f"Imported the {what} {each}{escape(note)}.", soft_wrap=True, highlight=False)
    out.print(f"Open them:  samplescope open {escape(str(run))}", soft_wrap=True)


@app.command()
def methods() -> None:
    """List the measures with their definitions, units, equations and sources."""
    for measure in MEASURES.values():
        out.print(f"[bold]{measure.name}[/bold]  {escape(measure.title)} ({measure.unit or 'no unit'})")
        out.print(f"  {escape(measure.definition)}", highlight=False)
        out.print(f"  {escape(measure.equation)}", highlight=False)
        out.print(f"  {escape(measure.paper or 'part of every run')}\n", highlight=False)


@app.command()
def datasets() -> None:
    """List the built-in datasets, which open by name, and the formats that open by path."""
    from attribution_core.datasets import BUILTIN_DATASETS, FORMATS

    table = Table("name", "contents", "license", "source")
    for each in BUILTIN_DATASETS:
        table.add_row(each.name, each.description, each.license, each.source)
    out.print(table)
    formats = "; ".join(each.description for each in FORMATS)
    out.print(
        f"You can also give hf:NAME for a dataset of the Hugging Face hub, or a path: {escape(formats)}.",
        soft_wrap=True,
        highlight=False,
    )


# Its own --help, so that with a name the option reaches the experiment.
@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def reproduce(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Name of an experiment; --list shows them.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that contains mnist/, cifar10/, uci/, text/ and the like.")
    ] = None,
    out_: Annotated[Path | None, typer.Option("--out", help="Folder for the table and the figure.")] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List the experiments and whether their results were reproduced.")
    ] = False,
    help_: Annotated[
        bool, typer.Option("--help", "-h", help="Show this message, or the options of the experiment NAME.")
    ] = False,
) -> None:
    """Reproduce a published result. Further options go to the experiment; NAME --help shows them."""
    from attribution_core.experiments.registry import EXPERIMENTS, experiment_named, run_experiment

    if help_ and name is None:
        out.print(context.get_help(), highlight=False)
        return
    if list_:
        table = Table("name", "result", "source", "state", "minutes")
        table.columns[0].no_wrap = True
        for each in EXPERIMENTS:
            table.add_row(each.name, each.title, each.source, each.state, f"{each.minutes:g}")
        out.print(table)
        return
    if name is None:
        raise InputError("Give the name of an experiment: samplescope reproduce --list shows them all.")
    if experiment_named(name).needs_data_root and data_root is None and not help_:
        raise InputError(f"The experiment {name} needs data: give the folder that contains it as --data-root DIR.")
    given = {"--data-root": data_root, "--out": out_}
    options = [text for option, path in given.items() if path is not None for text in (option, str(path))]
    code = run_experiment(name, ["--help"] if help_ else [*options, *context.args])
    if code:
        raise typer.Exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name. Default: those of the process. ``--debug`` shows tracebacks.

    Returns:
        0 on success; 2 for bad input, reported in one sentence; 1 for an unexpected error; 130 after an interruption.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        result = app([each for each in arguments if each != "--debug"], standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # the last resort: one sentence, or a traceback with --debug
        if debug:
            raise
        return _explain(error)
    if code == INTERRUPTED:
        err.print("Stopped. Give the same command again to resume.")
    return code


def _explain(error: Exception) -> int:
    """Print an error in one sentence, and return the exit code."""
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
    message = f"An unexpected error occurred ({type(error).__name__}: {error}): give --debug to see where."
    err.print(f"[red]Error:[/red] {escape(message)}", soft_wrap=True, highlight=False)
    return 1


def _score(config: ScoreConfig, on_scores: Callable[[], None] | None = None) -> Run:
    """Score a dataset, and print what the run has and what it lacks."""
    from attribution_core.scoring.score import score as score_
    from attribution_core.scoring.stages import STAGES

    with Bars() as bars:
        run = score_(config, announce=bars.announce, on_scores=on_scores)
    for note in run.manifest.dataset.notes if run.manifest.dataset else ():
        bars.announce(note)  # those of the training, after those of the opening
    details = run.manifest.details["fsi"]
    out.print(
        f"[bold]{escape(run.title)}[/bold]: {output.scored_in_words(run)}. Test {run.quality_name}: "
        f"{run.quality['test']:.1%}; F-SI by {escape(details['route'])}.",
        soft_wrap=True,
        highlight=False,
    )
    for stage in STAGES:
        reason = run.manifest.details.get(stage.details_name or stage.name, {}).get("skipped")
        if reason and stage.option is not None:
            bars.announce(f"Without {stage.title}: {reason}")
    output.print_label_quality(run)
    output.print_not_credible(run)
    output.print_detection(run)
    return run


def _serve(path: Path, port: int, no_browser: bool, reviewer: str = "") -> None:
    """Serve the app until it is stopped."""
    command = _serve_command(path, port, no_browser) + (["--reviewer", reviewer] if reviewer else [])
    if code := subprocess.run(command, check=False).returncode:
        raise typer.Exit(code)


def _serve_command(path: Path, port: int, no_browser: bool) -> list[str]:
    """Return what starts the app, in its own process, since the core does not import it."""
    command = [sys.executable, "-m", "samplescope_app.serve", str(path)]
    command += ["--port", str(port)] if port else []
    return [*command, "--no-browser"] if no_browser else command


if __name__ == "__main__":
    sys.exit(main())
