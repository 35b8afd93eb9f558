"""Images that a network learns in seconds."""

import torch
from torch import Tensor


def striped_images(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return ten kinds of stripes with noise and their labels, an eighth of which are drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (n,), generator=generator)
    patterns = torch.stack([torch.sin(torch.arange(28) * (0.3 + 0.25 * label)).expand(28, 28) for label in range(10)])
    inputs = 0.1 * (patterns[labels][:, None] + torch.randn(n, 1, 28, 28, generator=generator))
    labels[::8] = torch.randint(10, (len(labels[::8]),), generator=generator)
    return inputs, labels
