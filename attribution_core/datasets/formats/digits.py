"""scikit-learn's 1,797 handwritten digits, 8 x 8 pixels."""

import numpy as np

from attribution_core.datasets.images import ArrayImage
from attribution_core.datasets.listing import Examples, Listing

_LARGEST_VALUE = 16


def read() -> Listing:
    """The digits as scikit-learn ships them, without splits."""
    from sklearn.datasets import load_digits  # here: importing it takes a second, and few open the digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / _LARGEST_VALUE)).astype(np.uint8)
    ids = [f"digits-{row:04d}" for row in range(len(pixels))]
    examples = Examples.without_groups(ids, [ArrayImage(image) for image in pixels], digits.target)
    return Listing({"train": examples}, [str(digit) for digit in range(10)])
