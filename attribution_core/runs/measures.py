"""The registry of measures: what each score means, in which unit, and from which paper.

The app's help, ``samplescope methods`` and the documentation print these entries, so each score is explained only here.
"""

from __future__ import annotations

from attribution_core.runs.diagnostics import DIAGNOSTICS
from attribution_core.runs.measure import SQUARED_ERROR, Kind, Measure

__all__ = ["MEASURES", "Kind", "Measure"]

_HARUTYUNYAN = (
    "Harutyunyan et al. 2021, Estimating informativeness of samples with smooth unique information, ICLR 2021"
)
_CHEN = (
    "Chen et al. 2021, HyDRA: Hypergradient data relevance analysis for interpreting deep neural networks, AAAI 2021"
)
_NICKL = "Nickl et al. 2023, The memory perturbation equation: understanding model's sensitivity to data, NeurIPS 2023"
_BAE = "Bae et al. 2022, If influence functions are the answer, then what is the question?, NeurIPS 2022"
_ZHANG = "Zhang and Zhang 2022, Rethinking influence functions of neural networks in the over-parameterized regime"

_ALLEN = "Allen 1974, The relationship between variable selection and data augmentation, Technometrics 16"

_ALL = (
    Measure(
        name="label_quality",
        title="Label quality",
        kind="label quality",
        unit="probability",
        definition=(
            "How probable the label of this example is to a model that never saw it: kernel ridge regression on "
            "features that no label has shaped, or the cross-fitted model of the run. Low: the label is likely wrong."
        ),
        equation=r"p_{-i}(y_i \mid x_i), \quad f_{-i}(x_i) = y_i - \frac{y_i - f(x_i)}{1 - h_i}",
        paper=_ALLEN,
        suspicious="low",
        signed=False,
        regression={
            "definition": (
                "The chance of an error at least as large as that of a model that never saw this example: kernel ridge "
                "regression without the example, or the cross-fitted model of the run. Low: the value is likely wrong."
            ),
            "equation": r"P(|t_4| \ge |z_i|), \quad z_i = \frac{y_i - f_{-i}(x_i)}{\sigma_i}",
        },
    ),
    Measure(
        name="fsi",
        title="Functional sample information (F-SI)",
        kind="informativeness",
        unit="nats",
        definition=(
            "How much the trained model's predictions for held-out (validation) examples change when this example is "
            "removed and the linearized model is trained again. Near zero: other examples carry the same information. "
            "Large: no other example does, so this one is rare, hard or mislabeled."
        ),
        equation=r"\mathrm{F\text{-}SI}_i = \frac{1}{2\sigma^2}\,\mathbb{E}_x\,\lVert f(x) - f_{-i}(x) \rVert^2",
        paper=f"{_HARUTYUNYAN}, eqs. 8 and 16",
        suspicious="high",
        signed=False,
        regression={
            "definition": (
                "How much the trained model's predictions for held-out (validation) examples change when this example "
                "is removed and the linearized model is trained again. Near zero: other examples carry the same "
                "information. Large: no other example does, so this one is rare or hard, or its value is wrong."
            ),
        },
    ),
    Measure(
        name="si",
        title="Sample information (SI)",
        kind="informativeness",
        unit="nats",
        definition=(
            "How far the trained weights move when this example is removed and the linearized model is trained again, "
            "smoothed by unit noise on every weight. Unlike F-SI, it also counts changes that no prediction shows."
        ),
        equation=r"\mathrm{SI}_i = \frac{1}{2}\,(w - w_{-i})^\top \Sigma^{-1} (w - w_{-i}), \quad \Sigma = I",
        paper=f"{_HARUTYUNYAN}, eq. 5",
        suspicious="high",
        signed=False,
    ),
    Measure(
        name="ntk",
        title="NTK influence",
        kind="effect",
        unit=SQUARED_ERROR,
        definition=(
            "The change of the loss on an evaluation example when a training example is removed and the linearized "
            "model is trained again. Positive: the training example is helpful to the evaluation example. Negative: it "
            "is harmful."
        ),
        equation=r"\tfrac12\lVert f_{-i}(x_j) - y_j\rVert^2 - \tfrac12\lVert f(x_j) - y_j\rVert^2",
        paper=f"{_ZHANG}, AAAI 2022, eqs. 8 and 20",
        suspicious=None,
        signed=True,
    ),
    Measure(
        name="ntk_mean",
        title="Mean NTK influence",
        kind="contribution",
        unit=SQUARED_ERROR,
        definition=(
            "The change of the mean loss on the validation examples when this example is removed and the linearized "
            "model is trained again. Negative: the model would be better without it."
        ),
        equation=r"\frac{1}{m}\sum_j \tfrac12\lVert f_{-i}(x_j) - y_j\rVert^2 - \tfrac12\lVert f(x_j) - y_j\rVert^2",
        paper=f"{_ZHANG}, AAAI 2022, eqs. 8 and 20",
        suspicious="low",
        signed=True,
    ),
    Measure(
        name="contribution",
        title="Contribution (HYDRA)",
        kind="contribution",
        unit="nats",
        definition=(
            "How much higher the mean loss on the validation examples would be, to first order, if this example had "
            "been left out of the whole training, with the batches in the same order. Negative: training would have "
            "gone better without it. Without the Hessian (the default), the measure adds up how well each training "
            "step on this example agreed with what the validation examples need; with the Hessian, it is the exact "
            "derivative along this training."
        ),
        equation=r"C(i) = -s_i\,\frac{\mathrm{d}}{\mathrm{d} s_i}\,\frac{1}{m}\sum_j \ell_j(w_T)",
        paper=f"{_CHEN}, eq. 7 and algorithm 1",
        suspicious="low",
        signed=True,
        regression={"unit": SQUARED_ERROR},
    ),
    Measure(
        name="clusters",
        title="Label-noise clusters (HYDRA)",
        kind="contribution",
        unit="",
        definition=(
            "Which of two clusters of its class this example is in: k-means on the signs of its contributions to the "
            "validation examples, without any knowledge of which labels are wrong. Above zero: in the cluster that "
            "contributes less; below: in the other. Within each, the least contribution is highest. Every class has "
            "two clusters, so where few labels are wrong they may tell other things apart."
        ),
        equation=r"\operatorname{2\text{-}means}_{i:\, y_i = c}\, \operatorname{sign} C(i, \cdot)",
        paper=f"{_CHEN}, table 4",
        suspicious="high",
        signed=True,
    ),
    Measure(
        name="hydra",
        title="Contribution to an example (HYDRA)",
        kind="effect",
        unit="nats",
        definition=(
            "How much higher the loss on an evaluation example would be, to first order and without the Hessian, if a "
            "training example had been left out of the whole training. Positive: the training example is helpful to "
            "the evaluation example."
        ),
        equation=r"C(i, j) = -\frac{1}{N}\,\nabla \ell_j(w_T)^\top \tilde\nabla_{T,i}",
        paper=f"{_CHEN}, eq. 8 and algorithm 1",
        suspicious=None,
        signed=True,
        regression={"unit": SQUARED_ERROR},
    ),
    Measure(
        name="sensitivity",
        title="Sensitivity (MPE)",
        kind="sensitivity",
        unit="probability",
        definition=(
            "How far the predicted probabilities for this example would move if it were removed, estimated from the "
            "variance and the error of its prediction and summed over the classes. Large: the model holds its "
            "prediction only because it saw this example. The estimate is to first order: it may exceed 2, the most "
            "that probabilities can move, and such a value means only that the sensitivity is large."
        ),
        equation=r"\lVert \Lambda_i v_i e_i \rVert_1, \quad v_i = J_i \Sigma J_i^\top, \quad e_i = \sigma(f_i) - y_i",
        paper=f"{_NICKL}, eq. 16",
        suspicious="high",
        signed=False,
        regression={
            "unit": "SD",
            "definition": (
                "How far the prediction for this example would move if it were removed, in standard deviations of the "
                "values, estimated from the variance and the error of its prediction. Large: the model holds its "
                "prediction only because it saw this example."
            ),
            "equation": r"\lvert v_i e_i \rvert, \quad v_i = J_i \Sigma J_i^\top, \quad e_i = f_i - y_i",
        },
    ),
    Measure(
        name="variance",
        title="Prediction variance (MPE)",
        kind="sensitivity",
        unit="",
        definition=(
            "How uncertain the model is about its outputs (logits) for this example, in the direction of the error: "
            "their variance under a Gaussian posterior of the weights. Large: few examples are like it."
        ),
        equation=r"e_i^\top v_i e_i / \lVert e_i \rVert^2",
        paper=f"{_NICKL}, eq. 15",
        suspicious="high",
        signed=False,
        regression={
            "definition": (
                "How uncertain the model is about its prediction for this example: the variance of the prediction, in "
                "squared standard deviations of the values, under a Gaussian posterior of the weights. Large: few "
                "examples are like it."
            ),
            "equation": r"v_i = J_i \Sigma J_i^\top",
        },
    ),
    Measure(
        name="error",
        title="Prediction error (MPE)",
        kind="sensitivity",
        unit="probability",
        definition=(
            "How far the predicted probabilities for this example are from its label: the length of their difference. "
            "Variance times error estimates what removing the example changes."
        ),
        equation=r"\lVert \sigma(f_i) - y_i \rVert",
        paper=f"{_NICKL}, eq. 15",
        suspicious="high",
        signed=False,
        regression={
            "unit": "SD",
            "definition": (
                "How far the prediction for this example is from its value, in standard deviations of the values. "
                "Variance times error estimates what removing the example changes."
            ),
            "equation": r"\lvert f_i - y_i \rvert",
        },
    ),
    Measure(
        name="loo_loss",
        title="Leave-one-out loss (MPE)",
        kind="sensitivity",
        unit="nats",
        definition=(
            "Estimated loss on this example of a model trained without it. Unlike the training loss, it is large even "
            "where the model has memorized the label."
        ),
        equation=r"\ell(y_i,\, f_i + v_i e_i)",
        paper=f"{_NICKL}, eq. 19",
        suspicious="high",
        signed=False,
        regression={
            "unit": SQUARED_ERROR,
            "definition": (
                "Estimated loss on this example of a model trained without it. Unlike the training loss, it is large "
                "even where the model has memorized the value."
            ),
            "equation": r"\tfrac12 (f_i + v_i e_i - y_i)^2",
        },
    ),
    Measure(
        name="self_influence",
        title="Self-influence (influence function)",
        kind="sensitivity",
        unit="nats",
        definition=(
            "How much the loss on this example would rise, to first order, if it were removed. Large: the model has "
            "memorized the label. It is averaged over the weights after several epochs; of weights that were given, it "
            "is about these."
        ),
        equation=r"\frac{1}{n}\,\nabla\ell_i^\top (C + \lambda I)^{-1}\,\nabla\ell_i",
        paper=f"{_BAE}, eqs. 20 and 46",
        suspicious="high",
        signed=False,
        regression={
            "unit": SQUARED_ERROR,
            "definition": (
                "How much the loss on this example would rise, to first order, if it were removed. Large: the model "
                "has memorized the value. It is averaged over the weights after several epochs; of weights that were "
                "given, it is about these."
            ),
        },
    ),
    Measure(
        name="influence",
        title="Influence function",
        kind="effect",
        unit="nats",
        definition=(
            "How much higher the loss on an evaluation example would be if a training example were removed, to first "
            "order and averaged over the weights after several epochs of the training (of weights that were given, "
            "about these). Positive: the training example is helpful to the evaluation example."
        ),
        equation=r"\frac{1}{n}\,\nabla\ell_j^\top (C + \lambda I)^{-1}\,\nabla\ell_i",
        paper=f"{_BAE}, eqs. 20 and 46",
        suspicious=None,
        signed=True,
        regression={"unit": SQUARED_ERROR},
    ),
    Measure(
        name="summary_rank",
        title="Removal rank",
        kind="informativeness",
        unit="",
        definition=(
            "The rank at which this training example is removed when the least informative examples are removed in "
            "parts and the rest is scored again after each part; rank 0 is removed first. Unlike the information "
            "itself, the rank keeps one of two examples that carry the same information."
        ),
        equation=r"\mathrm{rank}_i",
        paper=f"{_HARUTYUNYAN}, figure 2c",
        suspicious=None,
        signed=False,
    ),
)

MEASURES: dict[str, Measure] = {measure.name: measure for measure in (*_ALL, *DIAGNOSTICS)}
