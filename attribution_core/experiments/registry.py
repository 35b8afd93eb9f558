"""List all experiments: what each repeats, whether the paper's statement held, and how to run it by name."""

import difflib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from attribution_core.errors import InputError

State = Literal["holds", "holds in part", "does not hold", "not run"]
INFORMATION, KERNEL, HYDRA = "unique information", "NTK influence", "HYDRA"
MEMORY, INFLUENCE, OURS = "memory perturbation", "influence functions", "ours"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Describe one experiment.

    Attributes:
        name: Name on the command line.
        module: Module in this package whose ``main`` runs the experiment.
        title: What it measures, in a few words.
        source: The paper, and which of its tables or figures the experiment repeats.
        minutes: Approximate running time on one core.
        state: Whether the paper's statement held in the last run at the default size.
        remark: Measured numbers and what to know about them; may be empty.
        arguments: Arguments that come first on the module's command line.
        needs_data_root: Whether the experiment requires ``--data-root``.
    """

    name: str
    module: str
    title: str
    source: str
    minutes: float
    state: State
    remark: str = ""
    arguments: tuple[str, ...] = ()
    needs_data_root: bool = True


EXPERIMENTS = (
    Experiment(
        name="linearization_accuracy",
        module="unique_information.linearization_accuracy",
        title="linearized networks against really retrained ones",
        source=f"{INFORMATION}, table 1",
        minutes=12,
        state="holds",
        remark=(
            "40 examples without weight decay: Pearson 0.995 for weights and 0.994 for predictions (paper 0.987 "
            "and 0.993)."
        ),
    ),
    Experiment(
        name="toy_unique_information",
        module="unique_information.toy",
        title="what one example adds to the weights, and the bound on it",
        source=f"{INFORMATION}, appendix A.1",
        minutes=1,
        state="holds in part",
        remark=(
            "The paper does not print its Gaussians; ours were chosen so that the first set of points matches its "
            "numbers."
        ),
        needs_data_root=False,
    ),
    Experiment(
        name="information_of_sources",
        module="unique_information.sources",
        title="which of two sources of digits is more informative",
        source=f"{INFORMATION}, figure 2a",
        minutes=3,
        state="holds",
        remark=(
            "At 100 t, digits on photographs are 2.6 times as informative as MNIST digits, and blurred ones half as "
            "informative; at t only the former holds."
        ),
    ),
    Experiment(
        name="summarization",
        module="unique_information.summarization",
        title="how much of MNIST can be removed",
        source=f"{INFORMATION}, figures 2c and 7b",
        minutes=80,
        state="holds",
        remark=(
            "Half removed iteratively: 94.4 +- 0.4%; half removed at random: 92.1 +- 0.7%. With a tenth kept, random "
            "removal is best. Figure 7b was not run."
        ),
    ),
    Experiment(
        name="information_of_subclasses",
        module="unique_information.subclasses",
        title="informativeness of an under-sampled subclass",
        source=f"{INFORMATION}, figure 9",
        minutes=4,
        state="holds",
        remark=(
            "At 100 t, rare cats are 1.23 times as informative as dogs, and rare dogs 1.34 times as informative as "
            "cats."
        ),
    ),
    Experiment(
        name="information_of_adversarial",
        module="unique_information.adversarial",
        title="informativeness of adversarial examples",
        source=f"{INFORMATION}, figure 10",
        minutes=2,
        state="does not hold",
        remark=(
            "At 100 t, 1.10 times as informative on average (0.93 before the perturbation), but not with every seed; "
            "AUC 0.56, so F-SI does not detect them."
        ),
    ),
    Experiment(
        name="information_agreement",
        module="unique_information.agreement",
        title="agreement of F-SI between networks, initial weights and training times",
        source=f"{INFORMATION}, appendix A.4 and figure 5",
        minutes=4,
        state="holds",
        remark=(
            "Correlation between architectures 0.33, between heads 0.89 (paper 0.36, with heads that weigh more), "
            "between times 0.63."
        ),
    ),
    Experiment(
        name="information_extremes_text",
        module="unique_information.extremes",
        arguments=("text",),
        title="most and least informative sentences",
        source=f"{INFORMATION}, appendix A.7",
        minutes=0.5,
        state="holds",
        remark="At 100 t; at t only with vectors from a real sentence encoder.",
    ),
    Experiment(
        name="information_extremes_table",
        module="unique_information.extremes",
        arguments=("table",),
        title="most and least informative rows of a table",
        source=f"{INFORMATION}, section 7",
        minutes=0.5,
        state="holds in part",
        remark="Holds at t; at 100 t, informative rows are still hard (0.18) but hardly rare (0.08).",
    ),
    Experiment(
        name="ntk_influence_accuracy",
        module="ntk_influence.accuracy",
        title="predicted influence against that of really retrained networks",
        source=f"{KERNEL}, table 1",
        minutes=5,
        state="holds",
        remark="MNIST: Pearson 0.906, 0.969 and 0.989 at widths 2,500, 5,000 and 10,000 (paper 0.977 at 10,000).",
    ),
    Experiment(
        name="kernel_regime_studies",
        module="ntk_influence.kernel_regime_studies",
        title="the error of influence functions, its causes, and sample complexity",
        source=f"{KERNEL}, figures 2, 3, 5 and 7",
        minutes=0.5,
        state="holds",
        remark=(
            "Density and error rate correlate at -0.33 to -0.45; flipped labels dominate most at 32 steps, where "
            "they "
            "are 66% of the most influential examples (chance: 40%)."
        ),
    ),
    Experiment(
        name="hydra_agreement_epochs",
        module="hydra.agreement",
        arguments=("epochs",),
        title="Hessian-free against exact contributions",
        source=f"{HYDRA}, figures 3 to 5",
        minutes=240,
        state="does not hold",
        remark="Spearman 0.03 after 200 epochs (paper 0.986); 47% of the signs differ.",
    ),
    Experiment(
        name="hydra_agreement_factors",
        module="hydra.agreement",
        arguments=("factors",),
        title="Hessian-free and exact contributions for several recipes, and against retraining",
        source=f"{HYDRA}, figures 3 to 5",
        minutes=120,
        state="does not hold",
        remark="The two agree only at the start of training; which one predicts retraining depends on the model.",
    ),
    Experiment(
        name="hydra_wrong_labels_table_3",
        module="hydra.wrong_labels",
        arguments=("3",),
        title="cleaning a dataset with 80% wrong labels",
        source=f"{HYDRA}, table 3",
        minutes=60,
        state="holds in part",
        remark=(
            "With a constant rate, MNIST rises from 53% to 83% (Hessian-free, 3 trainings); the 1,000 clean images "
            "alone reach 93%."
        ),
    ),
    Experiment(
        name="hydra_wrong_labels_table_4",
        module="hydra.wrong_labels",
        arguments=("4",),
        title="wrong labels found by clustering",
        source=f"{HYDRA}, table 4",
        minutes=2,
        state="does not hold",
        remark=(
            "MNIST: 0.84 and 0.84 on 5,000 images (--examples 5000), where the mean contribution has an area of 0.95 "
            "(paper 0.97 and 0.97). With a constant rate: 0.76 and 0.75 on 10,000, 0.64 and 0.65 on 50,000; "
            "Fashion-MNIST: 0.70 and 0.72 (paper 0.78)."
        ),
    ),
    Experiment(
        name="memory_removal_examples",
        module="memory_perturbation.removal",
        arguments=("examples",),
        title="sensitivities against really retrained networks",
        source=f"{MEMORY}, figure 2",
        minutes=25,
        state="holds",
        remark="Rank correlation 0.98 on 5,000 images of MNIST; the error alone has 0.97.",
    ),
    Experiment(
        name="memory_removal_classes",
        module="memory_perturbation.removal",
        arguments=("classes",),
        title="the effect of removing a class",
        source=f"{MEMORY}, figures 1(c) and 3(c)",
        minutes=4,
        state="holds",
        remark=(
            "Rank correlation 0.76 on MNIST and 0.88 on Fashion-MNIST; the training loss of the class alone has "
            "0.78 and 0.90."
        ),
    ),
    Experiment(
        name="memory_training_time",
        module="memory_perturbation.training_time",
        title="which delta predicts real removals, with or without the training time",
        source=OURS,
        minutes=2,
        state="holds",
        remark=(
            "24 removals, two seeds, 300 examples: the mean leave-one-out loss is 30.9, 6.1 and 2.6 nats with the "
            "delta of the objective, 1.2, 0.27 and 0.22 with the training time, and 1.4, 0.29 and 0.20 after "
            "retraining (demo, digits, breast cancer). Rank correlations are equal."
        ),
        needs_data_root=False,
    ),
    Experiment(
        name="memory_generalization_curve",
        module="memory_perturbation.generalization",
        arguments=("curve", "--data", "mnist"),
        title="choosing the strength of regularization without a test set",
        source=f"{MEMORY}, figure 4",
        minutes=60,
        state="holds",
        remark=(
            "On 20,000 images of MNIST, the test loss at the chosen strength is 1.9% above the best; with few "
            "images, up to 14%."
        ),
    ),
    Experiment(
        name="memory_generalization_training",
        module="memory_perturbation.generalization",
        arguments=("training",),
        title="the test loss predicted during training",
        source=f"{MEMORY}, figures 5 and 6",
        minutes=60,
        state="holds in part",
        remark=(
            "With this few images, the diagonal posteriors of AdamW and Adam are far too broad; iBLR's is close enough."
        ),
    ),
    Experiment(
        name="bregman_decomposition",
        module="influence_functions.bregman_decomposition",
        arguments=("--data", "concrete"),
        title="the question that influence functions answer",
        source=f"{INFLUENCE}, tables 5, 6 and 8",
        minutes=60,
        state="holds in part",
        remark=(
            "Pearson with the response: 0.94 on Concrete, 0.99 on Energy, 0.90 on MNIST (LiSSA at two depths); "
            "none with the other retrainings."
        ),
    ),
    Experiment(
        name="influence_wrong_labels",
        module="influence_functions.wrong_labels",
        title="wrong labels found by self-influence",
        source=f"{INFLUENCE}, figure 6",
        minutes=5,
        state="holds",
        remark=("97% are found among the first 20% (paper: over 80%); once the network has memorized them, 75 to 77%."),
    ),
    Experiment(
        name="influence_fidelity",
        module="influence_functions.fidelity",
        arguments=("--problem", "mnist"),
        title="which solver of influence functions predicts retraining",
        source=OURS,
        minutes=60,
        state="holds",
        remark=(
            "On MNIST the sketch scores 0.74 and EKFAC 0.66; on cats against dogs (--problem cats-dogs), 0.83 and "
            "0.82. The sketch's were measured before what it leaves out was counted."
        ),
    ),
    Experiment(
        name="wrong_label_detection",
        module="label_noise.detection",
        title="label quality, or a run's scores, beside cleanlab's; needs --data or --run PATH",
        source=OURS,
        minutes=1,
        state="holds",
        remark=(
            "AUC and average precision beside cleanlab at its best, on the same features: CIFAR-10N 0.913 and 0.763 "
            "beside 0.900 and 0.731; film reviews, three draws, 0.844 and 0.456 beside 0.828 and 0.421; demo 0.984 "
            "and 0.820 beside 0.981 and 0.802; Concrete, three draws, 0.925 and 0.658 beside 0.894 and 0.636. The AUC "
            "of F-SI on the demo, 0.957, is above cleanlab in-sample (0.895) and below it with held-out probabilities "
            "(0.969)."
        ),
        needs_data_root=False,
    ),
)


def experiment_named(name: str) -> Experiment:
    """Return the experiment with a given name.

    Raises:
        InputError: No experiment has that name; the message suggests similar ones.
    """
    known = {experiment.name: experiment for experiment in EXPERIMENTS}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.4) or list(known)
        raise InputError(
            f"There is no experiment {name!r}. Did you mean {', '.join(near)}? "
            "`samplescope reproduce --list` shows them all."
        )
    return known[name]


def run_experiment(name: str, argv: Sequence[str]) -> int:
    """Run an experiment by name.

    Args:
        name: Name of the experiment.
        argv: Options that follow the experiment's own :attr:`~Experiment.arguments`.

    Returns:
        The experiment's exit code; 2 for a wrong command line, whose error argparse has printed on standard error.

    Raises:
        InputError: No experiment has that name, or the experiment raises it.
    """
    experiment = experiment_named(name)
    module = importlib.import_module(f"attribution_core.experiments.{experiment.module}")
    try:
        return int(module.main([*experiment.arguments, *argv]))
    except SystemExit as stop:  # argparse exits by itself only after --help or an error
        return stop.code if isinstance(stop.code, int) else 1
