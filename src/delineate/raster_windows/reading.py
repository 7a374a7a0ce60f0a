"""Read windows of a raster in memory that does not depend on its size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import UnreadableFileError
from delineate.raster_windows.environment import (
    MAX_BLOCK_BYTES,
    check_blocks,
    gdal_environment,
    is_tiff,
    quiet_about_place,
)
from delineate.raster_windows.reader import RasterReader, choose_bands
from delineate.raster_windows.whole import whole_reader
from delineate.rasters.bitmaps import ORIENTATION_TAG
from delineate.rasters.raster import upright
from delineate.rasters.refusals import DECODING_ERRORS, damaged
from delineate.rasters.tiff import read_geo_reference, read_spacing
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray


_FLIPS_ROWS = (3, 4, 7, 8)
_FLIPS_COLS = (2, 3, 6, 7)


@contextmanager
def open_raster(
    path: Path | str,
    *,
    bands: Sequence[int | str] | None = None,
    as_indices: bool = False,
    max_block_bytes: int = MAX_BLOCK_BYTES,
) -> Iterator[RasterReader]:
    """Open a raster for reading by windows.

    TIFF and BigTIFF are read block by block, by GDAL's GTiff driver alone and without sidecar
    files. The other formats of `read_raster`, which are small, are decoded whole at once.

    Args:
        path: The file; its first bytes tell the format.
        bands: Which bands, in which order: numbers from 1, or the descriptions in the file. None
            reads all but alpha.
        as_indices: Read a palette file as indices (masks) instead of colours (images).
        max_block_bytes: Files stored in larger blocks are refused before any is read.

    Raises:
        UnreadableFileError: If the file is missing, damaged, a stack of pages, stored in too large
            blocks, or of a format that is not read.
        UsageError: If a band is not there.
    """
    path = Path(path)
    if is_tiff(path):
        with open_dataset(path, "GTiff", max_block_bytes) as dataset:
            yield reader_of(dataset, path, bands, as_indices=as_indices)
    else:
        yield whole_reader(path, bands, as_indices=as_indices)


@contextmanager
def open_dataset(path: Path, driver: str, max_block_bytes: int) -> Iterator[Any]:
    """Open a file with one driver alone, and refuse it if its blocks are too large.

    Raises:
        UnreadableFileError: If the file is damaged or stored in too large blocks.
    """
    from rasterio.errors import RasterioError

    with gdal_environment() as rasterio:
        try:
            with quiet_about_place():
                # An absolute path is never taken for a scheme such as `zip:` or `vrt:`.
                dataset = rasterio.open(path.resolve(), driver=driver)
        except (RasterioError, *DECODING_ERRORS) as error:
            raise damaged(path, error) from error
    with dataset:
        check_blocks(dataset, path, max_block_bytes)
        yield dataset


def reader_of(
    dataset: Any, path: Path, bands: Sequence[int | str] | None, *, as_indices: bool
) -> RasterReader:
    """Return the reader of an open rasterio dataset.

    Raises:
        UnreadableFileError: If the file is a stack of pages.
        UsageError: If a band is not there.
    """
    from rasterio.enums import ColorInterp

    if dataset.subdatasets:
        raise UnreadableFileError(
            f"{path} is a stack of {len(dataset.subdatasets)} pages and a raster read by windows "
            "is one page with bands; write its pages as the bands of one file"
        )
    names = tuple(name or str(i) for i, name in enumerate(dataset.descriptions, start=1))
    is_alpha = [interp == ColorInterp.alpha for interp in dataset.colorinterp]
    opaque = [i for i, alpha in enumerate(is_alpha, start=1) if not alpha]
    chosen = choose_bands(path, names, bands) if bands is not None else opaque or [1]
    table = None
    if dataset.count == 1 and dataset.colorinterp[0] == ColorInterp.palette:
        colours = dataset.colormap(1)
        table = np.array([colours[i][:3] for i in range(len(colours))], np.uint8)
    geo = read_geo_reference(dataset)
    orientation = 1 if geo is not None or dataset.driver != "GTiff" else _orientation(path)
    height, width = dataset.shape if orientation < 5 else dataset.shape[::-1]
    spacing = read_spacing(dataset)
    if spacing is not None and orientation >= 5:
        spacing = spacing[::-1]
    source = _Source(dataset, path, chosen, orientation, None if as_indices else table)
    is_coloured = table is not None and not as_indices
    return RasterReader(
        path,
        height,
        width,
        dtype=np.dtype(np.uint8) if is_coloured else source.dtype,
        band_names=("red", "green", "blue") if is_coloured else tuple(names[i - 1] for i in chosen),
        geo=geo,
        nodata=None if dataset.nodata is None else float(dataset.nodata),
        palette=table if as_indices else None,
        block_size=tuple(dataset.block_shapes[0]),
        _read=source.read,
        spacing=spacing,
    )


class _Source:
    """Reads windows of a dataset upright, with the pixels that count."""

    def __init__(
        self,
        dataset: Any,
        path: Path,
        bands: list[int],
        orientation: int,
        palette: NDArray[np.uint8] | None,
    ) -> None:
        from rasterio.enums import ColorInterp, MaskFlags

        self.dataset = dataset
        self.path = path
        self.bands = bands
        self.orientation = orientation
        self.palette = palette
        self.dtype = np.result_type(*(dataset.dtypes[i - 1] for i in bands))
        self.has_mask = MaskFlags.per_dataset in dataset.mask_flag_enums[0]
        self.has_mask = self.has_mask and MaskFlags.alpha not in dataset.mask_flag_enums[0]
        interps = enumerate(dataset.colorinterp, start=1)
        self.alpha = next((i for i, interp in interps if interp == ColorInterp.alpha), None)
        self.nodata = [dataset.nodatavals[i - 1] for i in bands]
        self.lock = Lock()

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        from rasterio.errors import RasterioError
        from rasterio.windows import Window as RasterioWindow

        row, col, height, width = self._stored(window)
        place = RasterioWindow(col, row, width, height)
        with self.lock, gdal_environment():
            try:
                pixels = self.dataset.read(self.bands, window=place, out_dtype=self.dtype)
                valid = self._has_data(pixels)
                if self.has_mask:
                    valid &= self.dataset.read_masks(self.bands[0], window=place) != 0
                if self.alpha is not None:
                    valid &= self.dataset.read(self.alpha, window=place) != 0
            except (RasterioError, *DECODING_ERRORS) as error:
                raise damaged(self.path, error) from error
        pixels = upright(np.moveaxis(pixels, 0, -1), self.orientation)
        if self.palette is not None:
            if int(pixels.max()) >= len(self.palette):
                raise UnreadableFileError(
                    f"{self.path} holds the palette index {int(pixels.max())} but its palette has "
                    f"{len(self.palette)} colours; write the file again with a whole palette"
                )
            pixels = np.take(self.palette, pixels[..., 0], axis=0)
        return np.ascontiguousarray(pixels), np.ascontiguousarray(upright(valid, self.orientation))

    def _has_data(self, pixels: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where a band of (C, h, w) holds data; nodata of float bands becomes NaN."""
        has_data = np.zeros(pixels.shape[1:], dtype=bool)
        is_float = self.dtype.kind == "f"
        for band, nodata in zip(pixels, self.nodata, strict=True):
            is_known = np.isfinite(band) if is_float else np.ones(band.shape, dtype=bool)
            if nodata is not None and np.isfinite(nodata):
                is_known &= band != nodata
                if is_float:
                    band[~is_known] = np.nan
            has_data |= is_known
        return has_data

    def _stored(self, window: Window) -> tuple[int, int, int, int]:
        """Return row, col, height and width in the file of an upright window."""
        row, col, height, width = window.row, window.col, window.height, window.width
        is_on_side = self.orientation >= 5
        rows, cols = self.dataset.shape[::-1] if is_on_side else self.dataset.shape
        if self.orientation in _FLIPS_ROWS:
            row = rows - row - height
        if self.orientation in _FLIPS_COLS:
            col = cols - col - width
        return (col, row, width, height) if is_on_side else (row, col, height, width)


def _orientation(path: Path) -> int:
    import tifffile

    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags.get(ORIENTATION_TAG)
        value = 1 if tag is None else int(tag.value)
    return value if 1 <= value <= 8 else 1
