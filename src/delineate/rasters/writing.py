"""Write masks, images and probabilities as PNG and TIFF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ShapeError, UsageError
from delineate.files import write_atomically
from delineate.rasters.formats import TIFF_SUFFIXES
from delineate.rasters.raster import GeoReference, Raster
from delineate.rasters.tiff import open_gdal
from delineate.task import IGNORE_INDEX, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_mask(
    path: Path,
    mask: NDArray[np.uint8],
    *,
    task: Task,
    geo: GeoReference | None = None,
    colours: NDArray[np.uint8] | None = None,
) -> None:
    """Write a mask as PNG or, where `path` ends in .tif or .tiff, as TIFF.

    A binary mask becomes 0 and 255 in PNG and 0 and 1 in TIFF; classes become indices with a colour
    table; multilabel masks become the bands of a TIFF. 255 is the nodata value of every TIFF.

    Args:
        path: Ends in .png, .tif or .tiff.
        mask: (H, W) class indices; multilabel (C, H, W) of 0 and 1. 255 is ignored; a binary PNG
            has no room for it.
        task: Tells what the values are.
        geo: Place on the ground; TIFF alone keeps it.
        colours: The colour table of classes, (num_classes, 3); multiclass needs it.

    Raises:
        UsageError: If the ending of `path` is another, or PNG cannot hold what is given.
        ShapeError: If `mask` does not fit `task`.
    """
    expected = 3 if task.kind == "multilabel" else 2
    if mask.ndim != expected or (expected == 3 and len(mask) != task.num_classes):
        raise ShapeError(f"a {task.kind} mask of shape {mask.shape} does not fit {task}")
    table = None
    if task.kind == "multiclass":
        if colours is None or colours.shape != (task.num_classes, 3):
            raise ShapeError(f"{task.num_classes} colours are needed to write a mask of {task}")
        table = np.zeros((256, 3), np.uint8)
        table[: task.num_classes] = colours
    if path.suffix.lower() in TIFF_SUFFIXES:
        bands = mask if expected == 3 else mask[None]
        names = task.class_names if task.kind == "multilabel" else ()
        _write_tiff(path, bands, geo=geo, nodata=IGNORE_INDEX, palette=table, names=names)
        return
    if expected == 3:
        raise UsageError(f"{path}: a multilabel mask has a band per class; name a .tif file")
    if task.kind == "binary":
        if (mask == IGNORE_INDEX).any():
            raise UsageError(f"{path}: a binary PNG cannot hold ignored pixels; name a .tif file")
        mask = mask * np.uint8(255)
    _write_png(path, mask, geo, table)


def write_image(path: Path, rgb: NDArray[np.uint8], geo: GeoReference | None = None) -> None:
    """Write 8-bit pixels, (H, W, 3) or (H, W), as PNG or, by the ending of `path`, as TIFF.

    Raises:
        UsageError: If `path` ends in neither .png, .tif nor .tiff.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        _write_tiff(path, np.moveaxis(np.atleast_3d(rgb), -1, 0), geo=geo)
    else:
        _write_png(path, rgb, geo)


def write_raster(path: Path, raster: Raster) -> None:
    """Write pixels as they are, with palette, place, nodata value and spacing.

    PNG holds 8 bits (1, 3 or 4 channels, or a palette) and nothing of the place; TIFF holds any
    number type (half floats become floats), and palettes of 8 bits.

    Raises:
        UsageError: If the ending of `path` is another, or the format cannot hold the pixels.
    """
    pixels, palette = raster.pixels, raster.palette
    if path.suffix.lower() not in TIFF_SUFFIXES:
        if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3, 4):
            raise UsageError(
                f"{path}: PNG does not hold {pixels.shape[2]} channels of {pixels.dtype}; name a "
                ".tif file"
            )
        _write_png(path, pixels[..., 0] if pixels.shape[2] == 1 else pixels, None, palette)
        return
    table = None
    if palette is not None:
        table = np.zeros((256, 3), np.uint8)
        table[: len(palette)] = palette[:256]
    plain = pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels
    bands = np.moveaxis(plain, -1, 0)
    _write_tiff(
        path,
        bands,
        geo=raster.geo,
        nodata=raster.nodata,
        palette=table,
        spacing=raster.spacing,
    )


def write_probs(
    path: Path,
    probs: NDArray[np.float32],
    *,
    geo: GeoReference | None = None,
    class_names: Sequence[str] = (),
) -> None:
    """Write probabilities, (C, H, W), as the float32 bands of a TIFF.

    Raises:
        UsageError: If `path` does not end in .tif or .tiff.
    """
    if path.suffix.lower() not in TIFF_SUFFIXES:
        raise UsageError(f"{path}: probabilities are written as TIFF; name a .tif file")
    _write_tiff(path, probs.astype(np.float32, copy=False), geo=geo, names=class_names)


def _write_png(
    path: Path,
    pixels: NDArray[np.uint8],
    geo: GeoReference | None,
    palette: NDArray[np.uint8] | None = None,
) -> None:
    if path.suffix.lower() != ".png" or geo is not None:
        reason = "PNG cannot hold the place on the ground" if geo else "the format is unknown"
        raise UsageError(f"{path} cannot be written: {reason}; name a .png, .tif or .tiff file")
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    if palette is not None:
        image.putpalette(palette.tobytes())
    with write_atomically(path) as temporary:
        image.save(temporary, format="PNG")


def _write_tiff(
    path: Path,
    bands: NDArray[Any],
    *,
    geo: GeoReference | None,
    nodata: float | None = None,
    palette: NDArray[np.uint8] | None = None,
    names: Sequence[str] = (),
    spacing: tuple[float, float] | None = None,
) -> None:
    """Write (C, H, W) with deflate compression, in tiles where the raster is large."""
    count, height, width = bands.shape
    profile: dict[str, Any] = {"driver": "GTiff", "dtype": bands.dtype.name, "compress": "deflate"}
    profile |= {"count": count, "height": height, "width": width}
    profile["predictor"] = 3 if bands.dtype.kind == "f" else 2
    if min(height, width) >= 512:
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    if palette is not None:
        profile |= {"photometric": "palette", "predictor": 1}
    elif count == 3 and not names and bands.dtype == np.uint8:
        profile["photometric"] = "rgb"
    with open_gdal() as rasterio, write_atomically(path) as temporary:
        if geo is not None:
            profile |= {"crs": geo.crs, "transform": rasterio.Affine(*geo.transform)}
        if nodata is not None:
            profile["nodata"] = nodata
        with rasterio.open(temporary.resolve(), "w", **profile) as dataset:
            dataset.write(bands)
            if palette is not None:
                table = {index: tuple(map(int, row)) for index, row in enumerate(palette)}
                dataset.write_colormap(1, table)
            for index, name in enumerate(names[:count], start=1):
                dataset.set_band_description(index, name)
            if spacing is not None:
                down, across = spacing
                dataset.update_tags(
                    TIFFTAG_RESOLUTIONUNIT="3",
                    TIFFTAG_XRESOLUTION=repr(10 / across),
                    TIFFTAG_YRESOLUTION=repr(10 / down),
                )
