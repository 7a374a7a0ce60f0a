"""From data to a plan, its recipes and its files, through the command line."""

import numpy as np
import pytest
import yaml

from delineate.cli.app import run
from delineate.config import build_settings, read_settings
from delineate.data.fingerprint.fingerprint import load_fingerprint
from delineate.errors import UnknownNameError
from delineate.rasters import write_image
from delineate.recipes.planning import RECIPES, make_plan, read_recipe


@pytest.fixture
def dots(tmp_path):
    """Ten images whose brightness differs from image to image, each with a rare bright dot."""
    rng = np.random.default_rng(0)
    for index in range(10):
        pixels = np.full((80, 96, 3), 20 + 20 * index, dtype=np.uint8)
        pixels += rng.integers(0, 8, pixels.shape).astype(np.uint8)
        mask = np.zeros((80, 96, 3), dtype=np.uint8)
        mask[30:36, 40:48] = 255
        pixels[mask > 0] = 250
        write_image(tmp_path / f"dots/images/{index}.png", pixels)
        write_image(tmp_path / f"dots/masks/{index}.png", mask)
    return tmp_path / "dots"


def test_a_plan_says_why_and_train_takes_it(dots, tmp_path, capsys):
    out = tmp_path / "plan"
    assert run(["plan", str(dots), "--out", str(out), "--loss.name", "dice"]) == 0
    printed = capsys.readouterr().out
    assert "rare positives: positives are 0.6" in printed
    assert str(out / "config.yaml") in printed
    notes = (out / "plan.md").read_text()
    assert "(overruled by your setting)" in notes
    assert "your settings: loss.name." in notes
    settings = build_settings(read_settings(out / "config.yaml"))
    assert settings.loss.name == "dice"
    assert settings.training.foreground_odds == 0.5
    assert settings.data.normalisation == "image"
    assert settings.training.patch_size == (64, 64)
    assert load_fingerprint(out / "fingerprint.json").classes["foreground"].num_objects == 6
    assert (out / "inventory.csv").exists()
    assert run(["plan", str(dots), "--out", str(out)]) == 2
    assert "--exist-ok" in capsys.readouterr().err


def test_a_recipe_goes_over_the_rules_and_under_the_settings(dots, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump({"training": {"foreground_odds": 0.9, "batch_size": 8}}))
    plan = make_plan(dots, recipe=str(recipe), wishes={"training": {"batch_size": 6}})
    assert plan.settings.training.foreground_odds == 0.9
    assert plan.settings.training.batch_size == 6
    choices = "\n".join(plan.describe_choices())
    assert f"(overruled by the recipe {recipe})" in choices
    assert f"recipe {recipe}: sets training.batch_size, training.foreground_odds." in choices


def test_costly_misses_change_the_loss(dots):
    loss = make_plan(dots, misses_cost_more=True).settings.loss
    assert loss.name == "focal_tversky"
    assert loss.beta > loss.alpha


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid_and_explains_itself(name):
    settings = read_recipe(name)
    build_settings(settings)
    assert bool(settings) == (name != "generic")


def test_an_unknown_recipe_lists_the_choices():
    with pytest.raises(UnknownNameError, match=r"aerial.*Did you mean 'medical'"):
        read_recipe("medcal")
