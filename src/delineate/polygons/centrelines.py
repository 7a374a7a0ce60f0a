"""From road masks of any size to centre lines with their width."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import UnknownNameError, UsageError
from delineate.polygons.borders import Arc, join_chains
from delineate.polygons.files import Feature, check_vector_path, write_features, write_qgis_style
from delineate.progress import track
from delineate.raster_processing.components import BLOCK_SIDE, grid
from delineate.raster_processing.thinning import MAX_THICKNESS, thin_blocks
from delineate.raster_windows import RasterReader, create_raster, open_raster
from delineate.raster_windows.ground import pixel_sides
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.polygons.borders import Corner
    from delineate.task import Task

_LINKS = ((0, 1), (1, 1), (1, 0), (1, -1))  # row and column steps to the neighbours that follow
_STEPS_PER_PIXEL = 64  # thickness is stored in 64ths of a pixel


@dataclass(frozen=True)
class LineSummary:
    """What was written."""

    num_lines: int
    """Features."""
    length: float
    """Of all lines, in `unit`."""
    unit: str
    """m, or px where the raster lies nowhere."""
    num_thick: int
    """Pixels inside parts too thick for an exact skeleton."""
    file: Path
    """The vector file."""
    style: Path | None
    """The style file of QGIS beside it, where colours were given."""


def trace_centrelines(
    mask: Path,
    out: Path,
    task: Task,
    *,
    class_name: str | None = None,
    tolerance: float = 1.0,
    max_thickness: int = MAX_THICKNESS,
    keep_spurs: bool = False,
    colours: NDArray[np.uint8] | None = None,
    exist_ok: bool = False,
    block_side: int = BLOCK_SIDE,
) -> LineSummary:
    """Write the centre lines of one class of a mask raster.

    A line runs from junction or end to junction or end, in one piece across the blocks. Each has
    `id`, `class`, `length`, `width` (the mean along it), `width_min` and `width_max`; in metres
    (`length_m`, ...), or in pixels where the raster lies nowhere.

    Args:
        mask: A mask as `predict` writes it.
        out: A .gpkg, .geojson or .json file; see `write_features`.
        task: The classes.
        class_name: Which class; needed where there are several.
        tolerance: Farthest that a point left out may lie from the simplified line, in pixels.
        max_thickness: Thickness in pixels up to which the lines are those of the whole raster.
        keep_spurs: Keep lines with a loose end that are no longer than the road is wide, which
            thinning grows at bumps of the border.
        colours: One for each class, (num_classes, 3); gives a style for QGIS beside `out`.
        exist_ok: Whether `out` may be replaced.
        block_side: Height and width of the blocks.

    Raises:
        UsageError: If `out` exists or cannot be written to, `class_name` is missing, or the extra
            geo is not installed.
        UnknownNameError: If there is no such class.
        ResourceError: If the disk is full.
    """
    index = choose_line_class(task, class_name)
    if out.exists() and not exist_ok:
        raise UsageError(f"{out} exists; give --exist-ok to replace it, or name another file")
    check_vector_path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(dir=out.parent, prefix=".line-")))
        reader = stack.enter_context(open_raster(mask, as_indices=True))
        height, width = reader.height, reader.width
        value = index if task.kind == "multiclass" else 1
        band = index if task.kind == "multilabel" else 0
        num_thick = 0
        with create_raster(scratch / "lines.tif", height, width, dtype="uint16") as writer:
            for block in track(
                thin_blocks(
                    lambda window: reader.read(window)[0][..., band] == value,
                    height,
                    width,
                    max_thickness=max_thickness,
                    block_side=block_side,
                ),
                "centre lines",
                len(list(grid(height, width, block_side))),
            ):
                steps = np.rint(block.thickness * _STEPS_PER_PIXEL).clip(0, 65535)
                writer.write(block.window, steps.astype(np.uint16))
                num_thick += block.num_thick
        lines = stack.enter_context(open_raster(scratch / "lines.tif"))
        sides, unit = pixel_sides(reader.geo)
        traced = _Tracer(lines, sides, unit, keep_spurs=keep_spurs)
        features = traced.features(task.class_names[index], tolerance, block_side)
        fields = ["id", "class", *(f"{name}_{unit}" for name in _MEASURES)]
        count = write_features(out, features, fields, reader.geo, kind="LineString")
    style = None
    if colours is not None:
        names = [task.class_names[index]]
        style = write_qgis_style(out, names, colours[[index]], kind="LineString")
    return LineSummary(count, traced.total_length, unit, num_thick, out, style)


_MEASURES = ("length", "width", "width_min", "width_max")


def choose_line_class(task: Task, class_name: str | None) -> int:
    """Return the class of which centre lines are traced.

    Raises:
        UsageError: If none is named and there are several.
        UnknownNameError: If there is no such class.
    """
    if class_name is None:
        if len(task.foreground) > 1:
            choices = ", ".join(task.class_names[i] for i in task.foreground)
            raise UsageError(
                f"centre lines are traced of one class; name it by --lines-of: one of {choices}"
            )
        return task.foreground[0]
    if class_name not in task.class_names:
        raise UnknownNameError("class", class_name, list(task.class_names))
    return task.class_names.index(class_name)


class _Tracer:
    """Follows the pixels of a skeleton from junction to junction."""

    def __init__(
        self,
        lines: RasterReader,
        sides: Callable[[float], tuple[float, float]],
        unit: str,
        *,
        keep_spurs: bool,
    ) -> None:
        self.lines = lines
        self.sides = sides
        self.unit = unit
        self.keep_spurs = keep_spurs
        self.loose_ends: set[Corner] = set()
        self.total_length = 0.0

    def features(self, class_name: str, tolerance: float, side: int) -> Iterator[Feature]:
        import shapely

        number = 0
        for arc, _ in join_chains(self._blocks(side)):
            ends = [(int(row), int(col)) for row, col, _ in arc.points[[0, -1]]]
            is_loose = [end in self.loose_ends for end in ends]
            self.loose_ends.difference_update(ends)
            # From the middle of the first pixel to that of the last, in one direction always.
            points = arc.points if ends[0] <= ends[1] else arc.points[::-1]
            thickness = points[:, 2] / _STEPS_PER_PIXEL
            shape = shapely.LineString(points[:, 1::-1] + 0.5)
            is_spur = is_loose[0] != is_loose[1] and shape.length <= thickness.max()
            if is_spur and not self.keep_spurs:
                continue
            shape = shapely.simplify(shape, tolerance)
            high, wide = self.sides(float(points[:, 0].mean()))
            steps = np.diff(shapely.get_coordinates(shape), axis=0)
            length = float(np.hypot(steps[:, 0] * wide, steps[:, 1] * high).sum())
            scale = float(np.sqrt(high * wide))
            number += 1
            self.total_length += length
            widths = (thickness.mean(), thickness.min(), thickness.max())
            measures = (length, *(scale * width for width in widths))
            attributes: dict[str, Any] = {"id": number, "class": class_name}
            for name, measure in zip(_MEASURES, measures, strict=True):
                attributes[f"{name}_{self.unit}"] = round(float(measure), 3)
            yield Feature(shape, attributes)

    def _blocks(self, side: int) -> Iterator[tuple[list[Arc], Set[Corner]]]:
        height, width = self.lines.height, self.lines.width
        for window in grid(height, width, side):
            top, left = max(0, window.row - 2), max(0, window.col - 2)
            bottom = min(height, window.row + window.height + 2)
            right = min(width, window.col + window.width + 2)
            around = Window(top, left, bottom - top, right - left)
            thickness = self.lines.read(around)[0][..., 0]
            yield self._trace(thickness, window, around)

    def _trace(
        self, thickness: NDArray[np.uint16], window: Window, around: Window
    ) -> tuple[list[Arc], Set[Corner]]:
        """Return the lines that the links owned by a block make, and where they go on."""
        starts, ends = _links(thickness > 0)
        cols = thickness.shape[1]
        pixels, index = np.unique(
            np.concatenate([starts, ends]) @ np.array([cols, 1]), return_inverse=True
        )
        degree = np.bincount(index, minlength=len(pixels))
        rows, columns = np.divmod(pixels, cols)
        places = np.column_stack(
            [rows + around.row, columns + around.col, thickness[rows, columns]]
        ).astype(np.int32)
        first, last = np.split(index, 2)
        row, col = places[first, 0] - window.row, places[first, 1] - window.col
        is_own = (row >= 0) & (row < window.height) & (col >= 0) & (col < window.width)
        first, last = first[is_own], last[is_own]
        own_degree = np.bincount(np.concatenate([first, last]), minlength=len(pixels))
        is_cut = (degree == 2) & (own_degree == 1)
        is_stop = (degree != 2) | is_cut
        touched = own_degree > 0
        self.loose_ends.update(_corners(places[(degree == 1) & touched]))
        paths = _walk(first.tolist(), last.tolist(), is_stop)
        pieces = [Arc(places[path], 0, 0) for path in paths]
        return pieces, set(_corners(places[is_cut & touched]))


def _corners(places: NDArray[np.int32]) -> Iterable[Corner]:
    return [(row, col) for row, col, _ in places.tolist()]


def _links(inside: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return pairs of pixels of a skeleton that follow each other, each (N, 2).

    Diagonal neighbours follow each other only where no third pixel touches both by its sides, so
    that a corner is no triangle.
    """
    padded = np.pad(inside, 1)
    starts, steps = [], []
    for row, col in _LINKS:
        other = np.roll(padded, (-row, -col), (0, 1))
        linked = padded & other
        if row and col:
            linked &= ~np.roll(padded, -row, 0) & ~np.roll(padded, -col, 1)
        found = np.argwhere(linked) - 1
        starts.append(found)
        steps.append(np.broadcast_to([row, col], found.shape))
    first = np.concatenate(starts)
    return first, first + np.concatenate(steps)


def _walk(first: list[int], last: list[int], is_stop: NDArray[np.bool_]) -> Iterator[list[int]]:
    """Yield paths along links from stop to stop, and closed ones."""
    touching: dict[int, list[int]] = {}
    for link, ends in enumerate(zip(first, last, strict=True)):
        for end in ends:
            touching.setdefault(end, []).append(link)
    stops = is_stop.tolist()
    is_used = bytearray(len(first))

    def walk(link: int, start: int) -> list[int]:
        path = [start]
        while True:
            is_used[link] = 1
            point = last[link] if first[link] == path[-1] else first[link]
            path.append(point)
            if stops[point] or point == start:
                return path
            one, other = touching[point]
            link = other if one == link else one

    for point, links in touching.items():
        if stops[point]:
            for link in links:
                if not is_used[link]:
                    yield walk(link, point)
    for link, start in enumerate(first):
        if not is_used[link]:
            yield walk(link, start)
