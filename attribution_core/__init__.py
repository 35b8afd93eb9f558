"""SampleScope: what does each training example do?

    import attribution_core as ac

Names load on first use, so that a program that only reads runs does not wait for torch.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attribution_core.datasets import open_dataset
    from attribution_core.datasets.features import table_features, text_features, tfidf_features
    from attribution_core.errors import InputError
    from attribution_core.evaluation.detection import detection_curve
    from attribution_core.evaluation.fidelity import fidelity
    from attribution_core.evaluation.retraining import retrain_without
    from attribution_core.evaluation.summarization import removal_order, summarization_curve
    from attribution_core.export.torch_objects import cleaned_dataset
    from attribution_core.methods.analysis.label_noise import class_contributions, label_noise_clusters
    from attribution_core.methods.analysis.near_duplicates import near_duplicates
    from attribution_core.methods.hydra.contributions import hydra
    from attribution_core.methods.hydra.online import HydraAccumulator
    from attribution_core.methods.hydra.seeds import hydra_over_seeds
    from attribution_core.methods.influence.along_training import influence_along_training
    from attribution_core.methods.influence.damping import damping_sweep
    from attribution_core.methods.influence.functions import (
        influence_functions,
        influence_weights,
        self_influence,
    )
    from attribution_core.methods.influence.options import InfluenceOptions
    from attribution_core.methods.influence.proximal_bregman import (
        proximal_bregman_response,
        proximal_response,
        train_without,
        two_stage_response,
    )
    from attribution_core.methods.linearized.build import linearize
    from attribution_core.methods.linearized.kernel_influence import (
        ihvp_effects_in_kernel_regime,
        relu_ntk,
        sample_complexity,
    )
    from attribution_core.methods.linearized.label_quality import label_quality
    from attribution_core.methods.linearized.model import LinearizedModel
    from attribution_core.methods.linearized.sample_information import functional_sample_information, sample_information
    from attribution_core.methods.linearized.schedule import GradientDescent
    from attribution_core.methods.sensitivity.bayesian_logistic import bayesian_logistic_regression
    from attribution_core.methods.sensitivity.evolution import memory_evolution
    from attribution_core.methods.sensitivity.groups import group_deviation, leave_one_class_out, loo_curve
    from attribution_core.methods.sensitivity.perturbation import memory_sensitivity
    from attribution_core.models import build_model
    from attribution_core.runs import Run
    from attribution_core.scoring.score import ScoreConfig, score
    from attribution_core.scoring.support import supported_measures
    from attribution_core.training import Recipe, train
    from attribution_core.workflows.import_scores import import_scores
    from attribution_core.workflows.regularization import choose_regularization
    from attribution_core.workflows.summarize import summarize
    from attribution_core.workflows.verify import verify

_HOMES = {
    "GradientDescent": "methods.linearized.schedule",
    "HydraAccumulator": "methods.hydra.online",
    "InfluenceOptions": "methods.influence.options",
    "InputError": "errors",
    "LinearizedModel": "methods.linearized.model",
    "Recipe": "training",
    "Run": "runs",
    "ScoreConfig": "scoring.score",
    "bayesian_logistic_regression": "methods.sensitivity.bayesian_logistic",
    "build_model": "models",
    "choose_regularization": "workflows.regularization",
    "class_contributions": "methods.analysis.label_noise",
    "cleaned_dataset": "export.torch_objects",
    "damping_sweep": "methods.influence.damping",
    "detection_curve": "evaluation.detection",
    "fidelity": "evaluation.fidelity",
    "functional_sample_information": "methods.linearized.sample_information",
    "group_deviation": "methods.sensitivity.groups",
    "hydra": "methods.hydra.contributions",
    "hydra_over_seeds": "methods.hydra.seeds",
    "ihvp_effects_in_kernel_regime": "methods.linearized.kernel_influence",
    "import_scores": "workflows.import_scores",
    "influence_along_training": "methods.influence.along_training",
    "influence_functions": "methods.influence.functions",
    "influence_weights": "methods.influence.functions",
    "label_noise_clusters": "methods.analysis.label_noise",
    "label_quality": "methods.linearized.label_quality",
    "leave_one_class_out": "methods.sensitivity.groups",
    "linearize": "methods.linearized.build",
    "loo_curve": "methods.sensitivity.groups",
    "memory_evolution": "methods.sensitivity.evolution",
    "memory_sensitivity": "methods.sensitivity.perturbation",
    "near_duplicates": "methods.analysis.near_duplicates",
    "open_dataset": "datasets",
    "proximal_bregman_response": "methods.influence.proximal_bregman",
    "proximal_response": "methods.influence.proximal_bregman",
    "relu_ntk": "methods.linearized.kernel_influence",
    "removal_order": "evaluation.summarization",
    "retrain_without": "evaluation.retraining",
    "sample_complexity": "methods.linearized.kernel_influence",
    "sample_information": "methods.linearized.sample_information",
    "score": "scoring.score",
    "self_influence": "methods.influence.functions",
    "summarization_curve": "evaluation.summarization",
    "summarize": "workflows.summarize",
    "supported_measures": "scoring.support",
    "table_features": "datasets.features",
    "text_features": "datasets.features",
    "tfidf_features": "datasets.features",
    "train": "training",
    "train_without": "methods.influence.proximal_bregman",
    "two_stage_response": "methods.influence.proximal_bregman",
    "verify": "workflows.verify",
}

# Old names of public objects, kept as aliases for one release: name -> new name.
_RENAMED = {
    "SolverOptions": "InfluenceOptions",
    "retrained_without": "train_without",
}

__all__ = [
    "GradientDescent",
    "HydraAccumulator",
    "InfluenceOptions",
    "InputError",
    "LinearizedModel",
    "Recipe",
    "Run",
    "ScoreConfig",
    "bayesian_logistic_regression",
    "build_model",
    "choose_regularization",
    "class_contributions",
    "cleaned_dataset",
    "damping_sweep",
    "detection_curve",
    "fidelity",
    "functional_sample_information",
    "group_deviation",
    "hydra",
    "hydra_over_seeds",
    "ihvp_effects_in_kernel_regime",
    "import_scores",
    "influence_along_training",
    "influence_functions",
    "influence_weights",
    "label_noise_clusters",
    "label_quality",
    "leave_one_class_out",
    "linearize",
    "loo_curve",
    "memory_evolution",
    "memory_sensitivity",
    "near_duplicates",
    "open_dataset",
    "proximal_bregman_response",
    "proximal_response",
    "relu_ntk",
    "removal_order",
    "retrain_without",
    "sample_complexity",
    "sample_information",
    "score",
    "self_influence",
    "summarization_curve",
    "summarize",
    "supported_measures",
    "table_features",
    "text_features",
    "tfidf_features",
    "train",
    "train_without",
    "two_stage_response",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        new = _RENAMED[name]
        warnings.warn(
            f"attribution_core.{name} is now attribution_core.{new}; the old name will be removed in the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(f"{__name__}.{_HOMES[new]}"), new)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
