"""Define the networks of the experiments on the memory-perturbation equation (Nickl et al. 2023, appendix G)."""

from torch import nn

from attribution_core.models import build_model

CLASSES = 10
# Network and hidden sizes by dataset, for images of 28 pixels.
NETWORKS: dict[str, tuple[str, tuple[int, ...]]] = {"mnist": ("mlp", (500, 300)), "fashion-mnist": ("lenet5", ())}
# Near the smallest test loss of ``memory_generalization_curve`` on 2,500 to 5,000 images; the paper's values also come
# from a grid search.
DELTA_PER_IMAGE = 1 / 200


def network(data: str) -> nn.Module:
    """Build a dataset's network at its initial weights."""
    name, hidden = NETWORKS[data]
    return build_model(name, CLASSES, (1, 28, 28), hidden)
