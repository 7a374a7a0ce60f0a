"""Read and write images, masks and probabilities: the only place that decodes files.

The format is told by a file's first bytes, never by its name. PNG, JPEG, BMP, GIF, WebP and PNM go
through Pillow, which refuses truncated files; TIFF goes through GDAL with its GTiff driver alone,
so that no file makes the program read another one or open a connection. Sidecar files (`.aux.xml`,
`.tfw`, `.ovr`) are not read.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ShapeError, UnreadableFileError, UsageError
from delineate.files import write_atomically
from delineate.task import IGNORE_INDEX, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import ImageFile

TIFF_SUFFIXES = frozenset([".tif", ".tiff"])
"""Name endings of the files that are written as TIFF."""

SUFFIXES = TIFF_SUFFIXES | {
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pbm", ".pgm", ".ppm", ".pnm")
}
"""Name endings, in lower case, of the files that are taken for images."""

MAX_PIXELS = 100_000_000
"""Largest height x width of a PNG, JPEG, BMP, GIF, WebP or PNM file that is decoded."""

MAX_RASTER_BYTES = 8 * 2**30
"""Largest decoded size of a TIFF that is read whole."""

MAX_BLOCK_BYTES = 2**30
"""Largest decoded size of one tile or strip of a TIFF."""

_MAGIC = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpeg": (b"\xff\xd8\xff",),
    "gif": (b"GIF87a", b"GIF89a"),
    "tiff": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    "bmp": (b"BM",),
}
_ORIENTATION_TAG = 274
_DECODING_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError),
    *(struct.error, zlib.error),
)


@dataclass(frozen=True)
class GeoReference:
    """Where the pixels of a raster lie on the ground."""

    crs: str | None
    """Coordinate reference system as WKT; None where the file names none."""
    transform: tuple[float, float, float, float, float, float]
    """Affine map (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f."""


@dataclass(frozen=True)
class Raster:
    """A decoded file."""

    pixels: NDArray[Any]
    """(H, W, C) in the file's own type; palette files hold their indices, (H, W, 1)."""
    palette: NDArray[np.uint8] | None = None
    """Colours of a palette file, (N, 3)."""
    geo: GeoReference | None = None
    """Place on the ground, where the file gives one."""
    nodata: float | None = None
    """Value of pixels that hold nothing, where the file gives one."""


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """Read an image, (H, W, C), in its own type; palettes become RGB, bilevel files 0 and 255.

    The orientation of EXIF is applied. See `read_raster` for what is refused.

    Raises:
        UnreadableFileError: If the file is missing, damaged, too large or of a foreign format.
    """
    raster = read_raster(path, max_pixels=max_pixels)
    return raster.pixels if raster.palette is None else apply_palette(raster, path)


def apply_palette(raster: Raster, path: Path) -> NDArray[np.uint8]:
    """Return the colours of a palette file, (H, W, 3).

    Raises:
        UnreadableFileError: If an index lies beyond the palette.
    """
    palette = np.zeros((0, 3), np.uint8) if raster.palette is None else raster.palette
    highest = int(raster.pixels.max(initial=0))
    if highest >= len(palette):
        raise UnreadableFileError(
            f"{path} holds the palette index {highest} but its palette has {len(palette)} colours; "
            "write the file again with a whole palette"
        )
    return np.take(palette, raster.pixels[..., 0], axis=0)


def read_raster(path: Path, *, max_pixels: int = MAX_PIXELS) -> Raster:
    """Read a file whole, with its palette, place on the ground and nodata value.

    The orientation of EXIF (for TIFF: its orientation tag, where the file is not georeferenced) is
    applied; values outside 1 to 8 count as 1, upright. 16-bit PNG keeps its 16 bits.

    Args:
        path: PNG, JPEG, BMP, GIF (its first picture), WebP, PNM or TIFF.
        max_pixels: Larger files that are not TIFF are refused before they are decoded.

    Raises:
        UnreadableFileError: If the file is missing, truncated, damaged, larger than `max_pixels`
            (TIFF: `MAX_RASTER_BYTES`) or of a format that is not read.
    """
    kind = _sniff(path)
    if kind == "tiff":
        return _read_tiff(path)
    with _open_picture(path, kind, max_pixels) as picture:
        orientation = _orientation(picture)
        pixels, palette = _decode_picture(picture, path, kind)
    return Raster(np.ascontiguousarray(_upright(pixels, orientation)), palette)


def read_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (height, width) from the header, after the orientation of EXIF.

    Raises:
        UnreadableFileError: As `read_raster`, as far as the header tells.
    """
    kind = _sniff(path)
    if kind == "tiff":
        with _open_tiff(path) as dataset:
            height, width = dataset.shape
            orientation = _tiff_orientation(dataset, path)
    else:
        with _open_picture(path, kind, max_pixels) as picture:
            width, height = picture.size
            orientation = _orientation(picture)
    return (width, height) if orientation >= 5 else (height, width)


def _sniff(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be opened: {error.strerror}") from error
    for kind, magic in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "ppm"
    what = "is empty" if not head else f"begins with {head[:8]!r}"
    raise UnreadableFileError(
        f"{path} {what}, which is no image format that is read; convert it to PNG, JPEG or TIFF"
    )


@contextmanager
def _open_picture(path: Path, kind: str, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open as the one format; `Image.open` would warn at a limit of its own."""
    from PIL import Image

    Image.init()
    try:
        with path.open("rb") as file:
            picture = Image.OPEN[kind.upper()][0](file, path.name)
            width, height = picture.size
            if width * height > max_pixels:
                raise UnreadableFileError(
                    f"{path} is {height}x{width} pixels and files of this format are read up to "
                    f"{max_pixels} pixels; convert it to TIFF or cut it up"
                )
            yield picture
    except _DECODING_ERRORS as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UnreadableFileError:
    reason = " ".join(str(error).replace(str(path), "").split()) or type(error).__name__
    return UnreadableFileError(
        f"{path} is truncated or damaged ({reason}); replace it or take it out"
    )


def _orientation(picture: ImageFile.ImageFile) -> int:
    """Return 1 to 8 from what stands before the pixels; unreadable EXIF counts as upright."""
    if "exif" not in picture.info and picture.format == "PNG":
        return 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            value = picture.getexif().get(_ORIENTATION_TAG, 1)
        except _DECODING_ERRORS:
            return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation (CIPA DC-008, tag 274) on (H, W, C)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _decode_picture(
    picture: ImageFile.ImageFile, path: Path, kind: str
) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Return pixels (H, W, C) and the palette of palette files."""
    if kind == "png" and any("16B" in str(tile.args) for tile in picture.tile):
        return _decode_deep_png(picture, path), None
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


def _decode_deep_png(picture: ImageFile.ImageFile, path: Path) -> NDArray[np.uint16]:
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
    with path.open("rb") as file:
        again = type(picture)(file, path.name)
        again.tile = [tile._replace(args=raw_mode.replace("16B", "16L")) for tile in again.tile]
        pixels: NDArray[np.uint16] = upper | np.asarray(again)
    return pixels


@contextmanager
def _gdal() -> Iterator[Any]:
    """Give rasterio without sidecars, VRT Python or world files, and translate its errors."""
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
def _open_tiff(path: Path) -> Iterator[Any]:
    """Open a TIFF with the GTiff driver alone, after its header was found sane."""
    from rasterio.errors import RasterioError

    with _gdal() as rasterio:
        try:
            # An absolute path is never taken for a scheme such as `zip:` or `vrt:`.
            with rasterio.open(path.resolve(), driver="GTiff") as dataset:
                _check_tiff_size(dataset, path)
                yield dataset
        except (RasterioError, *_DECODING_ERRORS) as error:
            raise _damaged(path, error) from error


def _check_tiff_size(dataset: Any, path: Path) -> None:
    pixel_bytes = sum(np.dtype(name).itemsize for name in dataset.dtypes)
    block = max(rows * columns for rows, columns in dataset.block_shapes) * pixel_bytes
    whole = dataset.height * dataset.width * pixel_bytes
    _check_bytes(path, block, "one tile or strip", MAX_BLOCK_BYTES)
    _check_bytes(path, whole, "the whole", MAX_RASTER_BYTES)


def _check_bytes(path: Path, size: int, what: str, limit: int) -> None:
    if size > limit:
        raise UnreadableFileError(
            f"{path} needs {size / 2**30:.1f} GiB for {what} and at most {limit / 2**30:.0f} GiB "
            "are read; write it again with smaller tiles, or cut it up"
        )


def _tiff_orientation(dataset: Any, path: Path) -> int:
    if _geo_reference(dataset) is not None:
        return 1
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


def _read_tiff(path: Path) -> Raster:
    with _open_tiff(path) as dataset:
        geo = _geo_reference(dataset)
        orientation = _tiff_orientation(dataset, path)
        if dataset.subdatasets:
            pixels = _read_channel_pages(path)
        else:
            pixels = np.moveaxis(dataset.read(), 0, -1)
        palette = _tiff_palette(dataset)
        nodata = None if dataset.nodata is None else float(dataset.nodata)
    return Raster(np.ascontiguousarray(_upright(pixels, orientation)), palette, geo, nodata)


def _tiff_palette(dataset: Any) -> NDArray[np.uint8] | None:
    """Return the colour table, (N, 3)."""
    from rasterio.enums import ColorInterp

    if dataset.count != 1 or dataset.colorinterp[0] != ColorInterp.palette:
        return None
    table = dataset.colormap(1)
    return np.array([table[index][:3] for index in range(len(table))], np.uint8)


def _read_channel_pages(path: Path) -> NDArray[Any]:
    """Read a TIFF that holds one channel a page."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        if series.axes == "CYX":
            _check_bytes(path, series.nbytes, "the whole", MAX_RASTER_BYTES)
            return np.moveaxis(series.asarray(), 0, -1)
        raise UnreadableFileError(
            f"{path} is a stack of {len(file.pages)} pages (axes {series.axes}) and an image is "
            "one page or one page a channel (axes CYX); write each page to a file of its own"
        )


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
    with _gdal() as rasterio, write_atomically(path) as temporary:
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
