"""What was evaluated, and how: the facts beside the numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.files import digest_file
from delineate.model_file import SegmentationModel
from delineate.raster_windows import PixelSize, format_pixel_size

if TYPE_CHECKING:
    from delineate.data.inventory import Sample
    from delineate.prediction.predictor import Predictor
    from delineate.raster_windows import Grid


def digest_samples(samples: Sequence[Sample]) -> str:
    """Return a SHA-256 over the names and contents of images and masks."""
    digest = hashlib.sha256()
    for sample in samples:
        contents = [digest_file(path) for path in (sample.image, *sample.masks)]
        digest.update(json.dumps([sample.name, *contents]).encode())
    return digest.hexdigest()


def describe_model(model: SegmentationModel, path: Path | None) -> dict[str, Any]:
    """Return name, digest and architecture of a model; `path` is None where it has no file."""
    return {
        "name": None if path is None else path.resolve().parent.name,
        "digest": None if path is None else digest_file(path),
        "architecture": model.architecture,
    }


def describe_prediction(predictor: Predictor) -> dict[str, Any]:
    """Return how a model is applied."""
    return {
        "tile_size": list(predictor.tile_size),
        "overlap": predictor.overlap,
        "blend": predictor.blend,
        "postprocessing": dict(predictor.postprocessing),
    }


def describe_resampling(grids: Sequence[Grid | None], trained_at: PixelSize | None) -> str | None:
    """Return in words what was done about the sizes of pixels; None where nothing was.

    Args:
        grids: Of each image, from its pixels to those that the network read.
        trained_at: The size of these.
    """
    number = sum(grid is not None for grid in grids)
    if not number or trained_at is None:
        return None
    return (
        f"{number} of {len(grids)} images were read at {format_pixel_size(trained_at)} a pixel, as "
        "the model was trained, and their probabilities resampled back"
    )
