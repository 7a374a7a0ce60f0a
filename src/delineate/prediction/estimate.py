"""Say what a prediction would take, before it is made."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from delineate.errors import DataError
from delineate.files import free_space
from delineate.prediction.request import Request
from delineate.prediction.scene_options import open_scene
from delineate.prediction.scene_plan import disk_bytes, plan_scene
from delineate.prediction.streaming import BATCHES_AHEAD
from delineate.prediction.strips import memory_per_pixel
from delineate.prediction.tile_choice import TileChoice, time_tile
from delineate.progress import track
from delineate.raster_windows.environment import CACHE_BYTES
from delineate.rasters import read_size

if TYPE_CHECKING:
    from delineate.prediction.outputs import Job
    from delineate.prediction.predictor import Predictor
    from delineate.prediction.scene_resolution import Resampling


@dataclass(frozen=True)
class PredictionEstimate:
    """What a prediction would take."""

    num_images: int
    """Images that would be segmented."""
    num_streamed: int
    """Of these, rasters that are computed by bands and never held in memory."""
    num_pixels: int
    """Pixels of all images."""
    num_tiles: int
    """Tiles that would be computed."""
    seconds: float
    """Time, from the measured time of a tile on this device."""
    memory_bytes: int
    """Memory of the largest image, on top of what the program and the model take."""
    base_bytes: int
    """Memory that program, model and the computing of a batch took in the measurement."""
    disk_bytes: int
    """Disk for results and unfinished work, at most in use at once."""
    free_bytes: int
    """Free space of that disk."""
    choices: Mapping[Path, TileChoice]
    """How each raster that is computed by bands would be tiled."""
    resamplings: Mapping[Path, Resampling]
    """What would be done about the pixel size of rasters, where something would."""


def estimate_prediction(request: Request, out: Path) -> PredictionEstimate:
    """Return what a prediction would take; nothing is written.

    Args:
        request: The prediction.
        out: Where its results would go.

    Raises:
        DataError: If headers of images are damaged.
        ShapeError: If images have other channels than the model takes.
    """
    num_pixels = num_tiles = memory = disk = 0
    seconds = 0.0
    seconds_per_tile: dict[tuple[int, int], float] = {}
    choices: dict[Path, TileChoice] = {}
    resamplings: dict[Path, Resampling] = {}
    problems: list[str] = []
    for job in track(request.jobs, "images looked at"):
        try:
            predictor, needs = _measure(request, job, choices, resamplings)
        except DataError as error:
            problems.append(str(error))
            continue
        if predictor.tile_size not in seconds_per_tile:
            seconds_per_tile[predictor.tile_size] = time_tile(predictor)
        num_pixels += needs.pixels
        num_tiles += needs.tiles
        seconds += needs.tiles * seconds_per_tile[predictor.tile_size]
        memory = max(memory, needs.memory)
        disk += needs.disk
    if problems:
        raise DataError("; ".join(problems))
    return PredictionEstimate(
        num_images=len(request.jobs),
        num_streamed=len(request.streamed),
        num_pixels=num_pixels,
        num_tiles=num_tiles,
        seconds=seconds,
        memory_bytes=memory,
        base_bytes=_peak_memory(),
        disk_bytes=disk,
        free_bytes=free_space(out),
        choices=choices,
        resamplings=resamplings,
    )


@dataclass(frozen=True)
class _Needs:
    pixels: int
    tiles: int
    memory: int
    disk: int


def _measure(
    request: Request,
    job: Job,
    choices: dict[Path, TileChoice],
    resamplings: dict[Path, Resampling],
) -> tuple[Predictor, _Needs]:
    predictor = request.predictor
    num_classes = predictor.task.num_classes
    if job.image not in request.streamed:
        height, width = read_size(job.image)
        pixels = height * width
        # Pixels and input and probabilities of the whole image, in float32.
        per_pixel = 4 * (2 * predictor.preprocessing.in_channels + 2 * num_classes)
        tiles = predictor.plan(height, width).num_tiles
        disk = disk_bytes(job, predictor, pixels)
        return predictor, _Needs(pixels, tiles, pixels * per_pixel, disk)
    options = request.options
    trained = predictor.preprocessing
    with open_scene(job.image, trained.in_channels, options, trained.pixel_size) as scene:
        source = scene.reader
        choice = request.choose_tiles(predictor)
        choices[job.image] = choice
        if scene.resampling is not None:
            resamplings[job.image] = scene.resampling
        tiled = choice.apply(predictor)
        plan = plan_scene(tiled, source)
        rows = max(row.stop - row.start for row in plan.tiles.rows)
        widest = max(strip.right - strip.left for strip in plan.strips)
        per_pixel = memory_per_pixel(source.count * source.dtype.itemsize, num_classes)
        tile = choice.tile_size[0] * choice.tile_size[1] * choice.batch_size
        num_waiting = 2 * BATCHES_AHEAD + 1 + tiled.num_workers
        waiting = 4 * tile * num_waiting * (trained.in_channels + num_classes)
        memory = rows * widest * per_pixel + waiting + CACHE_BYTES
        pixels = scene.original.height * scene.original.width
        disk = disk_bytes(job, predictor, pixels, scene=scene, options=options)
        return tiled, _Needs(pixels, plan.num_computed, memory, disk)


def _peak_memory() -> int:
    """Return the most memory that this process has had so far, in bytes; 0 if unknown."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
