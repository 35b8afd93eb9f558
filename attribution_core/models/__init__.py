"""Models that SampleScope can build by name."""

from attribution_core.models.modes import evaluation_mode
from attribution_core.models.two_layer import TwoLayerReLU
from attribution_core.models.zoo import ARCHITECTURES, build_model, load_weights

__all__ = ["ARCHITECTURES", "TwoLayerReLU", "build_model", "evaluation_mode", "load_weights"]
