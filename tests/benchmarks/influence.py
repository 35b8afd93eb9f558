"""Time each solver for the influence of 1,000 on 500 examples under LeNet-5, and kronfluence's EKFAC.

    python -m tests.benchmarks.influence [--examples 1000 --evaluated 500] [--solvers sketch ekfac ...]

LeNet-5 is trained on the demo's images for 5 epochs; kronfluence uses the same weights. Times are the smallest of
``--rounds`` interleaved runs. cg and lissa, which solve for each evaluation example, run once on ``--iterative`` of
them, and their seconds for one are printed. ``ratio`` is our EKFAC's time over kronfluence's, both at our default
damping. ``rank_correlation`` is Spearman's between the effects of the two; ``of_its_own`` is that between two runs of
kronfluence, which draws its labels at random: the most that any other implementation can reach.

Lower bound of EKFAC: the products of 1,000 x 500 gradients of 61,706 numbers are 6.2e10 operations, 1.2 s on a core
that does 50 billion a second; everything else is a few passes over 1,000 examples (0.05 s each). The sketch needs
only inner products of gradients in 2,048 coordinates, and an eigendecomposition of 2,048 (about 2 s on one core).
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable

import torch
from scipy.stats import spearmanr
from torch import Tensor

from attribution_core.experiments.influence_functions.kronfluence_reference import kronfluence_effects
from attribution_core.methods.influence.functions import Influence, influence_functions
from attribution_core.methods.influence.options import InfluenceOptions
from attribution_core.models import build_model
from attribution_core.training import Recipe, train
from tests.benchmarks.hydra import images
from tests.benchmarks.sensitivity import least_seconds

SOLVERS = ("sketch", "empirical", "exact", "kfac", "ekfac", "cg", "lissa")


def main() -> int:
    """Print the result as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--evaluated", type=int, default=500)
    parser.add_argument("--iterative", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    options = parser.parse_args()
    data, evaluation = images(options.examples, options.evaluated)
    model = build_model("lenet5", 10, (1, 28, 28))
    train(model, data, Recipe(learning_rate=0.02, batch_size=64, epochs=5))
    influence = functools.partial(influence_functions, model, data, evaluation)
    damping = influence(solver="ekfac").damping[0]
    found: dict[str, Tensor] = {}

    def kept(name: str, work: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            found[name] = work()

        return run

    works: dict[str, Callable[[], object]] = {
        "sketch": lambda: influence(),
        "empirical": lambda: influence(curvature="empirical"),
        "exact": lambda: influence(solver="exact", curvature="empirical"),
        "kfac": lambda: influence(solver="kfac"),
        "ekfac": kept("ekfac", lambda: influence(solver="ekfac").effect),
    }
    works = {name: work for name, work in works.items() if name in options.solvers}
    if "ekfac" in options.solvers:
        works["kronfluence"] = kept("kronfluence", lambda: kronfluence_effects(model, data, evaluation, damping))
    seconds = least_seconds(works, options.rounds)
    line: dict[str, object] = {
        "benchmark": "influence",
        "examples": options.examples,
        "evaluated": options.evaluated,
        "threads": torch.get_num_threads(),
    }
    line |= {f"{name}_seconds": round(value, 2) for name, value in seconds.items()}
    if "ekfac" in options.solvers:
        again = kronfluence_effects(model, data, evaluation, damping)
        line["ratio"] = round(seconds["ekfac"] / seconds["kronfluence"], 3)
        line["rank_correlation"] = correlation(found["ekfac"], found["kronfluence"])
        line["of_its_own"] = correlation(again, found["kronfluence"])
    few = (evaluation[0][: options.iterative], evaluation[1][: options.iterative])
    for solver in ("cg", "lissa"):
        if solver in options.solvers:
            line |= iterative(solver, model, data, few)
    print(json.dumps(line))
    return 0


def iterative(solver: str, model: torch.nn.Module, data: tuple[Tensor, Tensor], few: tuple[Tensor, Tensor]) -> dict:
    """Return the seconds for one evaluation example, and the residual."""
    options = InfluenceOptions(iterations=500 if solver == "lissa" else 100, tolerance=0.01, batch_size=64)
    start = time.perf_counter()
    result: Influence = influence_functions(model, data, few, solver=solver, options=options)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    return {
        f"{solver}_seconds_each": round(seconds / len(few[0]), 2),
        f"{solver}_residual": round(result.residual or 0.0, 4),
    }


def correlation(left: Tensor, right: Tensor) -> float:
    """Return Spearman's correlation over all pairs."""
    return round(float(spearmanr(left.flatten().cpu(), right.flatten().cpu())[0]), 4)


if __name__ == "__main__":
    sys.exit(main())
