"""Post-process a mask raster by blocks, with the result of `postprocess_mask` on the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import UsageError
from delineate.morphology import closing, nearest_inside, opening
from delineate.progress import progress_bar
from delineate.raster_processing.components import BLOCK_SIDE, Components, Parts, grid
from delineate.raster_windows import RasterReader, create_raster, open_raster
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task

    Layer = Callable[[Window], NDArray[Any]]
    """Values of a window of one band, (height, width)."""

MAX_REACH = 2048
"""How far the class of a removed pixel is looked for, in pixels; farther, it keeps its own."""

_FREED = 254
_FIRST_REACH = 64


def postprocess_raster(
    source: Path,
    out: Path,
    task: Task,
    *,
    opening_radius: int = 0,
    closing_radius: int = 0,
    min_object_area: int = 0,
    largest_only: bool = False,
    min_hole_area: int = 0,
    block_side: int = BLOCK_SIDE,
    cog: bool = False,
) -> None:
    """Post-process a mask raster of any size; see `postprocess_mask` for the operations.

    The result equals `postprocess_mask` on the whole raster. Pixels of 255 stay 255; in between
    they are background (0 where a multiclass task has none). Memory holds a few blocks and the
    parts of a row of blocks; intermediate rasters lie beside `out` and are removed.

    Args:
        source: A mask as `predict` writes it: one band, multilabel one band a class.
        out: A .tif file, which may be `source`.
        task: The classes.
        opening_radius: Radius of the disc of the opening, in pixels.
        closing_radius: Radius of the disc of the closing, in pixels.
        min_object_area: Objects of fewer pixels are removed.
        largest_only: Whether of each class only the largest object stays.
        min_hole_area: Holes of fewer pixels are filled.
        block_side: Height and width of the blocks.
        cog: Write a cloud-optimised GeoTIFF.

    Raises:
        UnreadableFileError: If `source` cannot be read.
        UsageError: If `out` cannot be written to, or the operations do not fit the task.
        ResourceError: If the disk is full.
    """
    background = 0 if task.background is None else task.class_names.index(task.background)
    grows = bool(closing_radius or min_hole_area)
    if task.kind == "multiclass" and task.background is None and grows:
        raise UsageError(
            "closing_radius and min_hole_area hand background pixels to other classes, and "
            "this task has no background class; set task.background or leave them at 0"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(dir=out.parent, prefix=".post-")))
        reader = stack.enter_context(open_raster(source, as_indices=True))
        work = _Work(reader.height, reader.width, block_side, scratch, stack)
        layers = []
        for band in range(reader.count):
            original = _band(reader, band, background)
            if task.kind == "multiclass":
                layer = work.shrink(
                    original, task, opening_radius, min_object_area, largest_only=largest_only
                )
                if grows:
                    layer = work.grow(layer, task, background, closing_radius, min_hole_area)
            else:
                layer = work.shape(original, opening_radius, closing_radius)
                layer = work.keep_objects(layer, min_object_area, largest_only=largest_only)
                layer = work.fill_holes(layer, min_hole_area)
            layers.append(layer)
        writer = stack.enter_context(
            create_raster(
                out,
                reader.height,
                reader.width,
                bands=reader.count,
                geo=reader.geo,
                nodata=reader.nodata,
                palette=reader.palette,
                names=() if reader.count == 1 else reader.band_names,
                cog=cog,
            )
        )
        for window in grid(reader.height, reader.width, block_side):
            before = np.moveaxis(reader.read(window)[0], -1, 0)
            after = np.stack([layer(window) for layer in layers]).astype(np.uint8)
            writer.write(window, np.where(before == task.ignore_index, before, after))


def _band(reader: RasterReader, band: int, background: int) -> Layer:
    """Return one band with background in place of 255."""

    def read(window: Window) -> NDArray[Any]:
        values = reader.read(window)[0][..., band]
        return np.where(values == 255, np.uint8(background), values)

    return read


class _Work:
    """Stages from layer to layer, each a raster in the scratch folder."""

    def __init__(self, height: int, width: int, side: int, scratch: Path, stack: ExitStack) -> None:
        self.height = height
        self.width = width
        self.side = side
        self.scratch = scratch
        self.stack = stack
        self.num_stages = 0

    def store(self, what: str, blocks: Iterator[tuple[Window, NDArray[Any]]]) -> Layer:
        """Write blocks to a raster and return it as a layer."""
        self.num_stages += 1
        path = self.scratch / f"{self.num_stages}.tif"
        total = len(list(grid(self.height, self.width, self.side)))
        with (
            create_raster(path, self.height, self.width) as writer,
            progress_bar(what, total) as bar,
        ):
            for window, values in blocks:
                writer.write(window, values.astype(np.uint8))
                bar.advance()
        reader = self.stack.enter_context(open_raster(path))
        return lambda window: reader.read(window)[0][..., 0]

    def local(
        self, layer: Layer, halo: int, change: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> Iterator[tuple[Window, NDArray[Any]]]:
        """Yield blocks changed by an operation that looks no farther than the halo."""
        for window in grid(self.height, self.width, self.side):
            around = self.widen(window, halo)
            yield window, change(layer(around))[inner(window, around)]

    def widen(self, window: Window, halo: int) -> Window:
        """Return the window with a halo, cut off at the raster's border."""
        row, col = max(0, window.row - halo), max(0, window.col - halo)
        bottom = min(self.height, window.row + window.height + halo)
        right = min(self.width, window.col + window.width + halo)
        return Window(row, col, bottom - row, right - col)

    def shape(self, layer: Layer, opening_radius: int, closing_radius: int) -> Layer:
        """Open, then close."""
        if not (opening_radius or closing_radius):
            return layer
        halo = 2 * (opening_radius + closing_radius)
        changed = self.local(
            layer, halo, lambda mask: closing(opening(mask, opening_radius), closing_radius)
        )
        return self.store("opening and closing", changed)

    @contextmanager
    def components(self, layer: Layer, connectivity: int, outside: int) -> Iterator[Components]:
        with TemporaryDirectory(dir=self.scratch) as spill:
            yield Components(
                layer,
                self.height,
                self.width,
                Path(spill),
                connectivity=connectivity,
                outside=outside,
                block_side=self.side,
            )

    def keep_objects(self, layer: Layer, min_area: int, *, largest_only: bool) -> Layer:
        """Remove the objects of each value but 0 that are too small, or not the largest."""
        if min_area <= 1 and not largest_only:
            return layer
        with self.components(layer, 8, 0) as found:

            def kept() -> Iterator[tuple[Window, NDArray[Any]]]:
                for window, labels, parts in found.blocks():
                    stays = _stays(parts, found, min_area, largest_only=largest_only)
                    yield window, np.where(stays, parts.value, 0)[labels]

            return self.store("objects", kept())

    def fill_holes(self, layer: Layer, min_area: int) -> Layer:
        """Fill the holes of a binary layer that are too small."""
        if min_area <= 1:
            return layer
        with self.components(lambda window: layer(window) != 0, 4, 1) as found:

            def filled() -> Iterator[tuple[Window, NDArray[Any]]]:
                for window, labels, parts in found.blocks():
                    is_filled = (parts.area < min_area) & ~parts.touches_border
                    yield window, is_filled[labels] | (labels == 0)

            return self.store("holes", filled())

    def shrink(
        self,
        layer: Layer,
        task: Task,
        opening_radius: int,
        min_area: int,
        *,
        largest_only: bool,
    ) -> Layer:
        """Open each class, remove objects, and give freed pixels to the nearest class."""
        if not opening_radius and min_area <= 1 and not largest_only:
            return layer
        is_foreground = np.zeros(256, bool)
        is_foreground[list(task.foreground)] = True
        opened = layer
        if opening_radius:
            free_thin = self.local(
                layer, 2 * opening_radius, lambda mask: _open_classes(mask, task, opening_radius)
            )
            opened = self.store("opening", free_thin)

        def objects(window: Window) -> NDArray[Any]:
            values = opened(window)
            return np.where(is_foreground[values], values + 1, 0).astype(np.uint8)

        kept = self.keep_objects(objects, min_area, largest_only=largest_only)
        num_kept = 0

        def freed() -> Iterator[tuple[Window, NDArray[Any]]]:
            nonlocal num_kept
            for window in grid(self.height, self.width, self.side):
                values = layer(window)
                is_freed = is_foreground[values] & (kept(window) == 0)
                num_kept += int((~is_freed).sum())
                yield window, np.where(is_freed, np.uint8(_FREED), values)

        holed = self.store("classes", freed())
        if num_kept == 0:
            return layer

        def handed() -> Iterator[tuple[Window, NDArray[Any]]]:
            for window in grid(self.height, self.width, self.side):
                yield window, self.hand_over(window, holed, layer)

        return self.store("freed pixels", handed())

    def hand_over(self, window: Window, holed: Layer, layer: Layer) -> NDArray[Any]:
        """Return a block with the class of the nearest kept pixel in place of freed ones."""
        reach = _FIRST_REACH
        while True:
            around = self.widen(window, reach)
            values = holed(around)
            inside = inner(window, around)
            is_freed = values == _FREED
            if not is_freed[inside].any():
                return values[inside]
            is_last = reach >= MAX_REACH or around == Window(0, 0, self.height, self.width)
            if not is_freed.all():
                rows, cols = nearest_inside(~is_freed)
                if is_last or self.is_settled(is_freed[inside], rows, cols, window, around):
                    return values[rows, cols][inside]
            elif is_last:
                return layer(window)
            reach *= 2

    def is_settled(
        self,
        is_freed: NDArray[np.bool_],
        rows: NDArray[np.intp],
        cols: NDArray[np.intp],
        window: Window,
        around: Window,
    ) -> bool:
        """Tell whether nothing beyond `around` can be as near as what was found inside."""
        inside = inner(window, around)
        places = np.indices((around.height, around.width), sparse=True)
        row, col = places[0], places[1]
        squared = (rows - row) ** 2 + (cols - col) ** 2
        far = np.iinfo(np.int64).max
        # Distances to the first line of pixels beyond each side at which the raster goes on.
        down, right = around.row + around.height, around.col + around.width
        bound = np.minimum(
            np.minimum(
                (row + 1) ** 2 if around.row else np.full_like(row, far),
                (around.height - row) ** 2 if down < self.height else np.full_like(row, far),
            ),
            np.minimum(
                (col + 1) ** 2 if around.col else np.full_like(col, far),
                (around.width - col) ** 2 if right < self.width else np.full_like(col, far),
            ),
        )
        return bool((squared < bound)[inside][is_freed].all())

    def grow(
        self, layer: Layer, task: Task, background: int, closing_radius: int, min_hole_area: int
    ) -> Layer:
        """Close each class and fill its holes, at the cost of background pixels alone."""
        grown = layer
        for index in task.foreground:
            inside = _equals(layer, index)
            filled = self.fill_holes(self.shape(inside, 0, closing_radius), min_hole_area)

            def gained(
                filled: Layer = filled, grown: Layer = grown, index: int = index
            ) -> Iterator[tuple[Window, NDArray[Any]]]:
                for window in grid(self.height, self.width, self.side):
                    values = grown(window)
                    gains = (filled(window) != 0) & (values == background)
                    yield window, np.where(gains, np.uint8(index), values)

            grown = self.store(task.class_names[index], gained())
        return grown


def inner(window: Window, around: Window) -> tuple[slice, slice]:
    """Return where a window lies in a larger one, as slices."""
    row, col = window.row - around.row, window.col - around.col
    return slice(row, row + window.height), slice(col, col + window.width)


def _equals(layer: Layer, index: int) -> Layer:
    return lambda window: layer(window) == index


def _stays(
    parts: Parts, found: Components, min_area: int, *, largest_only: bool
) -> NDArray[np.bool_]:
    stays: NDArray[np.bool_] = parts.area >= min_area
    if largest_only:
        largest = np.full(257, -1)
        for value, (_, first) in found.largest.items():
            largest[value] = first
        stays &= parts.first == largest[parts.value]
    stays[parts.value < 0] = False
    return stays


def _open_classes(mask: NDArray[Any], task: Task, radius: int) -> NDArray[np.uint8]:
    opened = mask.copy()
    for index in task.foreground:
        inside = mask == index
        opened[inside & ~opening(inside, radius)] = _FREED
    return opened
