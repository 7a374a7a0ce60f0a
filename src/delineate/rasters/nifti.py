"""Read NIfTI volumes as axial, coronal or sagittal pictures, in millimetres.

All volumes are brought into the same orientation first (RAS+, the nearest one without resampling),
so that the pictures of one data set agree however its scanners wrote them. Axial pictures are shown
as radiologists do: the front of the body up, its right side at the left.
https://nifti.nimh.nih.gov/nifti-1
"""

from __future__ import annotations

import gzip
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import UnreadableFileError, UsageError
from delineate.rasters.raster import Header
from delineate.rasters.refusals import DECODING_ERRORS, MAX_RASTER_BYTES, check_bytes, damaged
from delineate.rasters.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Plane -> the axis of a volume in RAS+ that counts its pictures."""

_PICTURE_AXES = {0: (2, 1), 1: (2, 0), 2: (1, 0)}
"""Axis that counts pictures -> the axes of their rows and columns, both run backwards."""


def read_nifti(path: Path, plane: str | None = None) -> Stack:
    """Read a volume whole, (N, H, W, C); what axes past the third hold are channels.

    Args:
        path: A .nii or .nii.gz file.
        plane: Of `PLANES`; None takes the one across the axis of a single slice, else of the
            widest spacing, and axial where all are alike.

    Raises:
        UnreadableFileError: If it is damaged, larger than `MAX_RASTER_BYTES` or no image.
        UsageError: If nibabel is not installed.
    """
    import nibabel

    with _open(path) as image:
        values = _values(image, path)
        orientation = nibabel.orientations.io_orientation(image.affine)
        if np.isnan(orientation).any():
            raise UnreadableFileError(
                f"{path} does not say which way its axes run (its affine is singular); write its "
                "affine anew"
            )
        zooms = _zooms(image)
        affine = image.affine @ nibabel.orientations.inv_ornt_aff(orientation, values.shape[:3])
    volume = nibabel.orientations.apply_orientation(values, orientation)
    turned = [1.0, 1.0, 1.0]
    for old, new in enumerate(orientation[:, 0].astype(int)):
        turned[new] = zooms[old]
    axis = _choose_axis(volume.shape, turned, plane)
    rows, columns = _PICTURE_AXES[axis]
    pixels = volume.transpose(axis, rows, columns, 3)[:, ::-1, ::-1]
    return Stack(
        np.ascontiguousarray(pixels),
        (turned[axis], turned[rows], turned[columns]),
        grid=tuple(float(number) for number in affine[:3].ravel()),
    )


def read_nifti_header(path: Path) -> Header:
    """Return the size and number of the pictures of a volume.

    Raises:
        UnreadableFileError: As `read_nifti`, as far as the header tells.
        UsageError: If nibabel is not installed.
    """
    import nibabel

    with _open(path) as image:
        shape = _shape(image, path)
        orientation = nibabel.orientations.io_orientation(image.affine)
        zooms = _zooms(image)
    if np.isnan(orientation).any():
        return Header(shape[:2], num_pages=shape[2])
    lengths, turned = [1, 1, 1], [1.0, 1.0, 1.0]
    for old, new in enumerate(orientation[:, 0].astype(int)):
        lengths[new], turned[new] = shape[old], zooms[old]
    axis = _choose_axis(tuple(lengths), turned, None)
    rows, columns = _PICTURE_AXES[axis]
    return Header(
        (lengths[rows], lengths[columns]),
        num_pages=lengths[axis],
        spacing=(turned[rows], turned[columns]),
    )


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Give the image of nibabel, of which only the header is read so far."""
    try:
        from nibabel.filebasedimages import ImageFileError
        from nibabel.nifti1 import Nifti1Image
        from nibabel.nifti2 import Nifti2Image
        from nibabel.spatialimages import HeaderDataError
    except ImportError as error:
        raise UsageError(
            f"{path} is NIfTI, which needs nibabel; run pip install 'delineate[medical]'"
        ) from error
    try:
        with path.open("rb") as plain:
            is_packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            stream: Any = gzip.GzipFile(fileobj=plain) if is_packed else plain
            version = int.from_bytes(stream.read(4), "little")
            stream.seek(0)
            is_second = 540 in (version, int.from_bytes(version.to_bytes(4, "big"), "little"))
            yield (Nifti2Image if is_second else Nifti1Image).from_stream(stream)
    except (ImageFileError, HeaderDataError, *DECODING_ERRORS) as error:
        raise damaged(path, error) from error


def _shape(image: Any, path: Path) -> tuple[int, int, int, int]:
    """Return (X, Y, Z, C), after it was found sane."""
    shape = tuple(int(length) for length in image.shape)
    dtype = image.get_data_dtype()
    if not shape or min(shape) < 1 or len(shape) > 7:
        raise UnreadableFileError(f"{path} has the shape {shape}, which holds nothing; replace it")
    is_colour = dtype.names is not None and len(dtype.names) in (3, 4)
    if dtype.kind not in "iuf" and not is_colour:
        raise UnreadableFileError(
            f"{path} holds {dtype} and an image is whole or floating-point numbers; save it as such"
        )
    check_bytes(path, math.prod(shape) * max(dtype.itemsize, 4), "the whole", MAX_RASTER_BYTES)
    spatial = (*shape[:3], 1, 1, 1)[:3]
    num_channels = math.prod(shape[3:]) * (len(dtype.names) if dtype.names else 1)
    return (spatial[0], spatial[1], spatial[2], num_channels)


def _values(image: Any, path: Path) -> NDArray[Any]:
    """Return (X, Y, Z, C): whole numbers as they are stored unless the header scales them."""
    shape = _shape(image, path)
    stored = image.dataobj.get_unscaled()
    if stored.dtype.names is not None:
        stored = np.stack([stored[name] for name in stored.dtype.names], axis=-1)
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    if (slope, intercept) != (1, 0):
        stored = (stored * slope + intercept).astype(np.float32)
    plain = np.asarray(stored, stored.dtype.newbyteorder("="))
    return plain.reshape(shape)


def _zooms(image: Any) -> tuple[float, float, float]:
    """Return millimetres between voxels; 1 where the header holds nonsense."""
    zooms = [abs(float(zoom)) for zoom in image.header.get_zooms()[:3]]
    unit = {"meter": 1000.0, "micron": 0.001}.get(image.header.get_xyzt_units()[0], 1.0)
    sound = [zoom * unit if math.isfinite(zoom) and zoom > 0 else 1.0 for zoom in zooms]
    first, second, third = (*sound, 1.0, 1.0, 1.0)[:3]
    return first, second, third


def _choose_axis(shape: Sequence[int], zooms: Sequence[float], plane: str | None) -> int:
    if plane is not None:
        return PLANES[plane]
    flat = [axis for axis in (2, 1, 0) if shape[axis] == 1]
    widest = max(zooms)
    # Spacings that differ by rounding alone count as alike.
    wide = [axis for axis in (2, 1, 0) if zooms[axis] > 0.99 * widest]
    return (flat or wide)[0]
