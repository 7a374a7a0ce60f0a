from __future__ import annotations

import shlex
from typing import Any

import pytest

from delineate.cli.setting_flags import split_setting_flags
from delineate.config import build_settings
from delineate.config.reference import Setting, list_settings
from delineate.errors import UsageError


@pytest.mark.parametrize(
    ("line", "overrides"),
    [
        ("--loss.gamma 3", {"loss": {"gamma": "3"}}),
        ("--loss.gamma=3", {"loss": {"gamma": "3"}}),
        ("--training.batch-size 4", {"training": {"batch_size": "4"}}),
        ("--training.batch_size 4", {"training": {"batch_size": "4"}}),
        ("--training.patch-size 96 128", {"training": {"patch_size": ["96", "128"]}}),
        ("--training.patch-size 96,128", {"training": {"patch_size": ["96", "128"]}}),
        ("--training.clip-norm none", {"training": {"clip_norm": None}}),
        ("--model.norm none", {"model": {"norm": "none"}}),
        ("--model.stem-stride 2", {"model": {"stem_stride": 2}}),
        ("--data.ignore '#9B9B9B' --data.ignore 0", {"data": {"ignore": ["#9B9B9B", 0]}}),
        ("--data.ignore 11,12", {"data": {"ignore": [11, 12]}}),
        (
            "--data.legend.Building '#3C1098' --data.legend.tall_tree 3,4",
            {"data": {"legend": {"Building": "#3C1098", "tall_tree": [3, 4]}}},
        ),
        ("--data.legend.bare-ground 1", {"data": {"legend": {"bare-ground": 1}}}),
        ("--data.mask-suffix _1stHO", {"data": {"mask_suffix": "_1stHO"}}),
        ("--data.groups 'Image_([0-9]+)'", {"data": {"groups": "Image_([0-9]+)"}}),
        ("--model.preactivation", {"model": {"preactivation": "true"}}),
        ("--model.preactivation false", {"model": {"preactivation": "false"}}),
        (
            "--augmentation.spatial.no-quarter-turns",
            {"augmentation": {"spatial": {"quarter_turns": False}}},
        ),
        (
            "--prediction.postprocessing.min-object-area 9",
            {"prediction": {"postprocessing": {"min_object_area": "9"}}},
        ),
        (
            "--loss.name weighted_sum --loss.terms '[{weight: 2, loss: {name: dice}}]'",
            {"loss": {"name": "weighted_sum", "terms": [{"weight": 2, "loss": {"name": "dice"}}]}},
        ),
    ],
)
def test_flags_become_nested_settings(line: str, overrides: dict[str, Any]) -> None:
    rest, found = split_setting_flags(["train", "DATA", *shlex.split(line), "--seed", "1"])
    assert found == overrides
    assert rest == ["train", "DATA", "--seed", "1"]


def test_text_is_converted_by_the_one_validation() -> None:
    line = (
        "--loss.name focal --loss.gamma 3 --training.batch-size 4 --training.time 1h30m "
        "--training.patch-size 96 128 --data.ignore 0 --data.ignore '#000000' "
        "--data.legend.Road '#6EC1E4' --model.name resunet --model.preactivation "
        "--data.split 0.5 0.25 0.25"
    )
    _, overrides = split_setting_flags(shlex.split(line))
    settings = build_settings(overrides)
    assert settings.loss.name == "focal"
    assert settings.loss.gamma == 3.0
    assert settings.training.batch_size == 4
    assert settings.training.time == 5400.0
    assert settings.training.patch_size == (96, 128)
    assert settings.data.ignore == (0, "#000000")
    assert settings.data.legend == {"Road": "#6EC1E4"}
    assert settings.model.name == "resunet"
    assert settings.model.preactivation is True
    assert settings.data.split == (0.5, 0.25, 0.25)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--training.batch-sise 4", "Did you mean --training.batch-size?"),
        ("--los.gamma 3", "Did you mean --loss.gamma?"),
        ("--augmentation.spatial.flip-horisontal 0", "Did you mean --augmentation.spatial.flip-"),
        ("--zzz.qqq 3", "lists all settings"),
        ("--training.batch-size", "needs a value: Patches in a batch"),
        ("--training.batch-size --seed 3", "needs a value"),
        ("--data.legend 3", "--data.legend.NAME VALUE"),
        ("--loss.terms '[{'", "takes YAML"),
        ("--training.patch-size 96", "takes 2 values, such as --training.patch-size 96 96; got 1"),
        ("--data.split 0.8,0.2", "takes 3 values"),
    ],
)
def test_wrong_flags_say_what_to_do(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_setting_flags(shlex.split(line))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sections_limit_what_may_be_set() -> None:
    _, overrides = split_setting_flags(["--prediction.blend", "average"], ["prediction"])
    assert overrides == {"prediction": {"blend": "average"}}
    with pytest.raises(UsageError, match=r"Unknown option --loss\.gamma"):
        split_setting_flags(["--loss.gamma", "3"], ["prediction"])


def test_nothing_is_read_after_the_separator() -> None:
    rest, overrides = split_setting_flags(["predict", "--", "--loss.gamma", "3"])
    assert rest == ["predict", "--", "--loss.gamma", "3"]
    assert overrides == {}


UNWRITTEN = ("none", "required")
WRITABLE = [
    setting
    for setting in list_settings()
    if setting.default_text not in UNWRITTEN or setting.default == "none"
]


@pytest.mark.parametrize("setting", WRITABLE, ids=lambda s: f"{s.dotted}-{s.components[:1]}")
def test_every_default_can_be_written_as_a_flag(setting: Setting) -> None:
    is_name = setting.path[-1] == "name"
    component = [f"--{setting.path[0]}.name", setting.components[0]] if setting.components else []
    own = [setting.flag, *setting.default_text.split()]
    rest, overrides = split_setting_flags(own if is_name else component + own)
    value: Any = build_settings(overrides)
    for name in setting.path:
        value = getattr(value, name)
    assert rest == []
    assert value == setting.default
