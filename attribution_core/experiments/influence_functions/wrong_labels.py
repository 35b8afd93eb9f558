"""Find wrong labels by self-influence and by the proximal Bregman response: figure 6 of Bae et al. 2022.

    samplescope reproduce influence_wrong_labels --data-root DIR [--data mnist] [--out FOLDER]

The data are 10% of MNIST (6,000 images), with 10% of the labels changed to another class at random. A multilayer
perceptron with two hidden layers is trained by SGD in batches of 128 (the paper: 1,024 units; here ``--hidden 256`` by
default), for the 20 epochs after which the test loss is smallest. (After 50 epochs the network has memorized many wrong
labels, and 75 to 77% are found among the first 20%; after 20 epochs it is 97%.) Examples are inspected in the order of
their score, highest first. Printed is the share of the wrong labels found among the first 5, 10, 20 and 30% for
self-influence (at the default damping and at the paper's 0.001, by the sketch and by EKFAC), the training loss, and
random order. The paper: over 80% among the first 20%.

``--responses N`` adds figure 6's other curve on N examples, half of them wrong (all 6,000 would take days): the
increase of an example's own loss in the proximal Bregman response to its removal, and the probability that it is higher
for a wrong than for a right label (area under the curve), compared with self-influence on the same examples.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from attribution_core.experiments.data import Side, images_and_labels, with_wrong_labels
from attribution_core.experiments.figures import Panel
from attribution_core.experiments.reports import print_progress, write_with_options
from attribution_core.methods.influence.functions import self_influence
from attribution_core.methods.influence.proximal_bregman import proximal_bregman_response
from attribution_core.models import build_model, device_named
from attribution_core.progress import listening
from attribution_core.training import Recipe, loss_values, outputs_of, train
from attribution_core.training.trainer import state_of

WRONG = 0.1
PAPER_DAMPING = 0.001
SHARES = (0.05, 0.1, 0.2, 0.3)


def found_among_first(scores: Tensor, wrong: Tensor, share: float) -> float:
    """Return the share of the wrong labels found among the highest ``share`` of the scores."""
    inspected = scores.argsort(descending=True)[: round(share * len(scores))]
    return float(wrong[inspected].sum() / wrong.sum())


def scores_of(model: nn.Module, data: Side) -> dict[str, Tensor]:
    """Compute the scores to compare, ``[n]`` each."""
    generator = torch.Generator().manual_seed(0)
    with listening(print_progress):
        scores = {
            "self-influence": self_influence(model, data).effect,
            "self-influence, damping 0.001": self_influence(model, data, damping=PAPER_DAMPING).effect,
            "self-influence, ekfac": self_influence(model, data, solver="ekfac").effect,
            "training loss": loss_values(outputs_of(model, data[0]), data[1], "cross_entropy"),
            "random": torch.rand(len(data[1]), generator=generator),
        }
    return {name: values.cpu() for name, values in scores.items()}


def responses(model: nn.Module, data: Side, chosen: list[int], iterations: int) -> Tensor:
    """Return the increase of each chosen example's loss in the response to its own removal, ``[chosen]``."""
    start = state_of(model)
    before = loss_values(outputs_of(model, data[0][chosen]), data[1][chosen], "cross_entropy")
    after = []
    for done, i in enumerate(chosen):
        response = proximal_bregman_response(model, data, i, PAPER_DAMPING, iterations=iterations)
        model.load_state_dict(response.weights)
        after.append(loss_values(outputs_of(model, data[0][[i]]), data[1][[i]], "cross_entropy")[0])
        model.load_state_dict(start)
        print_progress(done + 1, len(chosen), "responses")
    return (torch.stack(after) - before).cpu()


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line for each score; write them with a figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds mnist/")
    parser.add_argument("--data", choices=["mnist", "fashion-mnist"], default="mnist")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the table and the figure")
    parser.add_argument("--examples", type=int, default=6000, help="training images")
    parser.add_argument("--hidden", type=int, default=256, help="units in each hidden layer")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of training")
    parser.add_argument("--responses", type=int, default=0, help="examples to compute the response of; 0 skips it")
    parser.add_argument("--iterations", type=int, default=30, help="iterations of L-BFGS for each response")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args(argv)
    clean, _, test = images_and_labels(options.data_root / options.data, options.examples, 1)
    labels, wrong = with_wrong_labels(clean[1], WRONG, 10, seed=0)
    device = device_named(options.device)
    data = (clean[0].to(device), labels.to(device))
    model = build_model("mlp", 10, data[0].shape[1:], 2 * (options.hidden,)).to(device)
    recipe = Recipe(
        learning_rate=0.1, momentum=0.0, weight_decay=0.0, batch_size=128, epochs=options.epochs, schedule="constant"
    )
    with listening(print_progress):
        trajectory = train(model, data, recipe)
    accuracy = float((outputs_of(model, test[0]).argmax(dim=1).cpu() == test[1]).double().mean())
    results: dict[str, Any] = {"final_loss": trajectory.epoch_losses[-1], "test_accuracy": accuracy, "rows": {}}
    scores = scores_of(model, data)
    for name, values in scores.items():
        row = {f"{share:.0%}": round(found_among_first(values, wrong, share), 4) for share in SHARES}
        row["auc"] = round(float(roc_auc_score(wrong, values)), 4)
        results["rows"][name] = row
        print(json.dumps({"experiment": "influence_wrong_labels", "score": name, **row}), flush=True)
    if options.responses:
        half = options.responses // 2
        chosen = [*wrong.nonzero()[:half, 0].tolist(), *(~wrong).nonzero()[:half, 0].tolist()]
        rises = responses(model, data, chosen, options.iterations)
        results["responses"] = {
            "examples": len(chosen),
            "auc": round(float(roc_auc_score(wrong[chosen], rises)), 4),
            "auc_of_self_influence": round(float(roc_auc_score(wrong[chosen], scores["self-influence"][chosen])), 4),
        }
        print(json.dumps({"experiment": "influence_wrong_labels", **results["responses"]}), flush=True)
    curve = [share / 20 for share in range(21)]
    series = {name: [found_among_first(values, wrong, share) for share in curve] for name, values in scores.items()}
    panel = Panel("Wrong labels found (figure 6)", "share inspected", series, curve)
    write_with_options(options, f"influence_wrong_labels_{options.data}", results, [panel])
    return 0


if __name__ == "__main__":
    sys.exit(main())
