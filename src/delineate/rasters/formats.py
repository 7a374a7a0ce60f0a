"""Tell the format of a file by its first bytes, never by its name."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from delineate.errors import UnreadableFileError
from delineate.rasters.refusals import DECODING_ERRORS

if TYPE_CHECKING:
    from pathlib import Path, PurePath

TIFF_SUFFIXES = frozenset([".tif", ".tiff"])
"""Name endings of the files that are written as TIFF."""

SUFFIXES = TIFF_SUFFIXES | {
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pbm", ".pgm", ".ppm", ".pnm"),
    *(".nii", ".nii.gz", ".npy", ".npz"),
}
"""Name endings, in lower case, of the files that are taken for images."""

_MAGIC = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpeg": (b"\xff\xd8\xff",),
    "gif": (b"GIF87a", b"GIF89a"),
    "tiff": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    "bmp": (b"BM",),
    "npy": (b"\x93NUMPY",),
    "npz": (b"PK\x03\x04",),
}
_GZIP = b"\x1f\x8b"
_NIFTI_HEADERS = ((344, b"n+1\x00"), (4, b"n+2\x00\r\n\x1a\n"))


def image_suffix(path: PurePath) -> str:
    """Return the ending of a file's name in lower case; that of `x.nii.gz` is `.nii.gz`."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def sniff(path: Path) -> str:
    """Return the format of a file: png, jpeg, gif, tiff, bmp, webp, ppm, npy, npz or nifti.

    Raises:
        UnreadableFileError: If it cannot be opened or is none of these.
    """
    try:
        with path.open("rb") as file:
            head = file.read(352)
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be opened: {error.strerror}") from error
    kind = format_of(head)
    if kind is not None:
        return kind
    if _is_nifti(path, head):
        return "nifti"
    if b"<VRTDataset" in head:
        raise UnreadableFileError(
            f"{path} is a VRT, which may name any other file; where its GeoTIFFs are meant, give "
            "it to predict with --vrt"
        )
    what = "is empty" if not head else f"begins with {head[:8]!r}"
    raise UnreadableFileError(
        f"{path} {what}, which is no image format that is read; convert it to PNG, JPEG or TIFF"
    )


def format_of(head: bytes) -> str | None:
    """Return the format of a file that begins so; None where it is none but may be NIfTI."""
    for kind, magic in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "ppm"
    return None


def _is_nifti(path: Path, head: bytes) -> bool:
    if head.startswith(_GZIP):
        try:
            with gzip.open(path) as file:
                head = file.read(352)
        except DECODING_ERRORS:
            return False
    return any(head[start : start + len(magic)] == magic for start, magic in _NIFTI_HEADERS)
