"""Write a raster by windows, under a temporary name until it is whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ResourceError, ShapeError, UsageError
from delineate.files import format_bytes, free_space, write_atomically
from delineate.raster_windows.environment import gdal_environment, quiet_about_place
from delineate.rasters import TIFF_SUFFIXES, GeoReference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.tiling import Window

BLOCK_SIDE = 256
"""Height and width of the tiles of the files that are written."""


@dataclass(frozen=True)
class RasterWriter:
    """A raster being written. Windows may be written from any thread, one at a time.

    Whole rows or columns of `BLOCK_SIDE` tiles are best: a tile that is written in parts may be
    compressed, stored and read back several times.
    """

    path: Path
    """The final name."""
    height: int
    width: int
    count: int
    """Number of bands."""
    dtype: np.dtype[Any]
    _dataset: Any
    _lock: Lock

    def write(self, window: Window, pixels: NDArray[Any]) -> None:
        """Write the pixels of a window.

        Args:
            window: Lies inside the raster.
            pixels: (count, height, width); (height, width) where the raster has one band.

        Raises:
            ShapeError: If the pixels do not fit the window and the raster.
            ResourceError: If the disk is full.
        """
        from rasterio.errors import RasterioError
        from rasterio.windows import Window as RasterioWindow

        bands = pixels[None] if pixels.ndim == 2 else pixels
        bottom, right = window.row + window.height, window.col + window.width
        inside = min(window.row, window.col) >= 0 and bottom <= self.height and right <= self.width
        if not inside or bands.shape != (self.count, window.height, window.width):
            raise ShapeError(
                f"pixels of shape {pixels.shape} do not fit {window} of {self.path}, "
                f"{self.count}x{self.height}x{self.width}"
            )
        place = RasterioWindow(window.col, window.row, window.width, window.height)
        with self._lock, gdal_environment():
            try:
                self._dataset.write(bands.astype(self.dtype, copy=False), window=place)
            except RasterioError as error:
                raise _not_written(self.path, str(error)) from error


@contextmanager
def create_raster(
    path: Path | str,
    height: int,
    width: int,
    *,
    bands: int = 1,
    dtype: str | np.dtype[Any] = "uint8",
    geo: GeoReference | None = None,
    nodata: float | None = None,
    palette: NDArray[np.uint8] | None = None,
    names: Sequence[str] = (),
    cog: bool = False,
    needed: int | None = None,
) -> Iterator[RasterWriter]:
    """Write a tiled, deflated GeoTIFF by windows; it gets its name when all is written.

    On any error the file is removed and what was there stays. The bytes depend only on the pixels
    and on the order in which the windows are written. Where nothing is written, pixels are
    `nodata`, or 0.

    Args:
        path: Ends in .tif or .tiff.
        height: Rows.
        width: Columns.
        bands: Number of bands.
        dtype: Type of the pixels.
        geo: Place on the ground.
        nodata: The value that holds nothing.
        palette: Colour table, (N, 3), of one uint8 band.
        names: Descriptions of the bands.
        cog: Write a cloud-optimised GeoTIFF with overviews, by way of a second temporary file.
        needed: Expected size in bytes, checked against the free space before the start.

    Raises:
        UsageError: If `path` has another ending or cannot be written to.
        ResourceError: If the disk is full.
    """
    path = Path(path)
    if path.suffix.lower() not in TIFF_SUFFIXES:
        raise UsageError(f"{path} cannot be written by windows; name a .tif file")
    if palette is not None and (bands != 1 or np.dtype(dtype) != np.uint8):
        raise ShapeError(f"{path}: a colour table belongs to one uint8 band")
    profile = _profile(height, width, bands, np.dtype(dtype), geo, nodata)
    if palette is not None:
        profile |= {"photometric": "palette", "predictor": 1}
    elif bands == 3 and not names and np.dtype(dtype) == np.uint8:
        profile["photometric"] = "rgb"
    else:
        # GDAL would take the fourth of four bands for alpha.
        profile |= {"photometric": "minisblack", "alpha": "no"}
    with write_atomically(path, needed=needed) as temporary:
        plain = temporary.with_name(f"{temporary.stem}.plain.tif") if cog else temporary
        try:
            with _open_for_writing(plain, path, profile) as dataset:
                if palette is not None:
                    table = {i: (*map(int, colour), 255) for i, colour in enumerate(palette)}
                    dataset.write_colormap(1, table)
                for index, name in enumerate(names[:bands], start=1):
                    dataset.set_band_description(index, name)
                yield RasterWriter(path, height, width, bands, np.dtype(dtype), dataset, Lock())
            if cog:
                _optimise(plain, temporary, path, is_categorical=np.dtype(dtype).kind != "f")
        finally:
            if cog:
                plain.unlink(missing_ok=True)


def _profile(
    height: int,
    width: int,
    bands: int,
    dtype: np.dtype[Any],
    geo: GeoReference | None,
    nodata: float | None,
) -> dict[str, Any]:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": bands,
        "dtype": dtype.name,
        "tiled": True,
        "blockxsize": BLOCK_SIDE,
        "blockysize": BLOCK_SIDE,
        "interleave": "band",
        "compress": "deflate",
        "predictor": 3 if dtype.kind == "f" else 2,
        "bigtiff": "if_safer",
        "sparse_ok": True,
    }
    if geo is not None:
        profile |= {"crs": geo.crs, "transform": geo.transform}
    if nodata is not None:
        profile["nodata"] = nodata
    return profile


@contextmanager
def _open_for_writing(temporary: Path, path: Path, profile: dict[str, Any]) -> Iterator[Any]:
    from rasterio.errors import RasterioError

    with gdal_environment() as rasterio:
        if "transform" in profile:
            profile = profile | {"transform": rasterio.Affine(*profile["transform"])}
        try:
            with quiet_about_place():
                dataset = rasterio.open(temporary.resolve(), "w", **profile)
        except RasterioError as error:
            raise _not_written(path, str(error)) from error
    try:
        yield dataset
    finally:
        # The last blocks are written now; GDAL reports a failure to its log alone.
        with _errors_logged() as messages, gdal_environment(), quiet_about_place():
            dataset.close()
    if messages:
        raise _not_written(path, messages[0])


def _optimise(plain: Path, temporary: Path, path: Path, *, is_categorical: bool) -> None:
    """Copy to the layout of a cloud-optimised GeoTIFF (https://cogeo.org), with overviews."""
    from rasterio.errors import RasterioError
    from rasterio.shutil import copy

    resampling = "nearest" if is_categorical else "average"
    with gdal_environment(), _errors_logged() as messages:
        try:
            copy(
                str(plain.resolve()),
                str(temporary.resolve()),
                driver="COG",
                compress="deflate",
                predictor="yes",
                blocksize=2 * BLOCK_SIDE,
                resampling=resampling,
                bigtiff="if_safer",
            )
        except RasterioError as error:
            raise _not_written(path, str(error)) from error
    if messages:
        raise _not_written(path, messages[0])


class _Messages(logging.Handler):
    """Keeps the messages of errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _errors_logged() -> Iterator[list[str]]:
    """Yield a list that receives what GDAL reports as errors without raising them."""
    logger = logging.getLogger("rasterio._env")
    handler = _Messages()
    logger.addHandler(handler)
    try:
        yield handler.messages
    finally:
        logger.removeHandler(handler)


def _not_written(path: Path, reason: str) -> ResourceError:
    return ResourceError(
        f"{path} could not be written ({' '.join(reason.split())}), with "
        f"{format_bytes(free_space(path.parent))} free; make room or choose another folder"
    )
