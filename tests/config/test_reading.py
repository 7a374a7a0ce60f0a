from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.config import (
    Settings,
    build_settings,
    merge_settings,
    parse_duration,
    read_settings,
    save_settings,
)
from delineate.errors import ConfigError, UnreadableFileError


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"los": {}}, "unknown setting 'los'; did you mean 'loss'?"),
        ({"training": {"epoch": 3}}, "'training.epoch'; did you mean 'epochs'?"),
        ({"loss": {"name": "focal", "gama": 3}}, "'loss.gama' of 'focal'; did you mean 'gamma'?"),
        ({"loss": {"gamma": 3}}, "unknown setting 'loss.gamma' of 'ce_dice'"),
        ({"loss": {"name": "dise"}}, "unknown loss 'dise'; did you mean 'dice'? Choose one of"),
        ({"model": {"depth": 9}}, "model.depth is 9: input should be less than or equal to 6"),
        ({"training": {"time": "10x"}}, "write 90s, 10m or 1h30m"),
        (
            {"augmentation": {"spatial": {"flip_horisontal": 1}}},
            "'augmentation.spatial.flip_horisontal'; did you mean 'flip_horizontal'?",
        ),
        (
            {"prediction": {"postprocessing": {"opening": 3}}},
            "did you mean 'opening_radius'?",
        ),
        (
            {"loss": {"name": "weighted_sum", "terms": [{"loss": {"name": "dice", "smoth": 1}}]}},
            "'loss.terms.0.loss.smoth' of 'dice'; did you mean 'smooth'?",
        ),
    ],
)
def test_problems_are_described(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_settings(document, source="my.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("my.yaml: ")
    assert "\n" not in str(caught.value)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build_settings({"training": {"batch_size": 0, "epoch": 3}, "model": {"widht": 3}})
    for name in ("training.batch_size", "training.epoch", "model.widht"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1h30m5s", 5405), ("45", 45), ("1.5m", 90)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert build_settings({"training": {"time": text}}).training.time == seconds


@pytest.mark.parametrize("text", ["", "m", "10 m", "-5s", "1d", "ten", "1m1h"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(ConfigError, match="write 90s, 10m or 1h30m"):
        parse_duration(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
@settings(deadline=None, max_examples=30)
def test_durations_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


def test_settings_survive_yaml(tmp_path: Path) -> None:
    wanted = build_settings(
        {
            "data": {
                "legend": {"Road": "#6EC1E4", "two": [3, "#000000"]},
                "ignore": [0, "#FFFFFF"],
            },
            "loss": {"name": "weighted_sum", "terms": [{"weight": 2, "loss": {"name": "dice"}}]},
            "model": {"name": "resunet", "width": 8},
        }
    )
    path = tmp_path / "config.yaml"
    save_settings(wanted, path)
    assert build_settings(read_settings(path)) == wanted
    assert build_settings({}) == Settings()


@pytest.mark.parametrize("content", ["a: [", "\x00\x01"])
def test_damaged_yaml_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(UnreadableFileError) as caught:
        read_settings(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_empty_and_listed_yaml(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"absent\.yaml"):
        read_settings(tmp_path / "absent.yaml")
    path = tmp_path / "config.yaml"
    path.write_text("")
    assert read_settings(path) == {}
    path.write_text("- 3")
    with pytest.raises(ConfigError, match="holds a list"):
        read_settings(path)


def test_later_layers_lie_on_top() -> None:
    merged = merge_settings(
        {"training": {"epochs": 5, "patch_size": [64, 64]}, "data": {"legend": {"a": 1}}},
        {"training": {"epochs": 7}, "data": {"legend": {"b": 2}}},
        {"augmentation": {"spatial": {"warp": 1}}},
        {"augmentation": {"spatial": {"shear": 0}}},
    )
    assert merged == {
        "training": {"epochs": 7, "patch_size": [64, 64]},
        "data": {"legend": {"b": 2}},
        "augmentation": {"spatial": {"warp": 1, "shear": 0}},
    }


def test_another_component_keeps_only_what_both_inherit() -> None:
    merged = merge_settings(
        {"model": {"width": 16}, "loss": {"balance": 0.3, "smooth": 2}},
        {"model": {"name": "resunet"}, "loss": {"name": "focal_dice"}},
    )
    assert merged["model"] == {"width": 16, "name": "resunet"}
    assert merged["loss"] == {"smooth": 2, "name": "focal_dice"}
    build_settings(merged)


def test_layers_are_left_as_they_were() -> None:
    below: dict[str, Any] = {"augmentation": {"spatial": {"warp": 1}}, "loss": {"smooth": 2}}
    merge_settings(below, {"augmentation": {"spatial": {"warp": 0}}, "loss": {"smooth": 0}})
    assert below == {"augmentation": {"spatial": {"warp": 1}}, "loss": {"smooth": 2}}


def test_bins_are_a_power_of_two():
    with pytest.raises(ConfigError, match=r"num_bins.*power of two.*1000"):
        build_settings({"evaluation": {"num_bins": 1000}})
    assert build_settings({"evaluation": {"num_bins": 1024}}).evaluation.num_bins == 1024
