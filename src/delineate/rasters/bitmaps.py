"""Read PNG, JPEG, BMP, GIF, WebP and PNM through Pillow, which refuses truncated files."""

from __future__ import annotations

import io
import warnings
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from delineate.errors import UnreadableFileError
from delineate.rasters.raster import Header, Raster, upright, upright_size
from delineate.rasters.refusals import DECODING_ERRORS, damaged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import ImageFile

ORIENTATION_TAG = 274


def read_bitmap(path: Path, kind: str, max_pixels: int, content: bytes | None = None) -> Raster:
    """Read a file of the format `kind`, the first picture of an animation.

    Args:
        path: The file; where `content` is given, what messages call it.
        kind: Its format, as `sniff` names it.
        max_pixels: Most height x width.
        content: The bytes, where another file holds them.

    Raises:
        UnreadableFileError: If it is damaged or has more than `max_pixels`.
    """
    with _open(path, kind, max_pixels, content) as picture:
        orientation = _orientation(picture)
        pixels, palette = _decode(picture, kind, path, content)
    return Raster(np.ascontiguousarray(upright(pixels, orientation)), palette)


def read_bitmap_header(path: Path, kind: str, max_pixels: int) -> Header:
    """Return what stands before the pixels.

    Raises:
        UnreadableFileError: If it is damaged or announces more than `max_pixels`.
    """
    with _open(path, kind, max_pixels) as picture:
        width, height = picture.size
        orientation = _orientation(picture)
    return Header(upright_size(height, width, orientation), orientation)


@contextmanager
def _open(
    path: Path, kind: str, max_pixels: int, content: bytes | None = None
) -> Iterator[ImageFile.ImageFile]:
    """Open as the one format; `Image.open` would warn at a limit of its own."""
    from PIL import Image

    Image.init()
    try:
        with _stream(path, content) as file:
            picture = Image.OPEN[kind.upper()][0](file, path.name)
            width, height = picture.size
            if width * height > max_pixels:
                raise UnreadableFileError(
                    f"{path} is {height}x{width} pixels and files of this format are read up to "
                    f"{max_pixels} pixels; convert it to TIFF or cut it up"
                )
            yield picture
    except DECODING_ERRORS as error:
        raise damaged(path, error) from error


def _stream(path: Path, content: bytes | None) -> IO[bytes]:
    return path.open("rb") if content is None else io.BytesIO(content)


def _orientation(picture: ImageFile.ImageFile) -> int:
    """Return what stands before the pixels: 1 to 8, 0 for nonsense, 1 for EXIF that is damaged."""
    if "exif" not in picture.info and picture.format == "PNG":
        return 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            value = picture.getexif().get(ORIENTATION_TAG, 1)
        except DECODING_ERRORS:
            return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 0


def _decode(
    picture: ImageFile.ImageFile, kind: str, path: Path, content: bytes | None
) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Return pixels (H, W, C) and the palette of palette files."""
    if kind == "png" and any("16B" in str(tile.args) for tile in picture.tile):
        return _decode_deep_png(picture, path, content), None
    picture.load()
    if picture.mode == "P":
        palette = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        return np.asarray(picture)[..., None], palette
    if picture.mode == "I":
        return np.asarray(picture).astype(np.uint16)[..., None], None
    wanted = {"1": "L", "CMYK": "RGB", "YCbCr": "RGB", "PA": "RGBA"}
    if picture.mode in wanted:
        pixels = np.asarray(picture.convert(wanted[picture.mode]))
    else:
        pixels = np.asarray(picture)
    return pixels.reshape(*pixels.shape[:2], -1), None


def _decode_deep_png(
    picture: ImageFile.ImageFile, path: Path, content: bytes | None
) -> NDArray[np.uint16]:
    """Decode a 16-bit PNG.

    Pillow keeps the upper byte of colour samples only, so these are decoded twice: unpacking big
    as little endian yields the lower byte.
    """
    raw_mode = str(picture.tile[0].args)
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.uint16)[..., None]
    if raw_mode not in ("RGB;16B", "RGBA;16B"):
        raise UnreadableFileError(
            f"{path} is a 16-bit PNG of grey with alpha, which is not read; convert it to TIFF "
            "or take its alpha channel off"
        )
    upper = np.asarray(picture).astype(np.uint16) << 8
    with _stream(path, content) as file:
        again = type(picture)(file, path.name)
        again.tile = [tile._replace(args=raw_mode.replace("16B", "16L")) for tile in again.tile]
        pixels: NDArray[np.uint16] = upper | np.asarray(again)
    return pixels
