"""Models that SampleScope can build by name. Names load on first use: what a model expects of images needs no torch."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from attribution_core.models.catalog import ARCHITECTURES
    from attribution_core.models.networks import TwoLayerReLU
    from attribution_core.models.runtime import device_named, evaluation_mode
    from attribution_core.models.weights import load_weights
    from attribution_core.models.zoo import build_model
else:
    __getattr__, __dir__, _ = lazy_loader.attach(
        __name__,
        None,
        {
            "catalog": ("ARCHITECTURES",),
            "networks": ("TwoLayerReLU",),
            "runtime": ("device_named", "evaluation_mode"),
            "weights": ("load_weights",),
            "zoo": ("build_model",),
        },
    )

__all__ = ["ARCHITECTURES", "TwoLayerReLU", "build_model", "device_named", "evaluation_mode", "load_weights"]
