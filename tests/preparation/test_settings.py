"""What help and forms know of a configuration's fields."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from attribution_core.preparation.config import GROUPS, ScoreConfig
from attribution_core.preparation.prepare import prepare
from attribution_core.preparation.settings import _NOT_OFFERED, SETTINGS, configuration_from
from attribution_core.training import Recipe


def named(name: str, in_recipe: bool = False):
    return next(each for each in SETTINGS if (each.name, each.in_recipe) == (name, in_recipe))


def test_every_field_is_offered_or_left_out_on_purpose():
    grouped = [name for names in GROUPS.values() for name in names]
    assert len(set(grouped)) == len(grouped)
    assert set(grouped) | _NOT_OFFERED[ScoreConfig] == set(ScoreConfig.model_fields)
    offered = {each.name for each in SETTINGS if each.in_recipe}
    assert offered | _NOT_OFFERED[Recipe] == set(Recipe.model_fields)


def test_a_setting_has_the_type_bounds_and_default_of_its_field():
    size = named("image_size")
    assert (size.kind, size.minimum, size.maximum, size.default) == (int, 4, 1024, None)
    momentum = named("momentum", in_recipe=True)
    assert (momentum.kind, momentum.minimum, momentum.below, momentum.default) == (float, 0, 1, 0.9)
    assert named("damping").above == 0
    assert named("sensitivity").choices == ("auto", "kfac", "diagonal", "full", "adam", "iblr", "off")
    assert (named("hidden").kind, named("hidden").several) == (int, True)
    assert named("max_train").title == "Training examples"


def test_the_fields_of_a_recipe_stand_in_it():
    values = {named("weight_decay"): 0.2, named("weight_decay", in_recipe=True): 0.1, named("target"): None}
    assert configuration_from(values) == {"weight_decay": 0.2, "recipe": {"weight_decay": 0.1}}


def test_settings_do_not_load_torch():
    code = "import sys, attribution_core.preparation.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("optimizer", "of_classes", "of_values"),
    [("sgd", 0.05, 0.01), ("adam", 0.003, 0.01), ("adamw", 0.003, 0.01), ("iblr", 0.02, 0.001)],
)
def test_the_learning_rate_follows_from_the_optimizer_and_the_labels(tmp_path, optimizer, of_classes, of_values):
    rows = pd.DataFrame({"x": np.arange(40.0), "y": np.arange(40.0) ** 1.5})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    recipe, given = Recipe(optimizer=optimizer), Recipe(optimizer=optimizer, learning_rate=0.25)
    for data, rate in (("digits", of_classes), (str(tmp_path / "rows.csv"), of_values)):
        assert prepare(ScoreConfig(data=data, recipe=recipe)).config.recipe.learning_rate == rate
        assert prepare(ScoreConfig(data=data, recipe=given)).config.recipe.learning_rate == 0.25
    assert all(str(rate) in named("learning_rate", in_recipe=True).description for rate in (of_classes, of_values))
