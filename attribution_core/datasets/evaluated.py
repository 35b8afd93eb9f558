"""The validation examples that effects are measured on."""

import dataclasses

import numpy as np

from attribution_core.datasets.dataset import Splits
from attribution_core.datasets.partition import sample


def evaluated_first(splits: Splits, most: int | None, seed: int) -> Splits:
    """Return the dataset with the validation examples that effects are measured on before the others.

    Args:
        splits: Opened dataset, with any decisions applied.
        most: Number of examples to draw by class, or tenth of the values; with no more examples than that, or None,
            all are measured on, and nothing changes.
        seed: Seed of the draw.
    """
    part = splits.validation
    if most is None or len(part) <= most:
        return splits
    chosen = sample(part.labels, most, seed)
    others = np.setdiff1d(np.arange(len(part)), chosen)
    note = (
        f"Effects are measured on {most:,} of the {len(part):,} validation examples, stratified by "
        f"{'class' if part.values is None else 'value'}, seed {seed}; they come first."
    )
    ordered = part.subset(np.concatenate([chosen, others]))
    return dataclasses.replace(splits, validation=ordered, notes=[*splits.notes, note])
