"""What is said of a student: what it gains, and when nothing can be said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from delineate.evaluation.bootstrap import Interval
from delineate.training.folds.student import StudentResult


def judge(dice, low, high, num_steps=100, plain_steps=100):
    difference = Interval(dice - 0.8, low, high, 0.01)
    return StudentResult(
        Path("run/student"), 16, dice, 0.8, difference, num_steps, plain_steps
    ).describe()


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        ((0.82, 0.01, 0.03), r"\+2\.0 points, 95 % interval \+1\.0 to \+3\.0, teaching helps"),
        ((0.78, -0.03, -0.01), r"-2\.0 points, .* teaching harms"),
        ((0.81, -0.01, 0.03), "no difference is shown"),
        ((0.7, -0.2, -0.05, 1, 27), "says nothing of teaching: .* 1 steps .* the other 27"),
        ((0.82, 0.01, 0.03, 95, 100), "teaching helps"),
        ((0.82, None, None), "cannot tell how good the student is"),
    ],
)
def test_the_verdict_is_as_sure_as_the_images_allow(arguments, verdict):
    lines = judge(*arguments)
    assert re.search(verdict, lines[0])
    assert "student" in " ".join(lines)
