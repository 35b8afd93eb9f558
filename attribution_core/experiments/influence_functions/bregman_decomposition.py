"""If influence functions are the answer, then what is the question? Tables 5, 6 and 8 (Bae et al. 2022).

    samplescope reproduce bregman_decomposition --data-root DIR [--data concrete] [--out FOLDER]

A multilayer perceptron is trained for K epochs by SGD with a constant rate and batches of 128 (appendix C.3): on UCI
Concrete and Energy with two hidden layers of 128 for 1,000 epochs, as in the paper; on 6,000 images of MNIST or
Fashion-MNIST with two hidden layers of 256 for 50 epochs, where the paper has 1,024 and 1,000 (``--hidden 1024 --epochs
1000``: many hours). ``cancer`` is logistic regression, trained by L-BFGS with an L2 regularization of 0.01; so are its
stages 1 to 5, to their minima, and the regularization counts as damping from 4 on, where the Bregman term contains it.
Then for each of 20 training examples (appendix C.2):

1. cold: retrained without it from the same initial weights for K + K/2 epochs, in the same order of batches;
2. warm: training continued without it for K/2 epochs;
3. proximal: the same with ``damping/2 |w - w_s|^2`` added (eq. 21);
4. Bregman: the proximal Bregman response (eq. 28), trained for K/2 epochs at a tenth of the rate;
5. linearized: its linearized form (eq. 38), trained in the same way;
6. influence: the influence function by LiSSA with ``--depth`` 5,000, which is gradient descent on the objective of 5
   with a rate of one over its scale (the paper: depth 5,000, scales of 10 to 500). Beside it are LiSSA with the depth
   at which it gets as far as 5 did in its K/2 epochs and, for one output, conjugate gradients.

``--protocol converged`` minimizes 4 and 5 by L-BFGS on all examples and uses conjugate gradients for 6, so that neither
side stops short in directions of little curvature. The parts then match their definitions, and the correlation may be
lower: for a squared error, an example of leverage h moves the outputs ``1 / (1 - h)`` times as far as its influence
function says (0.66 on average on Concrete), which K/2 epochs at a tenth of the rate hardly show. So for one output a
last column divides by 1 - h: the removed example's loss and its Bregman term add up to something linear in the outputs,
so the remaining curvature is that of the other examples, and the Sherman-Morrison formula gives 1 - h.

For each two neighboring stages, the command prints the distance of the outputs on the training set, ``|f - f'|`` over
all examples and outputs, as mean and standard deviation over the removed examples: the five parts of table 5. As in
table 6, it also prints Pearson's and Spearman's correlation between the changes of the test losses that each influence
function predicts (eq. 20) and the real ones of cold, warm, two-stage (D.2) and Bregman weights, over all pairs of the
removed examples and 100 test examples.

Finished examples are kept in ``FOLDER``, so a stopped command resumes where it was.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn

from attribution_core.evaluation.responses import COMPARED, PARTS, STAGES, moved_outputs, outputs_at
from attribution_core.experiments.data import Side, cancer, images_and_labels, table
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.reports import print_progress, write_with_options
from attribution_core.gradients import plan_parameters
from attribution_core.methods.curvature.iterative import largest_eigenvalue, lissa_scale
from attribution_core.methods.curvature.losses import Loss, prediction_errors
from attribution_core.methods.influence.functions import influence_weights
from attribution_core.methods.influence.options import InfluenceOptions, Solver
from attribution_core.methods.influence.proximal_bregman import (
    proximal_bregman_response,
    proximal_response,
    train_without,
    two_stage_weights,
)
from attribution_core.models import build_model, device_named
from attribution_core.models.weights import StateDict
from attribution_core.progress import listening
from attribution_core.training import Recipe, loss_values, outputs_of, train
from attribution_core.training.trainer import state_of

# Influence functions by solver; stage 6 is the first of those that a protocol uses.
LISSA, AS_FAR, CG = "lissa", "as far", "cg"
TESTED = 100
# Table 5 (mean and deviation of the five parts) and table 6 (Pearson and Spearman with cold, warm, PBRF).
PAPER: dict[str, dict[str, Any]] = {
    "concrete": {
        "parts": ((0.079, 0.008), (0.002, 0.000), (0.082, 0.001), (0.000, 0.000), (0.001, 0.002)),
        "correlations": {"cold": (-0.11, 0.12), "warm": (0.09, 0.11), "bregman": (0.93, 0.94)},
    },
    "energy": {
        "parts": ((0.016, 0.001), (0.001, 0.000), (0.016, 0.001), (0.000, 0.000), (0.000, 0.000)),
        "correlations": {"cold": (0.03, 0.04), "warm": (0.09, 0.13), "bregman": (0.97, 0.91)},
    },
    "mnist": {
        "parts": ((0.208, 0.732), (0.006, 0.024), (0.211, 0.745), (0.000, 0.000), (0.001, 0.004)),
        "correlations": {"cold": (-0.10, 0.01), "warm": (0.22, 0.35), "bregman": (0.98, 0.91)},
    },
    "fashion-mnist": {
        "parts": ((2.968, 0.545), (0.385, 0.028), (0.408, 0.033), (0.000, 0.001), (0.007, 0.010)),
        "correlations": {"cold": (0.16, 0.00), "warm": (0.06, 0.07), "bregman": (0.90, 0.92)},
    },
    "cancer": {"parts": ((0.0, 0.0),) * 5, "correlations": {}},
}


@dataclass(frozen=True)
class Setting:
    """Define what is trained, and how.

    Attributes:
        data: Training examples.
        test: Test examples whose losses are compared.
        loss: Loss on both.
        hidden: Hidden sizes; none for logistic regression.
        outputs: Number of outputs of the model.
        recipe: Recipe of the training for K epochs.
        damping: Damping of every stage after it.
        by_lbfgs: Whether L-BFGS on all examples trains to the minima, in place of the recipe's SGD.
    """

    data: Side
    test: Side
    loss: Loss
    hidden: tuple[int, ...]
    outputs: int
    recipe: Recipe
    damping: float = 0.001
    by_lbfgs: bool = False

    @property
    def curvature_damping(self) -> float:
        """Damping of stages 4 to 6, with the weight decay of the training, which their Bregman term contains."""
        return self.damping + self.recipe.weight_decay

    def network(self) -> nn.Module:
        """Build the network at its initial weights, on the data's device and in its precision."""
        name = "mlp" if self.hidden else "linear"
        return build_model(name, self.outputs, self.data[0].shape[1:], self.hidden).to(self.data[0])

    def on(self, device: torch.device) -> "Setting":
        """Return the same setting on another device."""
        data, test = ((inputs.to(device), targets.to(device)) for inputs, targets in (self.data, self.test))
        return replace(self, data=data, test=test)


def setting(name: str, data_root: Path, hidden: int | None, epochs: int | None, rate: float | None) -> Setting:
    """Return the paper's setting, except for the width and number of epochs of the image networks."""
    # Rates: those of the paper's sweep with the smallest test loss (0.1 for the images, where larger ones overfit).
    rate = rate or (0.3 if name in ("concrete", "energy") else 0.1)
    recipe = Recipe(momentum=0.0, weight_decay=0.0, batch_size=128, schedule="constant", learning_rate=rate)
    if name == "cancer":
        data, test = ((inputs.double(), targets) for inputs, targets in cancer())
        recipe = recipe.model_copy(update={"epochs": 1, "weight_decay": 0.01, "batch_size": len(data[0])})
        return Setting(data, test, "cross_entropy", (), 2, recipe, by_lbfgs=True)
    if name in ("concrete", "energy"):
        data, test = table(data_root / "uci" / f"{name}.txt")
        recipe = recipe.model_copy(update={"epochs": epochs or 1000, "loss": "mse"})
        return Setting(data, (test[0][:TESTED], test[1][:TESTED]), "mse", 2 * (hidden or 128,), 1, recipe)
    data, _, test = images_and_labels(data_root / name, 6000, 1)
    recipe = recipe.model_copy(update={"epochs": epochs or 50})
    return Setting(data, (test[0][:TESTED], test[1][:TESTED]), "cross_entropy", 2 * (hidden or 256,), 10, recipe)


def minimum(given: Setting, start: StateDict, removed: Sequence[int] = (), damping: float = 0.0) -> StateDict:
    """Minimize the objective without some examples by L-BFGS (eq. 11), near ``start`` if there is damping (eq. 21)."""
    model, (inputs, targets) = given.network(), given.data
    model.load_state_dict(start)
    weights = inputs.new_full((len(inputs),), 1 / len(inputs))
    weights[list(removed)] = 0
    pairs = [(each, each.detach().clone()) for each in model.parameters()]
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=2000, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = (weights * loss_values(model(inputs), targets, given.loss)).sum()
        for now, before in pairs:
            value = value + given.recipe.weight_decay / 2 * now.square().sum()
            value = value + damping / 2 * (now - before).square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    return state_of(model)


def optima(given: Setting, model: nn.Module, start: StateDict, example: int, converged: bool) -> dict[str, StateDict]:
    """Compute the weights of stages 1 to 5, for a model at ``w_s``."""
    recipe, initial = given.recipe, state_of(given.network())
    half = recipe.epochs // 2
    longer, on = (recipe.model_copy(update={"epochs": epochs}) for epochs in (recipe.epochs + half, half))

    slow = None if converged or given.by_lbfgs else on.model_copy(update={"learning_rate": recipe.learning_rate / 10})

    def bregman(linearized: bool) -> StateDict:
        return proximal_bregman_response(
            model, given.data, example, given.curvature_damping, given.loss, linearized, slow
        ).weights

    if given.by_lbfgs:
        return {
            "cold": minimum(given, initial, [example]),
            "warm": minimum(given, start, [example]),
            "proximal": minimum(given, start, [example], given.damping),
            "bregman": bregman(False),
            "linearized": bregman(True),
        }
    return {
        "cold": train_without(model, given.data, example, longer, initial),
        "warm": train_without(model, given.data, example, on, start),
        "proximal": proximal_response(model, given.data, example, given.damping, given.loss, recipe=on).weights,
        "bregman": bregman(False),
        "linearized": bregman(True),
    }


def depth_of_lissa(given: Setting, model: nn.Module, batch_size: int) -> int:
    """Return the number of steps at rate ``1 / scale`` that amount to K/2 epochs at a tenth of the rate."""
    plan = plan_parameters(model, given.data[0])
    largest = largest_eigenvalue(model, given.data, plan, given.loss, "ggn", batch_size)
    steps = given.recipe.steps(len(given.data[0])) // 2
    return max(1, round(given.recipe.learning_rate / 10 * steps * lissa_scale(largest, given.damping)))


def influences(
    given: Setting, model: nn.Module, chosen: list[int], converged: bool, depth: int
) -> tuple[dict[str, list[StateDict]], dict[str, float]]:
    """Return the weights after each removal by each influence function, and its largest relative residual."""
    batch_size = given.recipe.batch_size
    kinds: dict[str, tuple[Solver, int]] = {}
    if not converged:
        kinds = {LISSA: ("lissa", depth)}
    if not converged and not given.by_lbfgs:
        kinds[AS_FAR] = "lissa", depth_of_lissa(given, model, batch_size)
    if converged or given.outputs == 1:  # a step over all 6,000 images takes seconds, and there are thousands of steps
        kinds[CG] = ("cg", 5000)
    weights, residuals = {}, {}
    for name, (solver, iterations) in kinds.items():
        print(f"{name}: at most {iterations:,} steps", file=sys.stderr, flush=True)
        options = InfluenceOptions(iterations=iterations, tolerance=1e-4, batch_size=batch_size)
        groups = [[i] for i in chosen]
        weights[name], residual = influence_weights(
            model, given.data, groups, options, loss=given.loss, solver=solver, damping=given.curvature_damping
        )
        residuals[name] = float(residual or 0.0)
    return weights, residuals


def predicted_changes(
    given: Setting, model: nn.Module, example: int, weights: dict[str, StateDict]
) -> dict[str, Tensor]:
    """Predict ``grad l_j . (w - w_s)`` (eq. 20) of each test example by each influence function.

    The model must be at ``w_s``.
    """
    start, (inputs, targets) = state_of(model), given.test
    errors = prediction_errors(outputs_of(model, inputs), targets, given.loss)
    found = {name: (moved_outputs(model, start, each, inputs) * errors).sum(dim=1) for name, each in weights.items()}
    if given.outputs == 1:
        x, y = given.data[0][example : example + 1], given.data[1][example : example + 1]
        error = prediction_errors(outputs_of(model, x), y, given.loss)
        leverage = float((moved_outputs(model, start, weights[CG], x) / error).sum())
        found[f"{CG} / (1 - h)"] = found[CG] / (1 - leverage)
    return found


def decompose(given: Setting, examples: int, converged: bool, kept: Path, depth: int = 5000) -> dict[str, Any]:
    """Compute the parts and the loss changes of each removed example, reusing those in the file ``kept``."""
    model = given.network()
    if given.by_lbfgs:
        model.load_state_dict(minimum(given, state_of(model)))
    else:
        with listening(print_progress):
            train(model, given.data, given.recipe)
    start = state_of(model)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(given.data[0]), generator=generator)[:examples].tolist()
    steps, residuals = influences(given, model, chosen, converged, depth)
    half = given.recipe.model_copy(update={"epochs": given.recipe.epochs // 2})
    with_all = start if given.by_lbfgs else train_without(model, given.data, [], half, start)
    losses = loss_values(outputs_of(model, given.test[0]), given.test[1], given.loss)
    done: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    predicted: dict[str, dict[str, Tensor]] = {}
    for number, i in enumerate(chosen):
        moved = {name: each[number] for name, each in steps.items()}
        predicted[str(i)] = predicted_changes(given, model, i, moved)
        if str(i) not in done:
            changes = {}
            weights = {**optima(given, model, start, i, converged), "influence": next(iter(moved.values()))}
            outputs = {name: outputs_at(model, weights[name], given.data[0]) for name in STAGES}
            sizes = [float((outputs[a] - outputs[b]).norm()) for a, b in itertools.pairwise(STAGES)]
            weights["two-stage"] = two_stage_weights(start, weights["warm"], with_all)
            for name in COMPARED:
                after = outputs_at(model, weights[name], given.test[0])
                changes[name] = loss_values(after, given.test[1], given.loss) - losses
            done[str(i)] = {"parts": sizes, "changes": _as_lists(changes)}
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(done))
        model.load_state_dict(start)
        print_progress(number + 1, len(chosen), "removals")
    removals = {
        i: {"parts": done[i]["parts"], "real": done[i]["changes"], "predicted": _as_lists(predicted[i])}
        for i in map(str, chosen)
    }
    loss = float(loss_values(outputs_of(model, given.data[0]), given.data[1], given.loss).mean())
    return {"removals": removals, "residuals": residuals, "training_loss": loss}


def _as_lists(values: dict[str, Tensor]) -> dict[str, list[float]]:
    return {name: each.tolist() for name, each in values.items()}


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Return means and deviations of the parts, and correlations of each influence function with each retraining."""
    rows = list(found["removals"].values())
    parts = torch.tensor([row["parts"] for row in rows], dtype=torch.float64)
    predicted, real = (
        {name: [value for row in rows for value in row[side][name]] for name in names}
        for side, names in (("predicted", rows[0]["predicted"]), ("real", COMPARED))
    )
    correlations = {
        influence: {
            name: [round(float(each(values, real[name])[0]), 3) for each in (pearsonr, spearmanr)] for name in COMPARED
        }
        for influence, values in predicted.items()
    }
    return {
        "parts": {
            name: [round(float(mean), 4), round(float(deviation), 4)]
            for name, mean, deviation in zip(PARTS, parts.mean(dim=0), parts.std(dim=0), strict=True)
        },
        "correlations": correlations,
        "residuals": found["residuals"],
        "training_loss": found["training_loss"],
    }


def print_table(name: str, line: dict[str, Any]) -> None:
    """Print our numbers beside the paper's."""
    paper, found = PAPER[name], line["correlations"]
    print(f"{name}: |f - f'| on the training set, ours and table 5")
    for (part, (mean, deviation)), (theirs, spread) in zip(line["parts"].items(), paper["parts"], strict=True):
        print(f"  {part:16} {mean:9.4f} +- {deviation:.4f}    {theirs:7.3f} +- {spread:.3f}")
    print("  correlation of influence functions with retraining (Pearson, Spearman), and table 6")
    print(f"  {'':16} {'  '.join(f'{influence:>14}' for influence in found)}   {'paper':>14}")
    for stage in COMPARED:
        pairs = [*(each[stage] for each in found.values()), paper["correlations"].get(stage)]
        print(f"  {stage:16} {'  '.join(f'{pair[0]:7.3f} {pair[1]:6.3f}' if pair else '' for pair in pairs)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and a JSON line; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds uci/, mnist/, fashion-mnist/")
    parser.add_argument("--data", choices=sorted(PAPER), required=True, help="dataset")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--examples", type=int, default=20, help="training examples to remove, one by one")
    parser.add_argument("--hidden", type=int, help="units in each hidden layer")
    parser.add_argument("--epochs", type=int, help="epochs K of the first training")
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument("--protocol", choices=["paper", "converged"], default="paper", help="how stages 4 to 6 end")
    parser.add_argument("--depth", type=int, default=5000, help="steps of LiSSA")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args(argv)
    given = setting(options.data, options.data_root, options.hidden, options.epochs, options.rate)
    given = given.on(device_named(options.device))
    recipe, width = given.recipe, "-".join(map(str, given.hidden)) or "linear"
    kept = options.out / (
        f"bregman_{options.data}_{width}_{recipe.epochs}_{recipe.learning_rate:g}_{options.protocol}_{options.depth}.partial.json"
    )
    found = decompose(given, options.examples, options.protocol == "converged", kept, options.depth)
    line = {"experiment": "bregman_decomposition", "data": options.data, "protocol": options.protocol}
    line |= summary(found)
    print_table(options.data, line)
    print(json.dumps(line), flush=True)
    panels = [
        Panel("Parts of the gap (table 5)", "|f - f'|", {"ours": [line["parts"][p][0] for p in PARTS]}, list(PARTS)),
        Panel(
            "Influence functions against retraining (table 6)",
            "Pearson",
            {kind: [each[name][0] for name in COMPARED] for kind, each in line["correlations"].items()},
            list(COMPARED),
        ),
    ]
    name = f"bregman_decomposition_{options.data}_{options.protocol}"
    write_with_options(options, name, line, panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
