"""From a mask raster of any size to a vector file of its regions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import DataError, UsageError
from delineate.polygons.borders import Traced, join_pieces, trace_blocks
from delineate.polygons.files import Feature, check_vector_path, write_features, write_qgis_style
from delineate.polygons.rings import build_rings
from delineate.polygons.simplification import SEED, VERTEX, Pins, simplify
from delineate.progress import progress_bar
from delineate.raster_processing.components import BLOCK_SIDE, Components, grid
from delineate.raster_windows import RasterReader, create_raster, open_raster
from delineate.raster_windows.ground import pixel_areas
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task

DEFAULT_TOLERANCE = 1.5
"""In pixels; just above the square root of 2, the width of a staircase of pixels."""

_ROWS_AT_ONCE = 2000


@dataclass(frozen=True)
class PolygonSummary:
    """What was written."""

    num_polygons: int
    """Features."""
    file: Path
    """The vector file."""
    style: Path | None
    """The style file of QGIS beside it, where colours were given."""


def polygonize_raster(
    mask: Path,
    out: Path,
    task: Task,
    *,
    probs: Path | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    min_area: int = 0,
    colours: NDArray[np.uint8] | None = None,
    exist_ok: bool = False,
    block_side: int = BLOCK_SIDE,
) -> PolygonSummary:
    """Write the regions of a mask raster as polygons.

    A region is what is connected by sides within a class (diagonal neighbours are two regions), in
    one piece across the blocks. The background and pixels of 255 give no polygons. Neighbours share
    their borders to the last digit, simplified or not; a multilabel mask gives one such layer for
    each class, and these may overlap.

    Every polygon has `id`, `class`, `class_index`, its area (`area_m2`, counted in pixels before
    the borders are simplified; `area_px` without a reference system) and, with `probs`,
    `mean_prob`, the mean probability of its class.

    Memory holds a few blocks, the borders that are not finished, and one polygon; the rest lies in
    a folder beside `out` until the end.

    Args:
        mask: A mask as `predict` writes it, such as a GeoTIFF.
        out: A .gpkg, .geojson or .json file; see `write_features`.
        task: The classes.
        probs: Probabilities on the same grid, one band a class.
        tolerance: Farthest that a corner left out may lie from the simplified border, in pixels;
            0 keeps the outlines of the pixels.
        min_area: Regions of fewer pixels are left out.
        colours: One for each class, (num_classes, 3); gives a style for QGIS beside `out`.
        exist_ok: Whether `out` may be replaced.
        block_side: Height and width of the blocks.

    Raises:
        UsageError: If `out` exists or cannot be written to, or the extra geo is missing.
        DataError: If `mask` and `probs` do not fit each other or the task.
        ResourceError: If the disk is full.
    """
    if tolerance < 0:
        raise UsageError(f"the tolerance is {tolerance} pixels; it should be 0 or more")
    if out.exists() and not exist_ok:
        raise UsageError(f"{out} exists; give --exist-ok to replace it, or name another file")
    check_vector_path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(dir=out.parent, prefix=".poly-")))
        reader = stack.enter_context(open_raster(mask, as_indices=True))
        prob_reader = stack.enter_context(open_raster(probs)) if probs is not None else None
        _check_fit(reader, prob_reader, task)
        _, unit = pixel_areas(reader.geo)
        fields = ["id", "class", "class_index", f"area_{unit}"]
        fields += ["mean_prob"] if prob_reader is not None else []
        layers = [
            stack.enter_context(
                _Layer(reader, prob_reader, band, task, scratch / str(band), block_side)
            )
            for band in range(reader.count)
        ]
        for layer in layers:
            layer.trace(tolerance)
        features = (feature for layer in layers for feature in layer.features(min_area, fields))
        count = write_features(out, _numbered(features), fields, reader.geo)
    style = None
    if colours is not None:
        shown = list(task.foreground)
        names = [task.class_names[index] for index in shown]
        style = write_qgis_style(out, names, colours[shown])
    return PolygonSummary(count, out, style)


def _check_fit(reader: RasterReader, probs: RasterReader | None, task: Task) -> None:
    bands = task.num_classes if task.kind == "multilabel" else 1
    if reader.count != bands or reader.dtype != np.uint8:
        raise DataError(
            f"{reader.path} has {reader.count} bands of {reader.dtype} and a {task.kind} mask of "
            f"{task.num_classes} classes has {bands} of uint8; name a mask that predict wrote"
        )
    if probs is None:
        return
    if (probs.height, probs.width) != (reader.height, reader.width):
        raise DataError(
            f"{probs.path} is {probs.height}x{probs.width} pixels and {reader.path} "
            f"{reader.height}x{reader.width}; name the probabilities of this mask"
        )
    if probs.count != task.num_classes:
        raise DataError(
            f"{probs.path} has {probs.count} bands and the task {task.num_classes} classes; name "
            "the probabilities of this mask"
        )


def _numbered(features: Iterable[Feature]) -> Iterator[Feature]:
    for number, feature in enumerate(features, start=1):
        yield Feature(feature.shape, {"id": number} | feature.attributes)


class _Layer:
    """The regions of one band, on disk."""

    def __init__(
        self,
        reader: RasterReader,
        probs: RasterReader | None,
        band: int,
        task: Task,
        folder: Path,
        side: int,
    ) -> None:
        self.reader = reader
        self.probs = probs
        self.band = band
        self.task = task
        self.folder = folder
        self.side = side
        folder.mkdir()
        self.database = sqlite3.connect(folder / "regions.sqlite")
        self.database.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE regions (id INTEGER PRIMARY KEY, value, area, ground, prob);"
            "CREATE TABLE arcs (number INTEGER PRIMARY KEY, left, right, points BLOB);"
        )

    def __enter__(self) -> _Layer:
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    def values(self, window: Window) -> NDArray[np.uint8]:
        values: NDArray[np.uint8] = self.reader.read(window)[0][..., self.band]
        return values

    def class_of(self, value: int) -> int | None:
        """Return the class that a value stands for; None where it gives no polygons."""
        if self.task.kind == "multiclass":
            return value if value in self.task.foreground else None
        index = self.band if self.task.kind == "multilabel" else 0
        return index if value == 1 else None

    def measure(self, window: Window) -> NDArray[np.float64]:
        """Return area on the ground and probability of each pixel's class, (2, h, w)."""
        areas, _ = pixel_areas(self.reader.geo)
        ground = np.repeat(areas(window.row, window.height)[:, None], window.width, axis=1)
        if self.probs is None:
            return np.stack([ground, np.zeros(ground.shape)])
        probs = self.probs.read(window)[0].astype(np.float64)
        values = self.values(window)
        if self.task.kind == "multiclass":
            index = np.where(values < probs.shape[2], values, 0).astype(np.intp)
        else:
            index = np.full(values.shape, self.band)
        chosen = np.take_along_axis(probs, index[..., None], axis=2)[..., 0]
        return np.stack([ground, np.nan_to_num(chosen)])

    def trace(self, tolerance: float) -> None:
        """Find regions and the arcs between them."""
        height, width = self.reader.height, self.reader.width
        spill = self.folder / "parts"
        spill.mkdir()
        parts = Components(
            self.values,
            height,
            width,
            spill,
            connectivity=4,
            outside=None,
            measure=self.measure,
            block_side=self.side,
        )
        num_blocks = len(list(grid(height, width, self.side)))
        ids_path, pins_path = self.folder / "ids.tif", self.folder / "pins.tif"
        with (
            create_raster(ids_path, height, width, dtype="int64") as ids,
            create_raster(self.folder / "seeds.tif", height, width) as seeds,
            progress_bar("regions", num_blocks) as bar,
        ):
            for window, labels, facts in parts.blocks():
                region = facts.first[labels]
                ids.write(window, region)
                own = np.arange(window.row, window.row + window.height)[:, None] * width
                own = own + np.arange(window.col, window.col + window.width)
                is_seed = region == own
                seeds.write(window, np.where(is_seed, SEED, 0).astype(np.uint8))
                index = labels[is_seed]
                rows = zip(
                    facts.first[index].tolist(),
                    facts.value[index].tolist(),
                    facts.area[index].tolist(),
                    *facts.sums[:, index].tolist(),
                    strict=True,
                )
                self.database.executemany("INSERT INTO regions VALUES (?, ?, ?, ?, ?)", rows)
                bar.advance()
        with (
            open_raster(ids_path) as regions,
            open_raster(self.folder / "seeds.tif") as seeds_reader,
            create_raster(pins_path, height + 1, width + 1) as pins,
            progress_bar("borders", num_blocks) as bar,
        ):

            def traced() -> Iterator[Traced]:
                blocks = trace_blocks(
                    lambda window: regions.read(window)[0][..., 0], height, width, self.side
                )
                for block in blocks:
                    rows, cols = block.vertices.shape
                    bits = np.where(block.vertices, VERTEX, 0).astype(np.uint8)
                    window = block.window
                    bits[: window.height, : window.width] |= seeds_reader.read(window)[0][..., 0]
                    pins.write(Window(window.row, window.col, rows, cols), bits)
                    yield block
                    bar.advance()

            self.database.executemany(
                "INSERT INTO arcs (left, right, points) VALUES (?, ?, ?)",
                (
                    (arc.left, arc.right, arc.points.astype("<i4").tobytes())
                    for arc in join_pieces(traced())
                ),
            )
        with open_raster(pins_path) as pin_reader:
            pin_map = Pins(lambda window: pin_reader.read(window)[0][..., 0], height + 1, width + 1)
            self._simplify(tolerance, pin_map)
        self.database.executescript(
            "CREATE INDEX lefts ON arcs (left); CREATE INDEX rights ON arcs (right);"
        )

    def _simplify(self, tolerance: float, pins: Pins) -> None:
        (total,) = self.database.execute("SELECT max(number) FROM arcs").fetchone()
        with progress_bar("simplifying", total) as bar:
            for start in range(0, total or 0, _ROWS_AT_ONCE):
                found = self.database.execute(
                    "SELECT number, points FROM arcs WHERE number > ? AND number <= ?",
                    (start, start + _ROWS_AT_ONCE),
                ).fetchall()
                changed = [
                    (simplify(_decode(points), tolerance, pins).astype("<i4").tobytes(), number)
                    for number, points in found
                ]
                self.database.executemany("UPDATE arcs SET points = ? WHERE number = ?", changed)
                bar.advance(len(found))

    def features(self, min_area: int, fields: Sequence[str]) -> Iterator[Feature]:
        """Yield the polygons in the order of their first pixels."""
        import shapely

        (total,) = self.database.execute("SELECT count(*) FROM regions").fetchone()
        with (
            progress_bar("polygons", total) as bar,
            closing(self.database.execute("SELECT * FROM regions ORDER BY id")) as cursor,
        ):
            for region, value, area, ground, prob in cursor:
                bar.advance()
                index = self.class_of(value)
                if index is None or area < min_area:
                    continue
                shell, holes = build_rings(self._arcs_of(region))
                attributes: dict[str, Any] = {
                    "class": self.task.class_names[index],
                    "class_index": index,
                    fields[3]: round(ground, 3),
                }
                if self.probs is not None:
                    attributes["mean_prob"] = round(prob / area, 6)
                turned = [[(col, row) for row, col in ring] for ring in (shell, *holes)]
                yield Feature(shapely.Polygon(turned[0], turned[1:]), attributes)

    def _arcs_of(self, region: int) -> list[NDArray[np.int32]]:
        left = self.database.execute("SELECT points FROM arcs WHERE left = ?", (region,))
        arcs = [_decode(points) for (points,) in left]
        right = self.database.execute("SELECT points FROM arcs WHERE right = ?", (region,))
        return arcs + [_decode(points)[::-1] for (points,) in right]


def _decode(points: bytes) -> NDArray[np.int32]:
    return np.frombuffer(points, "<i4").reshape(-1, 2)
