"""Intervals against scipy's bootstrap, and against how often they hold the truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from delineate.errors import ShapeError, UsageError
from delineate.evaluation.bootstrap import Interval, bootstrap
from delineate.evaluation.intervals import (
    FEW_GROUPS,
    difference_intervals,
    score_intervals,
)
from delineate.metrics.confusion import ConfusionCounts, mean_of_defined
from delineate.task import Task

BINARY = Task("binary", ("cell",))
TAGS = Task("multilabel", ("road", "roof"))
LAND = Task("multiclass", ("ground", "road", "roof"), background="ground")


def counts(task: Task, num_images: int, seed: int = 0, error: float = 0.3) -> list[ConfusionCounts]:
    """Images of very different sizes, some of them without a class."""
    rng = np.random.default_rng(seed)
    shape = ConfusionCounts(task).matrix.shape
    found = []
    for _ in range(num_images):
        right = rng.integers(0, 400, shape) * np.eye(shape[-1], dtype=int)
        wrong = rng.integers(0, max(int(400 * error), 1), shape)
        matrix = np.where(np.eye(shape[-1], dtype=bool), right, wrong) * rng.integers(1, 5)
        if rng.random() < 0.2:
            matrix[..., 1, :] = matrix[..., :, 1] = 0
        found.append(ConfusionCounts(task, matrix.astype(np.int64)))
    return found


def names(num_images: int) -> list[str]:
    return [str(index) for index in range(num_images)]


@pytest.mark.parametrize("task", [BINARY, TAGS, LAND], ids=lambda task: task.kind)
def test_estimates_are_the_scores_themselves(task: Task) -> None:
    images = counts(task, 13)
    intervals = score_intervals(images, names(13), num_resamples=10)
    pooled = sum(images[1:], start=images[0])
    scores = pooled.scores()
    assert set(intervals.pooled) <= set(scores)
    assert {"dice", "iou", "precision", "recall", "pixel_accuracy"} <= set(intervals.pooled)
    for name, interval in intervals.pooled.items():
        assert interval.estimate == pytest.approx(scores[name], rel=1e-12)
        per_image = mean_of_defined(image.scores()[name] for image in images)
        assert intervals.per_image[name].estimate == pytest.approx(per_image, rel=1e-12)
    for class_name, own in zip(task.class_names, pooled.class_scores(), strict=True):
        for name, interval in intervals.classes[class_name].items():
            assert interval.estimate == pytest.approx(own[name], rel=1e-12)
    json.dumps(intervals.as_dict(), allow_nan=False)


@pytest.mark.parametrize(("method", "theirs"), [("bca", "BCa"), ("percentile", "percentile")])
def test_intervals_are_those_of_scipy(method: str, theirs: str) -> None:
    images = counts(BINARY, 25, error=1.0)
    table = np.asarray([image.class_counts()[0] for image in images], dtype=float)

    def dice(rows: np.ndarray, axis: int = -1) -> np.ndarray:
        tp, fp, fn, _ = np.moveaxis(table[rows.astype(int)].sum(axis=axis - 1), -1, 0)
        return 2 * tp / (2 * tp + fp + fn)

    expected = stats.bootstrap(
        (np.arange(25),),
        dice,
        n_resamples=20000,
        method=theirs,
        confidence_level=0.9,
        vectorized=True,
        rng=np.random.default_rng(1),
    )
    ours = score_intervals(
        images,
        names(25),
        confidence=0.9,
        method=method,  # type: ignore[arg-type]
        num_resamples=20000,
    ).pooled["dice"]
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert ours.low == pytest.approx(expected.confidence_interval.low, abs=0.03 * width)
    assert ours.high == pytest.approx(expected.confidence_interval.high, abs=0.03 * width)
    assert ours.standard_error == pytest.approx(expected.standard_error, rel=0.03)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        values = rng.exponential(size=(40, 1))
        sums = np.concatenate([values, np.ones_like(values)], axis=1)
        interval = bootstrap(
            sums, lambda s: s[:, :1] / s[:, 1:], confidence=0.9, num_resamples=500, seed=trial
        )[0]
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low < 1.0 < interval.high
    assert 0.83 < hits / 200 < 0.95


def test_groups_are_drawn_whole() -> None:
    """Copies of images tell nothing new: in groups with their copies they change nothing."""
    images = counts(BINARY, 12)
    once = score_intervals(images, names(12))
    copied = score_intervals(images * 3, names(12) * 3)
    as_if_new = score_intervals(images * 3, names(36))
    assert copied.pooled["dice"].low == pytest.approx(once.pooled["dice"].low)
    assert copied.pooled["dice"].high == pytest.approx(once.pooled["dice"].high)
    assert (copied.num_images, copied.num_groups) == (36, 12)
    assert as_if_new.pooled["dice"].standard_error < 0.7 * once.pooled["dice"].standard_error  # type: ignore[operator]


def test_the_same_seed_gives_the_same_intervals() -> None:
    images = counts(LAND, 15)
    first, again = (score_intervals(images, names(15), seed=3) for _ in range(2))
    assert first == again
    assert first != score_intervals(images, names(15), seed=4)


def test_a_paired_difference_sees_what_two_intervals_hide() -> None:
    """Images differ far more than the models do, and one model is a little better on each."""
    rng = np.random.default_rng(0)
    better, worse = [], []
    for _ in range(20):
        hard = rng.integers(0, 60)
        for error, found in ((hard, better), (hard + 3, worse)):
            matrix = [[[500, error], [error, 100 - error]]]
            found.append(ConfusionCounts(BINARY, np.asarray(matrix, dtype=np.int64)))
    apart = [score_intervals(side, names(20)).pooled["dice"] for side in (better, worse)]
    assert apart[0].low < apart[1].high  # type: ignore[operator]
    paired = difference_intervals(better, worse, names(20))
    gain = paired.pooled["dice"]
    assert gain.excludes_zero
    assert gain.low > 0  # type: ignore[operator]
    assert gain.estimate == pytest.approx(apart[0].estimate - apart[1].estimate)  # type: ignore[operator]
    assert paired.classes["cell"]["dice"] == gain
    none = difference_intervals(better, better, names(20)).pooled["dice"]
    assert none == Interval(0.0, 0.0, 0.0, 0.0)
    assert not none.excludes_zero


def test_a_small_set_is_said_to_be_one() -> None:
    few = score_intervals(counts(BINARY, 30), ["a", "b", "c"] * 10)
    assert few.warning is not None
    assert few.warning.startswith("3 groups are too few to tell")
    one = score_intervals(counts(BINARY, 3), ["a"] * 3)
    assert one.pooled["dice"].low is None
    assert one.warning is not None
    assert "1 group cannot tell" in one.warning
    images = score_intervals(counts(BINARY, 4), names(4))
    assert "4 images" in str(images.warning)
    assert score_intervals(counts(BINARY, FEW_GROUPS), names(FEW_GROUPS)).warning is None


def test_an_undefined_score_has_no_interval() -> None:
    empty = [ConfusionCounts(BINARY, np.asarray([[[9, 0], [0, 0]]])) for _ in range(12)]
    intervals = score_intervals(empty, names(12))
    assert intervals.pooled["dice"] == Interval(None, None, None, None)
    assert intervals.pooled["pixel_accuracy"] == Interval(1.0, 1.0, 1.0, 0.0)


def test_what_does_not_fit_is_refused() -> None:
    images = counts(BINARY, 3)
    with pytest.raises(ShapeError, match="3 images and 2 groups"):
        score_intervals(images, ["a", "b"])
    with pytest.raises(ShapeError, match="0 images"):
        score_intervals([], [])
    with pytest.raises(ShapeError, match="classes differ"):
        difference_intervals(images, counts(TAGS, 3), names(3))
    with pytest.raises(UsageError, match="confidence"):
        score_intervals(images, names(3), confidence=1.0)
    with pytest.raises(UsageError, match="num_resamples"):
        score_intervals(images, names(3), num_resamples=0)
