from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from delineate.errors import ShapeError, UsageError
from delineate.metrics.confusion import ConfusionCounts
from delineate.metrics.curves import Layout, ProbabilityHistogram, bin_edges
from delineate.task import Task

BINARY = Task("binary", ("cell",))


LAYOUTS: tuple[Layout, ...] = ("even", "logit")


def draw(seed: int, num_bins: int, layout: Layout = "even") -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that sit on and around bin edges, at 0 and at 1; correlated labels."""
    rng = np.random.default_rng(seed)
    probs = rng.random((1, 20, 30), dtype=np.float32)
    kind = rng.integers(0, 6, probs.shape)
    levels = bin_edges(num_bins, layout).astype(np.float32)
    edges = levels[rng.integers(0, num_bins + 1, probs.shape)]
    probs = np.select(
        [kind == 0, kind == 1, kind == 2, kind == 3],
        [np.float32(0), np.float32(1), edges, np.nextafter(edges, np.float32(0))],
        probs,
    ).clip(0, 1)
    target = (rng.random(probs.shape[1:]) < 0.2 + 0.6 * probs[0]).astype(np.uint8)
    return probs, target


def fill(
    probs: np.ndarray, target: np.ndarray, num_bins: int, layout: Layout = "even"
) -> ProbabilityHistogram:
    histogram = ProbabilityHistogram(BINARY, num_bins, layout=layout)
    histogram.update(probs, target)
    return histogram


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_bins=st.sampled_from([32, 256, 4096]),
    layout=st.sampled_from(LAYOUTS),
)
def test_counts_at_the_chosen_threshold_equal_a_direct_count(
    seed: int, num_bins: int, layout: Layout
) -> None:
    probs, target = draw(seed, num_bins, layout)
    histogram = fill(probs, target, num_bins, layout)
    threshold, dice = histogram.best_threshold(0)
    direct = ConfusionCounts(BINARY)
    direct.update(BINARY.mask(probs, [threshold]), target)
    np.testing.assert_array_equal(histogram.confusion_at([threshold]).matrix, direct.matrix)
    assert histogram.scores_at(0, threshold) == direct.class_scores()[0]
    assert direct.scores()["dice"] == dice
    other = float(np.random.default_rng(seed).choice(histogram.thresholds))
    direct = ConfusionCounts(BINARY)
    direct.update(BINARY.mask(probs, [other]), target)
    np.testing.assert_array_equal(histogram.confusion_at([other]).matrix, direct.matrix)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_curves_equal_scikit_learn_on_binned_probabilities(seed: int) -> None:
    probs, target = draw(seed, 64)
    histogram = fill(probs, target, 64)
    binned, truth = np.floor(probs.ravel() * 64) / 64, target.ravel()
    expected = average_precision_score(truth, binned)
    assert histogram.average_precision(0) == pytest.approx(expected, abs=1e-12)
    assert histogram.auroc(0) == pytest.approx(roc_auc_score(truth, binned), abs=1e-12)

    curve = histogram.precision_recall(0)
    assert curve is not None
    precision, recall, thresholds = precision_recall_curve(truth, binned)
    at = np.searchsorted(curve.thresholds, thresholds)
    np.testing.assert_allclose(curve.precision[at], precision[:-1], atol=1e-12)
    np.testing.assert_allclose(curve.recall[at], recall[:-1], atol=1e-12)
    assert (curve.precision[-1], curve.recall[-1]) == (precision[-1], recall[-1])

    roc = histogram.roc(0)
    assert roc is not None
    false, true, thresholds = roc_curve(truth, binned, drop_intermediate=False)
    at = np.searchsorted(roc.thresholds, thresholds[1:])
    np.testing.assert_allclose(roc.false_positive_rate[at], false[1:], atol=1e-12)
    np.testing.assert_allclose(roc.true_positive_rate[at], true[1:], atol=1e-12)
    assert (roc.false_positive_rate[-1], roc.true_positive_rate[-1]) == (false[0], true[0])


def test_best_threshold_beats_every_other_edge() -> None:
    histogram = fill(*draw(5, 256), 256)
    threshold, dice = histogram.best_threshold(0)
    curve = histogram.dice_curve(0)
    assert curve is not None
    assert dice == curve[1:].max() == curve[int(threshold * 256)]


@pytest.mark.parametrize(
    ("probs", "target", "threshold", "dice"),
    [
        ([0.1, 0.9], [0, 1], 0.5, 1.0),
        ([0.1, 0.3], [0, 1], 3 / 16, 1.0),  # edges 2/16 to 4/16 are all perfect
        ([0.0, 1.0], [0, 1], 0.5, 1.0),
        ([0.0, 0.0], [0, 1], 0.5, 0.0),
        ([0.2, 0.7], [0, 0], 0.5, None),
        ([0.7, 0.8, 0.05, 0.26], [1, 1, 0, 0], 8 / 16, 1.0),
    ],
)
def test_plateaus_and_ties(
    probs: list[float], target: list[int], threshold: float, dice: float | None
) -> None:
    histogram = fill(np.asarray([[probs]], np.float32), np.asarray([target], np.uint8), 16)
    assert histogram.best_threshold(0) == (threshold, dice)


def test_the_nearer_of_two_equal_optima_is_taken() -> None:
    # Dice is 2/3 with all four pixels (edges 1 to 8) and with the first alone (10 to 15).
    probs = np.asarray([[[0.97, 0.60, 0.58, 0.56]]], np.float32)
    histogram = fill(probs, np.asarray([[1, 0, 0, 1]], np.uint8), 16)
    threshold, dice = histogram.best_threshold(0)
    assert dice == pytest.approx(2 / 3)
    assert threshold == 4 / 16 + 1 / 16


def test_multiclass_is_one_against_the_rest() -> None:
    rng = np.random.default_rng(0)
    task = Task("multiclass", ("a", "b", "c"))
    probs = rng.dirichlet(np.ones(3), (12, 10)).transpose(2, 0, 1).astype(np.float32)
    target = rng.integers(0, 3, (12, 10), dtype=np.uint8)
    histogram = ProbabilityHistogram(task, 64)
    histogram.update(probs, target)
    for index in range(3):
        truth, binned = (target == index).ravel(), np.floor(probs[index].ravel() * 64) / 64
        expected = average_precision_score(truth, binned)
        assert histogram.average_precision(index) == pytest.approx(expected, abs=1e-12)


def test_multilabel_ignores_per_class_and_adds() -> None:
    task = Task("multilabel", ("a", "b"))
    probs = np.asarray([[[0.9, 0.1]], [[0.9, 0.1]]], np.float32)
    target = np.asarray([[[1, 255]], [[0, 1]]], np.uint8)
    histogram = ProbabilityHistogram(task, 16)
    histogram.update(probs, target, np.asarray([[True, True]]))
    histogram = histogram + histogram
    assert histogram.counts.sum(axis=(1, 2)).tolist() == [2, 4]
    assert histogram.confusion_at([0.5, 0.5]).class_counts() == ((2, 0, 0, 0), (0, 2, 2, 0))
    assert histogram.average_precision(0) == 1.0
    assert histogram.auroc(0) is None


def test_no_positive_pixel_leaves_the_curves_undefined() -> None:
    histogram = fill(np.full((1, 2, 2), 0.5, np.float32), np.zeros((2, 2), np.uint8), 16)
    assert histogram.precision_recall(0) is None
    assert histogram.average_precision(0) is None
    assert histogram.dice_curve(0) is None
    assert histogram.best_threshold(0) == (0.5, None)


def test_half_precision_is_widened() -> None:
    probs = np.asarray([[[0.0, 0.25, 1.0]]], np.float16)
    histogram = fill(probs, np.asarray([[0, 0, 1]], np.uint8), 4096)
    assert np.flatnonzero(histogram.counts[0].sum(axis=0)).tolist() == [0, 1024, 4096]


@pytest.mark.parametrize("bad", [np.nan, -0.01, 1.01])
def test_impossible_probabilities_are_refused_unless_ignored(bad: float) -> None:
    probs = np.asarray([[[0.5, bad]]], np.float32)
    with pytest.raises(ShapeError, match=r"'cell' must lie in \[0, 1\]"):
        fill(probs, np.asarray([[0, 1]], np.uint8), 16)
    assert fill(probs, np.asarray([[0, 255]], np.uint8), 16).counts.sum() == 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_bins", [32, 1024, 4096])
def test_a_bin_is_the_last_edge_that_is_reached(layout: Layout, num_bins: int) -> None:
    histogram = ProbabilityHistogram(BINARY, num_bins, layout=layout)
    edges = histogram.thresholds.astype(np.float32)
    np.testing.assert_array_equal(edges.astype(np.float64), histogram.thresholds)
    assert (edges[0], edges[num_bins // 2], edges[-1]) == (0, 0.5, 1)
    tiny = np.float32([0, 1e-45, 1e-30, 2**-17, 2**-24, 1 - 2**-24, 1 - 2**-17])
    around = [np.nextafter(edges, np.float32(side)) for side in (0, 1)]
    probs = np.concatenate([edges, *around, tiny, np.random.default_rng(0).random(999)])
    for dtype in (np.float32, np.float64):
        values = probs.astype(dtype)
        expected = np.searchsorted(histogram.thresholds, values, side="right") - 1
        np.testing.assert_array_equal(histogram.bins_of(values), expected)


def test_logit_bins_are_about_even_in_logits_and_symmetric() -> None:
    edges = bin_edges(4096, "logit")
    np.testing.assert_array_equal(edges, 1 - edges[::-1])
    steps = np.diff(np.log(edges[1:-1] / (1 - edges[1:-1])))
    assert steps.min() > 0.0039
    assert steps.max() < 0.0105
    assert np.sum((edges >= 0.0005) & (edges < 0.001)) == 128


def test_a_rare_class_keeps_resolution_in_logit_bins() -> None:
    rng = np.random.default_rng(1)
    target = (rng.random((300, 300)) < 0.002).astype(np.uint8)
    probs = np.where(target, 3e-4, 1e-4).astype(np.float32)[None]
    assert fill(probs, target, 1024).best_threshold(0)[1] == 0.0
    threshold, dice = fill(probs, target, 1024, "logit").best_threshold(0)
    assert 1e-4 < threshold <= 3e-4
    assert dice == 1.0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rebuilding_and_adding_equal_counting_together(layout: Layout) -> None:
    probs, target = draw(9, 64, layout)
    whole = fill(probs, target, 64, layout)
    halves = [fill(probs[:, rows], target[rows], 64, layout) for rows in (slice(8), slice(8, 20))]
    together = halves[0] + halves[1]
    np.testing.assert_array_equal(together.counts, whole.counts)
    again = ProbabilityHistogram(BINARY, 64, layout=layout).rebuild(together.as_dict())
    np.testing.assert_array_equal(again.counts, whole.counts)
    assert again.best_threshold(0) == whole.best_threshold(0)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="power of two"):
        ProbabilityHistogram(BINARY, 1000)
    with pytest.raises(UsageError, match="power of two from 32 to 4096"):
        ProbabilityHistogram(BINARY, 8192, layout="logit")
    with pytest.raises(UsageError, match="unknown layout of bins 'log'"):
        ProbabilityHistogram(BINARY, layout="log")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="even bins cannot be added to logit"):
        _ = ProbabilityHistogram(BINARY, 64) + ProbabilityHistogram(BINARY, 64, layout="logit")
    with pytest.raises(ShapeError, match=r"\(2, 4, 4\) do not fit a target \(4, 4\) of 1 classes"):
        fill(np.zeros((2, 4, 4), np.float32), np.zeros((4, 4), np.uint8), 16)
    with pytest.raises(ShapeError, match="histogram counts"):
        ProbabilityHistogram(BINARY, 16, np.zeros((1, 2, 16)))
