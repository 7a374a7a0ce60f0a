"""From folds to one model, through the command line, on tiny images."""

from __future__ import annotations

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
import torch
import yaml

from delineate.cli.app import run as run_command
from delineate.config import read_settings
from delineate.errors import ConfigError, DataError, UsageError
from delineate.evaluation.document import MetricsDocument
from delineate.model_file import FILE_NAME, load_model, read_model_info
from delineate.models.ensemble import Ensemble
from delineate.prediction.predictor import load_predictor
from delineate.rasters import read_image, read_raster
from delineate.training import loop as loop_module
from delineate.training.folds import fold as fold_module
from delineate.training.folds.cross_validation import cross_validate
from delineate.training.folds.fold import fold_folder
from delineate.training.folds.ledger import load_ledger
from delineate.training.folds.out_of_fold import FOLDER, probs_path, round_probs
from delineate.training.trainer import train

SETTINGS = {
    "model": {"width": 4, "depth": 2, "dropout": 0.3},
    "training": {
        "patch_size": [32, 32],
        "batch_size": 4,
        "steps_per_epoch": 8,
        "learning_rate": 0.02,
        "ema_decay": 0.0,
        "checkpoint_every": 1e-3,
    },
    "data": {"num_workers": 0, "groups": r"(\d\d)"},
    "evaluation": {"tuning": {"effort": 0}},
    "logging": {"pictures": 0},
}
SPOILED = "07"
"""The image with a disc that nobody has labelled."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Ten pairs of images of one disc each; from one label the disc is missing."""
    root = tmp_path_factory.mktemp("data") / "discs"
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(10):
        for side in "LR":
            mask = np.zeros((48, 48), np.uint8)
            centre = [int(x) for x in rng.integers(12, 36, 2)]
            cv2.circle(mask, centre, 8, 255, -1)
            image = np.clip(60 + 90 * (mask > 0) + rng.normal(0, 10, mask.shape), 0, 255)
            if (number, side) == (int(SPOILED), "L"):
                mask[:] = 0
            cv2.imwrite(str(root / "images" / f"{number:02d}{side}.png"), image.astype(np.uint8))
            cv2.imwrite(str(root / "masks" / f"{number:02d}{side}.png"), mask)
    return root


@pytest.fixture(scope="module")
def command(data, tmp_path_factory):
    """The beginning of every command here: it splits the discs so that the spoiled one trains."""
    config = tmp_path_factory.mktemp("config") / "config.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    command = ["train", str(data), "--config", str(config), "--epochs", "2", "--folds", "2"]
    return [*command, "--distill"]


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """A cross-validation that was left alone."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert run_command([*command, "--run", str(run)]) == 0
    return run


def splits(run):
    with (run / "inventory.csv").open(newline="") as file:
        return {row["image"]: (row["split"], row["group"]) for row in csv.DictReader(file)}


def test_folds_hold_out_each_image_once_and_never_a_test_image(whole):
    first, second = (splits(fold_folder(whole, fold)) for fold in (1, 2))
    tested = {name for name, (split, _) in first.items() if split == "test"}
    assert tested == {name for name, (split, _) in second.items() if split == "test"}
    assert tested
    held_out = [{n for n, (split, _) in s.items() if split == "val"} for s in (first, second)]
    assert not held_out[0] & held_out[1]
    assert held_out[0] | held_out[1] == set(first) - tested
    groups = [{group for split, group in s.values() if split == "val"} for s in (first, second)]
    assert not groups[0] & groups[1]
    learned = set()
    for fold in (1, 2):
        learned |= set(read_model_info(fold_folder(whole, fold))["reference"]["images"])
    assert set(read_model_info(whole)["reference"]["images"]) == learned


def test_all_folds_have_one_plan(whole):
    plans = [read_settings(fold_folder(whole, fold) / "config.yaml") for fold in (1, 2)]
    for plan in plans:
        assert plan["data"].pop("validation")
        plan["training"].pop("seed")
    assert plans[0] == plans[1]
    models = [read_model_info(fold_folder(whole, fold)) for fold in (1, 2)]
    assert models[0]["preprocessing"] == models[1]["preprocessing"]
    assert models[0]["provenance"]["seed"] + 1 == models[1]["provenance"]["seed"]


def test_the_model_is_the_mean_of_the_folds(whole, data):
    ensemble = load_model(whole)
    assert isinstance(ensemble.network, Ensemble)
    pixels = read_image(data / "images" / "03R.png")
    probs = [
        load_predictor(folder, device="cpu").predict_probs(pixels)
        for folder in (whole, fold_folder(whole, 1), fold_folder(whole, 2))
    ]
    np.testing.assert_allclose(probs[0], (probs[1] + probs[2]) / 2, atol=1e-6)


def test_out_of_fold_predictions_are_those_of_the_network_that_has_not_seen_the_image(whole, data):
    ledger = load_ledger(whole)
    for fold in (1, 2):
        predictor = load_predictor(fold_folder(whole, fold), device="cpu")
        for name in ledger.held_out(fold)[:2]:
            kept = np.moveaxis(read_raster(probs_path(whole, name)).pixels, -1, 0)
            probs = predictor.predict_probs(read_image(data / f"{name}.png"))
            np.testing.assert_array_equal(kept, round_probs(probs))
            np.testing.assert_allclose(kept, probs, rtol=2**-11)


def test_scores_are_pooled_over_all_images(whole):
    text = (whole / FOLDER / "metrics.json").read_text()
    document = MetricsDocument.model_validate_json(text)
    ledger = load_ledger(whole)
    assert sorted(image.name for image in document.images) == sorted(ledger.fold_of)
    info = read_model_info(whole)
    assert info["metrics"]["validation"]["pooled"]["dice"] == document.pooled.dice
    assert info["thresholds"] == [document.threshold]
    assert info["tuning"]["num_images"] == len(ledger.fold_of)
    assert "has not" in document.alerts[0] or "had not" in document.alerts[0]
    assert (whole / FOLDER / "report.html").exists()
    assert "2 unets" in (whole / "README.md").read_text()
    notes = (whole / "plan.md").read_text()
    assert "Fold 2 holds out" in notes
    assert "pooled: Dice" in notes


def test_the_label_that_misses_a_disc_is_suspected_first(whole, data):
    with (whole / FOLDER / "suspects.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    pool = load_ledger(whole).fold_of
    if f"images/{SPOILED}L" not in pool:
        pytest.skip("the split has drawn the spoiled image for testing")
    assert first["image"] == f"images/{SPOILED}L"
    assert first["label"].startswith("not ")
    assert 100 < int(first["num_pixels"]) < 320  # a disc of radius 8 has 201
    assert (whole / FOLDER / "suspects.png").exists()


def test_the_model_is_used_like_any_other(whole, data, tmp_path, capsys):
    for model in (whole, whole / "student"):
        assert run_command(["evaluate", str(model), str(data)]) == 0
        assert (model / "evaluation-test" / "metrics.json").exists()  # the model's own data
    assert "Test: " in (whole / "README.md").read_text()
    assert run_command(["compare", str(whole), str(whole / "student"), "--split", "test"]) == 0
    out = str(tmp_path / "masks")
    assert run_command(["predict", str(whole), str(data / "images"), "--out", out]) == 0
    assert len(list((tmp_path / "masks").glob("*.png"))) == 20
    assert run_command(["info", str(whole)]) == 0
    assert "mean of 2 networks" in capsys.readouterr().out
    assert run_command(["compare", str(whole), str(whole)]) == 0


def test_a_fold_is_evaluated_on_what_it_has_held_out(whole, data, tmp_path):
    for fold in (1, 2):
        folder, out = fold_folder(whole, fold), tmp_path / str(fold)
        command = ["evaluate", str(folder), str(data), "--split", "val", "--out", str(out)]
        assert run_command(command) == 0
        found = json.loads((out / "metrics.json").read_text())
        assert sorted(i["name"] for i in found["images"]) == load_ledger(whole).held_out(fold)
        wanted = read_model_info(folder)["metrics"]["validation"]["pooled"]["dice"]
        # Prediction folds norms into convolutions, which rounds otherwise than validation does.
        assert found["pooled"]["dice"] == pytest.approx(wanted, abs=2e-3)


def test_the_student_is_the_first_fold_with_other_targets(whole):
    student, plain = (whole / "student", fold_folder(whole, 1))
    assert splits(student) == splits(plain)
    assert (student / "config.yaml").read_text() == (plain / "config.yaml").read_text()
    assert (student / FILE_NAME).read_bytes() != (plain / FILE_NAME).read_bytes()
    notes = (whole / "plan.md").read_text()
    assert "95 % interval" in notes
    assert "--split test" in notes
    assert run_command(["compare", str(plain), str(student)]) == 0


def test_teaching_needs_folds(data, capsys):
    assert run_command(["train", str(data), "--distill"]) == 2
    assert "give --folds with it" in capsys.readouterr().err


class CutError(Exception):
    """Stands for the end of the process."""


def cut(monkeypatch, place, name, call):
    """Make the training end at a call of a function, counted from 1."""
    former = getattr(place, name)
    calls = []

    def dying(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            raise CutError
        return former(*args, **kwargs)

    monkeypatch.setattr(place, name, dying)


def test_what_is_cut_short_again_and_again_ends_with_the_same_bytes(
    command, whole, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    _, data, _, config, *_ = command
    begin = {"data": data, "folds": 2, "config": config, "epochs": 2}
    epoch = (loop_module.Loop, "_train_epoch")
    for arguments, place, name, call in (
        (begin, *epoch, 2),  # the second epoch of the first fold
        ({"resume": True}, fold_module, "predict_held_out", 1),  # of the first fold
        ({"resume": True}, *epoch, 2),  # the second epoch of the second fold
        # that of the student, which is asked for only now, after what is left of the fold
        ({"resume": True, "distill": True}, *epoch, 4),
    ):
        with monkeypatch.context() as patch:
            cut(patch, place, name, call)
            with pytest.raises(CutError):
                cross_validate(run=run, **arguments)
        if arguments is begin:  # a fold goes on by itself, too
            train(run=fold_folder(run, 1), resume=True)
    assert not (run / FILE_NAME).exists()
    assert (run / "student" / "checkpoints").exists()
    assert run_command(["train", "--run", str(run), "--resume"]) == 0
    files = ("fold-1", "fold-2", "student", ".")
    for file in (*(f"{name}/{FILE_NAME}" for name in files), f"{FOLDER}/suspects.csv"):
        assert (run / file).read_bytes() == (whole / file).read_bytes(), file
    metrics = [json.loads((r / FOLDER / "metrics.json").read_text()) for r in (run, whole)]
    assert metrics[0] == metrics[1]


def test_changes_are_refused(whole, data, tmp_path):
    with pytest.raises(ConfigError, match=r"training\.batch_size: 4 -> 8"):
        cross_validate(run=whole, resume=True, overrides={"training": {"batch_size": 8}})
    with pytest.raises(UsageError, match="has 2 folds and cannot go on with 3"):
        cross_validate(run=whole, resume=True, folds=3)
    with pytest.raises(UsageError, match="holds no cross-validation"):
        cross_validate(run=fold_folder(whole, 1), resume=True)
    copy = tmp_path / "discs"
    shutil.copytree(data, copy)
    name = load_ledger(whole).held_out(1)[0].removeprefix("images/")
    shutil.copyfile(copy / "masks" / "03L.png", copy / "masks" / f"{name}.png")
    with pytest.raises(DataError, match=f"1 changed: images/{name}"):
        cross_validate(copy, run=whole, resume=True)


def test_what_cannot_be_divided_is_refused_with_advice(data, tmp_path, monkeypatch):
    overrides = {**SETTINGS}
    with pytest.raises(DataError, match=r"groups of images outside .* 20 folds; give --folds \d"):
        cross_validate(data, folds=20, run=tmp_path / "a", overrides=overrides)
    with pytest.raises(UsageError, match="folds is 1"):
        cross_validate(data, folds=1, run=tmp_path / "a", overrides=overrides)
    with pytest.raises(UsageError, match=r"give --time \ds or more"):
        cross_validate(data, folds=2, run=tmp_path / "a", time=1, overrides=overrides)
    named = {**SETTINGS, "data": {**SETTINGS["data"], "validation": ["images/00L", "images/00R"]}}
    with pytest.raises(ConfigError, match=r"leave data\.validation out"):
        cross_validate(data, folds=2, run=tmp_path / "a", overrides=named)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="without torchrun"):
        cross_validate(data, folds=2, run=tmp_path / "a", overrides=overrides)
    assert not (tmp_path / "a").exists()


def test_half_the_mantissa_is_kept():
    probs = torch.rand(1000).numpy()
    np.testing.assert_allclose(round_probs(probs), probs, rtol=2**-11)
    kept = np.array([0.0, 1.0, 0.5, 0.25, 1 - 2**-11], np.float32)
    np.testing.assert_array_equal(round_probs(kept), kept)
    assert round_probs(np.float32([1 - 2**-24])) == 1
