"""From data to a plan, its recipes and its files, through the command line."""

import numpy as np
import pytest
import yaml

from delineate.cli.app import run
from delineate.config import build_settings, read_settings
from delineate.data.fingerprint.fingerprint import load_fingerprint
from delineate.data.fingerprint.image import measure_image
from delineate.errors import UnknownNameError
from delineate.preprocessing import Preprocessing
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


def test_a_step_that_does_not_fit_is_made_smaller_and_says_so(dots, tmp_path):
    out = tmp_path / "plan"
    given = ["--training.memory-gib", "0.2", "--training.patch-size", "128", "128"]
    assert run(["plan", str(dots), "--out", str(out), *given, "--training.amp", "off"]) == 0
    settings = build_settings(read_settings(out / "config.yaml"))
    assert settings.training.patch_size == (128, 128)
    assert settings.training.batch_size == 1
    assert settings.training.accumulation == 4
    assert settings.model.width < 32
    # which follows from the batch
    assert settings.model.norm == "group"
    notes = (out / "plan.md").read_text()
    assert "smaller batches: a step of 4 patches of 128 x 128 pixels, width 32, takes" in notes
    assert "205 MiB are allowed" in notes
    assert "memory: a step of 1 patch of" in notes


def test_what_is_free_counts_where_nothing_is_said(dots, monkeypatch):
    monkeypatch.setattr("delineate.recipes.deciding.free_memory", lambda device: 1 << 30)
    scarce = make_plan(dots)
    assert "smaller batches" in [one.name for one in scarce.decisions] or "fewer tiles at once" in [
        one.name for one in scarce.decisions
    ]
    assert "256 MiB are free" in scarce.memory
    monkeypatch.setattr("delineate.recipes.deciding.free_memory", lambda device: None)
    assert make_plan(dots).settings.training.batch_size == 4


def test_a_gpu_gets_larger_batches(dots, monkeypatch):
    monkeypatch.setattr("delineate.recipes.deciding.free_memory", lambda device: 40 << 30)
    monkeypatch.setattr("delineate.recipes.appetite.amp_dtype", lambda device: None)
    wishes = {"training": {"patch_size": [16, 16]}}
    plan = make_plan(dots, device="cuda", wishes=wishes)
    assert plan.settings.training.batch_size == 8
    told = make_plan(dots, device="cuda", wishes={"training": {"batch_size": 2}})
    assert told.settings.training.batch_size == 2


def test_the_notes_list_what_was_left_alone_and_the_length(dots, tmp_path):
    out = tmp_path / "plan"
    assert run(["plan", str(dots), "--out", str(out), "--time", "10m"]) == 0
    notes = (out / "plan.md").read_text()
    assert "| costly misses | a miss costs as much as a false alarm |" in notes
    assert "rare positives |" not in notes  # it applies
    assert "10 min" in notes.partition("## Length")[2]
    assert run(["plan", str(dots), "--out", str(out), "--epochs", "3", "--exist-ok"]) == 0
    assert "3 epochs of 3 steps of 4 patches: 9 steps." in (out / "plan.md").read_text()


def test_the_second_plan_measures_nothing_and_a_changed_file_does(dots, tmp_path, monkeypatch):
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path / "cache"))
    calls = []

    def count(*args, **kwargs):
        calls.append(1)
        return measure_image(*args, **kwargs)

    monkeypatch.setattr("delineate.recipes.planning.measure_image", count)
    first = make_plan(dots)
    assert len(calls) == len(first.data.images)
    assert make_plan(dots).fingerprint == first.fingerprint
    assert len(calls) == len(first.data.images)
    sample = first.data.images.samples[0]
    write_image(sample.image, np.full((80, 96, 3), 77, np.uint8))
    assert make_plan(dots).fingerprint != first.fingerprint
    assert len(calls) == 2 * len(first.data.images)


def test_outliers_are_clipped_and_the_model_knows(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(10):
        pixels = rng.normal(1000, 50, (64, 64, 1))
        pixels[rng.random(pixels.shape) < 0.002] = 30000
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 20:40] = 255
        pixels[20:40, 20:40] += 200
        write_image(tmp_path / f"scan/images/{index}.tif", pixels.astype(np.uint16))
        write_image(tmp_path / f"scan/masks/{index}.png", mask)
    plan = make_plan(tmp_path / "scan")
    assert "clipped values" in [one.name for one in plan.decisions]
    made = plan.preprocessing
    ((low, high),) = made.clip
    bounds = [made.value_range[0] + share * np.diff(made.value_range)[0] for share in (low, high)]
    assert 800 < bounds[0] < 950
    assert 1200 < bounds[1] < 1400
    assert Preprocessing.from_dict(made.as_dict()) == made
    whole = make_plan(tmp_path / "scan", wishes={"data": {"clip": False}})
    assert not whole.preprocessing.clip
    assert "(overruled by your setting)" in "\n".join(whole.describe_choices())


def test_of_two_rules_for_the_same_setting_the_weaker_says_so(dots):
    choices = "\n".join(make_plan(dots, misses_cost_more=True).describe_choices())
    assert "(overruled by the rule costly misses)" in choices


def test_a_short_time_makes_the_network_narrower_and_says_so(dots, monkeypatch):
    monkeypatch.setattr(
        "delineate.recipes.planning.measure_step",
        lambda **_: lambda settings: settings.model.width / 100,
    )
    wishes = {"training": {"time": 100, "epochs": None}}
    plan = make_plan(dots, wishes=wishes)
    assert plan.settings.model.width == 16
    choices = "\n".join(plan.describe_choices())
    assert "narrower network for the time: 1 min 40 s make about 234 steps" in choices
    chosen = make_plan(dots, wishes={**wishes, "model": {"width": 32}})
    assert chosen.settings.model.width == 32
    long = {"training": {"time": 400, "epochs": None}}
    assert make_plan(dots, wishes=long).settings.model.width == 32
    assert make_plan(dots, wishes=long, num_trainings=4).settings.model.width == 16
