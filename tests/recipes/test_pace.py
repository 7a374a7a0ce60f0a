from __future__ import annotations

from typing import Any

import pytest

from delineate.config import Settings, build_settings
from delineate.recipes.pace import fit_time, measure_step
from delineate.task import Task


def steps_of(settings: Settings) -> float:
    """A step that takes 0.1 s at width 32, and grows with its square."""
    return 0.1 * (settings.model.width / 32) ** 2


@pytest.mark.parametrize(
    ("settings", "width"),
    [
        ({"training": {"time": 70, "epochs": None}}, 16),
        ({"training": {"time": 90, "epochs": None}}, None),
        ({"training": {"epochs": 1}}, None),
        ({"training": {"time": 600, "epochs": None}, "model": {"width": 96}}, 48),
        ({"training": {"time": 1, "epochs": None}, "model": {"width": 16}}, None),
    ],
)
def test_a_short_time_narrows_the_network_once(settings: dict[str, Any], width: int | None) -> None:
    decisions = fit_time(build_settings(settings), steps_of)
    assert [one.settings for one in decisions] == ([{"model": {"width": width}}] if width else [])


def test_the_reason_has_the_numbers_and_a_chosen_width_stays() -> None:
    settings = build_settings({"training": {"time": 60, "epochs": None}})
    (decision,) = fit_time(settings, steps_of)
    assert decision.reason == (
        "1 min 00 s make about 450 steps of a network of width 32, fewer than 600, and 1800 of "
        "width 16"
    )
    assert fit_time(settings, steps_of, fixed={"model.width"}) == []


@pytest.mark.parametrize(
    "task",
    [
        Task("binary", ("a",)),
        Task("multiclass", ("a", "b", "c"), background="a"),
        Task("multilabel", ("a", "b")),
    ],
)
def test_steps_are_measured_and_wider_networks_take_longer(task: Task) -> None:
    seconds = measure_step(in_channels=1, task=task, device="cpu")
    small = {"training": {"patch_size": [64, 64], "batch_size": 2}}
    narrow = seconds(build_settings({**small, "model": {"width": 4, "depth": 2}}))
    wide = seconds(build_settings({**small, "model": {"width": 32, "depth": 2}}))
    assert 0 < narrow < wide
