"""The curves of a run: what each shows, its axes and its paper."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """One curve of a run, of one or more series.

    Attributes:
        name: Its name in curves.parquet.
        title: Name for people.
        x: What the horizontal axis counts.
        y: What the vertical axis counts.
        log_x: Whether the horizontal axis is logarithmic.
        definition: What it shows, for someone who has not read the paper.
        paper: Where it is from.
        by_class: Whether the horizontal axis counts the classes, in the order of the labels.
    """

    name: str
    title: str
    x: str
    y: str
    log_x: bool
    definition: str
    paper: str
    by_class: bool = False


_ZHANG = "Zhang and Zhang 2022, Rethinking influence functions of neural networks in the over-parameterized regime"
_NICKL = "Nickl et al. 2023, The memory perturbation equation: understanding model's sensitivity to data"

_BAE = "Bae et al. 2022, If influence functions are the answer, then what is the question?"

_CHEN = "Chen et al. 2021, HyDRA: Hypergradient data relevance analysis for interpreting deep neural networks"

_HARUTYUNYAN = "Harutyunyan et al. 2021, Estimating informativeness of samples with smooth unique information"

_ALL = (
    Curve(
        name="ihvp_error",
        title="How wrong influence functions would be",
        x="weight decay (mean squared feature norms)",
        y="error rate",
        log_x=True,
        definition=(
            "Error of the inverse-Hessian estimate of removal effects on the fully trained linearised model, as a "
            "share of the effects themselves, for some weight decays, and the bound below which it can't fall (zero "
            "where there are fewer features than examples). The kernel-regime effects in this run are exact and have "
            "no such error."
        ),
        paper=f"{_ZHANG}, theorem 3 and figure 2",
    ),
    Curve(
        name="ihvp_error_by_density",
        title="Where influence functions would be wrong",
        x="tenth of the examples, from the rarest to the densest",
        y="error rate",
        log_x=False,
        definition=(
            "The same error at a weight decay of one mean squared feature norm, for training examples by the density "
            "of examples around them: rare examples, which matter most, are estimated worst."
        ),
        paper=f"{_ZHANG}, theorem 4 and figure 3",
    ),
    Curve(
        name="complexity_by_influence",
        title="What influence costs",
        x="tenth of the examples, from the most harmful to the most helpful",
        y="added norm of the weights",
        log_x=False,
        definition=(
            "How much longer each tenth of the training examples makes the linearised model's weights. Helpful and "
            "harmful examples both make it more complex; those between are redundant."
        ),
        paper=f"{_ZHANG}, eq. 19 and figure 5",
    ),
    Curve(
        name="changed_among_influencers",
        title="When wrong labels lead",
        x="training time (steps)",
        y="share with changed labels",
        log_x=True,
        definition=(
            "How many of the single most influential training examples of the validation examples are known to have a "
            "changed label, over training; the level line is their share among all training examples."
        ),
        paper=f"{_ZHANG}, eq. 20 and figure 7",
    ),
    Curve(
        name="loo_nll",
        title="Generalisation, from the training examples alone",
        x="epochs",
        y="loss (nats)",
        log_x=False,
        definition=(
            "Estimated loss of each training example on the model without it (loo_nll), on average, as training went "
            "on, beside the loss on the test examples (test_nll), which it is to foretell without seeing any, and the "
            "training loss. Its course says more than its level, which is too high where there are few examples for "
            "many weights. When it turns up, training on no longer helps."
        ),
        paper=f"{_NICKL}, eq. 19 and figure 5",
    ),
    Curve(
        name="loco",
        title="Classes the model would miss",
        x="class",
        y="loss (nats)",
        log_x=False,
        definition=(
            "Estimated loss on each class's training examples after training without the class, each moved by its own "
            "removal alone, beside their loss now. The further apart, the more the model depends on that class's own "
            "examples."
        ),
        paper=f"{_NICKL}, eq. 20 and figure 3",
        by_class=True,
    ),
    Curve(
        name="sensitivity_groups",
        title="What the model came to depend on",
        x="examples, the most sensitive at the end first (%)",
        y="sensitivity",
        log_x=True,
        definition=(
            "Mean sensitivity of groups of training examples, in the order of their sensitivity at the end, as "
            "training went on. The usual picture is that a model comes to depend on a small part of the examples: odd, "
            "rare or wrongly labelled ones."
        ),
        paper=f"{_NICKL}, figure 6",
    ),
    Curve(
        name="damping",
        title="How influence depends on the damping",
        x="damping (share of the curvature's largest eigenvalue)",
        y="rank correlation",
        log_x=True,
        definition=(
            "How alike influence functions rank the training examples at other dampings and at the default one, where "
            "both lines are 1: by their effects on an evaluation example, on average over up to 100 of them, and by "
            "self-influence. Nothing in the data says which damping is right, so where a line falls off steeply, the "
            "details of that ranking are not to be trusted."
        ),
        paper=f"{_BAE}, eq. 20",
    ),
    Curve(
        name="summarization",
        title="How much can go",
        x="training examples removed (%)",
        y="test accuracy",
        log_x=False,
        definition=(
            "Accuracy on the test examples of the model trained again on what is left, mean over seeds: with the least "
            "informative examples removed, all at once (bottom) or scored again after every part (bottom iterative), "
            "with the most informative removed (top), and at random."
        ),
        paper=f"{_HARUTYUNYAN}, figure 2c",
    ),
    Curve(
        name="summarization_linear",
        title="The same for the linearised model",
        x="training examples removed (%)",
        y="test accuracy",
        log_x=False,
        definition=(
            "The same accuracies of the linearised model, in closed form. Where only the head is linearised its "
            "features have seen what was removed, so much removed costs it less than it costs a network."
        ),
        paper=f"{_HARUTYUNYAN}, figure 2c",
    ),
    Curve(
        name="detection",
        title="Wrong labels found",
        x="share of the examples inspected, the most suspicious first",
        y="share of the wrong labels found",
        log_x=False,
        definition=(
            "How soon each score finds the labels that are known to be wrong, when examples are inspected in its "
            "order: the steeper at the left, the better. Random order gives the diagonal. Clusters are the examples "
            "that act on the validation examples otherwise than others of their label, found without knowing the "
            "truth; they come first, by contribution."
        ),
        paper=f"{_CHEN}, table 4; {_BAE}, figure 6",
    ),
)

CURVES: dict[str, Curve] = {curve.name: curve for curve in _ALL}
