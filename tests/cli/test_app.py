from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import delineate
from delineate.cli import app as commands
from delineate.cli import model_commands
from delineate.cli.app import SETTABLE, run
from delineate.config.reference import list_settings
from delineate.errors import DataError, ModelFileError, PartialResultError, ResourceError
from delineate.prediction.scene_options import SceneOptions


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("train DATA --epocs 3", 2, "Did you mean --epochs?"),
        ("train DATA --training.batch-sise 4", 2, "Did you mean --training.batch-size?"),
        ("traim DATA", 2, 'Did you mean "train"?'),
        ("train", 2, "DATA"),
        ("train DATA --epochs three", 2, "--epochs"),
        ("train absent --epochs 1", 2, "absent"),
        ("evaluate absent DATA", 4, "absent"),
        ("evaluate absent DATA --loss.gamma 3", 2, "--loss.gamma"),
        ("predict absent a.png --out b.png", 4, "absent"),
        ("predict absent --out b.png", 2, "at least one image or folder"),
        ("predict absent a.png", 2, "--out"),
        ("info absent", 4, "absent"),
    ],
)
def test_mistakes_end_in_one_sentence(
    line: str,
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(line.split()) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("delineate: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_yaml_keys_get_hints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    delineate.write_sample("cells", tmp_path / "data", num_images=4, size=64)
    config = tmp_path / "mine.yaml"
    config.write_text("training: {batch_sise: 4}")
    line = ["train", str(tmp_path / "data"), "--run", str(tmp_path / "run")]
    assert run([*line, "--config", str(config)]) == 2
    assert "did you mean 'batch_size'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "doctor", "train", "evaluate", "predict", "info"])
def test_help_names_the_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    wanted = list(inspect.signature(getattr(commands, command)).parameters)
    for name in wanted:
        if name not in ("overrides", "model", "data", "sources"):
            assert f"--{name.replace('_', '-')}" in text
    assert "overrides" not in text.lower()


def test_train_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for setting in list_settings():
        assert setting.flag in text


@pytest.mark.parametrize(
    "command", ["doctor", "plan", "compare", "train", "evaluate", "predict", "info"]
)
def test_commands_have_the_arguments_of_their_functions(command: str) -> None:
    function = set(inspect.signature(getattr(delineate, command)).parameters)
    if "options" in function:  # flags, one by one
        function = (function - {"options"}) | {field.name for field in fields(SceneOptions)}
    if command == "train":  # with folds, another function
        folds = set(inspect.signature(delineate.cross_validate).parameters)
        assert function < folds
        function = folds
    printing = {"json"} if command == "doctor" else set()
    assert set(inspect.signature(getattr(commands, command)).parameters) - printing == function


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("no"), 3),
        (ModelFileError("no"), 4),
        (ResourceError("no"), 5),
        (PartialResultError("no"), 6),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("a defect"), 1),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(model: Any) -> None:
        raise error

    monkeypatch.setattr("delineate.model_file.info", fail)
    assert run(["info", "model"]) == code
    printed = capsys.readouterr().err
    assert ("Traceback" in printed) == (code == 1)
    assert printed.splitlines()[-1].startswith("delineate: ")


def test_flags_reach_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def train(data: Path, **arguments: Any) -> None:
        seen.update(arguments, data=data)

    monkeypatch.setattr("delineate.training.trainer.train", train)
    monkeypatch.setattr(model_commands, "print_training", lambda result: None)
    line = "train DATA --run R --time 10m --seed 3 --loss.gamma 3 --data.ignore 0 --data.ignore 1"
    assert run(line.split()) == 0
    assert seen == {
        "data": Path("DATA"),
        "run": Path("R"),
        "config": None,
        "time": "10m",
        "epochs": None,
        "seed": 3,
        "device": "auto",
        "recipe": "generic",
        "misses_cost_more": False,
        "resume": False,
        "exist_ok": False,
        "overrides": {"loss": {"gamma": "3"}, "data": {"ignore": [0, 1]}},
    }


def test_sections_are_those_that_the_functions_take() -> None:
    from delineate.evaluation.evaluate import SECTIONS

    assert SETTABLE["evaluate"] == SECTIONS


def test_python_m_delineate() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "delineate", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == delineate.__version__
