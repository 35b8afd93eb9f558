"""The registry of curves: what each curve of a run shows, its axes and its paper."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Curve:
    """A curve of a run, with one or more series.

    Attributes:
        name: Name in curves.parquet.
        title: Name shown to people.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
        log_x: Whether the horizontal axis is logarithmic.
        definition: What the curve shows, for someone who has not read the paper.
        paper: Source of the curve.
        by_class: Whether the horizontal axis lists the classes, in the order of the labels.
        series_titles: Names of its series as shown to people, where these differ from those in curves.parquet.
        regression: Fields that read differently for a regression run, by name.
    """

    name: str
    title: str
    x: str
    y: str
    log_x: bool
    definition: str
    paper: str
    by_class: bool = False
    series_titles: dict[str, str] = field(default_factory=dict, hash=False)
    regression: dict[str, str | dict[str, str]] = field(default_factory=dict, hash=False)

    def for_regression(self) -> Curve:
        """Return the curve as it reads for a regression run."""
        return replace(self, **self.regression)  # type: ignore[arg-type]


_ZHANG = "Zhang and Zhang 2022, Rethinking influence functions of neural networks in the over-parameterized regime"
_NICKL = "Nickl et al. 2023, The memory perturbation equation: understanding model's sensitivity to data"
_BAE = "Bae et al. 2022, If influence functions are the answer, then what is the question?"
_CHEN = "Chen et al. 2021, HyDRA: Hypergradient data relevance analysis for interpreting deep neural networks"
_HARUTYUNYAN = "Harutyunyan et al. 2021, Estimating informativeness of samples with smooth unique information"

_ALL = (
    Curve(
        name="ihvp_error",
        title="Error of influence functions",
        x="weight decay (mean squared feature norms)",
        y="error rate",
        log_x=True,
        definition=(
            "Error that an inverse-Hessian estimate of the removal effects would make on the fully trained linearized "
            "model, as a share of the effects themselves, at several weight decays, and the lower bound of this error, "
            "if it is above zero. The NTK influence in this run is exact and has no such error."
        ),
        paper=f"{_ZHANG}, theorem 3 and figure 2",
    ),
    Curve(
        name="ihvp_error_by_density",
        title="Error of influence functions by density",
        x="tenth of the examples, from the rarest to the densest",
        y="error rate",
        log_x=False,
        definition=(
            "The same error at a weight decay of one mean squared feature norm, for training examples grouped by how "
            "many examples are near them. Rare examples, which matter most, are estimated worst."
        ),
        paper=f"{_ZHANG}, theorem 4 and figure 3",
    ),
    Curve(
        name="complexity_by_influence",
        title="Model complexity by influence",
        x="tenth of the examples, from the most harmful to the most helpful",
        y="added norm of the weights",
        log_x=False,
        definition=(
            "How much each tenth of the training examples adds to the norm of the linearized model's weights. Helpful "
            "and harmful examples both make the model more complex; those in between are redundant."
        ),
        paper=f"{_ZHANG}, eq. 19 and figure 5",
    ),
    Curve(
        name="changed_among_influencers",
        title="Wrong labels among the most influential",
        x="training time (steps)",
        y="share with changed labels",
        log_x=True,
        definition=(
            "Share of known changed labels among the training examples that are the most influential one for a "
            "validation example, over training. The level line is their share among all training examples."
        ),
        paper=f"{_ZHANG}, eq. 20 and figure 7",
        regression={
            "title": "Wrong values among the most influential",
            "y": "share with changed values",
            "definition": (
                "Share of known changed values among the training examples that are the most influential one for a "
                "validation example, over training. The level line is their share among all training examples."
            ),
        },
    ),
    Curve(
        name="loo_nll",
        title="Generalization estimated from the training examples",
        x="epochs",
        y="loss (nats)",
        log_x=False,
        definition=(
            "Mean leave-one-out loss of the training examples, each on the model trained without it, as estimated "
            "during training. It estimates the test loss without seeing a test example; both are drawn beside the "
            "training loss. Its shape says more than its level, which is too high where there are few examples for "
            "many weights. Once it rises, further training no longer helps."
        ),
        paper=f"{_NICKL}, eq. 19 and figure 5",
        series_titles={"loo_nll": "leave-one-out loss", "test_nll": "test loss", "training": "training loss"},
        regression={"y": "loss (half squared error)"},
    ),
    Curve(
        name="regularization",
        title="Loss by weight decay",
        x="weight decay",
        y="loss (nats)",
        log_x=True,
        definition=(
            "Losses after training with other weight decays, all else as in this run. The leave-one-out loss is "
            "estimated from the training examples alone, so that it can choose the weight decay; validation and test "
            "loss are drawn to check it. Wrong labels count in it, and favor a larger weight decay than the test loss "
            "of right ones; where the training loss is near zero it is far too low."
        ),
        paper=f"{_NICKL}, eq. 19 and figure 4",
        series_titles={
            "leave_one_out": "leave-one-out loss",
            "training": "training loss",
            "validation": "validation loss",
            "test": "test loss",
        },
        regression={"y": "loss (half squared error)"},
    ),
    Curve(
        name="loco",
        title="Loss without each class",
        x="class",
        y="loss (nats)",
        log_x=False,
        definition=(
            "Estimated loss on each class's training examples after training without the class, where each example is "
            "moved by its own removal alone, beside the loss on them now. The further apart the two, the more the "
            "model depends on that class's examples."
        ),
        paper=f"{_NICKL}, eq. 20 and figure 3",
        by_class=True,
        series_titles={"training": "with the class"},
        regression={
            "series_titles": {"without the class": "without the range", "training": "with the range"},
            "title": "Loss without each range of values",
            "x": "range of values",
            "y": "loss (half squared error)",
            "definition": (
                "Estimated loss on the training examples of each range of values after training without the range, "
                "where each example is moved by its own removal alone, beside the loss on them now. The further apart "
                "the two, the more the model depends on that range's examples."
            ),
        },
    ),
    Curve(
        name="sensitivity_groups",
        title="Sensitivity of groups during training",
        x="examples, from the most to the least sensitive at the end (%)",
        y="sensitivity",
        log_x=True,
        definition=(
            "Mean sensitivity of groups of training examples during training, in the order of their sensitivity at the "
            "end. Usually, a model comes to depend on a small part of the examples: odd, rare or mislabeled ones."
        ),
        paper=f"{_NICKL}, figure 6",
    ),
    Curve(
        name="damping",
        title="Influence functions by damping",
        x="damping (share of the curvature's largest eigenvalue)",
        y="rank correlation",
        log_x=True,
        definition=(
            "Rank correlation between the rankings of training examples (of up to 500 along a training) at other "
            "dampings and at the default one, where both lines are 1: by their influence on an evaluation example, on "
            "average over up to 100 of these, and by self-influence. Nothing in the data says which damping is right, "
            "so where a line falls steeply, do not trust the details of that ranking."
        ),
        paper=f"{_BAE}, eq. 20",
    ),
    Curve(
        name="summarization",
        title="Accuracy after removal",
        x="training examples removed (%)",
        y="test accuracy",
        log_x=False,
        definition=(
            "Accuracy on the test examples of a model trained again on what is left: with the least "
            "informative examples removed, scored once or rescored after each part, with the most informative removed, "
            "and with random ones removed."
        ),
        paper=f"{_HARUTYUNYAN}, figure 2c",
        regression={
            "title": "R² after removal",
            "y": "test R²",
            "definition": (
                "R² on the test examples (the share of their variance that the predictions explain) of a model trained "
                "again on what is left: with the least informative examples removed, scored once or "
                "rescored after each part, with the most informative removed, and with random ones removed."
            ),
        },
    ),
    Curve(
        name="summarization_linear",
        title="Accuracy of the linearized model after removal",
        x="training examples removed (%)",
        y="test accuracy",
        log_x=False,
        definition=(
            "The same accuracies for the linearized model, in closed form. Where only the head is linearized, its "
            "features come from a network that has seen the removed examples, so removing many costs it less than it "
            "costs a network."
        ),
        paper=f"{_HARUTYUNYAN}, figure 2c",
        regression={
            "title": "R² of the linearized model after removal",
            "y": "test R²",
            "definition": (
                "The same R² for the linearized model, in closed form. Where only the head is linearized, its features "
                "come from a network that has seen the removed examples, so removing many costs it less than it costs "
                "a network."
            ),
        },
    ),
    Curve(
        name="detection",
        title="Wrong labels found",
        x="share of the examples inspected, the most suspicious first",
        y="share of the wrong labels found",
        log_x=False,
        definition=(
            "How soon each score finds the labels that are known to be wrong when examples are inspected in its order: "
            "the steeper the curve at the left, the better. A random order gives the diagonal. Clusters are examples "
            "whose effects on the validation examples differ from those of others with the same label, found without "
            "knowing the truth; they come first, ordered by contribution."
        ),
        paper=f"{_CHEN}, table 4; {_BAE}, figure 6",
        regression={
            "title": "Wrong values found",
            "y": "share of the wrong values found",
            "definition": (
                "How soon each score finds the values that are known to be wrong when examples are inspected in its "
                "order: the steeper the curve at the left, the better. A random order gives the diagonal."
            ),
        },
    ),
)

CURVES: dict[str, Curve] = {curve.name: curve for curve in _ALL}
