"""Compare Jacobians, kernels and sketches with ``torch.func.vmap(jacrev)`` in time and peak memory, with ten outputs.

    python -m tests.benchmarks.jacobians [--models lenet5 cnn4 resnet18]

Each measurement runs in its own process, whose peak memory is counted from before the first gradient. ``jacobian`` and
``vmap_jacrev`` compute the same ``[n, 10, p]`` numbers (checked); ``kernel`` and ``vmap_jacrev_kernel`` the same
``[10 n, 10 n]`` kernel; ``sketch`` 2,000 features with their basis. LeNet-5 takes 64 examples, cnn4 16 and ResNet-18 2,
whose Jacobian alone has 223 million numbers.

On two cores the factors make LeNet-5's and cnn4's Jacobians 5 times faster than vmap(jacrev) in half of its memory
(whose floor is the result itself), and their kernels 5 times faster in an eighth of it. ResNet-18's two examples are
slower than with vmap(jacrev), by a quarter (Jacobian) and a half (kernel), in five sixths and two fifths of its memory.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from attribution_core.gradients import jacobian, kronecker_plan, plan_parameters, tangent_kernels
from attribution_core.models import build_model

SHAPES = {"lenet5": (64, (1, 28, 28)), "cnn4": (16, (1, 28, 28)), "resnet18": (2, (3, 32, 32))}
OUTPUTS = 10
DIMENSION = 2000


def vmap_jacrev(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the Jacobian ``[n, k, p]`` as PyTorch's documentation computes it."""
    every = {name: value.detach() for name, value in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def output(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(model, (parameters, buffers), (x[None],))[0]

    whole = vmap(jacrev(output), in_dims=(None, 0))(every, inputs)
    return torch.cat([block.flatten(2) for block in whole.values()], dim=2)


def run(route: str, model: nn.Module, inputs: Tensor) -> Tensor:
    """Compute the result of a route."""
    if route.startswith("vmap_jacrev"):
        whole = vmap_jacrev(model, inputs)
        return whole if route == "vmap_jacrev" else whole.flatten(0, 1) @ whole.flatten(0, 1).T
    plan = plan_parameters(model, inputs)
    if route == "kernel":
        return tangent_kernels(model, inputs, inputs[:1], plan)[0]
    if route == "sketch":
        plan = kronecker_plan(model, inputs, plan, DIMENSION)
    return jacobian(model, inputs, plan)[1]


def measure(name: str, route: str) -> dict[str, float]:
    """Return seconds, peak megabytes and a checksum; call it in a fresh process."""
    n, shape = SHAPES[name]
    model = build_model(name, OUTPUTS, shape).eval()
    inputs = torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model(inputs)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    made = run(route, model, inputs)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": round(seconds, 3), "peak_mb": peak // 1024, "norm": float(made.double().norm())}


def main() -> int:
    """Print the result as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(SHAPES))
    options = parser.parse_args()
    results: dict[str, dict[str, object]] = {}
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned, max_tasks_per_child=1) as pool:
        for name in options.models:
            routes = ("jacobian", "vmap_jacrev", "kernel", "vmap_jacrev_kernel", "sketch")
            measured = {route: pool.submit(measure, name, route).result() for route in routes}
            for fast, slow in (("jacobian", "vmap_jacrev"), ("kernel", "vmap_jacrev_kernel")):
                ours, theirs = measured[fast], measured[slow]
                if abs(ours["norm"] / theirs["norm"] - 1) > 1e-4:
                    raise RuntimeError(f"{name}: {fast} has the norm {ours['norm']}, {slow} {theirs['norm']}.")
                ours["ratio"] = round(theirs["seconds"] / ours["seconds"], 1)
            results[name] = {"examples": SHAPES[name][0], **measured}
    print(
        json.dumps(
            {"benchmark": "jacobians", "outputs": OUTPUTS, "models": results, "threads": torch.get_num_threads()}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
