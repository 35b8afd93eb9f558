"""Models that SampleScope can build by name."""

from attribution_core.models.networks import TwoLayerReLU
from attribution_core.models.runtime import device_named, evaluation_mode
from attribution_core.models.weights import load_weights
from attribution_core.models.zoo import ARCHITECTURES, build_model

__all__ = ["ARCHITECTURES", "TwoLayerReLU", "build_model", "device_named", "evaluation_mode", "load_weights"]
