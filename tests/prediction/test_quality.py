from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from delineate.metrics.curves import ProbabilityHistogram
from delineate.prediction import familiarity as look_at
from delineate.prediction.familiarity import learn_familiarity, look_windows
from delineate.prediction.quality import QualityEstimator, fit_calibration
from delineate.preprocessing import Preprocessing
from delineate.task import Task

BINARY = Task("binary", ("cell",))
GREY = Preprocessing(1)


def histogram_of(
    probs: np.ndarray, target: np.ndarray, task: Task = BINARY
) -> ProbabilityHistogram:
    histogram = ProbabilityHistogram(task, 4096)
    histogram.update(probs, target)
    return histogram


def estimator_of(histogram: ProbabilityHistogram) -> QualityEstimator:
    reference = {"calibration": fit_calibration(histogram)}
    return QualityEstimator.from_reference(histogram.task, GREY, reference)


def test_the_calibration_is_the_isotonic_regression() -> None:
    rng = np.random.default_rng(0)
    probs = rng.beta(0.5, 0.5, (1, 400, 400)).astype(np.float32)
    target = (rng.random((400, 400)) < probs[0] ** 2).astype(np.uint8)
    knots = np.asarray(fit_calibration(histogram_of(probs, target))[0])
    assert (np.diff(knots[:, 0]) > 0).all()
    assert (np.diff(knots[:, 1]) >= 0).all()
    reference = IsotonicRegression().fit(probs.ravel().astype(float), target.ravel().astype(float))
    grid = np.linspace(0.05, 0.95, 19)
    ours = np.interp(grid, knots[:, 0], knots[:, 1])
    assert np.abs(ours - reference.predict(grid)).max() < 0.03
    assert np.abs(ours - grid**2).max() < 0.03


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_expected_dice_is_the_dice_where_pixels_are_independent(power: float) -> None:
    rng = np.random.default_rng(1)

    def draw(mean: float) -> tuple[np.ndarray, np.ndarray]:
        probs = np.clip(rng.normal(mean, 0.3, (1, 300, 300)), 0.001, 0.999).astype(np.float32)
        return probs, (rng.random((300, 300)) < probs[0] ** power).astype(np.uint8)

    estimator = estimator_of(histogram_of(*draw(0.4)))
    for mean in (0.2, 0.5, 0.7):
        probs, target = draw(mean)
        mask = BINARY.mask(probs, [0.5])
        dice = 2 * (mask & target).sum() / (mask.sum() + target.sum())
        expected = estimator.expected_dice(probs, mask)
        assert expected == pytest.approx(dice, abs=0.02)


def test_pixels_that_do_not_count_change_nothing() -> None:
    rng = np.random.default_rng(2)
    probs = rng.random((1, 40, 40), dtype=np.float32)
    estimator = estimator_of(histogram_of(probs, (probs[0] > 0.5).astype(np.uint8)))
    valid = np.zeros((40, 40), bool)
    valid[:20] = True
    mask = BINARY.mask(probs)
    changed = probs.copy()
    changed[:, 20:] = np.nan
    assert estimator.expected_dice(changed, mask, valid) == pytest.approx(
        estimator.expected_dice(probs[:, :20], mask[:20])
    )


def test_nothing_found_or_nothing_known_gives_no_number() -> None:
    probs = np.full((1, 8, 8), 0.1, np.float32)
    empty = np.zeros((8, 8), np.uint8)
    histogram = histogram_of(probs, np.eye(8, dtype=np.uint8))
    assert estimator_of(histogram).expected_dice(probs, empty) is None
    blind = QualityEstimator.from_reference(BINARY, GREY, {})
    quality = blind.judge(np.zeros((8, 8, 1), np.uint8), probs, empty)
    assert (quality.expected_dice, quality.unfamiliarity, quality.alarm) == (None, None, None)


def test_several_classes_are_averaged_over_those_found() -> None:
    task = Task("multiclass", ("ground", "road", "roof"), background="ground")
    probs = np.zeros((3, 4, 4), np.float32)
    probs[0] = 1
    probs[:, :2] = np.asarray([0.25, 0.75, 0])[:, None, None]
    reference = {"calibration": [[[0, 0], [1, 1]]] * 3}
    estimator = QualityEstimator.from_reference(task, GREY, reference)
    expected = estimator.expected_dice(probs, task.mask(probs))
    assert expected == pytest.approx(2 * 8 * 0.75 / (8 + 8 * 0.75))


def texture(rng: np.random.Generator, mean: float = 100.0, size: int = 64) -> np.ndarray:
    noise = rng.normal(0, 12, (size, size, 1))
    return np.clip(mean + rng.normal(0, 5) + noise, 0, 255).astype(np.uint8)


def look_of(image: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    look = look_at.look_of(image, valid, GREY)
    assert look is not None
    return look


def test_images_of_another_kind_raise_the_alarm_and_others_do_not() -> None:
    rng = np.random.default_rng(3)
    looks = [look_of(texture(rng)) for _ in range(24)]
    familiarity = learn_familiarity(looks, [str(i // 2) for i in range(24)])
    reference = {"familiarity": familiarity.as_dict()}
    estimator = QualityEstimator.from_reference(BINARY, GREY, reference)
    quiet = [estimator.judge_look(look_of(texture(rng))) for _ in range(20)]
    assert sum(alarm is not None for _, alarm in quiet) <= 3
    dark = estimator.judge_look(look_of(texture(rng, 30.0)))
    assert dark[0] is not None
    assert dark[0] > 2
    assert dark[1] is not None
    assert "brightness is 0.1" in dark[1] or "parts is 0.0" in dark[1]
    smooth = np.full((64, 64, 1), 100, np.uint8)
    ratio, alarm = estimator.judge_look(look_of(smooth))
    assert ratio is not None
    assert ratio > 2
    assert alarm is not None
    assert "detail of" in alarm


def test_few_groups_give_no_yardstick() -> None:
    rng = np.random.default_rng(4)
    looks = [look_of(texture(rng)) for _ in range(9)]
    familiarity = learn_familiarity(looks, [str(i // 3) for i in range(9)])
    assert familiarity.yardstick is None
    assert familiarity.ratio(looks[0]) is None


def test_images_of_one_group_are_not_each_others_yardstick() -> None:
    rng = np.random.default_rng(5)
    looks = [look_of(texture(rng, mean)) for mean in (40, 90, 140, 190) for _ in range(3)]
    apart = learn_familiarity(looks, [str(i) for i in range(12)])
    together = learn_familiarity(looks, [str(i // 3) for i in range(12)])
    assert apart.yardstick is not None
    assert together.yardstick is not None
    assert together.yardstick > 2 * apart.yardstick


@pytest.mark.parametrize("size", [(1, 1), (100, 300), (256, 257), (2000, 3000)])
def test_windows_lie_inside_and_cover_small_images(size: tuple[int, int]) -> None:
    windows = look_windows(*size)
    assert 1 <= len(windows) <= 9
    covered = np.zeros(size, bool)
    for window in windows:
        assert 0 <= window.row < window.row + window.height <= size[0]
        assert 0 <= window.col < window.col + window.width <= size[1]
        covered[window.slices] = True
    assert covered[0, 0]
    assert covered[-1, -1]
    assert covered.all() or max(size) > 768


def test_pixels_without_a_measurement_do_not_change_the_look() -> None:
    image = texture(np.random.default_rng(6))
    valid = np.ones((64, 64), bool)
    valid[:, :20] = False
    changed = image.copy()
    changed[:, :20] = 255
    assert look_of(changed, valid) == pytest.approx(look_of(image, valid), abs=1e-6)
    assert look_of(image, valid)[0] == pytest.approx(image[valid].mean() / 255, abs=1e-4)
    assert look_at.look_of(image, np.zeros((64, 64), bool), GREY) is None
