"""What can be said of a raster too large to be held, without knowing the truth."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from delineate.errors import ShapeError
from delineate.prediction.familiarity import look_windows
from delineate.prediction.scene_options import NO_OPTIONS, SceneOptions, open_scene

if TYPE_CHECKING:
    from delineate.prediction.predictor import Predictor
    from delineate.prediction.quality import ImageQuality


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
