"""Read a raster at another resolution, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from delineate.rasters import GeoReference
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.raster_windows.reader import RasterReader

_PART_SIDE = 1024

LEAST_SHARE = 0.5
"""Share of a resampled pixel's weight that must have data for it to have data."""


@dataclass(frozen=True)
class Grid:
    """How the pixels of one raster lie on another of the same extent."""

    height: int
    width: int
    """Size of the raster that is read from."""
    new_height: int
    new_width: int
    """Size of the raster that is made."""

    def source_window(self, window: Window) -> Window:
        """Return the window that the pixels of a new window are made from."""
        row, height = _reach(window.row, window.height, self.height, self.new_height)
        col, width = _reach(window.col, window.width, self.width, self.new_width)
        return Window(row, col, height, width)

    def resample(
        self, values: NDArray[Any], valid: NDArray[np.bool_], window: Window
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return a window of the new raster.

        Enlarging is bilinear. Reducing weighs by a triangle as wide as the new pixels, which is
        bilinear without aliasing. Pixels without data have no weight, so they do not bleed into
        their neighbours, and the borders repeat nothing. A pixel does not depend on the window.

        Args:
            values: (h, w, C) of `source_window(window)`.
            valid: (h, w), which of them hold data.
            window: In the new raster.

        Returns:
            Values (height, width, C), 0 where there are no data; valid (height, width).
        """
        source = self.source_window(window)
        rows = _weights(window.row, window.height, source.row, source.height, self, axis=0)
        cols = _weights(window.col, window.width, source.col, source.width, self, axis=1)
        known = np.where(valid[..., None], values, 0).astype(np.float64)
        known = np.nan_to_num(known, nan=0.0, posinf=0.0, neginf=0.0)
        share = _both(rows, cols, valid[..., None].astype(np.float64))
        sums = _both(rows, cols, known)
        has_data = share[..., 0] >= LEAST_SHARE
        means = np.divide(sums, share, out=np.zeros_like(sums), where=share > 0)
        return np.where(has_data[..., None], means, 0.0), has_data

    def resample_image(
        self,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        window: Window | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the pixels of a window of the new raster, in the type of those given.

        Args:
            pixels: (h, w, C) of `source_window(window)`.
            valid: (h, w), which of them hold data; None counts all.
            window: In the new raster; None is all of it.

        Returns:
            Pixels (height, width, C), whole numbers rounded; valid (height, width).
        """
        whole = window or self.window
        source = self.source_window(whole)
        shape = (whole.height, whole.width)
        found = np.empty((*shape, pixels.shape[2]), pixels.dtype)
        has_data = np.ones(shape, bool)
        if valid is None:
            valid = np.ones(pixels.shape[:2], bool)
        for part in _cut(whole):
            near, into = self.source_window(part).within(source), part.within(whole)
            values, is_known = self.resample(pixels[near.slices], valid[near.slices], part)
            found[into.slices] = np.rint(values) if pixels.dtype.kind in "iu" else values
            has_data[into.slices] = is_known
        return found, has_data

    @property
    def window(self) -> Window:
        """The whole of the new raster."""
        return Window(0, 0, self.new_height, self.new_width)

    @property
    def back(self) -> Grid:
        """The grid from the new raster to the one that is read from."""
        return Grid(self.new_height, self.new_width, self.height, self.width)


def _cut(window: Window) -> Iterator[Window]:
    """Yield parts of a window, small enough that what is computed in float64 takes little room."""
    for row in range(window.row, window.row + window.height, _PART_SIDE):
        height = min(_PART_SIDE, window.row + window.height - row)
        for col in range(window.col, window.col + window.width, _PART_SIDE):
            yield Window(row, col, height, min(_PART_SIDE, window.col + window.width - col))


def _reach(start: int, count: int, length: int, new_length: int) -> tuple[int, int]:
    scale = length / new_length
    radius = max(1.0, scale)
    first = int(np.floor((start + 0.5) * scale - 0.5 - radius))
    last = int(np.ceil((start + count - 0.5) * scale - 0.5 + radius))
    low = min(max(0, first), length - 1)
    return low, min(length, last + 1) - low


def _weights(
    start: int, count: int, source_start: int, source_count: int, grid: Grid, *, axis: int
) -> Any:
    """Return the weights of source pixels (columns) in new pixels (rows), each row summing to 1."""
    length = (grid.height, grid.width)[axis]
    scale = length / (grid.new_height, grid.new_width)[axis]
    radius = max(1.0, scale)
    centres = (np.arange(start, start + count) + 0.5) * scale - 0.5
    taps = np.arange(int(np.ceil(2 * radius)) + 1)
    index = np.floor(centres - radius).astype(np.intp)[:, None] + taps
    weight = np.clip(1 - np.abs(index - centres[:, None]) / radius, 0, None)
    weight[(index < 0) | (index >= length)] = 0
    weight /= weight.sum(axis=1, keepdims=True)
    is_used = weight > 0
    rows = np.broadcast_to(np.arange(count)[:, None], index.shape)[is_used]
    return csr_array(
        (weight[is_used], (rows, index[is_used] - source_start)), shape=(count, source_count)
    )


def _both(rows: Any, cols: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width, channels = values.shape
    down = (rows @ values.reshape(height, -1)).reshape(-1, width, channels)
    turned = np.ascontiguousarray(down.swapaxes(0, 1)).reshape(width, -1)
    across = (cols @ turned).reshape(-1, down.shape[0], channels)
    return np.asarray(np.ascontiguousarray(across.swapaxes(0, 1)))


def resample_reader(reader: RasterReader, grid: Grid) -> RasterReader:
    """Return a raster as if it had been taken with pixels of another size.

    Args:
        reader: An open raster.
        grid: From its pixels to the new ones.
    """

    def read(window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        values, valid = reader.read(grid.source_window(window))
        return grid.resample_image(values, valid, window)

    y, x = grid.height / grid.new_height, grid.width / grid.new_width
    geo, spacing = reader.geo, reader.spacing
    if geo is not None:
        a, b, c, d, e, f = geo.transform
        geo = GeoReference(geo.crs, (a * x, b * y, c, d * x, e * y, f))
    if spacing is not None:
        spacing = (spacing[0] * y, spacing[1] * x)
    block = max(1, round(reader.block_size[0] / y))
    return replace(
        reader,
        height=grid.new_height,
        width=grid.new_width,
        geo=geo,
        spacing=spacing,
        nodata=None,
        block_size=(block, grid.new_width),
        _read=read,
    )
