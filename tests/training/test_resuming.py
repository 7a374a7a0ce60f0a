"""A training that was cut short ends as if it had not been."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml

from delineate.cli.app import run as run_command
from delineate.errors import ConfigError, DataError, UsageError
from delineate.model_file import FILE_NAME
from delineate.training import loop as loop_module
from delineate.training.checkpoint import FOLDER, META, STATE
from delineate.training.resuming import check_num_processes
from delineate.training.trainer import train

EPOCHS = 3


SETTINGS = {
    # dropout draws from torch's generator
    "model": {"width": 4, "depth": 2, "dropout": 0.3},
    "training": {
        "patch_size": [64, 64],
        "batch_size": 4,
        "steps_per_epoch": 4,
        "checkpoint_every": 1e-3,  # every step is followed by a checkpoint
    },
    "data": {"num_workers": 0},
    "evaluation": {"tuning": {"effort": 0}},
}


@pytest.fixture
def settings():
    return {section: dict(values) for section, values in SETTINGS.items()}


@pytest.fixture(scope="module")
def whole(circles, tmp_path_factory):
    """A run that was left alone."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(circles, run=run, epochs=EPOCHS, seed=3, overrides=SETTINGS)
    return run


def results(run):
    with (run / "results.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "time"} for row in csv.DictReader(file)]


def assert_same(run, whole):
    assert results(run) == results(whole)
    assert (run / FILE_NAME).read_bytes() == (whole / FILE_NAME).read_bytes()
    assert not (run / FOLDER).exists()


def test_other_numbers_of_processes_are_refused(tmp_path):
    unfinished = SimpleNamespace(num_processes=2)
    check_num_processes(unfinished, tmp_path, 2)
    with pytest.raises(UsageError, match=r"began with 2 .* go on with 1.*--nproc-per-node=2"):
        check_num_processes(unfinished, tmp_path, 1)


class CutError(Exception):
    """Stands for the end of the process."""


def cut_after(monkeypatch, step):
    """Make the training die right after the checkpoint of a step."""
    save = loop_module.Loop.__dict__["_train_epoch"]

    def dying(self, *args):
        inner = self.save_checkpoint

        def save_and_die(position, *rest):
            inner(position, *rest)
            if position.step == step:
                raise CutError

        self.save_checkpoint = save_and_die
        try:
            return save(self, *args)
        finally:
            self.save_checkpoint = inner

    monkeypatch.setattr(loop_module.Loop, "_train_epoch", dying)


def start_and_cut(circles, run, settings, monkeypatch, step):
    with monkeypatch.context() as patch:
        cut_after(patch, step)
        with pytest.raises(CutError):
            train(circles, run=run, epochs=EPOCHS, seed=3, overrides=settings)


# in the first epoch, in the middle of the second, and near the end of the last
@pytest.mark.parametrize("step", [1, 6, 11])
def test_row_2_a_cut_run_ends_with_the_same_bytes(
    circles, whole, settings, tmp_path, monkeypatch, step
):
    run = tmp_path / "run"
    start_and_cut(circles, run, settings, monkeypatch, step)
    result = train(run=run, resume=True)
    assert result.num_steps == EPOCHS * 4
    assert_same(run, whole)
    assert f"After step {step}." in (run / "plan.md").read_text()


def test_row_2_a_run_killed_again_and_again_ends_with_the_same_bytes(
    circles, whole, settings, tmp_path
):
    run, config = tmp_path / "run", tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "delineate", "train"]
    begin = [*command, str(circles), "--run", str(run), "--config", str(config)]
    begin += ["--epochs", str(EPOCHS), "--seed", "3"]
    go_on = [*command, "--run", str(run), "--resume"]
    for arguments, wanted in ((begin, 3), (go_on, 7)):
        with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            wait_for_step(process, run, wanted)
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(children, timeout=20)
    assert run_command(["train", "--run", str(run), "--resume"]) == 0
    assert_same(run, whole)


def wait_for_step(process, run, step):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        numbers = [path.name.removeprefix("step-") for path in (run / FOLDER).glob("step-*")]
        if any(number.isdecimal() and int(number) >= step for number in numbers):
            return
        time.sleep(0.005)
    assert process.poll() is None, process.stderr.read().decode()
    raise AssertionError(f"step {step} was not reached")


def test_row_3_ctrl_c_can_be_resumed_from(circles, whole, settings, tmp_path, monkeypatch):
    run = tmp_path / "run"
    former = loop_module.Loop._train_epoch

    def interrupting(self, *args):
        load = self.load_epoch

        def pressing(epoch, first):
            for index, batches in enumerate(load(epoch, first)):
                if epoch == 1 and index == 2:
                    os.kill(os.getpid(), signal.SIGINT)
                yield batches

        self.load_epoch = pressing
        try:
            return former(self, *args)
        finally:
            self.load_epoch = load

    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Loop, "_train_epoch", interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(circles, run=run, epochs=EPOCHS, seed=3, overrides=settings)
    assert (run / FILE_NAME).exists()  # usable at once
    train(run=run, resume=True)
    assert_same(run, whole)


def flip_a_bit(run):
    newest = max((run / FOLDER).iterdir(), key=lambda path: int(path.name.removeprefix("step-")))
    data = bytearray((newest / STATE).read_bytes())
    data[len(data) // 3] ^= 4
    (newest / STATE).write_bytes(data)


def test_row_5_a_damaged_checkpoint_falls_back_loudly(
    circles, whole, settings, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    start_and_cut(circles, run, settings, monkeypatch, 6)
    flip_a_bit(run)
    train(run=run, resume=True)
    assert "passed over a checkpoint" in capsys.readouterr().err
    assert_same(run, whole)


def test_row_6_other_settings_are_refused_with_the_difference(
    circles, settings, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    start_and_cut(circles, run, settings, monkeypatch, 2)
    with pytest.raises(ConfigError, match=r"training\.batch_size: 4 -> 8"):
        train(run=run, resume=True, overrides={"training": {"batch_size": 8}})
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["loss"]["smooth"] = 3.0
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=r"loss\.smooth: 1\.0 -> 3\.0"):
        train(run=run, resume=True)


def test_row_5_checkpoints_of_an_earlier_run_are_not_gone_on_with(
    circles, settings, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    start_and_cut(circles, run, settings, monkeypatch, 6)
    with monkeypatch.context() as patch:
        cut_after(patch, 2)
        with pytest.raises(CutError):
            train(circles, run=run, epochs=EPOCHS, seed=4, overrides=settings, exist_ok=True)
    assert sorted(path.name for path in (run / FOLDER).iterdir()) == ["step-1", "step-2"]


def test_settings_that_only_change_the_speed_may_differ(
    circles, whole, settings, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    start_and_cut(circles, run, settings, monkeypatch, 5)
    train(run=run, resume=True, overrides={"data": {"num_workers": 1}})
    assert results(run) == results(whole)


def test_row_6_other_data_are_refused_by_name(circles, settings, tmp_path, monkeypatch):
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(circles, data)
    start_and_cut(data, run, settings, monkeypatch, 2)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["split"] == [0.7, 0.15, 0.15]
    with (run / "inventory.csv").open() as file:
        rows = list(csv.DictReader(file))
    trained = [row for row in rows if row["split"] == "train"]
    shutil.copyfile(data / trained[0]["mask"], data / trained[1]["mask"])
    name = str(Path(trained[1]["image"]).with_suffix(""))
    with pytest.raises(DataError, match=f"1 changed: {name}"):
        train(run=run, resume=True)


def test_row_5_nothing_to_resume_from_is_said_and_nothing_is_started(circles, tmp_path):
    with pytest.raises(UsageError, match="not there"):
        train(run=tmp_path / "missing", resume=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no checkpoint to resume from"):
        train(run=tmp_path / "empty", resume=True)
    with pytest.raises(UsageError, match="--run DIR"):
        train(circles, resume=True)
    with pytest.raises(UsageError, match="needs DATA"):
        train()
    assert not any((tmp_path / "empty").iterdir())


def test_row_5_a_checkpoint_without_its_manifest_is_none(circles, settings, tmp_path, monkeypatch):
    run = tmp_path / "run"
    start_and_cut(circles, run, settings, monkeypatch, 1)
    (run / FOLDER / "step-1" / META).unlink()
    with pytest.raises(DataError, match=r"no checkpoint that is whole.*meta\.json is missing"):
        train(run=run, resume=True)
