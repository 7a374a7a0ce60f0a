"""Look at single files: decode, measure, keep a record.

These functions run in worker processes; they take a `Job` and never raise for a bad file, whose
record says what is wrong with it instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np

from delineate.data.discovery import relative_path
from delineate.data.doctor.content import measure_content
from delineate.data.doctor.records import (
    THUMBNAIL,
    ChannelRecord,
    Depth,
    FileRecord,
    ImageRecord,
    MaskRecord,
    PairRecord,
)
from delineate.data.inventory import Sample
from delineate.data.mask_decoder import MaskDecoder
from delineate.data.mask_tally import tally_mask
from delineate.errors import DataError
from delineate.files import digest_file
from delineate.pictures import to_rgb
from delineate.rasters import Raster, apply_palette, read_header, read_raster

if TYPE_CHECKING:
    from numpy.typing import NDArray

Record = TypeVar("Record", ImageRecord, MaskRecord)

MAX_SAMPLED = 4_000_000
"""Pixels of a channel from which the mean and the deviation are taken, at most about this many."""


MAX_COUNTED = 1 << 22
"""Pixels that are counted at a time; float32 counts to 2^24 without a gap."""

MAX_SHRUNK = 2048
"""Rows or columns of an image that its thumbnail is averaged from, at most about twice this."""


@dataclass(frozen=True)
class MaskJob:
    """A mask to look at."""

    path: Path
    root: Path
    is_multilabel: bool
    depth: Depth = "pixels"


@dataclass(frozen=True)
class ImageJob:
    """An image to look at, with its masks where their meaning is known."""

    sample: Sample
    root: Path
    masks: tuple[MaskRecord, ...]
    decoder: MaskDecoder | None
    depth: Depth = "pixels"


def look_at_mask(job: MaskJob) -> MaskRecord:
    """Decode a mask and count what it holds."""
    record = MaskRecord(**vars(_look_at_file(job.path, job.root, job.depth)))
    if record.error:
        return record
    try:
        raster = read_raster(job.path)
        record = _describe(record, raster)
        tally = tally_mask(raster, job.path, is_multilabel=job.is_multilabel)
    except DataError as error:
        return replace(record, error=str(error))
    except MemoryError:
        return replace(record, error=_too_large(job.path))
    return replace(record, tally=tally, geo=raster.geo)


def look_at_image(job: ImageJob) -> PairRecord:
    """Decode an image, measure it, and compare it with its masks."""
    sample = job.sample
    record = ImageRecord(**vars(_look_at_file(sample.image, job.root, job.depth)))
    if record.error or job.depth != "pixels":
        return PairRecord(sample, record, job.masks)
    try:
        raster = read_raster(sample.image)
        pixels = raster.pixels if raster.palette is None else apply_palette(raster, sample.image)
        record = _measure(_describe(record, raster), raster, pixels)
    except DataError as error:
        return PairRecord(sample, replace(record, error=str(error)), job.masks)
    except MemoryError:
        return PairRecord(sample, replace(record, error=_too_large(sample.image)), job.masks)
    content = None
    if job.decoder is not None and sample.masks and not any(mask.error for mask in job.masks):
        try:
            target = job.decoder.decode(sample.masks, size=pixels.shape[:2])
        except DataError:
            pass  # the size is a finding of its own, and so are codes without a meaning
        else:
            content = measure_content(pixels, target, job.decoder.task)
    return PairRecord(sample, record, job.masks, content)


def crashed_mask(job: MaskJob, what: str) -> MaskRecord:
    """Return the record of a mask that brought its worker down."""
    return MaskRecord(relative_path(job.path, job.root), error=f"{job.path}: {what}")


def crashed_image(job: ImageJob, what: str) -> PairRecord:
    """Return the record of an image that brought its worker down."""
    path = job.sample.image
    record = ImageRecord(relative_path(path, job.root), error=f"{path}: {what}")
    return PairRecord(job.sample, record, job.masks)


def _too_large(path: Path) -> str:
    return f"{path} does not fit into the memory; cut it up, or take it out"


def _look_at_file(path: Path, root: Path, depth: Depth) -> FileRecord:
    """Return what is known before the pixels are decoded."""
    record = FileRecord(relative_path(path, root))
    try:
        status = path.stat()
        record = replace(
            record,
            num_bytes=status.st_size,
            modified=status.st_mtime_ns,
            digest="" if depth == "headers" else digest_file(path),
        )
        header = read_header(path)
    except OSError as error:
        return replace(record, error=f"{path} cannot be opened: {error.strerror}")
    except DataError as error:
        return replace(record, error=str(error))
    return replace(record, size=header.size, orientation=header.orientation)


def _describe(record: Record, raster: Raster) -> Record:
    """Return an image's or mask's record with what the decoded file is."""
    height, width, num_channels = raster.pixels.shape
    return replace(
        record,
        size=(height, width),
        num_channels=num_channels if raster.palette is None else 3,
        dtype=raster.pixels.dtype.name,
        has_palette=raster.palette is not None,
    )


def _measure(record: ImageRecord, raster: Raster, pixels: NDArray[Any]) -> ImageRecord:
    if pixels.dtype.kind not in "buif" or not pixels.size:
        raise DataError(
            f"{record.path} holds {pixels.dtype} of shape {pixels.shape} and an image holds "
            "numbers; write it again, or take it out"
        )
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    usable: NDArray[np.bool_] | None = None
    num_nan = num_nodata = 0
    if raster.nodata is not None:
        usable = np.asarray((raster.pixels != raster.nodata).any(axis=2))
        num_nodata = int(usable.size - usable.sum())
    if pixels.dtype.kind == "f":
        finite = np.isfinite(pixels).all(axis=2)
        num_nan = int(finite.size - finite.sum())
        usable = finite if usable is None else usable & finite
    if usable is not None and usable.all():
        usable = None
    channels = tuple(
        measure_channel(pixels[..., channel], usable) for channel in range(pixels.shape[2])
    )
    return replace(
        record,
        pixel_digest=digest.hexdigest(),
        channels=tuple(channel for channel in channels if channel is not None),
        num_nan=num_nan,
        num_nodata=num_nodata,
        nodata=raster.nodata,
        geo=raster.geo,
        thumbnail=_shrink(pixels),
    )


def measure_channel(
    values: NDArray[Any], usable: NDArray[np.bool_] | None = None
) -> ChannelRecord | None:
    """Return what one channel, (H, W), holds where it is `usable`; None if it is so nowhere."""
    if values.dtype in (np.uint8, np.uint16):
        return _measure_histogram(_count_values(values, usable))
    flat = values.ravel() if usable is None else values[usable]
    if not flat.size:
        return None
    low, high = flat.min(), flat.max()
    sampled = flat[:: max(1, flat.size // MAX_SAMPLED)].astype(np.float64)
    return ChannelRecord(
        low=float(low),
        high=float(high),
        mean=float(sampled.mean()),
        deviation=float(sampled.std()),
        share_at_low=float((flat == low).mean()),
        share_at_high=float((flat == high).mean()),
    )


def _count_values(values: NDArray[Any], usable: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Return how many pixels have each value, by strips, as OpenCV counts in float32."""
    size = int(np.iinfo(values.dtype).max) + 1
    counts = np.zeros(size, np.int64)
    num_rows = max(1, MAX_COUNTED // max(1, values.shape[1]))
    for start in range(0, len(values), num_rows):
        strip = np.ascontiguousarray(values[start : start + num_rows])
        mask = None if usable is None else usable[start : start + num_rows].astype(np.uint8)
        counts += cv2.calcHist([strip], [0], mask, [size], [0, size]).ravel().astype(np.int64)
    return counts


def _measure_histogram(counts: NDArray[np.int64]) -> ChannelRecord | None:
    total = int(counts.sum())
    if not total:
        return None
    levels = np.flatnonzero(counts)
    shares = counts[levels] / total
    mean = float((levels * shares).sum())
    return ChannelRecord(
        low=float(levels[0]),
        high=float(levels[-1]),
        mean=mean,
        deviation=float(np.sqrt(((levels - mean) ** 2 * shares).sum())),
        share_at_low=float(shares[0]),
        share_at_high=float(shares[-1]),
    )


def _shrink(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the thumbnail: grey, (THUMBNAIL, THUMBNAIL), from black to white."""
    step = max(1, min(pixels.shape[:2]) // MAX_SHRUNK)
    squeezed = cv2.resize(
        to_rgb(pixels[::step, ::step]), (4 * THUMBNAIL, 4 * THUMBNAIL), interpolation=cv2.INTER_AREA
    )
    grey = np.asarray(
        cv2.resize(squeezed, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.float32
    ).mean(axis=-1)
    low, high = float(grey.min()), float(grey.max())
    stretched = np.rint((grey - low) * (255 / max(high - low, 1e-6))).clip(0, 255)
    return np.asarray(stretched, dtype=np.uint8)
