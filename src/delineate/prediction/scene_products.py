"""Write what a raster was segmented into, window by window, when all of it is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.files import sweep_temporaries
from delineate.pictures import class_colours, overlay, to_rgb
from delineate.polygons import polygonize_raster
from delineate.polygons.centrelines import trace_centrelines
from delineate.prediction.journal import BLOCK_WIDTH
from delineate.prediction.outputs import VECTOR_PRODUCTS
from delineate.raster_processing.cleaning import postprocess_raster
from delineate.raster_windows import RasterWriter, create_raster, open_raster
from delineate.rasters import write_image
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.prediction.outputs import Job, Product
    from delineate.prediction.predictor import Predictor
    from delineate.prediction.scene_options import Finished, SceneOptions
    from delineate.prediction.scene_quality import DiceTally
    from delineate.raster_windows import RasterReader
    from delineate.task import Task

OVERLAY_SIDE = 2048
"""Longer side of the overlay of a large raster, in pixels, at most."""

_ROWS = 512
_WASH = np.uint8(220)  # a light grey


def write_products(
    job: Job,
    predictor: Predictor,
    computed: Finished,
    source: RasterReader,
    scratch: Path,
    options: SceneOptions,
    tally: DiceTally,
) -> list[Path]:
    """Write the products of a raster from its finished bands.

    Everything is written in an order that depends on the raster alone, so that the files are the
    same bytes whether the bands were computed in one go or not.

    Args:
        job: What to write.
        predictor: Tells task, thresholds and post-processing.
        computed: Holds all of the raster.
        source: The raster.
        scratch: Folder for what is needed in between.
        options: How rasters are written, and which class has its centre lines traced.
        tally: Counts the probabilities on their way, where there are any.

    Raises:
        ResourceError: If the disk is full.
    """
    files = []
    mask = scratch / "mask.tif"
    for product in job.products:
        path = job.path(product, needs_tiff=True)
        sweep_temporaries(path)
        files.append(path)
        if product == "prob":
            seen = tally if job.products == ("prob",) else None
            _write_probs(path, predictor, computed, source, seen, is_cog=options.cog)
            continue
        if product == "mask":
            mask = path
        if product == "mask" or not mask.exists():
            _write_mask(mask, predictor, computed, source, scratch, tally, is_cog=options.cog)
        if product == "overlay":
            picture = _picture(source, mask, predictor.task, is_limited=options.aoi is not None)
            write_image(path, picture)
        elif product in VECTOR_PRODUCTS:
            probs = job.path("prob") if "prob" in job.products else None
            files.append(_write_vectors(product, path, mask, probs, predictor.task, options))
    return files


def _write_vectors(
    product: Product, path: Path, mask: Path, probs: Path | None, task: Task, options: SceneOptions
) -> Path:
    """Write polygons or centre lines and return the style file beside them."""
    shared: dict[str, Any] = {"colours": class_colours(task.num_classes), "exist_ok": True}
    if options.simplify is not None:
        shared["tolerance"] = options.simplify
    if product == "polygons":
        style = polygonize_raster(mask, path, task, probs=probs, **shared).style
    else:
        style = trace_centrelines(mask, path, task, class_name=options.lines_of, **shared).style
    assert style is not None
    return style


def _write_mask(
    path: Path,
    predictor: Predictor,
    computed: Finished,
    source: RasterReader,
    scratch: Path,
    tally: DiceTally,
    *,
    is_cog: bool,
) -> None:
    is_changed = any(predictor.postprocessing.values())
    raw = scratch / "raw.tif" if is_changed else path
    with _create_mask(raw, predictor.task, source, is_cog=is_cog and not is_changed) as writer:
        for window in _windows(source):
            stored = computed.read(window)
            labels = _labels(stored, predictor, computed)
            if computed.is_prob:
                tally.add(stored, labels)
            writer.write(window, labels)
    if is_changed:
        # In the scratch folder, where a kill in the middle of it leaves nothing for good.
        cleaned = scratch / "cleaned.tif"
        postprocess_raster(raw, cleaned, predictor.task, cog=is_cog, **predictor.postprocessing)
        cleaned.replace(path)
        raw.unlink()


@contextmanager
def _create_mask(
    path: Path, task: Task, source: RasterReader, *, is_cog: bool
) -> Iterator[RasterWriter]:
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
        cog=is_cog,
    ) as writer:
        yield writer


def _write_probs(
    path: Path,
    predictor: Predictor,
    computed: Finished,
    source: RasterReader,
    tally: DiceTally | None,
    *,
    is_cog: bool,
) -> None:
    task = predictor.task
    with create_raster(
        path,
        source.height,
        source.width,
        bands=task.num_classes,
        dtype="float32",
        geo=source.geo,
        nodata=float("nan"),
        names=task.class_names,
        cog=is_cog,
    ) as writer:
        for window in _windows(source):
            probs = computed.read(window)
            if tally is not None:
                tally.add(probs, _labels(probs, predictor, computed))
            writer.write(window, probs)


def _labels(stored: NDArray[Any], predictor: Predictor, computed: Finished) -> NDArray[Any]:
    if not computed.is_prob:
        return stored
    labels = predictor.task.mask(stored, predictor.thresholds)
    is_missing = np.isnan(stored[0])
    labels = np.where(is_missing, np.uint8(predictor.task.ignore_index), labels)
    return labels if labels.ndim == 3 else labels[None]


def _picture(
    source: RasterReader, mask: Path, task: Task, *, is_limited: bool
) -> NDArray[np.uint8]:
    """Return the overlay of the raster, thinned out to every n-th row and column.

    With `is_limited`, what lies outside of the area of interest is washed out, so that it is not
    taken for background.
    """
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
    picture = overlay(to_rgb(pixels), thinned, task)
    if is_limited:
        is_outside = (labels == task.ignore_index).all(axis=2)
        picture[is_outside] = _WASH // 2 + picture[is_outside] // 2
    return picture


def _windows(source: RasterReader) -> Iterator[Window]:
    """Yield windows that the journal's blocks lie in, each block's from top to bottom."""
    for col in range(0, source.width, BLOCK_WIDTH):
        width = min(BLOCK_WIDTH, source.width - col)
        for row in range(0, source.height, _ROWS):
            yield Window(row, col, min(_ROWS, source.height - row), width)
