"""What is refused before anything is decoded, and how damage is reported."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from delineate.errors import UnreadableFileError

if TYPE_CHECKING:
    from pathlib import Path

MAX_PIXELS = 100_000_000
"""Largest height x width of a PNG, JPEG, BMP, GIF, WebP or PNM file that is decoded."""

MAX_RASTER_BYTES = 8 * 2**30
"""Largest decoded size of a TIFF, NIfTI or NumPy file that is read whole."""

MAX_BLOCK_BYTES = 2**30
"""Largest decoded size of one tile or strip of a TIFF."""

MAX_CHANNELS = 1024
"""Most bands of a TIFF or channels of an array; decoders take minutes over tens of thousands."""

DECODING_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError),
    *(struct.error, zlib.error),
)
"""What decoders raise on damaged files."""


def damaged(path: Path, error: Exception) -> UnreadableFileError:
    """Return the error for a file that its decoder gave up on."""
    reason = " ".join(str(error).replace(str(path), "").split()) or type(error).__name__
    return UnreadableFileError(
        f"{path} is truncated or damaged ({reason}); replace it or take it out"
    )


def check_bytes(path: Path, size: int, what: str, limit: int) -> None:
    """Refuse what would take too much memory.

    Args:
        path: The file, for the message.
        size: Bytes that `what` takes once it is decoded, by the header.
        what: Such as `the whole`.
        limit: Bytes that are allowed.

    Raises:
        UnreadableFileError: If `size` is larger than `limit`.
    """
    if size > limit:
        raise UnreadableFileError(
            f"{path} needs {size / 2**30:.1f} GiB for {what} and at most {limit / 2**30:.0f} GiB "
            "are read; write it again with smaller tiles, or cut it up"
        )
