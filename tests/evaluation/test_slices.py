from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from scipy import ndimage

from delineate.evaluation.advice import ADVICE
from delineate.evaluation.details import DetailCollector, Details
from delineate.evaluation.objects import WIDTHS, measure_objects, tally_widths, zone_masks
from delineate.evaluation.scoring import LabelledImage, SplitScores, score_samples
from delineate.evaluation.slices import PROPERTIES, Slice, find_slices
from delineate.prediction.quality import QualityEstimator
from delineate.preprocessing import Preprocessing
from delineate.task import Task, TaskKind

BINARY = Task("binary", ("cell",))


class FirstChannels:
    def predict_probs(self, pixels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        return pixels[..., 1:].transpose(2, 0, 1).astype(np.float32)


def score(
    images: list[tuple[np.ndarray, np.ndarray, np.ndarray]], task: Task
) -> tuple[SplitScores, Details]:
    """Score (grey, probs (C, H, W), target) triples."""
    samples = [
        LabelledImage(str(i), np.dstack([grey, *probs]), target)
        for i, (grey, probs, target) in enumerate(images)
    ]
    collector = DetailCollector(QualityEstimator(task, Preprocessing(1)))
    thresholds = None if task.kind == "multiclass" else [0.5] * task.num_classes
    scores = score_samples(FirstChannels(), samples, task, thresholds=thresholds, observe=collector)
    return scores, collector.finish()


def by_label(slices: list[Slice], name: str) -> dict[str, Slice]:
    return {part.label: part for part in slices if part.trait == name}


def discs(rng: np.random.Generator, *, misses_small: bool) -> Any:
    target = np.zeros((160, 160), np.uint8)
    found = np.zeros_like(target)
    for number, (row, col) in enumerate((r, c) for r in (30, 80, 130) for c in (30, 80, 130)):
        radius = (4, 9, 16)[number % 3]
        cv2.circle(target, (col, row), radius, 1, -1)
        if not (misses_small and radius == 4):
            cv2.circle(found, (col, row), radius, 1, -1)
    grey = 100 + 50.0 * target + rng.normal(0, 5, target.shape)
    return grey, found[None].astype(np.float32), target


def test_missed_small_objects_are_the_weak_slice() -> None:
    rng = np.random.default_rng(0)
    scores, details = score([discs(rng, misses_small=True) for _ in range(8)], BINARY)
    slices = find_slices(scores, details, [str(i) for i in range(8)])
    sizes = [part for part in slices if part.trait == "size"]
    assert [part.end for part in sizes] == ["low", "middle", "high"]
    assert [part.count for part in sizes] == [24, 24, 24]
    small, middle, large = sizes
    assert (small.score, small.rest) == (0.0, 1.0)
    assert small.is_weak
    assert small.advice is ADVICE["size", "low"]
    assert not middle.is_weak
    assert not large.is_weak
    assert large.advice is None
    assert small.as_dict()["rules"] == list(ADVICE["size", "low"].rules)


def test_few_images_call_nothing_weak() -> None:
    rng = np.random.default_rng(0)
    scores, details = score([discs(rng, misses_small=True) for _ in range(3)], BINARY)
    slices = find_slices(scores, details, list("abc"))
    assert any(part.score == 0.0 for part in slices)
    assert not any(part.is_weak for part in slices)
    four = score([discs(rng, misses_small=True) for _ in range(4)], BINARY)
    # Of one group all four, so that images are drawn.
    assert any(part.is_weak for part in find_slices(*four, list("aaaa")))


def test_a_perfect_model_is_weak_nowhere() -> None:
    rng = np.random.default_rng(0)
    scores, details = score([discs(rng, misses_small=False) for _ in range(8)], BINARY)
    slices = find_slices(scores, details, list("aabbccdd"))
    assert {part.trait for part in slices} >= {"size", "width", "edge", "height", "group"}
    assert not any(part.is_weak for part in slices)
    assert all(part.score in (1.0, None) for part in slices)


def test_objects_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    target = (ndimage.gaussian_filter(rng.normal(size=(120, 150)), 3) > 0.05).astype(np.uint8)
    mask = (rng.random(target.shape) < 0.7).astype(np.uint8) & target
    grey = rng.normal(100, 20, target.shape).astype(np.float32)
    objects = measure_objects(3, grey, target, mask, BINARY)
    labels, count = ndimage.label(target, np.ones((3, 3)))
    index = np.arange(1, count + 1)
    assert len(objects) == count > 10
    assert sorted(objects.area) == sorted(ndimage.sum_labels(target, labels, index))
    assert sorted(objects.found) == sorted(ndimage.sum_labels(mask, labels, index))
    assert (objects.image == 3).all()


def test_contrast_is_against_the_surroundings_of_each_object() -> None:
    target = np.zeros((60, 120), np.uint8)
    grey = np.full(target.shape, 50, np.float32)
    grey[:, 60:] = 200
    for col, value in ((30, 90), (90, 190)):
        cv2.circle(target, (col, 30), 8, 1, -1)
        where = np.hypot(np.arange(60)[:, None] - 30, np.arange(120)[None] - col) <= 9
        grey[where & (target == 1)] = value
    objects = measure_objects(0, grey, target, target, BINARY)
    assert objects.contrast * grey.std() == pytest.approx([40, 10], rel=0.02)


def test_a_lone_object_that_fills_the_image_has_no_contrast() -> None:
    full = np.ones((9, 9), np.uint8)
    objects = measure_objects(0, np.zeros((9, 9), np.float32), full, full, BINARY)
    assert np.isnan(objects.contrast).all()


@pytest.mark.parametrize("thickness", [1, 3, 5, 7, 9, 15, 21])
def test_bars_are_counted_by_their_width(thickness: int) -> None:
    target = np.zeros((60, 200), np.uint8)
    target[20 : 20 + thickness] = 1
    counts = tally_widths(target, target, BINARY)
    row = sum(thickness >= width for width in WIDTHS)
    assert counts[row, 1] == counts.sum(axis=0)[1] == target.sum()
    assert (counts[:, 0] == counts[:, 1]).all()


def test_zones_cover_the_image_once_per_property() -> None:
    zones = zone_masks((37, 50))
    for name in ("edge", "height", "width of image"):
        together = sum(zone.astype(int) for (own, _), zone in zones.items() if own == name)
        assert (together == 1).all()


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_a_bad_class_and_its_confusion_are_found(kind: TaskKind) -> None:
    names = ("ground", "road", "roof")
    task = Task(kind, names, background="ground" if kind == "multiclass" else None)
    rng = np.random.default_rng(2)
    images = []
    for _ in range(6):
        labels = rng.integers(0, 3, (8, 8)).repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)
        wrong = (labels == 2) & (rng.random(labels.shape) < 0.5)
        predicted = np.where(wrong, 1, labels)
        probs = np.stack([predicted == k for k in range(3)]).astype(np.float32)
        target = labels if kind == "multiclass" else np.stack([labels == k for k in range(3)])
        images.append((labels * 10.0, probs, target.astype(np.uint8)))
    scores, details = score(images, task)
    slices = find_slices(scores, details, list("abcdef"))
    classes = by_label(slices, "class")
    assert classes["roof"].is_weak
    assert ("ground" in classes) == (kind == "multilabel")
    confusions = by_label(slices, "confusion")
    if kind == "multiclass":
        assert list(confusions) == ["roof taken for road"]
        assert confusions["roof taken for road"].score == pytest.approx(0.5, abs=0.05)
        assert confusions["roof taken for road"].is_weak
        assert details.confidence is not None
        total, right = details.confidence.reached(np.asarray([0.0, 1.0]))
        assert total[0] == 6 * 64 * 64
        assert right[0] == scores.counts.pixel_accuracy * total[0]  # type: ignore[operator]
    else:
        assert not confusions


def test_one_bad_group_is_weak_and_groups_are_drawn_whole() -> None:
    rng = np.random.default_rng(3)
    images = []
    for index in range(12):
        grey, probs, target = discs(rng, misses_small=False)
        if index // 3 == 2:
            probs = probs * 0
        images.append((grey, probs, target))
    scores, details = score(images, BINARY)
    groups = by_label(find_slices(scores, details, [str(i // 3) for i in range(12)]), "group")
    assert next(iter(groups)) == "2"
    assert groups["2"].score == 0.0
    assert groups["2"].count == 3
    assert groups["0"].score == 1.0


def test_every_advice_names_rules_of_the_planner_and_settings_that_exist() -> None:
    from delineate.cli.setting_flags import split_setting_flags
    from delineate.config import Settings, build_settings
    from delineate.recipes.rules import RULES

    names = {rule.name for rule in RULES}
    sections = tuple(name for name in Settings.model_fields if name != "format_version")
    for (property_name, _), advice in ADVICE.items():
        assert property_name in PROPERTIES
        assert set(advice.rules) <= names, advice
        for flag in advice.flags:
            rest, overrides = split_setting_flags(["train", *flag.split()], sections)
            assert rest == ["train"], flag
            build_settings(overrides)
