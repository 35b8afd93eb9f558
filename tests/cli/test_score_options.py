"""The options of ``score`` and ``estimate``, made from the fields of a run's configuration."""

import subprocess
import sys

import pytest

from attribution_core.cli import main
from attribution_core.cli.score_options import _option_name
from attribution_core.preparation.settings import SETTINGS


class NotScoredError(Exception):
    """Raised in place of scoring."""


@pytest.fixture
def configuration(monkeypatch):
    """Return the configuration that ``score`` makes of its arguments."""
    found = []

    def stop(config):
        found.append(config)
        raise NotScoredError

    monkeypatch.setattr(main, "_score", stop)

    def of(*arguments: str):
        with pytest.raises(NotScoredError):
            main.app(["score", *arguments], standalone_mode=False)
        return found[-1]

    return of


def test_options_reach_the_fields_of_the_same_name(configuration):
    config = configuration(
        "digits", "--out", "run", "--train", "head", "--hidden", "64", "--hidden", "32", "--sensitivity", "iblr",
        "--optimizer", "iblr", "--train-weight-decay", "0.1", "--weight-decay", "0.2", "--plateau-patience", "7",
        "--schedule", "step", "--milestones", "5", "--milestones", "15",
        "--validation-fraction", "0.3", "--steps", "inf", "--map", "off",
    )  # fmt: skip
    assert (config.data, str(config.out), config.trainable, config.hidden) == ("digits", "run", "head", (64, 32))
    assert (config.sensitivity, config.recipe.optimizer) == ("iblr", "iblr")
    assert (config.recipe.weight_decay, config.weight_decay) == (0.1, 0.2)
    assert (config.recipe.patience, config.validation_fraction) == (7, 0.3)
    assert (config.recipe.schedule, config.recipe.milestones) == ("step", (5, 15))
    assert (config.steps, config.map) == (float("inf"), "off")


def test_a_learning_rate_that_is_not_given_stays_unset(configuration):
    """The labels decide its default."""
    assert "learning_rate" not in configuration("digits").recipe.model_fields_set
    assert "learning_rate" in configuration("digits", "--learning-rate", "0.05").recipe.model_fields_set


def test_every_setting_describes_itself_and_has_its_own_option():
    names = [_option_name(each) for each in SETTINGS]
    assert len(set(names)) == len(names)
    assert all(each.description.endswith(".") for each in SETTINGS)


def test_the_help_does_not_load_torch():
    code = (
        "import sys; from attribution_core.cli import main; code = main.main(['score', '--help']);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0
