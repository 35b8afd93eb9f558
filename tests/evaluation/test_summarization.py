"""Test orders of removal, and the accuracies that they leave."""

import functools
import math

import pytest
import torch

from attribution_core.errors import InputError
from attribution_core.evaluation.retraining import Trainer
from attribution_core.evaluation.summarization import (
    STRATEGIES,
    SummarizationCurve,
    linear_accuracies,
    removal_order,
    retrained_accuracies,
    summarization_curve,
)
from attribution_core.methods.linearized.model import LinearizedModel
from attribution_core.methods.linearized.sample_information import functional_sample_information
from attribution_core.methods.linearized.schedule import GradientDescent
from attribution_core.models import build_model
from attribution_core.training import Recipe, outputs_of, train
from tests.cases import LINEAR_CASES, linear_case

LABELS = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
SCORES = torch.tensor([5.0, 4, 3, 2, 1, 0, 0.5, 9, 8, 7])


def given_once(kept):
    return SCORES[kept]


def test_orders_follow_the_scores():
    assert removal_order(given_once, LABELS, "bottom").tolist() == [5, 6, 4, 3, 2, 1, 0, 9, 8, 7]
    assert removal_order(given_once, LABELS, "top").tolist() == [7, 8, 9, 0, 1, 2, 3, 4, 6, 5]
    drawn = removal_order(given_once, LABELS, "random", seed=3)
    assert sorted(drawn.tolist()) == list(range(10))
    assert drawn.tolist() == removal_order(given_once, LABELS, "random", seed=3).tolist()
    assert drawn.tolist() != removal_order(given_once, LABELS, "random", seed=4).tolist()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_balanced_orders_keep_the_classes_shares(strategy):
    order = removal_order(given_once, LABELS, strategy, balanced=True, step=0.1)
    assert sorted(order.tolist()) == list(range(10))
    for removed in range(1, 10):
        assert abs(int((LABELS[order[:removed]] == 0).sum()) - 0.6 * removed) <= 1


def test_remaining_examples_are_rescored():
    """Two copies duplicate each other, so neither is informative until the other is removed."""
    copies = {0: 1, 1: 0}
    asked = []

    def information(kept):
        asked.append(kept.tolist())
        left = set(kept.tolist())
        return torch.tensor([0.1 if copies.get(i) in left else 1.0 + i for i in kept.tolist()])

    labels = torch.zeros(6, dtype=torch.long)
    assert removal_order(information, labels, "bottom").tolist()[:2] == [0, 1]
    asked.clear()
    order = removal_order(information, labels, "bottom iterative", step=1 / 6)
    assert order.tolist() == [0, 1, 2, 3, 4, 5]
    assert asked[0] == [0, 1, 2, 3, 4, 5]
    assert asked[1] == [1, 2, 3, 4, 5]
    copies.update({0: 5, 5: 0})
    order = removal_order(information, labels, "bottom iterative", step=1 / 6)
    assert order.tolist()[-1] == 5  # once 0 has gone, it says most
    assert removal_order(information, labels, "bottom").tolist()[:3] == [0, 1, 5]


def test_bad_strategies_and_steps_are_refused():
    with pytest.raises(InputError, match="Choose a strategy"):
        removal_order(given_once, LABELS, "best")
    with pytest.raises(InputError, match="step"):
        removal_order(given_once, LABELS, "bottom iterative", step=0.0)
    with pytest.raises(InputError, match="leave an example"):
        summarization_curve({"top": [torch.arange(4)]}, lambda asked: [0.0] * len(asked), [1.0])


@pytest.mark.parametrize("case", LINEAR_CASES, ids=str)
def test_a_model_trained_on_a_part_equals_one_built_from_the_part(case):
    linear = case.linear_model()
    kept = torch.tensor([0, 2, 3, 6])
    part = LinearizedModel.from_jacobians(
        case.train_jacobian[kept],
        case.evaluation_jacobian,
        case.train_outputs[kept],
        case.evaluation_outputs,
        case.train_targets[kept],
        case.evaluation_targets,
    )
    schedule = GradientDescent(0.5 / case.largest, 300)
    found = linear.trained_on(kept)
    assert torch.allclose(found.predictions(schedule), part.predictions(schedule), rtol=1e-9, atol=1e-11)
    scores = functional_sample_information(found, schedule)
    assert torch.allclose(scores, functional_sample_information(part, schedule), rtol=1e-8)


def test_linear_accuracies_are_those_of_the_predictions():
    case = linear_case("one output", 12, 9, 1, 30)
    linear = case.linear_model()
    schedule = GradientDescent(0.5 / case.largest, 200)
    labels = (case.evaluation_targets[:, 0] > 0.5).long()
    found = linear_accuracies([linear], schedule, labels)([([1, 5], 0)])
    kept = torch.tensor([i for i in range(12) if i not in (1, 5)])
    guesses = (linear.trained_on(kept).predictions(schedule)[:, 0] > 0.5).long()
    assert found == [float((guesses == labels).double().mean())]


def build(seed):
    return build_model("mlp", 2, (5,), (4,), seed=seed)


def test_retrained_accuracies_are_those_of_training_on_the_remaining_examples(tmp_path):
    generator = torch.Generator().manual_seed(0)
    data, test = (
        (torch.randn(n, 5, generator=generator), torch.randint(2, (n,), generator=generator)) for n in (20, 9)
    )
    recipe = Recipe(batch_size=8, epochs=2)
    trainer = Trainer(functools.partial(build), data, test, recipe, None)
    orders = {"top": [torch.arange(20), torch.arange(20).flip(0)]}
    curve = summarization_curve(
        orders, retrained_accuracies(trainer, results_file=tmp_path / "kept.parquet"), [0.0, 0.5]
    )
    assert curve.accuracy["top"].shape == (2, 2)
    model = build(1)
    train(model, (data[0][:10], data[1][:10]), recipe.model_copy(update={"seed": 1}))
    right = (outputs_of(model, test[0]).argmax(dim=1) == test[1]).double().mean()
    assert float(curve.accuracy["top"][1, 1]) == float(right)


def test_intervals_follow_students_t():
    curve = SummarizationCurve(
        (0.0, 0.5), {"a": torch.tensor([[0.5, 0.7, 0.9], [0.2, 0.2, 0.2]]), "b": torch.tensor([[0.4, 0.5, 0.6]] * 2)}
    )
    mean, width = curve.interval("a")
    assert mean.tolist() == pytest.approx([0.7, 0.2])
    assert width.tolist() == pytest.approx([4.302653 * 0.2 / math.sqrt(3), 0.0])
    assert curve.advantage("a", "b", 0.0) == pytest.approx((0.2, 4.302653 * 0.1 / math.sqrt(3)))
    assert math.isnan(SummarizationCurve((0.0,), {"a": torch.tensor([[0.5]])}).interval("a")[1])
