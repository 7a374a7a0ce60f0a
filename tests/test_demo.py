from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from delineate.demo import PARTS, demo
from delineate.errors import UsageError

TINY = tuple(
    replace(
        part,
        num_images=8,
        size=64,
        seconds=3.0,
        settings={
            "model": {"width": 4, "depth": 2},
            "training": {"patch_size": [32, 32], "batch_size": 2, "steps_per_epoch": 4},
            "data": {"num_workers": 0},
        },
    )
    for part in PARTS
)


def test_the_demo_goes_all_the_way_and_names_what_it_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = demo(tmp_path / "demo", TINY)
    printed = capsys.readouterr().out
    assert [result.kind for result in results] == ["cells", "aerial"]
    for result in results:
        assert 0 <= result.metrics["pooled"]["dice"] <= 1
        assert result.metrics["split"] == "test"
        assert len(list(result.pictures.iterdir())) == 8
        for path in (result.model, result.report, result.pictures):
            assert path.exists()
            assert str(path) in printed
    for word in ("Dice", "threshold", "vegetation", "delineate train DATA"):
        assert word in printed


def test_an_earlier_demo_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="name another folder"):
        demo(other, TINY)
    assert (other / "thesis.txt").read_text() == "years of work"


def test_the_demo_is_about_two_minutes_long() -> None:
    assert 100 <= sum(part.seconds for part in PARTS) <= 130
