"""Read windows of a raster in memory that does not depend on its size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ShapeError, UnreadableFileError, UsageError
from delineate.raster_windows.environment import (
    DECODING_ERRORS,
    MAX_BLOCK_BYTES,
    check_blocks,
    damaged,
    gdal_environment,
    is_tiff,
    quiet_about_place,
)
from delineate.rasters import GeoReference, apply_palette, read_raster
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.rasters import Raster

_ORIENTATION_TAG = 274
_FLIPS_ROWS = (3, 4, 7, 8)
_FLIPS_COLS = (2, 3, 6, 7)


@dataclass(frozen=True)
class RasterReader:
    """An open raster. Windows may be read from any thread, one at a time."""

    path: Path
    height: int
    width: int
    dtype: np.dtype[Any]
    """Type of the pixels; where bands differ, the type that holds them all."""
    band_names: tuple[str, ...]
    """A name for each band that is read: the file's description of it, else its number."""
    geo: GeoReference | None
    """Place on the ground, where the file gives one."""
    nodata: float | None
    """Value that the file declares to hold nothing; NaN takes its place in float pixels."""
    palette: NDArray[np.uint8] | None
    """Colours of a palette file that is read as indices, (N, 3)."""
    block_size: tuple[int, int]
    """Height and width of the blocks that the file is stored in."""
    _read: Callable[[Window], tuple[NDArray[Any], NDArray[np.bool_]]]

    @property
    def count(self) -> int:
        """Number of bands that are read."""
        return len(self.band_names)

    @property
    def window(self) -> Window:
        """The whole raster."""
        return Window(0, 0, self.height, self.width)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the pixels of a window and which of them hold data.

        A pixel holds data where at least one of the bands read is neither the file's nodata value
        nor not finite, and where the file's internal mask and its alpha band are not 0.

        Args:
            window: Lies inside the raster.

        Returns:
            Pixels (height, width, count), nodata of float bands replaced by NaN; valid
            (height, width).

        Raises:
            ShapeError: If the window leaves the raster or is empty.
            UnreadableFileError: If the file is truncated or damaged there.
        """
        bottom, right = window.row + window.height, window.col + window.width
        inside = window.row >= 0 and window.col >= 0
        inside = inside and bottom <= self.height and right <= self.width
        if not inside or window.height < 1 or window.width < 1:
            raise ShapeError(f"{window} is not inside {self.path}, {self.height}x{self.width}")
        return self._read(window)


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
        yield _picture_reader(path, bands, as_indices=as_indices)


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
    geo = _geo_reference(dataset)
    orientation = 1 if geo is not None or dataset.driver != "GTiff" else _orientation(path)
    height, width = dataset.shape if orientation < 5 else dataset.shape[::-1]
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
    )


def choose_bands(path: Path, names: Sequence[str], bands: Sequence[int | str]) -> list[int]:
    """Return the numbers, from 1, of bands given by number or by name.

    Raises:
        UsageError: If a band is not there, named twice in the file, or none is given.
    """
    chosen = []
    listed = ", ".join(f"{i} {name!r}" if name != str(i) else name for i, name in _numbered(names))
    for band in bands:
        if isinstance(band, int) or (band.isdecimal() and band not in names):
            matches = [int(band)] if 1 <= int(band) <= len(names) else []
        else:
            matches = [i for i, name in _numbered(names) if name.lower() == band.lower()]
        if len(matches) != 1:
            problem = "has no band" if not matches else f"has {len(matches)} bands of the name"
            raise UsageError(f"{path} {problem} {band!r}; choose by number from: {listed}")
        chosen += matches
    if not chosen:
        raise UsageError(f"no band is chosen of {path}; choose from: {listed}")
    return chosen


def _numbered(names: Sequence[str]) -> list[tuple[int, str]]:
    return list(enumerate(names, start=1))


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
        pixels = _upright(np.moveaxis(pixels, 0, -1), self.orientation)
        if self.palette is not None:
            if int(pixels.max()) >= len(self.palette):
                raise UnreadableFileError(
                    f"{self.path} holds the palette index {int(pixels.max())} but its palette has "
                    f"{len(self.palette)} colours; write the file again with a whole palette"
                )
            pixels = np.take(self.palette, pixels[..., 0], axis=0)
        return np.ascontiguousarray(pixels), np.ascontiguousarray(_upright(valid, self.orientation))

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


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation (CIPA DC-008, tag 274) on (H, W) or (H, W, C)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in _FLIPS_ROWS:
        pixels = pixels[::-1]
    if orientation in _FLIPS_COLS:
        pixels = pixels[:, ::-1]
    return pixels


def _orientation(path: Path) -> int:
    import tifffile

    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags.get(_ORIENTATION_TAG)
        value = 1 if tag is None else int(tag.value)
    return value if 1 <= value <= 8 else 1


def _geo_reference(dataset: Any) -> GeoReference | None:
    a, b, c, d, e, f = map(float, dataset.transform[:6])
    if dataset.crs is None and (a, b, c, d, e, f) == (1, 0, 0, 0, 1, 0):
        return None
    crs = None if dataset.crs is None else str(dataset.crs.to_wkt())
    return GeoReference(crs, (a, b, c, d, e, f))


def _picture_reader(
    path: Path, bands: Sequence[int | str] | None, *, as_indices: bool
) -> RasterReader:
    """Return the reader of a file that is decoded whole."""
    raster: Raster = read_raster(path)
    is_coloured = raster.palette is not None and not as_indices
    pixels = apply_palette(raster, path) if is_coloured else raster.pixels
    alpha = pixels[..., -1] if pixels.shape[2] in (2, 4) else None
    channels = {1: ("grey",), 2: ("grey", "alpha"), 3: ("red", "green", "blue")}
    names = channels.get(pixels.shape[2], ("red", "green", "blue", "alpha"))
    if bands is not None:
        names_chosen = choose_bands(path, names, bands)
    else:
        names_chosen = [i for i, name in _numbered(names) if name != "alpha"]
    chosen = pixels[..., [i - 1 for i in names_chosen]]

    def read(window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        part = chosen[window.slices]
        valid = np.ones(part.shape[:2], dtype=bool)
        if alpha is not None:
            valid &= alpha[window.slices] != 0
        return np.ascontiguousarray(part), valid

    height, width = pixels.shape[:2]
    return RasterReader(
        path,
        height,
        width,
        dtype=chosen.dtype,
        band_names=tuple(names[i - 1] for i in names_chosen),
        geo=raster.geo,
        nodata=raster.nodata,
        palette=raster.palette if as_indices else None,
        block_size=(height, width),
        _read=read,
    )
