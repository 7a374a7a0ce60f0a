from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from torchmetrics.functional.detection import panoptic_quality

from delineate.errors import ShapeError, UsageError
from delineate.metrics import objects
from delineate.metrics.objects import OBJECT_SCORES, ObjectCounts, ObjectMatches, match_objects
from delineate.task import Task

BINARY = Task("binary", ("cell",))
FEW = settings(deadline=None, max_examples=40)
EIGHT = np.ones((3, 3), int)


@st.composite
def mask_triples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=16))
    mask, target = (draw(arrays(bool, shape)) for _ in range(2))
    return mask, target, draw(arrays(bool, shape, fill=st.just(True)))


def blobs(seed: int, shape: tuple[int, int] = (120, 100)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, second = (ndimage.gaussian_filter(rng.random(shape), 3) for _ in range(2))
    second = first + 0.3 * second
    return first > np.quantile(first, 0.75), second > np.quantile(second, 0.75)


def match_slowly(mask: np.ndarray, target: np.ndarray, valid: np.ndarray) -> ObjectMatches:
    """Every pair of objects, one after the other, by the definition of panoptic quality."""
    predicted, num_predicted = ndimage.label(mask, EIGHT)
    true, num_true = ndimage.label(target & valid, EIGHT)
    ious, matched = [], set()
    for i in range(1, num_true + 1):
        for j in range(1, num_predicted + 1):
            a, b = true == i, (predicted == j) & valid
            iou = (a & b).sum() / (a | b).sum()
            if iou > 0.5:
                ious.append(iou)
                matched.add(j)
    kept = [
        j
        for j in range(1, num_predicted + 1)
        if j in matched or 2 * (~valid)[predicted == j].sum() <= (predicted == j).sum()
    ]
    return ObjectMatches(
        num_true,
        len(kept),
        np.asarray(ious),
        sum(not (mask & (true == i)).any() for i in range(1, num_true + 1)),
        sum(not (target & valid & (predicted == j)).any() for j in kept),
    )


def check(found: ObjectMatches, expected: ObjectMatches) -> None:
    assert found.counts() == expected.counts()
    np.testing.assert_allclose(found.ious, expected.ious, rtol=1e-15)


@FEW
@given(triple=mask_triples())
def test_matches_equal_pair_by_pair(triple: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    check(match_objects(*triple), match_slowly(*triple))


@pytest.mark.parametrize("largest_table", [2**22, 0])
def test_blobs_equal_pair_by_pair(largest_table: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_LARGEST_TABLE", largest_table)
    mask, target = blobs(0)
    matches = match_objects(mask, target)
    check(matches, match_slowly(mask, target, np.ones_like(mask)))
    assert 0 < matches.ious.size < matches.num_objects
    scores, num_both = matches.scores(), matches.num_objects + matches.num_predicted
    expected = matches.ious.mean(), 2 * matches.ious.sum() / num_both
    found = scores["segmentation_quality"], scores["panoptic_quality"]
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_panoptic_quality_equals_torchmetrics(seed: int) -> None:
    mask, target = blobs(seed)
    planes = []
    for plane in (mask, target):
        labels, _ = ndimage.label(plane, EIGHT)
        planes.append(torch.from_numpy(np.stack([plane.astype(int), labels], axis=-1))[None])
    # Category 1 is the object; the background, a "stuff" category, has one segment.
    expected = panoptic_quality(
        *planes, things={1}, stuffs={0}, return_sq_and_rq=True, return_per_class=True
    )
    scores = match_objects(mask, target).scores()
    ours = [scores[f"{name}_quality"] for name in ("panoptic", "segmentation", "recognition")]
    assert ours == pytest.approx(expected[0].tolist(), abs=1e-7)  # things first, in float32


def test_scores_by_hand() -> None:
    target, mask = np.zeros((2, 10, 30), np.uint8)
    target[1:5, 1:5] = 1  # found: 12 of 16 pixels
    mask[1:4, 1:5] = 1
    target[1:5, 10:14] = 1  # touched, but not matched
    mask[4, 10] = 1
    target[7:9, 1:3] = 1  # missed
    mask[7:9, 20:22] = 1  # spurious
    counts = ObjectCounts(BINARY)
    counts.update(mask, target)
    assert counts.class_counts() == (
        {"num_objects": 3, "num_predicted": 3, "num_matched": 1, "num_missed": 1,
         "num_spurious": 1},
    )  # fmt: skip
    scores = counts.scores()
    assert tuple(scores) == OBJECT_SCORES
    assert scores["object_precision"] == scores["object_recall"] == pytest.approx(1 / 3)
    assert scores["object_f1"] == scores["recognition_quality"] == pytest.approx(1 / 3)
    assert scores["segmentation_quality"] == pytest.approx(0.75, abs=1e-12)
    assert scores["panoptic_quality"] == pytest.approx(0.25, abs=1e-12)
    assert scores["count_error"] == scores["count_bias"] == 0


def test_count_error_has_no_sign_and_count_bias_has() -> None:
    counts = ObjectCounts(BINARY)
    one, none = np.asarray([[1, 0]]), np.asarray([[0, 0]])
    for mask, target in ((one, none), (none, one), (one, none), (none, none)):
        counts.update(mask, target)
    scores = counts.scores()
    assert scores["count_error"] == 1.0  # the image with nothing in it does not count
    assert scores["count_bias"] == pytest.approx(1 / 3)
    assert set(match_objects(none, none).scores().values()) == {None}
    missed = match_objects(none, one).scores()
    assert missed["object_precision"] is missed["segmentation_quality"] is None
    assert missed["object_recall"] == missed["panoptic_quality"] == 0


def test_exactly_half_is_not_a_match() -> None:
    matches = match_objects(np.asarray([[1, 0]]), np.asarray([[1, 1]]))
    assert matches.ious.size == 0
    assert (matches.num_missed, matches.num_spurious) == (0, 0)
    higher = match_objects(np.asarray([[1, 1, 1, 0]]), np.asarray([[1] * 4]), iou_threshold=0.75)
    assert higher.ious.size == 0


def test_ignored_pixels_belong_to_nothing() -> None:
    target = np.asarray([[1, 1, 1, 255, 255, 255, 0, 255]], np.uint8)
    mask = np.asarray([[1, 1, 1, 1, 1, 1, 0, 1]], np.uint8)
    counts = ObjectCounts(BINARY)
    counts.update(mask, target)
    # Six pixels predicted, of which the three that count match; the last one is all ignored.
    assert counts.class_counts()[0]["num_predicted"] == 1
    assert counts.scores()["segmentation_quality"] == pytest.approx(1.0, abs=1e-12)


def test_classes_are_counted_apart_and_the_background_not_at_all() -> None:
    task = Task("multiclass", ("ground", "road", "roof"), background="ground")
    target = np.asarray([[1, 1, 0, 2, 2, 0]], np.uint8)
    mask = np.asarray([[1, 1, 0, 2, 0, 1]], np.uint8)
    counts = ObjectCounts(task)
    counts.update(mask, target)
    ground, road, roof = counts.class_scores()
    assert set(ground.values()) == {None}
    assert road["object_precision"] == 0.5
    assert roof["object_recall"] == 0.0
    assert counts.scores()["object_recall"] == 0.5


def test_adding_equals_counting_together() -> None:
    whole, halves = ObjectCounts(BINARY), [ObjectCounts(BINARY) for _ in range(2)]
    for seed in range(4):
        mask, target = (m.astype(np.uint8) for m in blobs(seed, (40, 50)))
        whole.update(mask, target)
        halves[seed % 2].update(mask, target)
    assert (halves[0] + halves[1]).scores() == whole.scores()
    with pytest.raises(ShapeError, match=r"numbers of this task are \(1, 8\), got \(2, 8\)"):
        whole.rebuild(ObjectCounts(Task("multilabel", ("a", "b"))).as_dict())


def test_refusals_name_the_values() -> None:
    square = np.ones((3, 3))
    with pytest.raises(UsageError, match=r"0.5 or more and below 1, got 0.3"):
        match_objects(square, square, iou_threshold=0.3)
    with pytest.raises(ShapeError, match=r"\(3, 3\) and \(3, 2\)"):
        match_objects(square, square[:, :2])
    assert match_objects(square[:0], square[:0]).num_objects == 0
