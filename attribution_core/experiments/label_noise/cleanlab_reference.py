"""Find wrong labels with another library, for comparison: cleanlab, https://github.com/cleanlab/cleanlab.

It implements Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset labels".
"""

import torch
from torch import Tensor

from attribution_core.errors import InputError


def cleanlab_scores(probabilities: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return how suspicious confident learning finds each label; higher is more suspicious.

    cleanlab expects probabilities from a model that has not seen the example, as from cross-validation.

    Args:
        probabilities: Probability of each class, ``[n, k]``.
        labels: Given labels, ``[n]``.

    Returns:
        Scores by cleanlab's names, ``[n]`` each, float64. ``self_confidence``: one minus the probability of the label.
        ``normalized_margin``: half of one minus the margin between the label and the strongest other class.
        ``find_label_issues``: one minus the probability of the label, plus 2 for the labels that confident learning
        finds wrong, so that these come first, in cleanlab's own order.

    Raises:
        InputError: cleanlab is not installed, or the shapes do not match.
    """
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise InputError("The comparison needs cleanlab: pip install 'samplescope[experiments]'.") from error
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise InputError(
            f"Expected probabilities [n, k] and labels [n]; given {list(probabilities.shape)} and {list(labels.shape)}."
        )
    given, theirs = labels.cpu().numpy(), probabilities.detach().double().cpu().numpy()
    scores = {
        method: 1 - torch.from_numpy(get_label_quality_scores(given, theirs, method=method))
        for method in ("self_confidence", "normalized_margin")
    }
    issues = torch.from_numpy(find_label_issues(given, theirs, n_jobs=1))  # bool [n]
    return {**scores, "find_label_issues": scores["self_confidence"] + 2 * issues}
