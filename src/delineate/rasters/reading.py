"""Read a file of any format that is known, whole or its header alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from delineate.errors import UnreadableFileError
from delineate.rasters.arrays import read_array, read_array_header
from delineate.rasters.bitmaps import read_bitmap, read_bitmap_header
from delineate.rasters.formats import format_of, sniff
from delineate.rasters.nifti import read_nifti, read_nifti_header
from delineate.rasters.raster import Header, Raster, apply_palette
from delineate.rasters.refusals import MAX_PIXELS
from delineate.rasters.stack import Stack
from delineate.rasters.tiff import read_tiff, read_tiff_header, read_tiff_stack

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """Read an image, (H, W, C), in its own type; palettes become RGB, bilevel files 0 and 255.

    The orientation of EXIF is applied. See `read_raster` for what is refused.

    Raises:
        UnreadableFileError: If the file is missing, damaged, too large or of a foreign format.
    """
    raster = read_raster(path, max_pixels=max_pixels)
    return raster.pixels if raster.palette is None else apply_palette(raster, path)


def read_raster(path: Path, *, max_pixels: int = MAX_PIXELS) -> Raster:
    """Read a file whole, with its palette, place on the ground, nodata value and spacing.

    The orientation of EXIF (for TIFF: its orientation tag, where the file is not georeferenced) is
    applied; values outside 1 to 8 count as 1, upright. 16-bit PNG keeps its 16 bits.

    Args:
        path: PNG, JPEG, BMP, GIF (its first picture), WebP, PNM, TIFF of one picture, NIfTI of one
            slice, .npy, or .npz of one array.
        max_pixels: Larger files that are PNG, JPEG, BMP, GIF, WebP or PNM are refused before they
            are decoded.

    Raises:
        UnreadableFileError: If the file is missing, truncated, damaged, larger than `max_pixels`
            (TIFF, NIfTI, NumPy: `MAX_RASTER_BYTES`), a stack, or of a format that is not read.
        UsageError: If it is NIfTI and nibabel is not installed.
    """
    kind = sniff(path)
    if kind == "tiff":
        return read_tiff(path)
    if kind == "nifti":
        return read_nifti(path).only_page(path)
    if kind in ("npy", "npz"):
        return read_array(path, kind)
    return read_bitmap(path, kind, max_pixels)


def read_embedded(content: bytes, where: Path, *, max_pixels: int = MAX_PIXELS) -> Raster:
    """Read a picture that another file holds: PNG, JPEG, BMP, GIF, WebP or PNM.

    Args:
        content: The bytes of the picture.
        where: The file that holds it, for messages.
        max_pixels: As in `read_raster`.

    Raises:
        UnreadableFileError: If it is damaged, too large or of another format.
    """
    kind = format_of(content)
    if kind in (None, "tiff", "npy", "npz"):
        raise UnreadableFileError(
            f"{where} holds a picture that begins with {content[:8]!r}, which is no PNG or JPEG; "
            "save the file again"
        )
    return read_bitmap(where, str(kind), max_pixels, content)


def read_stack(path: Path, *, plane: str | None = None, max_pixels: int = MAX_PIXELS) -> Stack:
    """Read all pictures of a volume or of a TIFF of several pages; other files hold one.

    Args:
        path: Any file that `read_raster` reads, and NIfTI and TIFF of several pictures.
        plane: How a volume is sliced: `axial`, `coronal` or `sagittal`; None slices it across its
            widest spacing.
        max_pixels: As in `read_raster`.

    Raises:
        UnreadableFileError: As `read_raster`, except for stacks.
        UsageError: If it is NIfTI and nibabel is not installed.
    """
    kind = sniff(path)
    if kind == "nifti":
        return read_nifti(path, plane)
    if kind == "tiff" and read_tiff_header(path).num_pages > 1:
        return read_tiff_stack(path)
    raster = read_raster(path, max_pixels=max_pixels)
    pixels = raster.pixels if raster.palette is None else apply_palette(raster, path)
    return Stack(pixels[None])


def read_header(path: Path, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Return size, orientation and number of pages from what stands before the pixels.

    Raises:
        UnreadableFileError: As `read_raster`, as far as the header tells.
        UsageError: If it is NIfTI and nibabel is not installed.
    """
    kind = sniff(path)
    if kind == "tiff":
        return read_tiff_header(path)
    if kind == "nifti":
        return read_nifti_header(path)
    if kind in ("npy", "npz"):
        return read_array_header(path, kind)
    return read_bitmap_header(path, kind, max_pixels)


def read_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (height, width) of an image from its header, after the orientation of EXIF.

    Raises:
        UnreadableFileError: As `read_raster`, as far as the header tells.
        UsageError: If it is NIfTI and nibabel is not installed.
    """
    return read_header(path, max_pixels=max_pixels).size
