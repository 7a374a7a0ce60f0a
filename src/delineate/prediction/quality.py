"""How good a prediction probably is, without knowing the truth.

Probabilities are first turned into frequencies by a rising map that the validation images taught
(isotonic regression). With frequencies q and a mask M the expected Dice of a class is about

    2 sum_M q / (|M| + sum q),

the ratio of the expectations of what Dice is the ratio of. It knows what the model is unsure of,
not what the model is wrong about without noticing: for that, see `familiarity`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.pictures import class_layers
from delineate.prediction.familiarity import (
    ALARM_RATIO,
    Familiarity,
    look_of,
    measure_look,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.metrics.curves import ProbabilityHistogram
    from delineate.prediction.familiarity import LookWindow
    from delineate.preprocessing import Preprocessing
    from delineate.raster_windows import Grid
    from delineate.task import Task

    FloatArray = NDArray[np.float64]
    Knots = Sequence[tuple[float, float]]

_NUM_GROUPS = 64
_NUM_STEPS = 2**15  # of a table of frequencies; one more level, still in 16 bits
_DIGITS = 6


@dataclass(frozen=True)
class ImageQuality:
    """What can be said of one prediction."""

    expected_dice: float | None
    """Mean over the foreground classes found, in [0, 1]; None where nothing was found, or the
    model knows no frequencies."""
    unfamiliarity: float | None
    """Distance from the training images; 1 is as far as 95 % of them at most are from those of
    other groups. None where the model does not remember enough of them."""
    alarm: str | None
    """What is unlike the training images, where the image is far from them."""


@dataclass(frozen=True)
class QualityEstimator:
    """Judges predictions by what a model file remembers."""

    task: Task
    preprocessing: Preprocessing
    calibration: tuple[Knots, ...] | None = None
    """Per class, rising (probability, frequency)."""
    familiarity: Familiarity | None = None

    @classmethod
    def from_reference(
        cls, task: Task, preprocessing: Preprocessing, reference: dict[str, Any]
    ) -> QualityEstimator:
        """Build from the section ``reference`` of a model file, of which all parts may lack."""
        calibration, familiarity = reference.get("calibration"), reference.get("familiarity")
        return cls(
            task,
            preprocessing,
            None if calibration is None else tuple(tuple(map(tuple, k)) for k in calibration),
            None if familiarity is None else Familiarity.from_dict(familiarity),
        )

    def judge(
        self,
        pixels: NDArray[Any],
        probs: NDArray[np.float32],
        mask: NDArray[np.uint8],
        valid: NDArray[np.bool_] | None = None,
        grid: Grid | None = None,
    ) -> ImageQuality:
        """Return what can be said of the prediction of one image.

        Args:
            pixels: As read, (H, W, C).
            probs: (num_classes, H, W).
            mask: The labels, (H, W); multilabel (C, H, W).
            valid: Pixels that count, (H, W); None counts all.
            grid: From its pixels to those that the network read, where they differ.
        """
        look = None
        if self.familiarity is not None:
            read = (pixels, valid) if grid is None else grid.resample_image(pixels, valid)
            look = look_of(*read, self.preprocessing)
        ratio, alarm = self.judge_look(look)
        return ImageQuality(self.expected_dice(probs, mask, valid), ratio, alarm)

    def judge_windows(self, windows: Iterable[LookWindow]) -> ImageQuality:
        """Return what can be said of an image that is read by `look_windows`, not held.

        Args:
            windows: Pixels as read, (h, w, C), and which hold a measurement, (h, w) or None.
        """
        if self.familiarity is None:
            return ImageQuality(None, None, None)
        ratio, alarm = self.judge_look(measure_look(windows, self.preprocessing))
        return ImageQuality(None, ratio, alarm)

    def judge_look(self, look: FloatArray | None) -> tuple[float | None, str | None]:
        """Return unfamiliarity and alarm of what `measure_look` returned."""
        if self.familiarity is None or look is None:
            return None, None
        ratio = self.familiarity.ratio(look)
        if ratio is None or ratio <= ALARM_RATIO:
            return ratio, None
        return ratio, self.familiarity.explain(look, self.preprocessing.in_channels)

    def expected_dice(
        self,
        probs: NDArray[np.float32],
        mask: NDArray[np.uint8],
        valid: NDArray[np.bool_] | None = None,
    ) -> float | None:
        """Return the mean over the foreground classes found of the Dice to be expected."""
        if self.calibration is None:
            return None
        return dice_of_sums(self.dice_sums(probs, mask, valid))

    def dice_sums(
        self,
        probs: NDArray[np.float32],
        mask: NDArray[np.uint8],
        valid: NDArray[np.bool_] | None = None,
    ) -> list[tuple[float, float, int]]:
        """Return (2 sum_M q, |M| + sum q, |M|) of each foreground class; tiles' sums add up."""
        assert self.calibration is not None
        sums = []
        for index, where in class_layers(mask, self.task):
            own = probs[index] if valid is None else np.where(valid, probs[index], 0)
            levels = (own * np.float32(_NUM_STEPS) + np.float32(0.5)).astype(np.uint16)
            expected = self._frequencies[index][levels]
            if valid is not None:
                where = where & valid
                expected[~valid] = 0
            size = int(where.sum())
            sums.append((2 * float(expected[where].sum()), size + float(expected.sum()), size))
        return sums

    @cached_property
    def _frequencies(self) -> list[FloatArray]:
        """Frequencies of evenly spaced probabilities, per class: looked up where others search."""
        levels = np.linspace(0, 1, _NUM_STEPS + 1)
        tables = [np.asarray(knots, dtype=np.float64).T for knots in self.calibration or ()]
        return [np.interp(levels, probs, frequencies) for probs, frequencies in tables]


def dice_of_sums(sums: Iterable[tuple[float, float, int]]) -> float | None:
    """Return the mean over the classes found of the expected Dice, from `dice_sums`."""
    scores = [found / whole for found, whole, size in sums if size]
    return float(np.mean(scores)) if scores else None


def fit_calibration(histogram: ProbabilityHistogram) -> list[list[list[float]]]:
    """Return (probability, frequency) of each class, both rising, JSON-ready.

    Neighbouring bins are joined to `_NUM_GROUPS` about even in logits, then to where the
    frequency rises (isotonic regression by pooling neighbours; Zadrozny and Elkan 2002,
    https://doi.org/10.1145/775047.775151). Ask it of validation data. A class without pixels of
    either kind keeps its probabilities.
    """
    edges = histogram.thresholds
    middles = np.append((edges[:-1] + edges[1:]) / 2, 1.0)
    inner = np.clip(middles, 1e-6, 1 - 1e-6)
    logits = np.log(inner / (1 - inner))
    position = (logits - logits[0]) / (logits[-1] - logits[0])
    group = np.minimum((position * _NUM_GROUPS).astype(np.intp), _NUM_GROUPS - 1)
    knots = []
    for negatives, positives in histogram.counts:
        if not negatives.sum() or not positives.sum():
            knots.append([[0.0, 0.0], [1.0, 1.0]])
            continue
        total = np.bincount(group, negatives + positives, _NUM_GROUPS)
        is_any = total > 0
        sums = np.bincount(group, (negatives + positives) * middles, _NUM_GROUPS)
        hits = np.bincount(group, positives, _NUM_GROUPS)
        frequencies = _rising(hits[is_any], total[is_any])
        pairs = zip(sums[is_any] / total[is_any], frequencies, strict=True)
        knots.append([[round(float(p), _DIGITS), round(float(q), _DIGITS)] for p, q in pairs])
    return knots


def _rising(hits: NDArray[Any], totals: NDArray[Any]) -> FloatArray:
    """Return the rising frequencies nearest to hits / totals, by pooling adjacent violators."""
    blocks: list[tuple[float, float, int]] = []
    for hit, total in zip(hits.tolist(), totals.tolist(), strict=True):
        block = (hit, total, 1)
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    return np.concatenate([np.full(count, hit / total) for hit, total, count in blocks])
