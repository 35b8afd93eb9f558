"""All experiments: what each repeats, whether the statement held when it was last run, and how to run one by name."""

import difflib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from attribution_core.errors import InputError

State = Literal["holds", "holds in part", "does not hold", "not run"]
INFORMATION, KERNEL, HYDRA = "unique information", "NTK influence", "HYDRA"
MEMORY, INFLUENCE, OURS = "memory perturbation", "influence functions", "ours"


@dataclass(frozen=True)
class Experiment:
    """One entry.

    Attributes:
        name: By which it is run.
        module: In this package.
        arguments: What its command line starts with.
        title: What it does, in a few words.
        source: Paper, and which of its tables or figures.
        needs_data_root: Whether it must be told where the data lie.
        minutes: About how long it takes on one core.
        state: Whether the paper's statement held when it was last run at its default size.
        remark: What to know about that; may be empty.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    title: str
    source: str
    needs_data_root: bool
    minutes: float
    state: State
    remark: str = ""


EXPERIMENTS = (
    Experiment(
        "linearization_accuracy", "unique_information.linearization_accuracy",
        (), "linearised against really retrained networks",
        f"{INFORMATION}, table 1", True, 12, "holds",
        "Without decay, 40 examples: Pearson 0.995 for weights and 0.994 for predictions (paper 0.987 and 0.993).",
    ),
    Experiment(
        "toy_unique_information", "unique_information.toy",
        (), "what one example adds to the weights, and its bound",
        f"{INFORMATION}, appendix A.1", False, 1, "holds in part",
        "The paper does not print its Gaussians; ours were chosen so that the first set of points shows its numbers.",
    ),
    Experiment(
        "information_of_sources", "unique_information.sources",
        (), "which of two sources of digits informs more",
        f"{INFORMATION}, figure 2a", True, 3, "holds",
        "At 100 t: digits on photographs 2.6 times as informative as MNIST's, blurred ones half; at t only the former.",
    ),
    Experiment(
        "summarization", "unique_information.summarization", (), "how much of MNIST can go",
        f"{INFORMATION}, figures 2c and 7b", True, 80, "holds",
        "Half removed iteratively: 94.4 +- 0.4%, at random 92.1 +- 0.7%; a tenth kept: at random best. 7b not run.",
    ),
    Experiment(
        "information_of_subclasses", "unique_information.subclasses",
        (), "an under-sampled sub-class",
        f"{INFORMATION}, figure 9", True, 4, "holds",
        "At 100 t few cats inform 1.23 times as much as dogs, and few dogs 1.34 times as much as cats.",
    ),
    Experiment(
        "information_of_adversarial", "unique_information.adversarial",
        (), "adversarial examples",
        f"{INFORMATION}, figure 10", True, 2, "does not hold",
        "At 100 t 1.10 times as informative on average (0.93 before), not in every seed; area 0.56, so no detection.",
    ),
    Experiment(
        "information_agreement", "unique_information.agreement",
        (), "F-SI of other networks, initial weights and times",
        f"{INFORMATION}, appendix A.4 and figure 5", True, 4, "holds",
        "Architectures 0.33, heads 0.89 (0.36 in the paper, whose heads weigh more), times 0.63.",
    ),
    Experiment(
        "information_extremes_text", "unique_information.extremes",
        ("text",), "most and least informative sentences",
        f"{INFORMATION}, appendix A.7", True, 0.5, "holds",
        "At 100 t; at t only with vectors of a real sentence encoder.",
    ),
    Experiment(
        "information_extremes_table", "unique_information.extremes",
        ("table",), "most and least informative rows of a table",
        f"{INFORMATION}, section 7", True, 0.5, "holds in part",
        "At t; at 100 t the informative rows are still hard (0.18), hardly rare (0.08).",
    ),
    Experiment(
        "ntk_influence_accuracy", "ntk_influence.accuracy",
        (), "predicted against really retrained influence",
        f"{KERNEL}, table 1", True, 5, "holds",
        "MNIST: Pearson 0.906, 0.969 and 0.989 at widths 2,500, 5,000 and 10,000 (paper 0.977 at 10,000).",
    ),
    Experiment(
        "kernel_regime_studies", "ntk_influence.kernel_regime_studies",
        (), "error of influence functions, its causes and complexity",
        f"{KERNEL}, figures 2, 3, 5 and 7", True, 0.5, "holds",
        "Density against error rate at -0.33 to -0.45; flipped labels lead most at 32 steps, 66% where 40% is chance.",
    ),
    Experiment(
        "hydra_agreement_epochs", "hydra.agreement",
        ("epochs",), "Hessian-free against exact contributions",
        f"{HYDRA}, figures 3 to 5", True, 240, "does not hold",
        "Spearman 0.03 after 200 epochs, 0.986 in the paper; signs differ in 47%.",
    ),
    Experiment(
        "hydra_agreement_factors", "hydra.agreement",
        ("factors",), "the same over recipes, and against retraining",
        f"{HYDRA}, figures 3 to 5", True, 120, "does not hold",
        "The two agree only at the start of training; which one foretells retraining depends on the model.",
    ),
    Experiment(
        "hydra_wrong_labels_table_3", "hydra.wrong_labels",
        ("3",), "cleaning a set with 80% wrong labels",
        f"{HYDRA}, table 3", True, 60, "holds in part",
        "MNIST from 53% to 83% (Hessian-free, 3 trainings); the 1,000 clean images alone reach 93%.",
    ),
    Experiment(
        "hydra_wrong_labels_table_4", "hydra.wrong_labels", ("4",), "wrong labels found by clustering",
        f"{HYDRA}, table 4", True, 2, "does not hold",
        "MNIST 0.76 and 0.75 on 10,000 images, 0.64 and 0.65 on 50,000 (paper 0.97); Fashion-MNIST 0.70, 0.72 (0.78).",
    ),
    Experiment(
        "memory_removal_examples", "memory_perturbation.removal",
        ("examples",), "sensitivities against really retrained networks",
        f"{MEMORY}, figure 2", True, 25, "holds",
        "Rank correlation 0.98 on 5,000 images of MNIST; the error alone has 0.97.",
    ),
    Experiment(
        "memory_removal_classes", "memory_perturbation.removal", ("classes",), "a class removed",
        f"{MEMORY}, figures 1(c) and 3(c)", True, 4, "holds",
        "Rank correlation 0.76 on MNIST, 0.88 on Fashion-MNIST; the class's training loss alone has 0.78 and 0.90.",
    ),
    Experiment(
        "memory_generalization_curve", "memory_perturbation.generalization",
        ("curve", "--data", "mnist"),
        "the strength of regularisation without a test set", f"{MEMORY}, figure 4", True, 60, "holds",
        "On 20,000 images of MNIST the chosen strength's test loss is 1.9% above the best; with few images up to 14%.",
    ),
    Experiment(
        "memory_generalization_training", "memory_perturbation.generalization",
        ("training",), "the test loss foretold on the way",
        f"{MEMORY}, figures 5 and 6", True, 60, "holds in part",
        "With so few images the diagonal posteriors of AdamW and Adam are far too broad; iBLR's is near enough.",
    ),
    Experiment(
        "bregman_decomposition", "influence_functions.bregman_decomposition", ("--data", "concrete"),
        "what influence functions answer", f"{INFLUENCE}, tables 5, 6 and 8", True, 60, "holds in part",
        "Pearson with the response 0.94 on Concrete, 0.99 on Energy, 0.90 on MNIST (LiSSA of two depths); else none.",
    ),
    Experiment(
        "influence_wrong_labels", "influence_functions.wrong_labels",
        (), "wrong labels found by self-influence",
        f"{INFLUENCE}, figure 6", True, 5, "holds",
        "97% among the first 20%, where the paper has over 80%; once learnt by heart, 75 to 77%.",
    ),
    Experiment(
        "influence_fidelity", "influence_functions.fidelity",
        ("--problem", "mnist"), "which solver foretells retraining",
        OURS, True, 60, "holds",
        "Score of the sketch 0.74, of EKFAC 0.66 on MNIST; 0.83 and 0.82 on cats against dogs (--problem cats-dogs).",
    ),
    Experiment(
        "wrong_label_detection", "label_noise.detection",
        (), "scores beside cleanlab's; needs --run PATH",
        OURS, False, 1, "holds in part",
        "Demo: F-SI 0.957 above cleanlab in-sample (0.895), below cleanlab with held-out probabilities (0.969).",
    ),
)  # fmt: skip


def experiment_named(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        InputError: There is none; names that are near are told.
    """
    known = {experiment.name: experiment for experiment in EXPERIMENTS}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.4) or list(known)
        raise InputError(f"There is no experiment {name!r}: did you mean {', '.join(near)}? --list shows them all.")
    return known[name]


def run_experiment(name: str, argv: Sequence[str]) -> int:
    """Runs one.

    Args:
        name: Of the experiment.
        argv: Its options, without those it starts with.

    Returns:
        Its exit code; 2 where its command line was wrong, which it has then said on standard error.

    Raises:
        InputError: There is none of that name, or what it raises.
    """
    experiment = experiment_named(name)
    module = importlib.import_module(f"attribution_core.experiments.{experiment.module}")
    try:
        return int(module.main([*experiment.arguments, *argv]))
    except SystemExit as stop:  # how argparse ends, of itself only after --help or an error
        return stop.code if isinstance(stop.code, int) else 1
