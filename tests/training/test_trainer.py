import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
import torch

from delineate.config import merge_settings
from delineate.errors import ConfigError, DataError, UsageError
from delineate.model_file import load_model, read_model_info
from delineate.training import loop
from delineate.training.trainer import train


def read_results(run):
    return list(csv.DictReader((run / "results.csv").read_text().splitlines()))


def test_a_run_learns_and_leaves_a_whole_run_folder(circles, tiny, tmp_path):
    tiny["training"] |= {"steps_per_epoch": 15, "learning_rate": 0.01}
    run = tmp_path / "run"
    result = train(circles, run=run, epochs=3, seed=0, overrides=tiny)
    assert result.validation["pooled"]["dice"] > 0.8
    assert result.num_steps == 45
    header = (run / "results.csv").read_text().splitlines()[0]
    assert header == "epoch,time,train/loss,val/loss,metrics/dice,metrics/mIoU,lr"
    rows = read_results(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["train/loss"]) < float(rows[0]["train/loss"])
    best = max(rows, key=lambda row: float(row["metrics/dice"]))
    assert result.best_epoch == int(best["epoch"])
    assert float(best["metrics/dice"]) == pytest.approx(
        result.validation["pooled"]["dice"], abs=1e-5
    )
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "inventory.csv",
        "plan.md",
        "results.csv",
        "model.safetensors",
        "README.md",
        "report.html",
        "figures/curves.png",
        "figures/gallery.png",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    info = read_model_info(run)
    assert info["thresholds"] == list(result.thresholds)
    assert info["metrics"]["validation"]["pooled"]["dice"] == result.validation["pooled"]["dice"]
    assert str(tmp_path) not in json.dumps(info)
    model = load_model(run)
    assert all(torch.isfinite(tensor).all() for tensor in model.network.state_dict().values())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "model": {"name": "resunet", "norm": "group", "deep_supervision": 1, "dropout": 0.2},
            "training": {"accumulation": 2, "ema_decay": 0, "amp": "off"},
            "data": {"num_workers": 1},
        },
    ],
)
def test_the_same_seed_and_steps_give_the_same_bytes(circles, tiny, tmp_path, settings):
    overrides = merge_settings(tiny, settings)
    overrides["training"] = tiny["training"] | settings.get("training", {})
    models = []
    for number, seed in enumerate((3, 3, 4)):
        result = train(
            circles, run=tmp_path / str(number), epochs=2, seed=seed, overrides=overrides
        )
        models.append(result.model.read_bytes())
    assert models[0] == models[1]
    assert models[0] != models[2]


def test_measuring_the_speed_changes_nothing(circles, tiny, tmp_path):
    del tiny["training"]["steps_per_epoch"]
    timed = train(circles, run=tmp_path / "timed", time="4s", seed=1, overrides=tiny)
    assert timed.seconds < 8
    rows = read_results(timed.run)
    plan = (timed.run / "plan.md").read_text()
    assert "Time given: 4 s" in plan
    if "Shortened" in plan:
        pytest.skip("the machine became slower on the way, so there is no run to compare with")
    steps = timed.num_steps // len(rows)
    assert f"--epochs {len(rows)} --training.steps-per-epoch {steps}" in plan
    tiny["training"]["steps_per_epoch"] = steps
    counted = train(circles, run=tmp_path / "n", epochs=len(rows), seed=1, overrides=tiny)
    weights, same = (load_model(r.run).network.state_dict() for r in (timed, counted))
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_row_10_a_loss_that_stays_not_finite_stops_with_the_names(
    circles, tiny, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "MAX_REFUSED_STEPS", 2)
    monkeypatch.setattr(
        "delineate.training.assembly.build_loss",
        lambda *args, **kwargs: lambda logits, target, valid=None: logits.sum() * float("nan"),
    )
    with pytest.raises(DataError, match=r"no longer finite, after going back .* images/0\d"):
        train(circles, run=tmp_path / "run", epochs=3, overrides=tiny)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_learning_rate_that_explodes_saves_nothing_that_is_not_finite(circles, tiny, tmp_path):
    tiny["training"] |= {"learning_rate": 1e30, "clip_norm": None, "steps_per_epoch": 20}
    tiny["model"]["norm"] = "none"
    with pytest.raises(DataError, match="learning_rate"):
        train(circles, run=tmp_path / "run", epochs=9, overrides=tiny)
    weights = load_model(tmp_path / "run").network.state_dict()  # the first ones
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_row_10_nan_pixels_do_not_reach_the_weights(tiny, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for index in range(8):
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 20:40] = 255
        image = (rng.normal(0, 0.1, (64, 64)) + (mask > 0)).astype(np.float32)
        image[5, 5] = np.nan
        tifffile.imwrite(tmp_path / "data" / "images" / f"{index}.tif", image)
        tifffile.imwrite(tmp_path / "data" / "masks" / f"{index}.tif", mask)
    result = train(tmp_path / "data", run=tmp_path / "run", epochs=1, overrides=tiny)
    assert np.isfinite(float(read_results(result.run)[0]["train/loss"]))


def test_several_classes_get_no_threshold_and_balanced_weights(tiny, tmp_path):
    import cv2

    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for index in range(8):
        mask = np.zeros((64, 64), np.uint8)
        mask[:, 32:] = 1
        mask[4:8, 4:8] = 2
        image = np.clip(mask * 80 + rng.normal(20, 5, mask.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{index}.png"), image)
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"{index}.png"), mask)
    tiny["task"] = {"kind": "multiclass", "class_names": ["a", "b", "c"]}
    result = train(tmp_path / "data", run=tmp_path / "run", epochs=1, overrides=tiny)
    assert result.thresholds is None
    assert set(result.validation["classes"]) == {"a", "b", "c"}
    assert "class weights: the most frequent class has" in (result.run / "plan.md").read_text()


def test_early_stopping_ends_before_the_last_epoch(circles, tiny, tmp_path):
    tiny["training"] |= {"learning_rate": 1e-12, "steps_per_epoch": 1, "early_stopping": 2}
    tiny["training"]["ema_decay"] = 0
    result = train(circles, run=tmp_path / "run", epochs=50, overrides=tiny)
    assert "not risen for 2 epochs" in result.reason
    assert len(read_results(result.run)) < 50


def test_the_run_folder_is_not_written_over_unless_asked(circles, tiny, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.csv").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        train(circles, run=tmp_path / "run", epochs=1, overrides=tiny)
    assert (tmp_path / "run" / "results.csv").read_text() == "precious"
    train(circles, run=tmp_path / "run", epochs=1, overrides=tiny, exist_ok=True)
    assert len(read_results(tmp_path / "run")) == 1
    monkeypatch.chdir(tmp_path)
    tiny["training"]["steps_per_epoch"] = 1
    first = train(circles, epochs=1, overrides=tiny).run
    second = train(circles, epochs=1, overrides=tiny).run
    assert (first.as_posix(), second.as_posix()) == ("runs/circles-1", "runs/circles-2")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"time": "5s", "epochs": 3}, UsageError, "as epochs or as time"),
        ({"overrides": {"training": {"epocs": 3}}}, ConfigError, "did you mean 'epochs'"),
        ({"overrides": {"training": {"epochs": 1, "time": 3}}}, UsageError, "not as both"),
        ({"overrides": {"loss": {"name": "focal", "balance": 1}}}, ConfigError, "balance"),
        ({"device": "gpu"}, UsageError, "choose auto or one of"),
        ({"overrides": {"data": {"split": [1, 0, 0]}}}, DataError, "val"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    circles, tmp_path, arguments, error, message
):
    with pytest.raises(error, match=message):
        train(circles, run=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_a_configuration_file_lies_between_plan_and_options(circles, tiny, tmp_path):
    from delineate.config import build_settings, read_settings

    config = tmp_path / "config.yaml"
    config.write_text("training: {time: 90s, batch_size: 2}\nloss: {name: tversky, alpha: 0.4}\n")
    run = tmp_path / "run"
    train(circles, run=run, config=config, epochs=1, overrides=tiny | {"loss": {"beta": 0.6}})
    settings = build_settings(read_settings(run / "config.yaml"))
    assert (settings.training.epochs, settings.training.time) == (1, None)
    assert settings.training.batch_size == 4
    assert settings.loss.model_dump()["alpha"] == 0.4
    assert settings.loss.model_dump()["beta"] == 0.6


PROGRAM = """
import sys
from pathlib import Path
from delineate.training.trainer import train
train(Path(sys.argv[1]), run=Path(sys.argv[2]), epochs=10000, overrides={
    "model": {"width": 4, "depth": 2}, "data": {"num_workers": 1},
    "training": {"patch_size": [64, 64], "batch_size": 4, "steps_per_epoch": 20}})
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -2), (signal.SIGTERM, 143)])
def test_row_3_a_signal_ends_with_a_usable_model_and_no_child(circles, tmp_path, number, code):
    import psutil

    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(circles), str(run)],
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 60
        while not (run / "plan.md").exists() or "Length" not in (run / "plan.md").read_text():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1.0)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        errors = process.communicate(timeout=30)[1].decode()
    finally:
        process.kill()
    assert process.returncode == code, errors
    assert "interrupted" in (run / "plan.md").read_text()
    assert read_results(run)
    assert load_model(run).thresholds is not None
    assert (run / "report.html").exists()
    assert not any(child.is_running() for child in children)
