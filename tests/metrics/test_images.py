from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from delineate.errors import ShapeError
from delineate.metrics import METRICS
from delineate.metrics.boundary import BOUNDARY_DISTANCES, BOUNDARY_SCORES, boundary_scores
from delineate.metrics.calibration import CALIBRATION_SCORES
from delineate.metrics.confusion import CLASS_SCORES
from delineate.metrics.images import image_scores, summarise_images
from delineate.metrics.objects import OBJECT_SCORES, match_objects
from delineate.metrics.topology import TOPOLOGY_SCORES, topology_scores
from delineate.task import Task

BINARY = Task("binary", ("cell",))
CLASSES = Task("multiclass", ("ground", "road", "roof"), background="ground")


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target, mask = np.zeros((2, 40, 50), np.uint8)
    for _ in range(3):
        row, col = rng.integers(0, 30, 2)
        target[row : row + 8, col : col + 9] = rng.integers(1, 3)
        mask[row + 1 : row + 8, col : col + 10] = rng.integers(1, 3)
    return mask, target


def test_the_parts_are_those_of_each_class_alone() -> None:
    mask, target = draw(0)
    target[:4] = 255
    valid = np.ones(mask.shape, bool)
    valid[:, :3] = False
    measures = image_scores(mask, target, CLASSES, (0.5, 0.5), valid=valid, with_topology=True)
    assert list(measures) == ["road", "roof"]
    counted = valid & (target != 255)
    for index, name in ((1, "road"), (2, "roof")):
        inside, truth = (mask == index) & counted, (target == index) & counted
        found = measures[name]
        assert found.boundary == boundary_scores(inside, truth)
        assert found.boundary_in_units == boundary_scores(inside, truth, (0.5, 0.5))
        assert found.objects.scores() == match_objects(mask == index, truth, counted).scores()
        assert found.topology == topology_scores(inside, truth)
        assert found.diagonal == math.hypot(40, 50)
        assert found.diagonal_in_units == found.diagonal / 2
    assert image_scores(mask, target, CLASSES)["road"].topology is None
    json.dumps({name: each.as_dict() for name, each in measures.items()}, allow_nan=False)


def test_unequal_sides_are_measured_in_both_ways() -> None:
    mask, target = (m > 0 for m in draw(1))
    found = image_scores(mask, target, BINARY, (1.0, 3.0))["cell"]
    assert found.boundary == boundary_scores(mask, target)
    assert found.boundary_in_units == boundary_scores(mask, target, (1.0, 3.0))


def test_summary_averages_what_is_defined_and_counts_the_rest() -> None:
    target, good, empty = np.zeros((3, 30, 40), np.uint8)
    target[5:15, 5:15] = 1
    good[5:15, 6:16] = 1
    pairs = [(good, target), (empty, target), (empty, empty), (target, target)]
    images = [image_scores(mask, truth, BINARY, (2.0, 2.0)) for mask, truth in pairs]
    summary = summarise_images(images, BINARY)["cell"]
    assert summary["num_images"] == 4
    assert summary["num_true_empty"] == 1
    assert summary["num_without_distance"] == 1
    assert summary["boundary"]["hausdorff_distance"] == 0.5
    assert summary["boundary"]["hausdorff_distance_with_misses"] == pytest.approx(51 / 3)
    assert summary["boundary_in_units"]["hausdorff_distance"] == 1.0
    assert summary["boundary_in_units"]["hd95_with_misses"] == pytest.approx(102 / 3)
    assert summary["boundary"]["boundary_iou"] < 2 / 3
    assert summary["objects"]["num_objects"] == 3
    assert summary["objects"]["num_missed"] == 1
    assert summary["objects"]["object_recall"] == pytest.approx(2 / 3)
    assert summary["topology"] is None
    json.dumps(summary, allow_nan=False)


def test_missing_an_object_entirely_never_improves_the_mean_with_misses() -> None:
    rng = np.random.default_rng(0)
    target = np.zeros((30, 40), np.uint8)
    target[10:20, 10:20] = 1
    for _ in range(5):
        bad = np.zeros_like(target)
        row, col = rng.integers(0, 25, 2)
        bad[row : row + 5, col : col + 5] = 1
        means = []
        for mask in (bad, np.zeros_like(target)):
            images = [image_scores(mask, target, BINARY), image_scores(target, target, BINARY)]
            means.append(summarise_images(images, BINARY)["cell"]["boundary"])
        for name in BOUNDARY_DISTANCES:
            assert means[0][f"{name}_with_misses"] < means[1][f"{name}_with_misses"]
        assert means[0]["surface_dice"] >= means[1]["surface_dice"]


def test_nothing_anywhere_is_undefined() -> None:
    empty = np.zeros((3, 4), np.uint8)
    summary = summarise_images([image_scores(empty, empty, BINARY)], BINARY)["cell"]
    assert summary["boundary"] is None
    assert summary["num_true_empty"] == 1
    assert summarise_images([], BINARY)["cell"]["num_images"] == 0


def test_topology_is_averaged_where_the_class_is() -> None:
    target, empty = np.zeros((2, 20, 20), np.uint8)
    target[4:8] = 1
    pairs = [(target, target), (empty, target), (empty, empty)]
    images = [image_scores(mask, truth, BINARY, with_topology=True) for mask, truth in pairs]
    topology = summarise_images(images, BINARY)["cell"]["topology"]
    assert topology == {"cl_dice": 0.5, "parts_error": 0.5, "holes_error": 0.0}


def test_shapes_are_checked() -> None:
    square = np.zeros((3, 3), np.uint8)
    with pytest.raises(ShapeError, match=r"binary task .*\(H, W\), got \(3, 3\) and \(3, 4\)"):
        image_scores(square, np.zeros((3, 4), np.uint8), BINARY)
    with pytest.raises(ShapeError, match=r"multilabel task .*\(C, H, W\)"):
        image_scores(square, square, Task("multilabel", ("a", "b")))


def test_multilabel_channels_are_measured_apart() -> None:
    task = Task("multilabel", ("a", "b"))
    mask, target = np.zeros((2, 2, 12, 12), np.uint8)
    mask[0, 2:6, 2:6] = target[:, 2:6, 2:6] = 1
    measures = image_scores(mask, target, task)
    assert measures["a"].boundary["hd95"] == 0
    assert measures["b"].is_without_distance


def test_the_table_of_names_is_complete() -> None:
    named = {*CLASS_SCORES, *CALIBRATION_SCORES, *BOUNDARY_SCORES, *OBJECT_SCORES, *TOPOLOGY_SCORES}
    others = {"pixel_accuracy", "average_precision", "auroc", "num_missed", "num_spurious"}
    assert set(METRICS) == named | others
    for name, metric in METRICS.items():
        assert metric.meaning.endswith("."), name
        assert (metric.better == "lower") >= name.endswith(("_error", "_distance")), name


def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(example, "docs/metrics.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("0.931")
    assert "'num_matched': 1, 'num_missed': 1" in lines[3]
