"""Read TIFF and GeoTIFF through GDAL with its GTiff driver alone; stacks of pages by tifffile.

So no file makes the program read another one or open a connection. Sidecar files (`.aux.xml`,
`.tfw`, `.ovr`) are not read.
"""

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import UnreadableFileError
from delineate.rasters.bitmaps import ORIENTATION_TAG
from delineate.rasters.raster import GeoReference, Header, Raster, upright, upright_size
from delineate.rasters.refusals import (
    DECODING_ERRORS,
    MAX_BLOCK_BYTES,
    MAX_CHANNELS,
    MAX_RASTER_BYTES,
    check_bytes,
    damaged,
)
from delineate.rasters.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_SLICE_AXES = frozenset("TZIQRLAEPHVU")
"""Axes of tifffile along which the pages of a stack are pictures of their own."""


@contextmanager
def open_gdal() -> Iterator[Any]:
    """Give rasterio without sidecars, VRT Python or world files."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.Env(
            GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
            GDAL_PAM_ENABLED="NO",
            GDAL_GEOREF_SOURCES="INTERNAL",
            GDAL_VRT_ENABLE_PYTHON="NO",
            GDAL_VRT_ENABLE_RAWRASTERBAND="NO",
        ):
            yield rasterio


@contextmanager
def open_tiff(path: Path) -> Iterator[Any]:
    """Open a TIFF with the GTiff driver alone, after its tiles or strips were found sane.

    Raises:
        UnreadableFileError: If it is damaged, or one tile or strip is too large.
    """
    from rasterio.errors import RasterioError

    with open_gdal() as rasterio:
        try:
            # An absolute path is never taken for a scheme such as `zip:` or `vrt:`.
            with rasterio.open(path.resolve(), driver="GTiff") as dataset:
                if dataset.count > MAX_CHANNELS:
                    raise UnreadableFileError(
                        f"{path} has {dataset.count} bands and at most {MAX_CHANNELS} are read; "
                        "write the ones you need to a file of their own"
                    )
                block = max(rows * columns for rows, columns in dataset.block_shapes)
                check_bytes(
                    path, block * _pixel_bytes(dataset), "one tile or strip", MAX_BLOCK_BYTES
                )
                yield dataset
        except (RasterioError, *DECODING_ERRORS) as error:
            raise damaged(path, error) from error


def _pixel_bytes(dataset: Any) -> int:
    return sum(np.dtype(name).itemsize for name in dataset.dtypes)


def read_tiff(path: Path) -> Raster:
    """Read a TIFF of one picture whole.

    Raises:
        UnreadableFileError: If it is damaged, larger than `MAX_RASTER_BYTES` or a stack.
    """
    with open_tiff(path) as dataset:
        whole = dataset.height * dataset.width * _pixel_bytes(dataset)
        check_bytes(path, whole, "the whole", MAX_RASTER_BYTES)
        geo = read_geo_reference(dataset)
        orientation = _orientation(dataset, path)
        if dataset.subdatasets:
            return read_tiff_stack(path).only_page(path)
        pixels = np.moveaxis(dataset.read(), 0, -1)
        palette = _palette(dataset)
        nodata = None if dataset.nodata is None else float(dataset.nodata)
        spacing = read_spacing(dataset)
    pixels = np.ascontiguousarray(upright(pixels, orientation))
    if spacing is not None and orientation >= 5:
        spacing = spacing[::-1]
    return Raster(pixels, palette, geo, nodata, spacing)


def read_tiff_header(path: Path) -> Header:
    """Return what stands before the pixels.

    Raises:
        UnreadableFileError: If it is damaged, or larger than `MAX_RASTER_BYTES`.
    """
    with open_tiff(path) as dataset:
        height, width = dataset.shape
        check_bytes(path, height * width * _pixel_bytes(dataset), "the whole", MAX_RASTER_BYTES)
        orientation = _orientation(dataset, path)
        geo = read_geo_reference(dataset)
        spacing = read_spacing(dataset)
        num_pages = 1
        if dataset.subdatasets:
            axes, shape = _series_shape(path)
            num_pages = math.prod(
                length for axis, length in zip(axes, shape, strict=True) if axis not in "CSYX"
            )
    if spacing is not None and orientation >= 5:
        spacing = spacing[::-1]
    return Header(upright_size(height, width, orientation), orientation, num_pages, geo, spacing)


def _orientation(dataset: Any, path: Path) -> int:
    if read_geo_reference(dataset) is not None:
        return 1
    import tifffile

    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags.get(ORIENTATION_TAG)
        value = 1 if tag is None else int(tag.value)
    return value if 1 <= value <= 8 else 0


def read_geo_reference(dataset: Any) -> GeoReference | None:
    """Return the place on the ground of a dataset of rasterio, if it has one."""
    a, b, c, d, e, f = map(float, dataset.transform[:6])
    if dataset.crs is None and (a, b, c, d, e, f) == (1, 0, 0, 0, 1, 0):
        return None
    crs = None if dataset.crs is None else str(dataset.crs.to_wkt())
    return GeoReference(crs, (a, b, c, d, e, f))


def read_spacing(dataset: Any) -> tuple[float, float] | None:
    """Return millimetres between rows and columns where the tags count pixels per centimetre.

    Pixels per inch are what printers are told and measure nothing.
    """
    tags = dataset.tags()
    if not tags.get("TIFFTAG_RESOLUTIONUNIT", "").startswith("3"):
        return None
    try:
        across = float(tags["TIFFTAG_XRESOLUTION"])
        down = float(tags["TIFFTAG_YRESOLUTION"])
    except (KeyError, ValueError):
        return None
    is_sound = math.isfinite(across) and math.isfinite(down) and across > 0 and down > 0
    return (10 / down, 10 / across) if is_sound else None


def _palette(dataset: Any) -> NDArray[np.uint8] | None:
    """Return the colour table, (N, 3)."""
    from rasterio.enums import ColorInterp

    if dataset.count != 1 or dataset.colorinterp[0] != ColorInterp.palette:
        return None
    table = dataset.colormap(1)
    return np.array([table[index][:3] for index in range(len(table))], np.uint8)


def read_tiff_stack(path: Path) -> Stack:
    """Read all pages of a TIFF whose pages are channels or pictures of one size.

    Raises:
        UnreadableFileError: If it is damaged, too large, or its pages differ in size.
    """
    import tifffile

    try:
        axes, shape = _series_shape(path)
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            check_bytes(path, series.nbytes, "the whole", MAX_RASTER_BYTES)
            pixels = series.asarray()
    except DECODING_ERRORS as error:
        raise damaged(path, error) from error
    order = [axes.index(axis) for axis in axes if axis not in "CSYX"]
    order += [axes.index(axis) for axis in "YXCS" if axis in axes]
    height, width = shape[axes.index("Y")], shape[axes.index("X")]
    num_channels = math.prod(
        length for axis, length in zip(axes, shape, strict=True) if axis in "CS"
    )
    ordered = pixels.transpose(order).reshape(-1, height, width, num_channels)
    return Stack(ordered, axes=axes)


def _series_shape(path: Path) -> tuple[str, tuple[int, ...]]:
    """Return the axes of the first series of pages, as tifffile names them, and their lengths."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        if len(file.series) > 1:
            raise UnreadableFileError(
                f"{path} holds {len(file.series)} pictures of different sizes or types; write "
                "each to a file of its own"
            )
        series = file.series[0]
        axes, shape = str(series.axes), tuple(int(length) for length in series.shape)
        if "Y" not in axes or "X" not in axes or set(axes) - _SLICE_AXES - set("CSYX"):
            raise UnreadableFileError(
                f"{path} has the axes {axes}, which make no picture; write rows and columns "
                "(YX), with pages (ZYX) or channels (CYX) before them"
            )
        return axes, shape
