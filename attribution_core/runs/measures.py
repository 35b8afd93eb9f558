"""The registry of measures: what each score means, in which unit, from which paper.

The app's help, the command line's listing and the documentation all print these entries, so that a score is explained
in one place only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["informativeness", "effect", "sensitivity", "contribution", "diagnostic", "imported"]


@dataclass(frozen=True)
class Measure:
    """One score of a training example.

    Attributes:
        name: Name of the score's column.
        title: Name for people.
        kind: The family it belongs to; a diagnostic comes with every run, and an imported one was made elsewhere.
        unit: Its unit; empty for a pure number.
        definition: One or two sentences for someone who has not read the paper.
        equation: The formula, in LaTeX; empty where a run brings the measure itself.
        paper: Where the formula is from; empty for a diagnostic, and where a run brings the measure itself.
        suspicious: Which end of the scale hints at a wrong label, or None when neither does.
        signed: Whether it takes both signs; it is then drawn on a scale centred on zero.
    """

    name: str
    title: str
    kind: Kind
    unit: str
    definition: str
    equation: str
    paper: str
    suspicious: Literal["high", "low"] | None
    signed: bool


_HARUTYUNYAN = (
    "Harutyunyan et al. 2021, Estimating informativeness of samples with smooth unique information, ICLR 2021, "
    "eqs. 8 and 16"
)

_CHEN = (
    "Chen et al. 2021, HyDRA: Hypergradient data relevance analysis for interpreting deep neural networks, AAAI 2021, "
    "eq. 7 and algorithm 1"
)

_NICKL = (
    "Nickl et al. 2023, The memory perturbation equation: understanding model's sensitivity to data, NeurIPS 2023, "
)

_BAE = (
    "Bae et al. 2022, If influence functions are the answer, then what is the question?, NeurIPS 2022, eqs. 20 and 46"
)

_ALL = (
    Measure(
        name="fsi",
        title="Functional sample information",
        kind="informativeness",
        unit="nats",
        definition=(
            "How much the trained model's predictions on unseen (validation) examples change when this example is "
            "removed and the linearised model is trained again. Near zero: the others already say it; large: nothing "
            "else does, so it is rare, hard or wrongly labelled."
        ),
        equation=r"\mathrm{F\text{-}SI}_i = \frac{1}{2\sigma^2}\,\mathbb{E}_x\,\lVert f(x) - f_{-i}(x) \rVert^2",
        paper=_HARUTYUNYAN,
        suspicious="high",
        signed=False,
    ),
    Measure(
        name="si",
        title="Sample information",
        kind="informativeness",
        unit="nats",
        definition=(
            "How far the trained weights move when this example is removed and the linearised model is trained again, "
            "smoothed by unit noise on every weight. Unlike F-SI it also counts changes that no prediction shows."
        ),
        equation=r"\mathrm{SI}_i = \frac{1}{2}\,(w - w_{-i})^\top \Sigma^{-1} (w - w_{-i}), \quad \Sigma = I",
        paper=_HARUTYUNYAN.replace("eqs. 8 and 16", "eq. 5"),
        suspicious="high",
        signed=False,
    ),
    Measure(
        name="ntk",
        title="Kernel-regime influence",
        kind="effect",
        unit="half squared error",
        definition=(
            "The loss on an evaluation example after removing a training example and training the linearised model "
            "again, minus before. Positive: the training example is helpful to it; negative: harmful."
        ),
        equation=r"\tfrac12\lVert f_{-i}(x_j) - y_j\rVert^2 - \tfrac12\lVert f(x_j) - y_j\rVert^2",
        paper=(
            "Zhang and Zhang 2022, Rethinking influence functions of neural networks in the over-parameterized regime, "
            "AAAI 2022, eqs. 8 and 20"
        ),
        suspicious=None,
        signed=True,
    ),
    Measure(
        name="contribution",
        title="Contribution to training",
        kind="contribution",
        unit="nats",
        definition=(
            "How much higher the mean loss on the validation examples would be, to first order, had this example been "
            "left out of the whole training, in the same order of batches. Negative: training would have gone better "
            "without it. Without the Hessian (the default) it adds up how well each of the example's steps agreed with "
            "what the validation examples need; with it, the derivative along this one training is exact."
        ),
        equation=r"C(i) = -s_i\,\frac{\mathrm{d}}{\mathrm{d} s_i}\,\frac{1}{m}\sum_j \ell_j(w_T)",
        paper=_CHEN,
        suspicious="low",
        signed=True,
    ),
    Measure(
        name="hydra",
        title="Contribution to an example",
        kind="effect",
        unit="nats",
        definition=(
            "The loss on an evaluation example had a training example been left out of the whole training, minus the "
            "loss with it, to first order and without the Hessian. Positive: the training example is helpful to it."
        ),
        equation=r"C(i, j) = -\frac{1}{N}\,\nabla \ell_j(w_T)^\top \tilde\nabla_{T,i}",
        paper=_CHEN.replace("eq. 7", "eq. 8"),
        suspicious=None,
        signed=True,
    ),
    Measure(
        name="sensitivity",
        title="Sensitivity",
        kind="sensitivity",
        unit="probability",
        definition=(
            "How far the predicted probabilities for this example would move if it were removed, estimated from the "
            "variance and the error of its prediction and summed over the classes. Large: the model holds its "
            "prediction only because it saw this example. An estimate to first order: large ones may exceed 2, the "
            "most that probabilities can move, and mean no more than that."
        ),
        equation=r"\lVert \Lambda_i v_i e_i \rVert_1, \quad v_i = J_i \Sigma J_i^\top, \quad e_i = \sigma(f_i) - y_i",
        paper=f"{_NICKL}eq. 16",
        suspicious="high",
        signed=False,
    ),
    Measure(
        name="variance",
        title="Prediction variance",
        kind="sensitivity",
        unit="",
        definition=(
            "How uncertain the model is about its outputs (logits) for this example, in the direction of its error: "
            "their variance under a Gaussian posterior of the weights. Large: few examples are like it."
        ),
        equation=r"e_i^\top v_i e_i / \lVert e_i \rVert^2",
        paper=f"{_NICKL}eq. 15",
        suspicious="high",
        signed=False,
    ),
    Measure(
        name="error",
        title="Prediction error",
        kind="sensitivity",
        unit="probability",
        definition=(
            "How far the predicted probabilities for this example are from its label: the length of their difference. "
            "Variance times error is what removing the example would change."
        ),
        equation=r"\lVert \sigma(f_i) - y_i \rVert",
        paper=f"{_NICKL}eq. 15",
        suspicious="high",
        signed=False,
    ),
    Measure(
        name="loo_loss",
        title="Leave-one-out loss",
        kind="sensitivity",
        unit="nats",
        definition=(
            "Estimated loss on this example of the model trained without it. Unlike the training loss, it is large "
            "also where the model has learnt a label by heart."
        ),
        equation=r"\ell(y_i,\, f_i + v_i e_i)",
        paper=f"{_NICKL}eq. 19",
        suspicious="high",
        signed=False,
    ),
    Measure(
        name="self_influence",
        title="Self-influence",
        kind="sensitivity",
        unit="nats",
        definition=(
            "By how much the loss on this example would rise, to first order, had it been removed. Large where a label "
            "was learnt by heart. By influence functions: what they foretell is not retraining but the response of the "
            "trained weights while everything else is held where it is."
        ),
        equation=r"\frac{1}{n}\,\nabla\ell_i^\top (C + \lambda I)^{-1}\,\nabla\ell_i",
        paper=_BAE,
        suspicious="high",
        signed=False,
    ),
    Measure(
        name="influence",
        title="Influence on an example",
        kind="effect",
        unit="nats",
        definition=(
            "The loss on an evaluation example had a training example been removed, minus the loss with it, to first "
            "order about the trained weights, while everything else is held where it is. Positive: the training "
            "example is helpful to it."
        ),
        equation=r"\frac{1}{n}\,\nabla\ell_j^\top (C + \lambda I)^{-1}\,\nabla\ell_i",
        paper=_BAE,
        suspicious=None,
        signed=True,
    ),
    Measure(
        name="nearest_similarity",
        title="Similarity to the nearest",
        kind="diagnostic",
        unit="cosine",
        definition=(
            "How alike this training example and the one nearest to it look to the trained network. Near one: it is "
            "there twice, or nearly. Low information alone does not tell a duplicate from a typical example; this does."
        ),
        equation=r"\max_{j \neq i} \cos(\phi_i, \phi_j)",
        paper="",
        suspicious=None,
        signed=False,
    ),
    Measure(
        name="summary_rank",
        title="Place in the order of removal",
        kind="informativeness",
        unit="",
        definition=(
            "When this training example goes if the least informative are removed one part after another and what is "
            "left is scored again each time: 0 goes first. Unlike the information itself, it keeps one of two "
            "examples that say the same."
        ),
        equation=r"\mathrm{rank}_i",
        paper=_HARUTYUNYAN.replace("eqs. 8 and 16", "figure 2c"),
        suspicious=None,
        signed=False,
    ),
    Measure(
        name="loss",
        title="Training loss",
        kind="diagnostic",
        unit="nats",
        definition=(
            "Cross-entropy of the trained model on this training example's own label. Large: even after training on "
            "it, the model does not believe the label."
        ),
        equation=r"-\log p(y_i \mid x_i)",
        paper="",
        suspicious="high",
        signed=False,
    ),
    Measure(
        name="margin",
        title="Margin",
        kind="diagnostic",
        unit="",
        definition=(
            "Predicted probability of the label minus that of the strongest other class. Negative: the model prefers "
            "another class."
        ),
        equation=r"p(y_i \mid x_i) - \max_{c \neq y_i} p(c \mid x_i)",
        paper="",
        suspicious="low",
        signed=True,
    ),
    Measure(
        name="residual",
        title="Residual",
        kind="diagnostic",
        unit="",
        definition=(
            "What the trained model predicts for this training example minus its value, in the unit of the data; only "
            "where values are predicted, not classes. Far from zero on either side: the model does not believe the "
            "value."
        ),
        equation=r"f(x_i) - y_i",
        paper="",
        suspicious=None,
        signed=True,
    ),
    Measure(
        name="confidence",
        title="Confidence",
        kind="diagnostic",
        unit="",
        definition="Probability that the trained model gives to the class it predicts, whatever the label says.",
        equation=r"\max_c p(c \mid x_i)",
        paper="",
        suspicious=None,
        signed=False,
    ),
)

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _ALL}
