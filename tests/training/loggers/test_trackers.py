"""Trackers that follow a training: those of stand-ins, and the real ones where they are."""

import csv
import json
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from delineate.cli.app import run as run_command
from delineate.training import gallery
from delineate.training.loggers import TRACKERS, beside
from delineate.training.loggers.logger import TRACKING, RunFacts
from delineate.training.loggers.opening import check_trackers, open_loggers
from delineate.training.trainer import train

FAKES = Path(__file__).parent / "fakes"
PACKAGES = ("mlflow", "wandb", "sqlalchemy", "alembic")


@pytest.fixture
def trackers(monkeypatch, tmp_path):
    """Put the stand-ins in the place of the packages; return what reads their notes."""
    for name in list(sys.modules):
        if name.partition(".")[0] in PACKAGES:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(FAKES))
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)
    notes = tmp_path / "notes.jsonl"
    monkeypatch.setenv("TRACKER_NOTES", str(notes))

    def read(tracker, call=None):
        lines = [json.loads(line) for line in notes.read_text().splitlines()]
        return [
            line
            for line in lines
            if line["tracker"] == tracker and (call is None or line["call"] == call)
        ]

    yield read
    for name in list(sys.modules):
        if name.partition(".")[0] in PACKAGES:
            del sys.modules[name]


def read_column(run, name):
    with (run / "results.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def test_mlflow_and_wandb_follow_a_run(circles, tiny, tmp_path, trackers, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "night")
    tiny["logging"] = {"to": ["mlflow", "wandb"], "project": "cells"}
    run = tmp_path / "run"
    train(circles, run=run, epochs=2, seed=0, overrides=tiny)
    dices = read_column(run, "metrics/dice")

    (opened,) = trackers("mlflow", "open")
    assert opened["uri"] == f"sqlite:///{run / 'mlflow' / 'mlflow.db'}"
    assert trackers("mlflow", "create_experiment")[0]["name"] == "night"
    pairs = [note["pair"] for note in trackers("mlflow", "metric")]
    logged = [(step, value) for key, value, step in pairs if key == "metrics/dice"]
    assert [step for step, _ in logged] == [1, 2]
    assert [value for _, value in logged] == pytest.approx(dices, abs=1e-5)
    assert {key: value for key, value, _ in pairs}["best/metrics/dice"] == pytest.approx(
        max(dices), abs=1e-5
    )
    params = dict(note["pair"] for note in trackers("mlflow", "param"))
    assert params["training.batch_size"] == "4"
    assert [note["file"] for note in trackers("mlflow", "text")] == ["config.yaml", "plan.md"]
    pictures = [note["file"] for note in trackers("mlflow", "image")]
    assert pictures[0] == "epochs/00001.png"
    assert pictures[-1] == "validation/00002.png"
    assert trackers("mlflow", "end") == [
        {"tracker": "mlflow", "call": "end", "run": "run-1", "status": "FINISHED"}
    ]

    (started,) = trackers("wandb", "init")
    assert (started["project"], started["mode"], started["name"]) == ("cells", "offline", "run")
    assert started["config"]["training.batch_size"] == 4
    numbers = [note for note in trackers("wandb", "log") if "val/loss" in note["values"]]
    assert [note["step"] for note in numbers] == [1, 2]
    assert trackers("wandb", "end")[0]["code"] == 0
    known = json.loads((run / TRACKING).read_text())
    assert known["mlflow"]["run_id"] == "run-1"
    assert known["wandb"]["id"] == started["id"]


class CutError(Exception):
    """Stands for the end of the process."""


def test_a_resumed_training_goes_on_in_the_same_runs(
    circles, tiny, tmp_path, trackers, monkeypatch
):
    tiny["logging"] = {"to": ["mlflow", "wandb"]}
    tiny["training"]["checkpoint_every"] = 1e-3
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        show = gallery.EpochPictures.show

        def show_and_die(self, validation, epoch):
            if epoch == 2:
                raise CutError
            show(self, validation, epoch)

        patch.setattr(gallery.EpochPictures, "show", show_and_die)
        with pytest.raises(CutError):
            train(circles, run=run, epochs=3, seed=0, overrides=tiny)
    assert trackers("mlflow", "end")[0]["status"] == "FAILED"
    num_params = len(trackers("mlflow", "param"))
    train(run=run, resume=True)
    assert len(trackers("mlflow", "create_run")) == 1
    assert trackers("mlflow", "update_run")[0] == {
        "tracker": "mlflow",
        "call": "update_run",
        "run": "run-1",
        "status": "RUNNING",
    }
    assert len(trackers("mlflow", "param")) == num_params
    first, second = trackers("wandb", "init")
    assert first["id"] == second["id"]
    assert second["resume"] == "allow"
    train(circles, run=run, epochs=1, seed=0, overrides=tiny, exist_ok=True)
    assert len(trackers("mlflow", "create_run")) == 2


def test_a_server_that_goes_away_is_said_once(
    circles, tiny, tmp_path, trackers, monkeypatch, capsys
):
    monkeypatch.setenv("TRACKER_FAILS_AT", "metric")
    tiny["logging"] = {"to": ["mlflow"]}
    run = tmp_path / "run"
    result = train(circles, run=run, epochs=3, seed=0, overrides=tiny)
    assert result.num_steps == 9
    assert len(read_column(run, "epoch")) == 3
    said = capsys.readouterr().err
    assert said.count("mlflow gets no more of this run") == 1
    assert "ConnectionError: no route to the server); training goes on" in said
    assert len(trackers("mlflow", "metric")) == 1


def test_a_server_that_hangs_does_not_hold_a_training_up(
    circles, tiny, tmp_path, trackers, monkeypatch, capsys
):
    monkeypatch.setenv("TRACKER_HANGS_AT", "create_run")
    monkeypatch.setattr(beside, "CLOSING_SECONDS", 0.2)
    monkeypatch.setattr(beside, "MOST_WAITING", 2)
    tiny["logging"] = {"to": ["mlflow"]}
    waited = []
    put = beside.LoggerBeside._pass_on

    def watch(self, call):
        before = time.monotonic()
        put(self, call)
        waited.append(time.monotonic() - before)

    monkeypatch.setattr(beside.LoggerBeside, "_pass_on", watch)
    train(circles, run=tmp_path / "run", epochs=2, seed=0, overrides=tiny)
    assert max(waited) < 0.5
    assert capsys.readouterr().err.count("mlflow gets no more of this run") == 1


def test_a_logger_beside_gives_calls_on_in_their_order(tmp_path):
    heard, warnings = [], []
    gate = threading.Event()

    class Slow:
        def start(self, facts):
            gate.wait(5)
            heard.append("start")

        def log_scalars(self, scalars, epoch):
            heard.append(epoch)

        def close(self, end, summary):
            heard.append(end)

    logger = beside.LoggerBeside("slow", Slow(), warnings.append)
    logger.start(RunFacts(tmp_path, "p", {}, {}))
    for epoch in range(5):
        logger.log_scalars({}, epoch)
    assert heard == []
    gate.set()
    logger.close("finished", {})
    assert heard == ["start", 0, 1, 2, 3, 4, "finished"]
    assert warnings == []


def test_who_has_not_answered_for_long_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(beside, "CLOSING_SECONDS", 0.4)
    gate, warnings = threading.Event(), []

    class Gone:
        def start(self, facts):
            gate.wait(30)

    logger = beside.LoggerBeside("gone", Gone(), warnings.append)
    logger.start(RunFacts(tmp_path, "p", {}, {}))
    time.sleep(0.5)
    before = time.monotonic()
    logger.close("finished", {})
    assert time.monotonic() - before < 0.3
    assert len(warnings) == 1
    gate.set()


def test_a_package_that_cannot_be_loaded_is_left_out(tmp_path, trackers, monkeypatch):
    monkeypatch.setenv("TRACKER_NOTES", str(tmp_path / "notes.jsonl"))
    broken = tmp_path / "broken" / "wandb"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise OSError('library too old')")
    monkeypatch.syspath_prepend(str(broken.parent))
    warnings = []
    loggers = open_loggers(["wandb"], RunFacts(tmp_path, "p", {}, {}), warnings.append)
    assert len(loggers) == 1  # TensorBoard's
    loggers[0].close("finished", {})
    assert "library too old" in warnings[0]


def test_numbers_that_are_not_finite_do_not_reach_mlflow(tmp_path, trackers):
    loggers = open_loggers(["mlflow"], RunFacts(tmp_path, "p", {}, {}), pytest.fail)
    for logger in loggers:
        logger.log_scalars({"val/loss": math.nan, "lr": 0.5}, 1)
        logger.log_picture("epochs", np.zeros((4, 4, 3), np.uint8), 1)
        logger.close("failed", {})
    assert [note["pair"] for note in trackers("mlflow", "metric")] == [["lr", 0.5, 1]]


@pytest.mark.parametrize("is_known", [True, False])
def test_what_a_killed_process_had_not_sent_is_sent_by_the_next(tmp_path, trackers, is_known):
    past = tuple((epoch, {"lr": 0.1 * epoch}) for epoch in (1, 2, 3))
    for behind in ((), past):
        facts = RunFacts(tmp_path, "p", {}, {}, behind)
        loggers = open_loggers(["mlflow", "wandb"], facts, pytest.fail)
        for logger in loggers:
            logger.log_scalars({"lr": 0.1 * (len(behind) + 1)}, len(behind) + 1)
            logger.close("interrupted", {})
        if not is_known:
            (tmp_path / TRACKING).unlink()
    steps = [note["pair"][2] for note in trackers("mlflow", "metric")]
    assert steps == ([1, 2, 3, 4] if is_known else [1, 1, 2, 3, 4])
    assert [note["step"] for note in trackers("wandb", "log")] == [1, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("asked", "extras"), [("mlflow", "mlflow"), ("mlflow,wandb", "mlflow,wandb")]
)
def test_a_missing_package_is_said_before_anything_is_read(
    circles, tmp_path, monkeypatch, capsys, asked, extras
):
    monkeypatch.setattr("delineate.training.loggers.opening.find_spec", lambda name: None)
    run = tmp_path / "run"
    code = run_command(["train", str(circles), "--run", str(run), "--logging.to", asked])
    said = capsys.readouterr().err
    assert code == 2
    assert said.splitlines()[-1].startswith("delineate: logging.to names mlflow")
    assert f"pip install 'delineate[{extras}]'" in said
    assert "checking masks" not in said
    assert not run.exists()


def test_names_that_are_none_are_left_to_the_settings(trackers):
    check_trackers([*TRACKERS, "tensorbord"])


@pytest.mark.parametrize("name", list(TRACKERS))
def test_the_real_package_takes_a_run(circles, tmp_path, name):
    pytest.importorskip(name)
    run = tmp_path / "run"
    sizes = "--model.width 4 --model.depth 2 --training.patch-size 64 64 --data.num-workers 0"
    length = "--epochs 2 --training.steps-per-epoch 2 --evaluation.tuning.effort 0"
    command = f"train {circles} --run {run} --logging.to {name} {length} {sizes}"
    ended = subprocess.run(
        [sys.executable, "-m", "delineate", *command.split()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "gets no more" not in ended.stderr
    assert name in json.loads((run / TRACKING).read_text())
