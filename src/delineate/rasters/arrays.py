"""Read NumPy's .npy and .npz files, never running code from them (no pickle)."""

from __future__ import annotations

import math
import zipfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from delineate.errors import UnreadableFileError
from delineate.rasters.raster import Header, Raster
from delineate.rasters.refusals import (
    DECODING_ERRORS,
    MAX_CHANNELS,
    MAX_RASTER_BYTES,
    check_bytes,
    damaged,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray


def read_array(path: Path, kind: str) -> Raster:
    """Read an array (H, W) or (H, W, C); booleans become 0 and 255, half floats floats.

    Raises:
        UnreadableFileError: If it is damaged, too large, holds objects or is no image.
    """
    with _open(path, kind) as file:
        size, num_channels, _ = _read_shape(file, path)
        file.seek(0)
        pixels = np.lib.format.read_array(file, allow_pickle=False)
    return Raster(_plain(pixels).reshape(*size, num_channels))


def read_array_header(path: Path, kind: str) -> Header:
    """Return the size of an array, without reading its values.

    Raises:
        UnreadableFileError: As `read_array`, as far as the header tells.
    """
    with _open(path, kind) as file:
        return Header(_read_shape(file, path)[0])


@contextmanager
def _open(path: Path, kind: str) -> Iterator[IO[bytes]]:
    """Give the stream of the only array of a file."""
    try:
        if kind == "npy":
            with path.open("rb") as file:
                yield file
            return
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            if len(names) != 1:
                listed = ", ".join(name.removesuffix(".npy") for name in names[:8]) or "none"
                raise UnreadableFileError(
                    f"{path} holds {len(names)} arrays ({listed}) and an image is one; save it "
                    "alone"
                )
            with _open_member(archive, names[0], path) as file:
                yield file
    except (zipfile.BadZipFile, *DECODING_ERRORS) as error:
        raise damaged(path, error) from error


def _open_member(archive: zipfile.ZipFile, name: str, path: Path) -> IO[bytes]:
    try:
        return archive.open(name)
    except RuntimeError as error:
        # Encrypted, or packed in a way that the library does not know.
        raise UnreadableFileError(
            f"{path} holds {name} so that it cannot be unpacked ({error}); save it by numpy.savez"
        ) from error


def _read_shape(file: IO[bytes], path: Path) -> tuple[tuple[int, int], int, np.dtype[Any]]:
    """Return (height, width), channels and type from a header, if they make an image."""
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise UnreadableFileError(
            f"{path} is of NumPy's format {version[0]}.{version[1]}, which is not read; save it "
            "as a plain array of numbers"
        )
    try:
        shape, _, dtype = read_header(file)
    except (RecursionError, MemoryError) as error:
        # Python's parser, which numpy gives the header to, raises these where it nests too deeply.
        raise damaged(path, error) from error
    if dtype.kind not in "biuf":
        raise UnreadableFileError(
            f"{path} holds {dtype} and an image is whole or floating-point numbers; save it as such"
        )
    num_channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or min(shape) < 1 or num_channels > MAX_CHANNELS:
        raise UnreadableFileError(
            f"{path} has the shape {shape} and an image is (height, width) or (height, width, "
            f"channels) with at most {MAX_CHANNELS} channels; save it so"
        )
    if len(shape) == 3 and shape[0] <= 4 < num_channels and shape[1] > num_channels // 2:
        raise UnreadableFileError(
            f"{path} has the shape {shape}, whose channels seem to come first; save it as "
            "(height, width, channels)"
        )
    check_bytes(path, math.prod(shape) * dtype.itemsize, "the whole", MAX_RASTER_BYTES)
    return (shape[0], shape[1]), num_channels, dtype


def _plain(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return a C-ordered array in this machine's byte order, of a type that TIFF has too."""
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.float16:
        return pixels.astype(np.float32)
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
