from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

from delineate.augmentation import SpatialAugmentation, SpatialDraw
from delineate.config import SpatialConfig
from delineate.errors import UsageError


def test_the_settings_are_those_of_the_constructor() -> None:
    parameters = inspect.signature(SpatialAugmentation.__init__).parameters
    defaults = {name: p.default for name, p in parameters.items() if name != "self"}
    assert defaults == SpatialConfig().model_dump()


def test_equal_generators_draw_alike() -> None:
    augmentation = SpatialAugmentation(elastic=0.5)
    for seed in range(20):
        one, other = (augmentation.draw(np.random.default_rng(seed), (64, 48)) for _ in range(2))
        assert one.quarter_turns == other.quarter_turns
        np.testing.assert_array_equal(one.matrix(), other.matrix())
        assert (one.displacement is None) == (other.displacement is None)


def test_all_eight_orientations_are_drawn_evenly() -> None:
    augmentation = SpatialAugmentation(warp=0)
    rng = np.random.default_rng(0)
    drawn = [augmentation.draw(rng, (8, 8)).matrix().round().ravel() for _ in range(1600)]
    _, counts = np.unique(np.array(drawn) + 0.0, axis=0, return_counts=True)
    assert len(counts) == 8
    assert 140 < counts.min() <= counts.max() < 260


def test_drawn_maps_stay_within_the_settings() -> None:
    augmentation = SpatialAugmentation(
        warp=1, rotation=20, scale=(0.5, 2), shear=0, quarter_turns=False,
        flip_horizontal=0, flip_vertical=0,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    matrices = np.array([augmentation.draw(rng, (8, 8)).matrix() for _ in range(400)])
    magnifications = 1 / np.sqrt(np.linalg.det(matrices))
    angles = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert magnifications.min() >= 0.5
    assert magnifications.max() <= 2
    assert abs(np.log(magnifications).mean()) < 0.1
    assert np.abs(angles).max() <= 20
    assert np.abs(angles).max() > 19


def test_shear_keeps_the_area() -> None:
    augmentation = SpatialAugmentation(warp=1, rotation=0, scale=(1, 1), shear=10)
    slants = []
    for seed in range(50):
        matrix = augmentation.draw(np.random.default_rng(seed), (8, 8)).matrix()
        assert abs(np.linalg.det(matrix)) == pytest.approx(1)
        slants.append(np.sort(np.abs(matrix).ravel())[1])
    assert max(slants) <= math.tan(math.radians(10)) + 1e-12
    assert max(slants) > 0.1


def test_settings_that_do_nothing_draw_nothing() -> None:
    augmentation = SpatialAugmentation(
        flip_horizontal=0, flip_vertical=0, quarter_turns=False, warp=0
    )
    draw = augmentation.draw(np.random.default_rng(0), (8, 8))
    assert draw == SpatialDraw()
    assert draw.is_exact


def test_odd_turns_swap_the_sides_of_the_window() -> None:
    assert SpatialDraw(quarter_turns=1).window_size((3, 5)) == (5, 3)
    assert SpatialDraw(quarter_turns=2).window_size((3, 5)) == (3, 5)


@pytest.mark.parametrize("settings", [{"scale": (1.2, 0.8)}, {"scale": (0, 1)}, {"shear": 90}])
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"augmentation\.spatial"):
        SpatialAugmentation(**settings)  # type: ignore[arg-type]
