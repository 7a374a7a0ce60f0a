from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from delineate.errors import UsageError
from delineate.prediction import tile_choice
from delineate.prediction.predictor import Predictor
from delineate.prediction.tile_choice import TileChoice, choose_tiles, wanted_tiling
from delineate.preprocessing import Preprocessing
from delineate.task import Task


def engine(tiles: Tensor) -> Tensor:
    return tiles


def make(halo: int | None, stride: int = 16, **parts: Any) -> Predictor:
    preprocessing = Preprocessing(1, (0.0, 1.0))
    return Predictor(
        *(engine, Task("binary", ("x",)), preprocessing), halo=halo, stride=stride, **parts
    )


@pytest.fixture
def slow_above(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Time tiles by their area, and ten times that above the one side in the list."""
    limit = [10_000]

    def timed(predictor: Predictor, *, repeats: int = 2) -> float:
        side = predictor.tile_size[0]
        return side**2 * (10 if side > limit[0] else 1)

    monkeypatch.setattr(tile_choice, "time_tile", timed)
    return limit


def test_local_networks_get_exact_tiles_of_the_fastest_size(slow_above: list[int]) -> None:
    choice = choose_tiles(make(107), "auto", ())
    assert (choice.tiling, choice.tile_size) == ("exact", (1024, 1024))
    assert "halo 107" in choice.reason
    slow_above[0] = 512
    assert choose_tiles(make(107), "auto", ()).tile_size == (512, 512)
    assert choose_tiles(make(58), "auto", ()).tile_size == (512, 512)


@pytest.mark.usefixtures("slow_above")
def test_too_large_a_halo_or_none_gives_blended_tiles_as_the_model_says() -> None:
    choice = choose_tiles(make(443), "auto", ())
    assert (choice.tiling, choice.tile_size) == ("blended", (512, 512))
    assert "443" in choice.reason
    assert "1772" in choice.reason
    choice = choose_tiles(make(None), "auto", ())
    assert choice.tiling == "blended"
    assert "normalises over whole tiles" in choice.reason


@pytest.mark.usefixtures("slow_above")
def test_what_the_user_says_stays() -> None:
    given = {"tile_size": 1, "batch_size": 1}
    predictor = make(107, tile_size=(600, 700), batch_size=3)
    choice = choose_tiles(predictor, "auto", given)
    assert choice == TileChoice("exact", (600, 700), 3, choice.reason)
    assert choose_tiles(make(107, tile_size=(300, 300)), "auto", given).tiling == "blended"
    assert choose_tiles(predictor, "blended", ()).tile_size == (600, 700)
    # Exact by order: the smallest tiles that can be, on the network's stride.
    choice = choose_tiles(make(443, stride=64), "exact", ())
    assert (choice.tiling, choice.tile_size) == ("exact", (1792, 1792))
    too_small = choose_tiles(make(107, tile_size=(300, 300)), "exact", given)
    with pytest.raises(UsageError, match="at least 428 pixels a side, not 300x300"):
        too_small.apply(make(107)).plan(2000, 2000)
    with pytest.raises(UsageError, match="normalises over"):
        choose_tiles(make(None), "exact", ()).apply(make(None)).plan(2000, 2000)


def test_an_overlap_asks_for_blended_tiles() -> None:
    assert wanted_tiling({}, {}) == "auto"
    assert wanted_tiling({"tiling": "exact", "overlap": 0.5}, {}) == "exact"
    assert wanted_tiling({}, {"overlap": 0.5}) == "blended"
    assert wanted_tiling({}, {"overlap": 0.5, "tiling": "auto"}) == "auto"


def test_a_choice_survives_json() -> None:
    choice = TileChoice("exact", (512, 640), 2, "because")
    assert TileChoice.from_dict({**choice.as_dict(), "tile_size": [512, 640]}) == choice


def test_the_time_of_a_tile_is_measured() -> None:
    assert 0 < tile_choice.time_tile(make(None, tile_size=(32, 32))) < 5
