"""HYDRA, figures 3 to 5: how well Hessian-free contributions agree with exact ones, and with retraining.

    samplescope reproduce hydra_agreement_epochs --data-root DIR [--examples 10000] [--epochs 200] [--out FOLDER]
    samplescope reproduce hydra_agreement_factors --data-root DIR [--out FOLDER]

``epochs`` is the paper's setting: LeNet-5 on Fashion-MNIST, 200 epochs of batches of 64, rate 0.01 halved on plateaus
of 2 epochs of the sum of training and validation loss, momentum 0.9, decay 2e-5. At each of ``--ends``, as if training
had stopped there, it compares the two kinds of contributions to the mean test loss: the share of examples whose sign
differs (figure 4; paper 0.014 after epoch 100) and Spearman's correlation (figure 5; paper 0.986), over all training
examples and over 1% of each class, as in the paper. Figure 3's error of ``d w_T / d epsilon_i`` is estimated with
``--random`` directions u: the mean of ``<u, x>^2`` over standard normal u is ``|x|^2``. It is a root mean square over
examples, where the paper takes the mean.

``factors`` varies one thing at a time (epochs, rate, momentum, decay, model) on 1,000 examples, for the mean over the
evaluation examples and for each of them. For both kinds of contribution it adds the linear datamodelling score: the
rank correlation between the summed effects of the removed examples and the real losses after training on 30 random
halves, averaged over two seeds. Contributions come from a single training with the first seed. ``ceiling`` is the
correlation between the real losses of the two seeds. ``growth`` measures how chaotic training is
(``Contributions.growth``).

Each writes ``hydra_agreement_STUDY.json`` and ``.png`` into ``--out``.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from attribution_core.evaluation.fidelity import ceiling_between_seeds, linear_datamodelling_score
from attribution_core.evaluation.retraining import random_halves, retrain_without
from attribution_core.experiments.data import Side, images_and_labels
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.reports import write_with_options
from attribution_core.methods.hydra.contributions import hydra, mean_gradient
from attribution_core.methods.hydra.replay import Replay
from attribution_core.methods.hydra.responses import weight_responses
from attribution_core.models import build_model
from attribution_core.progress import listening
from attribution_core.training import Recipe, Trajectory, train

PAPER = Recipe(
    learning_rate=0.01,
    momentum=0.9,
    weight_decay=2e-5,
    batch_size=64,
    schedule="plateau",
    plateau_loss="training_and_validation",
    patience=2,
    factor=0.5,
)
VALIDATION = 1000  # images, whose loss the schedule watches
BASE = Recipe(learning_rate=0.02, momentum=0.9, weight_decay=5e-4, batch_size=64, epochs=20, schedule="constant")
CHANGES: dict[str, dict[str, Any]] = {
    "base": {},
    "2 epochs": {"epochs": 2},
    "5 epochs": {"epochs": 5},
    "50 epochs": {"epochs": 50},
    "rate 0.002": {"learning_rate": 0.002},
    "rate 0.1": {"learning_rate": 0.1},
    "no momentum": {"momentum": 0.0},
    "no momentum, rate 0.2": {"momentum": 0.0, "learning_rate": 0.2},
    "no decay": {"weight_decay": 0.0},
    "decay 0.02": {"weight_decay": 0.02},
    "batches of 500, rate 0.1": {"batch_size": 500, "learning_rate": 0.1, "epochs": 40},
}
MODELS: dict[str, dict[str, Any]] = {
    "lenet5": {"name": "lenet5"},
    "mlp 256": {"name": "mlp", "hidden": [256]},
}
SIZES: dict[str, dict[str, Any]] = {
    "linear": {"name": "linear"},
    "mlp 32": {"name": "mlp", "hidden": [32]},
    "mlp 1024": {"name": "mlp", "hidden": [1024]},
    "mlp 256, 256, 256": {"name": "mlp", "hidden": [256, 256, 256]},
}


def agreement(free: Tensor, exact: Tensor) -> dict[str, float]:
    """Return the share of wrong signs and Spearman's correlation of Hessian-free with exact contributions."""
    differs = (free.sign() != exact.sign()).double().mean()
    return {"sign_error": round(float(differs), 4), "spearman": round(float(spearmanr(free, exact)[0]), 4)}


# -- epochs ------------------------------------------------------------------------------------------------------------


def at_end(trajectory: Trajectory, test: Side, random: int) -> dict[str, Any]:
    """Compare both kinds of contributions to the mean test loss, and estimate figure 3's error."""
    replay = Replay(trajectory)
    directions = mean_gradient(replay.final_model(), trajectory.recipe.loss, *test)
    generator = torch.Generator().manual_seed(0)
    stacked = {
        name: torch.cat([value[None], torch.randn(random, *value.shape, generator=generator)])
        for name, value in directions.items()
    }
    beginning = replay.snapshot()
    with listening(_progress("Hessian-free")):
        free_parts, _ = weight_responses(replay, stacked, False)
    replay.restore(beginning)
    with listening(_progress("exact")):
        exact_parts, growth = weight_responses(replay, stacked, True)
    free_all, exact_all = free_parts[0].double(), exact_parts[0].double()
    free, exact = -free_all[0], -exact_all[0]
    labels = trajectory.data[1]
    tracked = torch.cat(
        [members[: len(members) // 100] for members in ((labels == c).nonzero()[:, 0] for c in range(10))]
    )
    line: dict[str, Any] = {
        "growth": growth,
        "all": agreement(free, exact),
        "one_percent": agreement(free[tracked], exact[tracked]),
    }
    if random:
        n = trajectory.num_examples
        error, size = (exact_all - free_all)[1:] * n, exact_all[1:] * n
        line["hypergradient_error"] = round(float(error.square().mean().sqrt()), 4)
        line["hypergradient_size"] = round(float(size.square().mean().sqrt()), 4)
    return line


def epochs_study(
    data: Side, validation: Side, test: Side, epochs: int, ends: list[int], random: int, save: Callable[..., None]
) -> None:
    """Train once, then compare the contributions at each end."""
    model = build_model("lenet5", 10, data[0].shape[1:])
    recipe = PAPER.model_copy(update={"epochs": epochs})
    with listening(_progress("training")):
        trajectory = train(model, data, recipe, record="checkpoints", validation=validation)
    rows = []
    for end in sorted({min(end, epochs) for end in ends}):
        rows.append({"epochs": end, **at_end(trajectory.until(end), test, random)})
        print(json.dumps(rows[-1]), flush=True)
        save(rows)


# -- factors -----------------------------------------------------------------------------------------------------------


def with_factors(
    model: dict[str, Any], recipe: Recipe, data: Side, evaluation: Side, subsets: int, seeds: int
) -> dict[str, Any]:
    """Return one row: agreement and scores for the mean and for each evaluation example."""
    shape = data[0].shape[1:]

    def build(seed: int) -> nn.Module:
        return build_model(num_outputs=10, input_shape=shape, seed=seed, **model)

    trajectory = train(build(0), data, recipe)
    row: dict[str, Any] = {"final_loss": round(trajectory.epoch_losses[-1], 4)}
    objectives: tuple[Literal["mean", "each"], ...] = ("mean", "each")
    columns = {}
    for objective in objectives:
        with listening(_progress("Hessian-free")):
            free = hydra(trajectory, evaluation, objective=objective)
        with listening(_progress("exact")):
            exact = hydra(trajectory, evaluation, True, objective, energy=1.0)
        columns[objective] = {
            kind: each.effect.reshape(len(each.effect), -1) for kind, each in (("free", free), ("exact", exact))
        }
        pairs = [agreement(a, b) for a, b in zip(*(each.T for each in columns[objective].values()), strict=True)]
        row[objective] = {name: round(sum(pair[name] for pair in pairs) / len(pairs), 4) for name in pairs[0]}
        row[objective]["growth"] = exact.growth
    if subsets == 0:
        return row
    removed = ~random_halves(len(data[0]), subsets)
    groups = [row.nonzero()[:, 0].tolist() for row in removed]
    with listening(_progress("retraining")):
        found = retrain_without(build, data, groups, recipe, evaluation, seeds, keeps_places=False)
    losses = found.losses.transpose(0, 1)  # [seeds, subsets, m]
    real = {"mean": losses.mean(dim=2, keepdim=True), "each": losses}
    for objective in objectives:
        for kind, effect in columns[objective].items():
            scores = linear_datamodelling_score(effect, removed, real[objective].mean(dim=0))
            row[objective][f"lds_{kind}"] = round(float(scores.mean()), 4)
        row[objective]["ceiling"] = ceiling_between_seeds(real[objective])
    return row


def factors_study(data: Side, evaluation: Side, subsets: int, seeds: int, save: Callable[..., None]) -> None:
    """Study one change at a time for each model, then other models with the base recipe."""
    plan = [(model, change) for model in MODELS for change in CHANGES]
    plan += [(model, "base") for model in SIZES]
    rows = []
    for model, change in plan:
        recipe = BASE.model_copy(update=CHANGES[change])
        row = with_factors((MODELS | SIZES)[model], recipe, data, evaluation, subsets, seeds)
        rows.append({"model": model, "change": change, **row})
        print(json.dumps(rows[-1]), flush=True)
        save(rows)


# -- the command -------------------------------------------------------------------------------------------------------


def panels(study: str, rows: list[dict[str, Any]]) -> list[Panel]:
    """Return the panels: the paper's figures over epochs, or the scores of each factor."""
    if study == "epochs":
        x = [row["epochs"] for row in rows]
        drawn = [
            Panel(title, "epochs", {"all examples": [row["all"][key] for row in rows]}, x, {"paper": paper})
            for title, key, paper in (
                ("Sign error (figure 4)", "sign_error", 0.014),
                ("Spearman (figure 5)", "spearman", 0.986),
            )
        ]
        if "hypergradient_error" in rows[0]:
            names = ("hypergradient_error", "hypergradient_size")
            drawn.insert(
                0, Panel("Error of dw/dε (figure 3)", "epochs", {n: [r[n] for r in rows] for n in names}, x, log=True)
            )
        return drawn
    settings = [f"{row['model']}: {row['change']}" for row in rows]
    parts = ("mean", "each")
    return [
        Panel(
            "Hessian-free against exact",
            "Spearman",
            {part: [r[part]["spearman"] for r in rows] for part in parts},
            settings,
        ),
        Panel(
            "Growth of the exact derivative",
            "factor",
            {part: [r[part]["growth"] for r in rows] for part in parts},
            settings,
            log=True,
        ),
        *(
            Panel(
                f"Linear datamodelling score, {part}",
                "LDS",
                {k: [r[part][k] for r in rows] for k in ("lds_free", "lds_exact", "ceiling")},
                settings,
            )
            for part in parts
            if "lds_free" in rows[0][part]
        ),
    ]


def _progress(what: str) -> Callable[[int, int, str], None]:
    def show(done: int, total: int, _: str) -> None:
        if done % max(1, total // 20) == 0:
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return show


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line for each end or factor; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", choices=["epochs", "factors"])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds fashion-mnist/")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--examples", type=int, help="training examples: 10,000 for epochs, 1,000 for factors")
    parser.add_argument("--epochs", type=int, default=200, help="epochs of training, for epochs")
    parser.add_argument(
        "--ends", type=int, nargs="+", default=[1, 2, 5, 10, 20, 50, 100, 150, 200], help="epochs to compare after"
    )
    parser.add_argument("--random", type=int, default=3, help="random directions to estimate figure 3; 0 skips it")
    parser.add_argument("--evaluated", type=int, default=16, help="evaluation examples, for factors")
    parser.add_argument("--subsets", type=int, default=30, help="random halves to retrain on; 0 skips retraining")
    parser.add_argument("--seeds", type=int, default=2, help="retrainings on each half")
    options = parser.parse_args(argv)
    examples = options.examples or (10_000 if options.study == "epochs" else 1000)
    data, validation, test = images_and_labels(options.data_root / "fashion-mnist", examples, VALIDATION)

    def save(rows: list[dict[str, Any]]) -> None:
        results = {"rows": rows}
        write_with_options(options, f"hydra_agreement_{options.study}", results, panels(options.study, rows))

    if options.study == "epochs":
        epochs_study(data, validation, test, options.epochs, options.ends, options.random, save)
    else:
        evaluation = (test[0][: options.evaluated], test[1][: options.evaluated])
        factors_study(data, evaluation, options.subsets, options.seeds, save)
    return 0


if __name__ == "__main__":
    sys.exit(main())
