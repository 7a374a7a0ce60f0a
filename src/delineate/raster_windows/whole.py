"""Read small files whole, and hand out windows of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.raster_windows.reader import RasterReader, choose_bands
from delineate.rasters import apply_palette, read_raster

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.tiling import Window


def whole_reader(
    path: Path, bands: Sequence[int | str] | None, *, as_indices: bool
) -> RasterReader:
    """Return the reader of a file that is decoded whole.

    Raises:
        UnreadableFileError: If it is missing, damaged or of a format that is not read.
        UsageError: If a band is not there.
    """
    raster = read_raster(path)
    is_coloured = raster.palette is not None and not as_indices
    pixels = apply_palette(raster, path) if is_coloured else raster.pixels
    alpha = pixels[..., -1] if pixels.shape[2] in (2, 4) else None
    channels = {1: ("grey",), 2: ("grey", "alpha"), 3: ("red", "green", "blue")}
    names = channels.get(pixels.shape[2], ("red", "green", "blue", "alpha"))
    if bands is not None:
        names_chosen = choose_bands(path, names, bands)
    else:
        names_chosen = [i for i, name in enumerate(names, start=1) if name != "alpha"]
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
        spacing=raster.spacing,
    )
