"""Which solver of influence functions predicts retraining, and at what cost?

    samplescope reproduce influence_fidelity --data-root DIR [--problem mnist] [--out FOLDER]

The problem is 1,000 training and 500 evaluation examples of MNIST (``mnist``, MLP of 256), of CIFAR-10's cats against
dogs (``cats-dogs``, cnn4), of Fashion-MNIST (``fashion-mnist``, LeNet-5), or of sentences of film reviews (``reviews``,
TF-IDF and an MLP of 256), trained for 20 epochs. The network is retrained on 50 random halves from 3 seeds. A method's
linear datamodelling score (LDS, Park et al. 2023) is the rank correlation, over the halves, between the sum of its
effects over the removed examples and the loss on an evaluation example, averaged over the evaluation examples and over
``--models`` trained networks. The rows ``sketch, mean of 3`` and ``along training, mean of 3`` score the mean of their
effects. ``seconds`` is the time for one network. The ceiling, printed first, is what no method can exceed; it comes
from the correlation of one seed's losses with another's.

Every solver runs at its default damping, and the sketch also at several other dampings. cg and lissa solve for each
evaluation example, so they use only ``--iterative`` of them, and the sketch's score on the same examples is printed for
comparison. kronfluence's EKFAC runs at its own default damping (1e-8), at its heuristic (a tenth of each layer's mean
eigenvalue) and at the damping of our own EKFAC.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attribution_core.evaluation.fidelity import ceiling_between_seeds, linear_datamodelling_score
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.influence_functions.kronfluence_reference import kronfluence_effects
from attribution_core.experiments.influence_functions.problems import PROBLEMS, Problem, problem
from attribution_core.experiments.reports import print_progress, write_with_options
from attribution_core.gradients import plan_parameters
from attribution_core.methods.curvature.columns import Curvature
from attribution_core.methods.influence.along_training import influence_along_training
from attribution_core.methods.influence.damping import SHARES
from attribution_core.methods.influence.functions import Influence, influence_functions
from attribution_core.methods.influence.options import InfluenceOptions, Solver
from attribution_core.methods.influence.pairs import effects_on_pairs
from attribution_core.methods.influence.spectrum import influence_spectrum
from attribution_core.progress import listening
from attribution_core.training import Trajectory, train

Method = Callable[[Trajectory], Tensor]


class Identity:
    """Replace the curvature by the identity, so that effects are products of gradients."""

    def __init__(self, model: nn.Module, inputs: Tensor) -> None:
        self.plan = plan_parameters(model, inputs)

    def solve(self, vectors: dict[str, Tensor]) -> tuple[dict[str, Tensor], float | None]:
        """Return the vectors unchanged."""
        return vectors, None


def methods_of(given: Problem, iterative: int, lissa: InfluenceOptions) -> dict[str, tuple[Method, int]]:
    """Return methods by name: functions of a training to effects ``[n, m']``, and their numbers ``m'`` of examples."""
    data, (inputs, targets) = given.data, given.evaluation
    every, few = (inputs, targets), (inputs[:iterative], targets[:iterative])

    def ours(solver: Solver, curvature: Curvature = "ggn", side: tuple[Tensor, Tensor] = every) -> Method:
        options = lissa if solver == "lissa" else InfluenceOptions(iterations=100, tolerance=0.01)

        def run(training: Trajectory) -> Tensor:
            found: Influence = influence_functions(
                training.model, data, side, curvature=curvature, solver=solver, options=options
            )
            if found.residual is not None:
                print(f"{solver}: largest relative residual {found.residual:.3g}", file=sys.stderr, flush=True)
            return found.effect

        return run

    def ekfac_of_kronfluence(damping: float | str | None) -> Method:
        def run(training: Trajectory) -> Tensor:
            model, used = training.model, damping
            if damping == "ours":
                used = influence_functions(model, data, (inputs[:1], targets[:1]), solver="ekfac").damping[0]
            return kronfluence_effects(model, data, every, used)  # type: ignore[arg-type]

        return run

    return {
        "along training": (lambda training: influence_along_training(training, every).effect, len(inputs)),
        "along training, empirical": (
            lambda training: influence_along_training(training, every, curvature="empirical").effect,
            len(inputs),
        ),
        "sketch": (ours("sketch"), len(inputs)),
        "sketch, empirical": (ours("sketch", "empirical"), len(inputs)),
        "sketch, fisher": (ours("sketch", "fisher"), len(inputs)),
        "ekfac": (ours("ekfac"), len(inputs)),
        "kfac": (ours("kfac"), len(inputs)),
        "gradient products": (
            lambda training: effects_on_pairs(
                training.model, data, every, "cross_entropy", Identity(training.model, data[0])
            )[0],
            len(inputs),
        ),
        "kronfluence": (ekfac_of_kronfluence(1e-8), len(inputs)),
        "kronfluence, heuristic": (ekfac_of_kronfluence(None), len(inputs)),
        "kronfluence, damping of ekfac": (ekfac_of_kronfluence("ours"), len(inputs)),
        "cg": (ours("cg", side=few), iterative),
        "lissa": (ours("lissa", side=few), iterative),
    }


def dampings(model: nn.Module, given: Problem) -> dict[float, Tensor]:
    """Return the sketch's effects for each damping, as a share of the largest eigenvalue."""
    spectrum = influence_spectrum(model, given.data, given.evaluation, "cross_entropy")
    return {share: spectrum.effects(share * float(spectrum.values[-1])) for share in SHARES}


def trained(given: Problem, seeds: int) -> list[Trajectory]:
    """Train the compared networks on all of the data, and keep their states after each epoch."""
    recipes = [given.recipe.model_copy(update={"seed": seed}) for seed in range(seeds)]
    return [train(given.build(recipe.seed), given.data, recipe, record="checkpoints") for recipe in recipes]


def compare(given: Problem, options: argparse.Namespace, save: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Score each method, with two more rows for the sketch."""
    with listening(print_progress):
        removed, losses = given.retrained(options.subsets, options.seeds, options.out)
    real = losses.mean(dim=0)
    trainings = trained(given, options.models)
    results: dict[str, Any] = {"problem": given.name, "ceiling": ceiling_between_seeds(losses), "rows": {}}
    print(json.dumps({name: results[name] for name in ("problem", "ceiling")}), flush=True)

    def score(effect: Tensor, count: int) -> float:
        return float(linear_datamodelling_score(effect[:, :count], removed, real[:, :count]).mean())

    methods = methods_of(given, options.iterative, InfluenceOptions(iterations=options.depth, batch_size=64))
    for name, (method, count) in methods.items():
        if options.methods and name not in options.methods:
            continue
        seconds, effects = [], []
        for training in trainings[: 1 if count < len(real[0]) else len(trainings)]:
            start = time.perf_counter()
            effects.append(method(training).cpu())
            seconds.append(time.perf_counter() - start)
        scores = [score(effect, count) for effect in effects]
        row = {"lds": mean(scores), "by_seed": scores, "seconds": min(seconds), "evaluated": count}
        results["rows"][name] = row
        print(json.dumps({"method": name, **row}), flush=True)
        if name in ("sketch", "along training"):
            total = torch.stack(effects).sum(dim=0)
            more = {f"{name}, mean of {len(trainings)}": {"lds": score(total, count), "seconds": sum(seconds)}}
            if name == "sketch":
                more["sketch, on those of cg"] = {"lds": mean([score(effects[0], options.iterative)])}
            results["rows"] |= more
            print("\n".join(json.dumps({"method": other, **found}) for other, found in more.items()), flush=True)
        save(results)
    if not options.methods:
        sweeps = [dampings(training.model, given) for training in trainings]
        by_share = [{share: score(e.cpu(), len(real[0])) for share, e in sweep.items()} for sweep in sweeps]
        results["by_damping"] = {share: mean([scores[share] for scores in by_share]) for share in SHARES}
        print(json.dumps({"sketch_by_damping": results["by_damping"]}), flush=True)
        save(results)
    return results


def mean(values: list[float]) -> float:
    """Return the mean, rounded for printing."""
    return round(sum(values) / len(values), 4)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line for each method; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds mnist/, cifar10/, ...")
    parser.add_argument("--problem", choices=PROBLEMS, required=True, help="dataset and network")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--subsets", type=int, default=50, help="random halves to retrain on")
    parser.add_argument("--seeds", type=int, default=3, help="retrainings on each half")
    parser.add_argument("--models", type=int, default=3, help="trained networks to apply each method to")
    parser.add_argument("--iterative", type=int, default=20, help="evaluation examples for cg and lissa")
    parser.add_argument("--depth", type=int, default=500, help="steps of lissa")
    parser.add_argument("--methods", nargs="+", help="only these rows")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args(argv)
    given = problem(options.problem, options.data_root, options.device)

    def save(results: dict[str, Any]) -> None:
        names = list(results["rows"])
        bars = Panel("Agreement with retraining", "LDS", {"LDS": [results["rows"][n]["lds"] for n in names]}, names)
        write_with_options(options, f"influence_fidelity_{given.name}", results, [bars])

    compare(given, options, save)
    return 0


if __name__ == "__main__":
    sys.exit(main())
