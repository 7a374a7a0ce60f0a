"""Where the evidence comes from, and where findings are shown."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from delineate.cli.app import run as run_command
from delineate.errors import DataError
from delineate.evaluation.model_card import read_verdict, write_model_card
from delineate.metrics.confusion import ConfusionCounts
from delineate.task import Task
from delineate.training.loop import Loop
from delineate.training.trainer import train
from delineate.training.verdict.evidence import describe_classes, measure_borders


def test_classes_are_described_by_shares_and_scores():
    task = Task("multiclass", ("ground", "road", "pole", "sign"), background="ground")
    matrix = np.array([[50, 10, 0, 0], [5, 15, 0, 0], [0, 20, 0, 0], [0, 0, 0, 0]])
    road, pole = describe_classes(ConfusionCounts(task, matrix), {"road": 0.3, "pole": 0.01})
    assert (road.name, road.true_share, road.predicted_share) == ("road", 0.2, 0.45)
    assert road.recall == 0.75
    assert road.precision == pytest.approx(1 / 3)
    assert (pole.recall, pole.precision, pole.dice) == (0.0, None, 0.0)
    assert pole.training_share == 0.01  # and the sign, which is not there, is not described


def make_validation(task, target, mask):
    image = SimpleNamespace(target=target)
    return SimpleNamespace(
        scores=SimpleNamespace(task=task), kept=(image,), mask=lambda image: mask
    )


def test_borders_are_counted_between_pixels_that_count():
    task = Task("binary", ("cell",))
    target = np.zeros((8, 8), np.uint8)
    target[2:6, 2:6] = 1  # 4 sides of 4 pixels
    mask = target.copy()
    assert measure_borders(make_validation(task, target, mask)) == 1
    mask[0, 0] = 1  # a speck in the corner has 2 sides
    assert measure_borders(make_validation(task, target, mask)) == pytest.approx(18 / 16)
    target[0, 0] = task.ignore_index
    assert measure_borders(make_validation(task, target, mask)) == 1
    nothing = np.zeros((8, 8), np.uint8)
    assert measure_borders(make_validation(task, nothing, mask)) == 1


def test_borders_of_several_labels_at_a_pixel_are_counted_each():
    task = Task("multilabel", ("a", "b"))
    target = np.zeros((2, 8, 8), np.uint8)
    target[0, :4] = 1
    target[1, :, :4] = 1
    mask = target.copy()
    mask[1] = 0
    assert measure_borders(make_validation(task, target, mask)) == 0.5


def test_findings_are_shown_in_the_terminal_the_plan_and_the_card(circles, tmp_path, capsys):
    run = tmp_path / "run"
    sizes = "--model.width 4 --model.depth 2 --training.patch-size 64 64 --data.num-workers 0"
    length = "--epochs 2 --training.steps-per-epoch 2 --evaluation.tuning.effort 0"
    assert (
        run_command(["train", str(circles), "--run", str(run), *f"{sizes} {length}".split()]) == 0
    )
    printed = capsys.readouterr().out
    assert "what stood in its way (plan.md says why):" in printed
    assert "too few steps: 4 steps were made" in printed
    assert "## What stood in its way\n\n- too few steps: 4 steps" in (run / "plan.md").read_text()
    assert "- In its way: too few steps: 4 steps were made" in (run / "README.md").read_text()
    (finding,) = json.loads((run / "verdict.json").read_text())["findings"]
    assert finding["name"] == "too few steps"
    assert finding["advice"]["text"]


def test_a_training_that_fails_says_why_in_its_plan(circles, tiny, tmp_path, monkeypatch):
    def fail(self, length, schedule):
        raise DataError("the loss was not finite, the last step had patches of 03, 07")

    monkeypatch.setattr(Loop, "run", fail)
    run = tmp_path / "run"
    with pytest.raises(DataError):
        train(circles, run=run, epochs=1, overrides=tiny)
    plan = (run / "plan.md").read_text()
    assert "## What came of it\n\n- Failed: the loss was not finite, the last step had" in plan
    assert not (run / "verdict.json").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"findings": 3}', '{"findings": ["a"]}', "{}"])
def test_a_damaged_verdict_is_none(tmp_path, text):
    (tmp_path / "verdict.json").write_text(text)
    assert read_verdict(tmp_path) == []
    assert not write_model_card(tmp_path)
