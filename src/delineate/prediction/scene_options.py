"""How a raster is opened for a prediction, and what is done with its probabilities afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from delineate.errors import UsageError
from delineate.pictures import to_rgb
from delineate.polygons.centrelines import choose_line_class
from delineate.polygons.files import check_vector_path
from delineate.prediction.scene_resolution import Resampling, Resolution, choose_grid
from delineate.prediction.unfinished import file_identity
from delineate.raster_windows import (
    Area,
    Grid,
    limit_reader,
    open_mosaic,
    open_raster,
    read_area,
    resample_reader,
)
from delineate.refinement import dense_crf, guided_filter
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.prediction.predictor import Predictor
    from delineate.raster_windows import PixelSize, RasterReader
    from delineate.task import Task

Refinement = Literal["none", "guided", "crf"]

GUIDED_RADIUS = 8
"""Half the side of the boxes of the guided filter, in pixels."""

CRF_HALO = 64
"""Pixels around a window that its random field sees."""


@dataclass(frozen=True)
class SceneOptions:
    """What a user wants of a raster besides the model's settings."""

    bands: tuple[str, ...] = ()
    """Bands in the order that the model takes them, by name or number; empty takes the file's."""
    resolution: Resolution = None
    """Metres of a pixel that rasters are brought to; None takes that of the model's training
    images, where it is known, and ``native`` the raster's own."""
    aoi: Path | None = None
    """Polygons outside of which nothing is computed."""
    vrt: bool = False
    """Whether sources are VRT mosaics."""
    refine: Refinement = "none"
    """What corrects the probabilities along the edges of the image."""
    cog: bool = False
    """Whether rasters are written as cloud-optimised GeoTIFF."""
    simplify: float | None = None
    """Farthest that polygons and lines may leave the pixels' outline, in pixels; None is usual."""
    lines_of: str | None = None
    """The class of which centre lines are traced; needed where there are several."""

    @property
    def needs_bands(self) -> bool:
        """Whether a raster must be computed by bands, whatever its size."""
        is_native = self.resolution == "native"
        return (replace(self, resolution=None) if is_native else self) != NO_OPTIONS

    def identity(self) -> dict[str, Any]:
        """Return what the results depend on."""
        if self == NO_OPTIONS:
            return {}
        area = None if self.aoi is None else file_identity(self.aoi)
        return {"scene": {**vars(self), "aoi": area, "bands": list(self.bands)}}


NO_OPTIONS = SceneOptions()
"""A raster as the model's settings say."""


@dataclass(frozen=True, eq=False)
class Scene:
    """An open raster."""

    reader: RasterReader
    """What the network reads."""
    original: RasterReader
    """What the results lie on."""
    area: Area | None = None
    """Area of interest, on the grid of `original`."""
    back: Grid | None = None
    """From the grid of `reader` to that of `original`, where they differ."""
    resampling: Resampling | None = None
    """The pixel sizes of the two, where they differ."""

    def needs_probs(self, options: SceneOptions) -> bool:
        """Return whether probabilities must be kept until the products are written."""
        return self.back is not None or options.refine != "none"


class Finished(Protocol):
    """What was computed of a raster."""

    @property
    def is_prob(self) -> bool:
        """Whether it holds probabilities, not labels."""

    def read(self, window: Window) -> NDArray[Any]:
        """Return a window, (channels, height, width)."""


@contextmanager
def open_scene(
    path: Path,
    in_channels: int,
    options: SceneOptions,
    trained_at: PixelSize | None = None,
) -> Iterator[Scene]:
    """Open a raster as the options say.

    Without `bands` those that the model takes are read: alpha only where it was trained with it.

    Args:
        path: The raster.
        in_channels: That the model takes.
        options: What the user wants.
        trained_at: Pixel size that the raster is brought to unless the options say otherwise.

    Raises:
        DataError: If the raster or the area of interest cannot be read or do not meet, or the
            raster's pixels are of quite another size than the model's.
        UsageError: If a band is not there, or the raster lies nowhere and an option needs a place.
    """
    open_source = open_mosaic if options.vrt else open_raster
    with ExitStack() as stack:
        original = stack.enter_context(open_source(path, bands=options.bands or None))
        if not options.bands and original.count == in_channels - 1:
            with suppress(UsageError):
                bands = range(1, in_channels + 1)
                original = stack.enter_context(open_source(path, bands=bands))
        reader, area, back, resampling = original, None, None, None
        if options.aoi is not None:
            area = read_area(options.aoi, original)
            reader = limit_reader(reader, area)
        chosen = choose_grid(original, options.resolution, trained_at)
        if chosen is not None:
            there, resampling = chosen
            reader, back = resample_reader(reader, there), there.back
        yield Scene(reader, original, area, back, resampling)


def finish_scene(
    computed: Finished, scene: Scene, predictor: Predictor, options: SceneOptions
) -> Finished:
    """Return what was computed on the grid of the raster: refined, and missing off the area.

    Probabilities come back to the raster's resolution bilinearly, before the threshold. The guided
    filter gives what it would give on the whole raster; the random field works window by window and
    may show their borders.

    Raises:
        UsageError: If the refinement does not fit the task.
    """
    found = computed
    if scene.back is not None:
        found = _Enlarged(found, scene.original, scene.back)
    if options.refine != "none":
        found = _Refined(found, scene.original, predictor, options.refine)
    if scene.area is not None:
        found = _Limited(found, scene.area, predictor.task.ignore_index)
    return found


def check_options(options: SceneOptions, task: Task, products: Collection[str]) -> None:
    """Refuse options that cannot be fulfilled, before anything is computed.

    Raises:
        UsageError: If the random field is asked for in a task that is not multiclass, the class of
            the centre lines is not clear, a file is missing or the extra geo is not installed.
    """
    if options.refine == "crf" and task.kind != "multiclass":
        raise UsageError(
            f"the dense CRF shares pixels out among classes and this model is {task.kind}; give "
            "--refine guided, or leave it out"
        )
    if options.aoi is not None and not options.aoi.is_file():
        raise UsageError(f"--aoi {options.aoi} is no file; name a GeoPackage or GeoJSON")
    if isinstance(options.resolution, float | int) and not options.resolution > 0:
        raise UsageError(f"--resolution is {options.resolution} m; it should be above 0, or native")
    if options.simplify is not None and not options.simplify >= 0:
        raise UsageError(f"--simplify is {options.simplify} pixels; it should be 0 or more")
    if "lines" in products:
        choose_line_class(task, options.lines_of)
    elif options.lines_of is not None:
        raise UsageError("--lines-of names a class but no lines are saved; add --save lines")
    if {"polygons", "lines"} & set(products):
        check_vector_path(Path("results.gpkg"))


@dataclass(frozen=True, eq=False)
class _Enlarged:
    """Probabilities on the grid of the raster, none where it holds no data."""

    computed: Finished
    image: RasterReader
    grid: Grid

    @property
    def is_prob(self) -> bool:
        return True

    def read(self, window: Window) -> NDArray[Any]:
        probs = self.computed.read(self.grid.source_window(window))
        values = np.moveaxis(probs, 0, -1)
        found, has_data = self.grid.resample(values, ~np.isnan(probs[0]), window)
        _, valid = self.image.read(window)
        found[~(has_data & valid)] = np.nan
        return np.ascontiguousarray(np.moveaxis(found, -1, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Refined:
    """Probabilities that follow the image."""

    computed: Finished
    image: RasterReader
    predictor: Predictor
    refine: Refinement

    @property
    def is_prob(self) -> bool:
        return True

    def read(self, window: Window) -> NDArray[Any]:
        halo = 2 * GUIDED_RADIUS if self.refine == "guided" else CRF_HALO
        row, col = max(0, window.row - halo), max(0, window.col - halo)
        bottom = min(self.image.height, window.row + window.height + halo)
        right = min(self.image.width, window.col + window.width + halo)
        around = Window(row, col, bottom - row, right - col)
        probs = self.computed.read(around)
        pixels, _ = self.image.read(around)
        is_missing = np.isnan(probs[0])
        known = np.where(is_missing, np.float32(1 / max(2, len(probs))), probs)
        value_range = self.predictor.preprocessing.value_range
        if self.refine == "guided":
            refined = guided_filter(pixels, known, radius=GUIDED_RADIUS, value_range=value_range)
        else:
            low, high = value_range
            scaled = (np.nan_to_num(pixels.astype(np.float32)) - low) * (255 / (high - low))
            rgb = to_rgb(scaled.clip(0, 255).astype(np.uint8))
            refined = dense_crf(rgb, known)
        refined[:, is_missing] = np.nan
        rows = slice(window.row - row, window.row - row + window.height)
        cols = slice(window.col - col, window.col - col + window.width)
        return np.ascontiguousarray(refined[:, rows, cols])


@dataclass(frozen=True, eq=False)
class _Limited:
    """Results within an area of interest."""

    computed: Finished
    area: Area
    ignore_index: int

    @property
    def is_prob(self) -> bool:
        return self.computed.is_prob

    def read(self, window: Window) -> NDArray[Any]:
        found = self.computed.read(window)
        missing = np.nan if self.is_prob else self.ignore_index
        return np.where(self.area.covers(window), found, found.dtype.type(missing))
