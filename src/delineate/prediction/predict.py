"""Segment files into files."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import DataError, PartialResultError, ShapeError, UsageError
from delineate.model_file import SegmentationModel, read_model_info
from delineate.pictures import class_colours, overlay, to_rgb
from delineate.prediction.outputs import Job, plan_outputs
from delineate.prediction.predictor import Predictor, load_predictor
from delineate.progress import progress_bar
from delineate.rasters import (
    Raster,
    apply_palette,
    read_raster,
    write_image,
    write_mask,
    write_probs,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PredictionSummary:
    """What a prediction did."""

    num_images: int
    """Images segmented."""
    num_pixels: int
    """Pixels of these images."""
    files: tuple[Path, ...]
    """Files written, image by image."""
    seconds: float
    """Time taken, from the loading of the model on."""


def predict(
    model: SegmentationModel | Path | str,
    sources: Sequence[Path | str] | Path | str,
    *,
    out: Path | str,
    tile_size: int | tuple[int, int] | None = None,
    overlap: float | None = None,
    threshold: float | Sequence[float] | None = None,
    save: Sequence[str] = ("mask",),
    exist_ok: bool = False,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
) -> PredictionSummary:
    """Segment images and write their masks, probabilities and overlays.

    What is None is as the model says. A georeferenced image gives georeferenced results. Pixels
    that the file declares as nodata, or that are not finite, in every band, become 255 in the mask
    and NaN in the probabilities. `plan_outputs` tells the names of the results.

    Args:
        model: A model, a model file or a run folder.
        sources: Images, and folders of images.
        out: A folder; where the one source is an image, also a file.
        tile_size: Side, or height and width, of a tile in pixels.
        overlap: Share of a tile that it has in common with its neighbour, in [0, 1).
        threshold: On probabilities, for all classes or one per class; not for multiclass.
        save: Any of ``mask``, ``prob`` and ``overlay``.
        exist_ok: Whether files that are there may be replaced; a source never is.
        device: ``auto``, ``cpu``, ``cuda``, ...
        overrides: Settings of the section ``prediction``, as nested dictionaries.

    Raises:
        UsageError: If an argument does not fit the model or the sources, or results exist.
        ModelFileError: If the model file is refused.
        DataError: If no image could be segmented; the message lists each reason.
        PartialResultError: If some could not; the message lists them, the others are written.
    """
    start = time.monotonic()
    settings = _prediction_settings(overrides, tile_size, overlap)
    if not isinstance(model, SegmentationModel):
        model = Path(model)
    paths = [sources] if isinstance(sources, Path | str) else list(sources)
    jobs = plan_outputs(
        [Path(path) for path in paths],
        Path(out),
        save,
        is_multilabel=_task_kind(model) == "multilabel",
        exist_ok=exist_ok,
    )
    predictor = load_predictor(model, device=device, threshold=threshold, **settings)
    files: list[Path] = []
    failures: list[DataError | ShapeError] = []
    num_pixels = 0
    with progress_bar("predicting", len(jobs)) as bar:
        for job in jobs:
            try:
                written, size = _predict_one(predictor, job)
            except (DataError, ShapeError) as error:
                failures.append(error)
            else:
                files += written
                num_pixels += size
            bar.advance()
    if failures:
        _report(failures, len(jobs), Path(out))
    return PredictionSummary(len(jobs), num_pixels, tuple(files), time.monotonic() - start)


def _task_kind(model: SegmentationModel | Path) -> str:
    if isinstance(model, SegmentationModel):
        return model.task.kind
    return str(read_model_info(model)["task"]["kind"])


def _prediction_settings(
    overrides: Mapping[str, Any] | None,
    tile_size: int | tuple[int, int] | None,
    overlap: float | None,
) -> dict[str, Any]:
    given = dict(overrides or {})
    settings = dict(given.pop("prediction", {}))
    if given:
        raise UsageError(
            f"predict takes settings of the section prediction, not of {', '.join(sorted(given))}"
        )
    named = {"tile_size": tile_size, "overlap": overlap}
    return settings | {name: value for name, value in named.items() if value is not None}


def _predict_one(predictor: Predictor, job: Job) -> tuple[list[Path], int]:
    """Segment one image; return the files written and its number of pixels."""
    raster = read_raster(job.image)
    pixels = raster.pixels if raster.palette is None else apply_palette(raster, job.image)
    valid = valid_pixels(raster)
    try:
        probs = predictor.predict_probs(pixels, valid)
    except (DataError, ShapeError) as error:
        raise type(error)(f"{job.image}: {error}") from error
    except MemoryError as error:
        height, width = pixels.shape[:2]
        raise DataError(f"{job.image}: {height}x{width} pixels do not fit into memory") from error
    mask = predictor.mask(probs)
    if valid is not None:
        mask = np.where(valid, mask, np.uint8(predictor.task.ignore_index))
        probs = np.where(valid, probs, np.float32(np.nan))
    written = []
    for product in job.products:
        path = job.path(product, needs_tiff=raster.geo is not None or valid is not None)
        geo = None if path.suffix.lower() == ".png" else raster.geo
        if product == "mask":
            colours = class_colours(predictor.task.num_classes)
            write_mask(path, mask, task=predictor.task, geo=geo, colours=colours)
        elif product == "prob":
            write_probs(path, probs, geo=geo, class_names=predictor.task.class_names)
        else:
            write_image(path, overlay(to_rgb(pixels), mask, predictor.task), geo=geo)
        written.append(path)
    return written, pixels.shape[0] * pixels.shape[1]


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


def _report(failures: Sequence[DataError | ShapeError], num_images: int, out: Path) -> None:
    if num_images == 1:
        raise failures[0]
    reasons = "".join(f"\n  {failure}" for failure in failures)
    if len(failures) == num_images:
        raise DataError(f"none of the {num_images} images could be segmented:{reasons}")
    raise PartialResultError(
        f"{len(failures)} of {num_images} images could not be segmented, the results of the "
        f"others are in {out}:{reasons}"
    )
