"""Compute effects with another library's EKFAC, for comparison: kronfluence, https://github.com/pomonam/kronfluence.

It implements Grosse et al. 2023, "Studying large language model generalization with influence functions".
"""

import copy
import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from attribution_core.experiments.data import Side


def kronfluence_effects(
    model: nn.Module,
    train: Side,
    evaluation: Side,
    damping: float | None = None,
    strategy: str = "ekfac",
    batch_size: int = 256,
) -> Tensor:
    """Return ``effect[i, j]`` under cross-entropy, in our sign and scale, ``[n, m]``.

    Labels for the Fisher information are drawn from the model with torch's global generator.

    Args:
        model: A classifier at its trained weights; it is not changed.
        train: Training inputs and classes.
        evaluation: Evaluation inputs and classes.
        damping: Damping added to the curvature of the mean loss; None for kronfluence's heuristic, a tenth of the mean
            eigenvalue of each layer.
        strategy: ``"ekfac"``, ``"kfac"`` or ``"identity"`` (products of gradients).
        batch_size: Batch size of every computation.
    """
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    class Classification(Task):
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            outputs, targets = model(batch[0]), batch[1]
            if sample:
                targets = torch.multinomial(outputs.detach().softmax(dim=1), 1)[:, 0]
            return F.cross_entropy(outputs, targets, reduction="sum")

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    logging.getLogger("kronfluence").setLevel(logging.ERROR)
    task = Classification()
    prepared = prepare_model(copy.deepcopy(model), task)
    with tempfile.TemporaryDirectory() as folder:
        on_cpu = not next(model.parameters()).is_cuda
        analyzer = Analyzer("run", prepared, task, cpu=on_cpu, disable_tqdm=True, output_dir=Path(folder).as_posix())
        analyzer.fit_all_factors(
            "factors", TensorDataset(*train), batch_size, factor_args=FactorArguments(strategy=strategy)
        )
        analyzer.compute_pairwise_scores(
            "scores",
            "factors",
            TensorDataset(*evaluation),
            TensorDataset(*train),
            batch_size,
            batch_size,
            score_args=ScoreArguments(damping_factor=damping),
        )
        found: Any = analyzer.load_pairwise_scores("scores")
    return found["all_modules"].T / len(train[0])
