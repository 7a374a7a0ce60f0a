"""Segment one image that fits into memory, and write its products."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import DataError, ShapeError
from delineate.pictures import class_colours, overlay, to_rgb
from delineate.prediction.outputs import Job
from delineate.prediction.predictor import Predictor
from delineate.prediction.scene_options import NO_OPTIONS, open_scene
from delineate.rasters import (
    TIFF_SUFFIXES,
    GeoReference,
    Raster,
    apply_palette,
    read_raster,
    write_image,
    write_mask,
    write_probs,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.prediction.quality import ImageQuality


def predict_image(
    predictor: Predictor, job: Job, *, on_tiles: Callable[[int], None] | None = None
) -> tuple[list[Path], int, ImageQuality | None]:
    """Segment one image; return the files written, its pixels and what can be said of its mask.

    Args:
        predictor: Segments it.
        job: The image and what to write.
        on_tiles: Called with the number of tiles done since the last call.

    Raises:
        DataError: If the image is damaged, does not fit the model or not into memory.
    """
    pixels, valid, geo = _read(job.image, predictor.preprocessing.in_channels)
    try:
        probs = predictor.predict_probs(pixels, valid, on_tiles=on_tiles)
    except (DataError, ShapeError) as error:
        raise type(error)(f"{job.image}: {error}") from error
    except MemoryError as error:
        height, width = pixels.shape[:2]
        raise DataError(f"{job.image}: {height}x{width} pixels do not fit into memory") from error
    mask = predictor.mask(probs, valid)
    quality = None
    if predictor.estimator is not None:
        quality = predictor.estimator.judge(pixels, probs, mask, valid)
    if valid is not None:
        probs = np.where(valid, probs, np.float32(np.nan))
    written = []
    for product in job.products:
        path = job.path(product, needs_tiff=geo is not None or valid is not None)
        place = None if path.suffix.lower() == ".png" else geo
        if product == "mask":
            colours = class_colours(predictor.task.num_classes)
            write_mask(path, mask, task=predictor.task, geo=place, colours=colours)
        elif product == "prob":
            write_probs(path, probs, geo=place, class_names=predictor.task.class_names)
        else:
            write_image(path, overlay(to_rgb(pixels), mask, predictor.task), geo=place)
        written.append(path)
    return written, pixels.shape[0] * pixels.shape[1], quality


def _read(
    path: Path, in_channels: int
) -> tuple[NDArray[Any], NDArray[np.bool_] | None, GeoReference | None]:
    """Return pixels, which of them hold data (None if all do), and their place on the ground."""
    if path.suffix.lower() in TIFF_SUFFIXES:
        # Where this reader refuses, as stacks of pages, the other one reads or says why not.
        with suppress(DataError), open_scene(path, in_channels, NO_OPTIONS) as scene:
            pixels, valid = scene.reader.read(scene.reader.window)
            return pixels, None if valid.all() else valid, scene.reader.geo
    raster = read_raster(path)
    pixels = raster.pixels if raster.palette is None else apply_palette(raster, path)
    return pixels, valid_pixels(raster), raster.geo


def valid_pixels(raster: Raster) -> NDArray[np.bool_] | None:
    """Return the pixels with data in at least one band, (H, W); None if all have.

    Data is what is finite and not the file's nodata value.
    """
    pixels = raster.pixels
    has_data = np.ones(pixels.shape, dtype=bool)
    if np.issubdtype(pixels.dtype, np.floating):
        has_data &= np.isfinite(pixels)
    if raster.nodata is not None and np.isfinite(raster.nodata):
        has_data &= pixels != raster.nodata
    valid = np.asarray(has_data.any(axis=2))
    return None if valid.all() else valid
