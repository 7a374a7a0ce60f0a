"""How GDAL is let at a file: one driver, no sidecars, no network, a fixed cache."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from delineate.errors import UnreadableFileError
from delineate.rasters.formats import format_of
from delineate.rasters.refusals import MAX_CHANNELS

CACHE_BYTES = 128 * 2**20
"""Size of GDAL's block cache, whatever the machine has: memory must not depend on the raster."""

MAX_BLOCK_BYTES = 256 * 2**20
"""Largest decoded size of one tile or strip of a file that is read by windows."""

_OPTIONS: dict[str, Any] = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_VRT_ENABLE_RAWRASTERBAND": "NO",
    "GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE": "NONE",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}",
}


@contextmanager
def gdal_environment() -> Iterator[Any]:
    """Give rasterio with the options under which untrusted files are opened.

    Options hold for the thread, so every thread that reads or writes enters this by itself.
    """
    import rasterio

    with rasterio.Env(**_OPTIONS):
        yield rasterio


@contextmanager
def quiet_about_place() -> Iterator[None]:
    """Keep rasterio from warning that a raster lies nowhere; for the thread that opens files."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def is_tiff(path: Path) -> bool:
    """Tell by the first bytes whether a file is a TIFF or BigTIFF.

    Raises:
        UnreadableFileError: If the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            return format_of(file.read(16)) == "tiff"
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be opened: {error.strerror}") from error


def check_blocks(dataset: Any, path: Path, max_bytes: int) -> None:
    """Refuse a file of which the smallest read would decode more than `max_bytes`.

    Raises:
        UnreadableFileError: If one tile or strip is larger, or there are too many bands.
    """
    if dataset.count > MAX_CHANNELS:
        raise UnreadableFileError(
            f"{path} has {dataset.count} bands and at most {MAX_CHANNELS} are read; write the ones "
            "you need to a file of their own"
        )
    pixel_bytes = sum(np.dtype(name).itemsize for name in dataset.dtypes)
    rows, cols = max(dataset.block_shapes, key=lambda shape: shape[0] * shape[1])
    if rows * cols * pixel_bytes > max_bytes:
        raise UnreadableFileError(
            f"{path} is stored in blocks of {rows}x{cols} pixels, "
            f"{rows * cols * pixel_bytes / 2**20:.0f} MiB each, and blocks of at most "
            f"{max_bytes / 2**20:.0f} MiB are read; write it again in tiles, such as "
            "gdal_translate -co TILED=YES"
        )
