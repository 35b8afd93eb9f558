"""The diagnostics of the registry: measures of the trained model itself, which need no paper."""

from attribution_core.runs.measure import SQUARED_ERROR, Measure

DIAGNOSTICS = (
    Measure(
        name="nearest_similarity",
        title="Nearest-neighbor similarity",
        kind="diagnostic",
        unit="cosine",
        definition=(
            "How similar this training example and its nearest neighbor look to the trained network. Near one: the "
            "example has a duplicate or near-duplicate. Low information alone does not tell a duplicate from a typical "
            "example; this measure does."
        ),
        equation=r"\max_{j \neq i} \cos(\phi_i, \phi_j)",
        paper="",
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
            "the example, the model contradicts its label."
        ),
        equation=r"-\log p(y_i \mid x_i)",
        paper="",
        suspicious="high",
        signed=False,
        regression={
            "unit": SQUARED_ERROR,
            "definition": (
                "Half the squared error of the trained model on this training example, in standard deviations of the "
                "values; always predicting the mean value would give 1/2 on average. Large: even after training on the "
                "example, the model contradicts its value."
            ),
            "equation": r"\tfrac12 (f_i - y_i)^2",
        },
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
            "The trained model's prediction for this training example minus its value, in the unit of the data; for "
            "regression only. Far from zero on either side: the model contradicts the value."
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
        definition="Probability that the trained model gives to the class that it predicts, whatever the label is.",
        equation=r"\max_c p(c \mid x_i)",
        paper="",
        suspicious=None,
        signed=False,
    ),
)
