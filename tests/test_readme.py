"""The README is run: its console session and its Python, on a tiny sample and tiny networks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from delineate.cli.app import SETTABLE, app, run
from delineate.cli.setting_flags import split_setting_flags
from delineate.data.samples import write_sample
from delineate.rasters import read_image

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
TINY: dict[str, Any] = {
    "model": {"width": 4, "depth": 2},
    "training": {"patch_size": [32, 32], "batch_size": 2, "steps_per_epoch": 2, "epochs": 1},
    "data": {"num_workers": 0},
}
TINY_FLAGS = [
    *("--model.width", "4", "--model.depth", "2", "--epochs", "1", "--data.num-workers", "0"),
    *("--training.patch-size", "32", "32", "--training.batch-size", "2"),
    *("--training.steps-per-epoch", "2"),
]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _commands() -> list[str]:
    """Return every delineate command that the README shows."""
    lines = "\n".join(_blocks("console") + _blocks("sh")).replace("\\\n", " ").splitlines()
    commands = [line.removeprefix("$ ") for line in lines]
    return [line for line in commands if line.startswith("delineate ")]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_sample("cells", tmp_path / "DATA", num_images=8, size=64)
    (tmp_path / "DATA" / "data.yaml").unlink()
    write_sample("cells", tmp_path / "NEW", num_images=2, size=64, seed=1)
    (tmp_path / "NEW" / "images").rename(tmp_path / "NEW_IMAGES")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", _commands())
def test_every_command_parses(line: str) -> None:
    tokens = shlex.split(line, comments=True)[1:]
    rest, _ = split_setting_flags(tokens, SETTABLE.get(tokens[0], ()))
    command, bound, _ = app.parse_args(rest, exit_on_error=False, print_error=False)
    assert command.__name__ == tokens[0]
    assert bound.args or bound.kwargs


def test_the_session_runs(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (session,) = _blocks("console")
    for line in (line.removeprefix("$ ") for line in session.splitlines() if line[0] == "$"):
        tokens = shlex.split(line)
        if tokens[0] == "ls":
            assert sorted(path.name for path in Path(tokens[1]).iterdir()) == ["images", "masks"]
            continue
        if tokens[1] == "train":
            assert tokens[-2:] == ["--time", "10m"]
            tokens = tokens[:-2] + TINY_FLAGS
        assert run(tokens[1:]) == 0, line
    assert (workplace / "runs/first/model.safetensors").is_file()
    assert (workplace / "runs/first/plan.md").is_file()
    assert (workplace / "runs/first/test/metrics.json").is_file()
    assert (workplace / "runs/first/test/report.html").is_file()
    assert len(list((workplace / "predictions").iterdir())) == 4
    printed = capsys.readouterr().out
    for word in ("pooled", "mean per image", "unet", "foreground", "thresholds"):
        assert word in printed


def test_the_python_session_runs(workplace: Path) -> None:
    (code,) = _blocks("python")
    assert "epochs=20" in code
    assert '{"model": {"width": 16}}' in code
    code = code.replace("epochs=20", "epochs=1").replace('{"model": {"width": 16}}', "tiny")
    tiny = TINY | {"training": {**TINY["training"], "epochs": None}}
    pixels = read_image(workplace / "NEW_IMAGES" / "cells_000.png")
    names: dict[str, Any] = {"tiny": tiny, "pixels": pixels}
    del tiny["training"]["epochs"]
    exec(code, names)
    assert set(names["scores"]) >= {"dice", "iou", "precision", "recall"}
    assert names["mask"].shape == pixels.shape[:2]
    assert len(list((workplace / "more-predictions").iterdir())) == 4
