"""What can be said of a raster too large to be held, without knowing the truth."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ShapeError
from delineate.prediction.familiarity import look_windows
from delineate.prediction.quality import dice_of_sums
from delineate.prediction.scene_options import NO_OPTIONS, SceneOptions, open_scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.prediction.predictor import Predictor
    from delineate.prediction.quality import ImageQuality, QualityEstimator
    from delineate.prediction.streaming import Band
    from delineate.raster_windows import Area


class DiceTally:
    """The expected Dice of a raster, from sums over its windows.

    It is that of the mask as the threshold gives it, before post-processing: what post-processing
    makes of a window is known only when all windows are, and then the probabilities may be gone.
    """

    def __init__(
        self, estimator: QualityEstimator | None, sums: NDArray[np.float64] | None = None
    ) -> None:
        """Begin.

        Args:
            estimator: Knows the frequencies; without it, or them, nothing is expected.
            sums: Of what was seen before, such as `tally_labels` returned.
        """
        self._estimator = None if estimator is None or not estimator.calibration else estimator
        self._sums = sums

    def add(self, probs: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
        """Count a window.

        Args:
            probs: (num_classes, h, w), NaN where there are none.
            labels: (bands, h, w), as the threshold gives them.
        """
        if self._estimator is None:
            return
        is_multilabel = self._estimator.task.kind == "multilabel"
        mask = labels if is_multilabel else labels[0]
        sums = np.asarray(self._estimator.dice_sums(probs, mask, ~np.isnan(probs[0])))
        self._sums = sums if self._sums is None else self._sums + sums

    @property
    def expected(self) -> float | None:
        """Mean over the foreground classes found, in [0, 1]; None where nothing is known."""
        return None if self._sums is None else dice_of_sums(self._sums)


def tally_labels(
    predictor: Predictor, band: Band, labels: NDArray[Any], area: Area | None
) -> list[tuple[float, float, int]]:
    """Return the sums of a band of which the labels alone are kept; see `Journal.add`.

    Args:
        predictor: Knows the frequencies, or nothing comes of it.
        band: Its probabilities.
        labels: (bands, h, w), as the threshold gives them.
        area: Pixels outside of it do not count.
    """
    estimator = predictor.estimator
    if estimator is None or not estimator.calibration:
        return []
    valid = band.valid if area is None else band.valid & area.covers(band.window)
    mask = labels if predictor.task.kind == "multilabel" else labels[0]
    return estimator.dice_sums(band.probs, mask, valid)


def judge_scene(
    predictor: Predictor, path: Path, options: SceneOptions = NO_OPTIONS
) -> ImageQuality | None:
    """Return whether a raster looks like the training images, from a few of its windows.

    None where the model remembers nothing, or takes other channels.

    Raises:
        UnreadableFileError: If the file is damaged.
    """
    if predictor.estimator is None:
        return None
    trained = predictor.preprocessing
    opened = open_scene(path, trained.in_channels, options, trained.pixel_size)
    with opened as scene, suppress(ShapeError):
        source = scene.reader
        windows = (source.read(window) for window in look_windows(source.height, source.width))
        return predictor.estimator.judge_windows(windows)
    return None
