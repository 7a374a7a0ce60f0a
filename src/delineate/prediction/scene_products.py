"""Write what a raster was segmented into, window by window, when all of it is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.files import sweep_temporaries
from delineate.pictures import class_colours, overlay, to_rgb
from delineate.prediction.journal import BLOCK_WIDTH
from delineate.raster_processing.cleaning import postprocess_raster
from delineate.raster_windows import RasterWriter, create_raster, open_raster
from delineate.rasters import write_image
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.prediction.journal import Journal
    from delineate.prediction.outputs import Job
    from delineate.prediction.predictor import Predictor
    from delineate.raster_windows import RasterReader
    from delineate.task import Task

OVERLAY_SIDE = 2048
"""Longer side of the overlay of a large raster, in pixels, at most."""

_ROWS = 512


def write_products(
    job: Job, predictor: Predictor, journal: Journal, source: RasterReader, scratch: Path
) -> list[Path]:
    """Write the products of a raster from its finished bands.

    Everything is written in an order that depends on the raster alone, so that the files are the
    same bytes whether the bands were computed in one go or not.

    Args:
        job: What to write.
        predictor: Tells task, thresholds and post-processing.
        journal: Holds all bands.
        source: The raster.
        scratch: Folder for what is needed in between.

    Raises:
        ResourceError: If the disk is full.
    """
    files = []
    mask = scratch / "mask.tif"
    for product in job.products:
        path = job.path(product, needs_tiff=True)
        sweep_temporaries(path)
        if product == "prob":
            _write_probs(path, predictor.task, journal, source)
        elif product == "mask":
            mask = path
            _write_mask(path, predictor, journal, source, scratch)
        else:
            if not mask.exists():
                _write_mask(mask, predictor, journal, source, scratch)
            write_image(path, _picture(source, mask, predictor.task))
        files.append(path)
    return files


def _write_mask(
    path: Path, predictor: Predictor, journal: Journal, source: RasterReader, scratch: Path
) -> None:
    is_changed = any(predictor.postprocessing.values())
    raw = scratch / "raw.tif" if is_changed else path
    with _create_mask(raw, predictor.task, source) as writer:
        for window in _windows(source):
            writer.write(window, _labels(journal.read(window), predictor, journal))
    if is_changed:
        # In the scratch folder, where a kill in the middle of it leaves nothing for good.
        cleaned = scratch / "cleaned.tif"
        postprocess_raster(raw, cleaned, predictor.task, **predictor.postprocessing)
        cleaned.replace(path)
        raw.unlink()


@contextmanager
def _create_mask(path: Path, task: Task, source: RasterReader) -> Iterator[RasterWriter]:
    """Create a mask as `rasters.write_mask` would write it."""
    table = None
    if task.kind == "multiclass":
        table = np.zeros((256, 3), np.uint8)
        table[: task.num_classes] = class_colours(task.num_classes)
    is_multilabel = task.kind == "multilabel"
    with create_raster(
        path,
        source.height,
        source.width,
        bands=task.num_classes if is_multilabel else 1,
        geo=source.geo,
        nodata=task.ignore_index,
        palette=table,
        names=task.class_names if is_multilabel else (),
    ) as writer:
        yield writer


def _write_probs(path: Path, task: Task, journal: Journal, source: RasterReader) -> None:
    with create_raster(
        path,
        source.height,
        source.width,
        bands=task.num_classes,
        dtype="float32",
        geo=source.geo,
        nodata=float("nan"),
        names=task.class_names,
    ) as writer:
        for window in _windows(source):
            writer.write(window, journal.read(window))


def _labels(stored: NDArray[Any], predictor: Predictor, journal: Journal) -> NDArray[Any]:
    if not journal.is_prob:
        return stored
    labels = predictor.task.mask(stored, predictor.thresholds)
    is_missing = np.isnan(stored[0])
    labels = np.where(is_missing, np.uint8(predictor.task.ignore_index), labels)
    return labels if labels.ndim == 3 else labels[None]


def _picture(source: RasterReader, mask: Path, task: Task) -> NDArray[np.uint8]:
    """Return the overlay of the raster, thinned out to every n-th row and column."""
    step = -(-max(source.height, source.width) // OVERLAY_SIDE)
    size = -(-source.height // step), -(-source.width // step)
    pixels: NDArray[Any] | None = None
    labels: NDArray[Any] | None = None
    with open_raster(mask, as_indices=True) as reader:
        for window in _windows(source):
            rows = slice(-window.row % step, None, step)
            cols = slice(-window.col % step, None, step)
            part, classes = source.read(window)[0][rows, cols], reader.read(window)[0][rows, cols]
            if pixels is None or labels is None:
                pixels = np.zeros((*size, part.shape[2]), part.dtype)
                labels = np.zeros((*size, classes.shape[2]), classes.dtype)
            top, left = -(-window.row // step), -(-window.col // step)
            place = slice(top, top + part.shape[0]), slice(left, left + part.shape[1])
            pixels[place], labels[place] = part, classes
    assert pixels is not None
    assert labels is not None
    thinned = np.moveaxis(labels, -1, 0) if task.kind == "multilabel" else labels[..., 0]
    return overlay(to_rgb(pixels), thinned, task)


def _windows(source: RasterReader) -> Iterator[Window]:
    """Yield windows that the journal's blocks lie in, each block's from top to bottom."""
    for col in range(0, source.width, BLOCK_WIDTH):
        width = min(BLOCK_WIDTH, source.width - col)
        for row in range(0, source.height, _ROWS):
            yield Window(row, col, min(_ROWS, source.height - row), width)
