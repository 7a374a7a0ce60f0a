"""What computing a raster takes: tiles, strips, disk, and names that its results can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delineate.errors import UsageError
from delineate.prediction.outputs import VECTOR_PRODUCTS
from delineate.prediction.scene_options import NO_OPTIONS, SceneOptions
from delineate.prediction.strips import memory_per_pixel, plan_strips
from delineate.rasters import TIFF_SUFFIXES

if TYPE_CHECKING:
    from delineate.prediction.outputs import Job
    from delineate.prediction.predictor import Predictor
    from delineate.prediction.scene_options import Scene
    from delineate.prediction.strips import Strip
    from delineate.raster_windows import RasterReader
    from delineate.tiling import TilePlan

MASK_BYTES = 0.1
"""Bytes of a pixel of a deflated mask, as estimated before the start; most masks take less."""

_VECTOR_BYTES = 2
"""Bytes of a pixel that the tracing of its borders takes, as estimated before the start."""


@dataclass(frozen=True, eq=False)
class ScenePlan:
    """What computing a raster takes."""

    tiles: TilePlan
    strips: tuple[Strip, ...]

    @property
    def num_computed(self) -> int:
        """Tiles to compute; those at the border of two strips count twice."""
        return len(self.tiles.rows) * sum(len(strip.cols) for strip in self.strips)


def plan_scene(predictor: Predictor, source: RasterReader) -> ScenePlan:
    """Return the tiles and strips of a raster."""
    tiles = predictor.plan(source.height, source.width)
    source_bytes = source.count * source.dtype.itemsize
    per_pixel = memory_per_pixel(source_bytes, predictor.task.num_classes)
    return ScenePlan(tiles, plan_strips(tiles, per_pixel))


def disk_bytes(
    job: Job,
    predictor: Predictor,
    num_pixels: int,
    *,
    scene: Scene | None = None,
    options: SceneOptions = NO_OPTIONS,
) -> int:
    """Return an estimate of the bytes that an image's results and unfinished work take.

    Args:
        job: What is written.
        predictor: Tells classes and post-processing.
        num_pixels: Pixels of the results.
        scene: The raster, where it is computed by bands.
        options: Tell what is kept in between.
    """
    task = predictor.task
    mask = MASK_BYTES * num_pixels * (task.num_classes if task.kind == "multilabel" else 1)
    probs = 4 * task.num_classes
    # Unfinished work holds the probabilities where they are wanted, else the mask.
    num_computed = num_pixels if scene is None else scene.reader.height * scene.reader.width
    total = probs * num_computed if keeps_probs(job, scene, options) else mask
    total += probs * num_pixels if "prob" in job.products else 0
    total += mask if "mask" in job.products else 0
    total += mask if any(predictor.postprocessing.values()) else 0
    total += mask if options.cog else 0
    total += _VECTOR_BYTES * num_pixels if VECTOR_PRODUCTS & set(job.products) else 0
    return int(total)


def keeps_probs(job: Job, scene: Scene | None, options: SceneOptions) -> bool:
    """Return whether unfinished work holds probabilities, not labels."""
    return "prob" in job.products or (scene is not None and scene.needs_probs(options))


def check_names(job: Job) -> None:
    """Refuse a name that a large raster cannot have, before anything is computed.

    Raises:
        UsageError: If the mask was to be a PNG.
    """
    first = job.path(job.products[0], needs_tiff=True)
    is_raster = job.products[0] in ("mask", "prob")
    if is_raster and first.suffix.lower() not in TIFF_SUFFIXES:
        raise UsageError(
            f"{job.image} is computed by bands, because of its size, that of its pixels or an "
            "option that asks for it, and such results are written as GeoTIFF; name a .tif file "
            f"instead of {first}"
        )
