"""Take the EXIF orientation off a JPEG without touching its pixels."""

from __future__ import annotations

import struct

_START_OF_SCAN = 0xDA
_APP1 = 0xE1
_EXIF = b"Exif\x00\x00"
_ORIENTATION_TAG = 274


def drop_jpeg_orientation(content: bytes) -> bytes | None:
    """Return the bytes of a JPEG whose EXIF orientation says upright (CIPA DC-008, tag 274).

    The two bytes of the tag's value are overwritten, all others stay as they are.

    Returns:
        None if the bytes are no JPEG with such a tag.
    """
    if content[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker, length = content[position + 1], int.from_bytes(content[position + 2 : position + 4])
        start, end = position + 4, position + 2 + length
        if marker == _START_OF_SCAN or length < 2:
            return None
        if marker == _APP1 and content[start : start + 6] == _EXIF:
            return _overwrite(content, start + 6, min(end, len(content)))
        position = end
    return None


def _overwrite(content: bytes, start: int, end: int) -> bytes | None:
    """Overwrite the tag in the first directory of the TIFF structure between two offsets."""
    order = {b"II": "<", b"MM": ">"}.get(content[start : start + 2])
    if order is None or start + 8 > end:
        return None
    directory = start + struct.unpack_from(f"{order}I", content, start + 4)[0]
    if directory + 2 > end:
        return None
    (count,) = struct.unpack_from(f"{order}H", content, directory)
    for entry in range(directory + 2, min(directory + 2 + 12 * count, end - 11), 12):
        if struct.unpack_from(f"{order}H", content, entry)[0] == _ORIENTATION_TAG:
            value = struct.pack(f"{order}HIHH", 3, 1, 1, 0)  # SHORT, one of them: upright
            return content[: entry + 2] + value + content[entry + 12 :]
    return None
