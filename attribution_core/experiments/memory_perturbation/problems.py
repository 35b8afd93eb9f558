"""The networks of the memory-perturbation equation's experiments (Nickl et al. 2023, appendix G)."""

from torch import nn

from attribution_core.models import build_model

CLASSES = 10
# By dataset; images of 28 pixels.
NETWORKS: dict[str, tuple[str, tuple[int, ...]]] = {"mnist": ("mlp", (500, 300)), "fashion-mnist": ("lenet5", ())}
# Near the smallest test loss of ``memory_generalization curve`` on 2,500 to 5,000 images; the paper's own come from a
# grid search too.
DELTA_PER_IMAGE = 1 / 200


def network(data: str) -> nn.Module:
    """The dataset's network at its initial weights."""
    name, hidden = NETWORKS[data]
    return build_model(name, CLASSES, (1, 28, 28), hidden)
