"""The repairs of `--fix` on decoded files: pixels in, pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.data.doctor.findings import (
    BinarizeMask,
    ConvertImage,
    DropOrientation,
    InvertMask,
    RecodeMask,
    Remedy,
    Reorient,
    ResizeMask,
)
from delineate.data.mask_decoder import read_codes
from delineate.errors import DataError
from delineate.morphology import label_components, nearest_inside
from delineate.rasters import Raster, apply_palette, upright

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task

SHAPING = (Reorient, DropOrientation, ResizeMask, ConvertImage)
"""The repairs that say where pixels lie, in the order in which they are done."""

_ORDER: tuple[type[Remedy], ...] = (*SHAPING, RecodeMask, BinarizeMask, InvertMask)

_MAX_PASSES = 5


def repair_pixels(
    raster: Raster, remedies: Sequence[Remedy], path: Path, orientation: int
) -> Raster:
    """Return a decoded file after its repairs.

    Args:
        raster: The file, upright as EXIF has it.
        remedies: All but `RemoveSpecks`, which `remove_specks` does, and those that drop files.
        path: Its name, for messages.
        orientation: What its EXIF says, 0 to 8.

    Raises:
        DataError: If a repair does not fit what the file holds.
    """
    for remedy in sorted(remedies, key=lambda remedy: _ORDER.index(type(remedy))):
        raster = _repair(raster, remedy, path, orientation)
    return raster


def _repair(raster: Raster, remedy: Remedy, path: Path, orientation: int) -> Raster:
    if isinstance(remedy, DropOrientation):
        return replace(raster, pixels=_as_stored(raster.pixels, orientation))
    if isinstance(remedy, ResizeMask):
        return replace(raster, pixels=_resize(raster.pixels, remedy))
    if isinstance(remedy, ConvertImage):
        return _convert(raster, remedy.num_channels, path)
    if isinstance(remedy, RecodeMask):
        return _recode(raster, remedy, path)
    if isinstance(remedy, BinarizeMask):
        codes = read_codes(raster, path, "grey", mean=True)
        return _grey(raster, (codes >= remedy.threshold).astype(np.uint8) * np.uint8(255))
    if isinstance(remedy, InvertMask):
        return replace(raster, pixels=_swap(raster.pixels, path))
    return raster


def _as_stored(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo what reading did; a quarter turn is undone by the opposite one."""
    return np.ascontiguousarray(upright(pixels, {6: 8, 8: 6}.get(orientation, orientation)))


def _resize(pixels: NDArray[Any], remedy: ResizeMask) -> NDArray[Any]:
    height, width = remedy.size
    cut = pixels[:height, :width]
    missing = ((0, height - cut.shape[0]), (0, width - cut.shape[1]), (0, 0))
    if remedy.fill is None:
        return np.pad(cut, missing, mode="edge")
    return np.pad(cut, missing, constant_values=remedy.fill)


def _convert(raster: Raster, num_channels: int, path: Path) -> Raster:
    pixels = raster.pixels if raster.palette is None else apply_palette(raster, path)
    has = pixels.shape[2]
    if has in (2, 4) and num_channels in (1, 3):
        pixels = pixels[..., : has - 1]
    if pixels.shape[2] == 1 and num_channels in (3, 4):
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 3 and num_channels == 1:
        # The luma of BT.601, as everywhere where colour becomes grey.
        grey = pixels @ np.array([0.299, 0.587, 0.114])
        pixels = (np.rint(grey) if pixels.dtype.kind in "iu" else grey).astype(pixels.dtype)[
            ..., None
        ]
    if num_channels in (2, 4) and pixels.shape[2] == num_channels - 1:
        opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
        alpha = np.full((*pixels.shape[:2], 1), opaque, pixels.dtype)
        pixels = np.concatenate([pixels, alpha], axis=2)
    if pixels.shape[2] != num_channels:
        raise DataError(
            f"{path} has {has} channels, which do not become {num_channels} by themselves"
        )
    return replace(raster, pixels=np.ascontiguousarray(pixels), palette=None)


def _recode(raster: Raster, remedy: RecodeMask, path: Path) -> Raster:
    codes = read_codes(raster, path, remedy.reading)
    values = dict(remedy.codes)
    found, places = np.unique(codes, return_inverse=True)
    new = [values.get(code, code) for code in found.tolist()]
    if any(not 0 <= value <= 255 for value in new):
        raise DataError(f"{path} holds codes that have no value from 0 to 255 after the repair")
    return _grey(raster, np.array(new, np.uint8)[places].reshape(codes.shape))


def _grey(raster: Raster, values: NDArray[np.uint8]) -> Raster:
    return replace(raster, pixels=values[..., None], palette=None)


def _swap(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    kinds, places = _kinds(pixels)
    if len(kinds) != 2:
        raise DataError(f"{path} holds {len(kinds)} values, and two are needed to swap them")
    return kinds[::-1][places]


def _kinds(pixels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the different pixels, (N, C), and which of them each one is, (H, W)."""
    flat = pixels.reshape(-1, pixels.shape[2])
    kinds, places = np.unique(flat, axis=0, return_inverse=True)
    return kinds, places.reshape(pixels.shape[:2])


def remove_specks(
    pixels: NDArray[Any], target: NDArray[np.uint8], task: Task, max_pixels: int
) -> NDArray[Any]:
    """Give specks and pinholes what lies next to them.

    Args:
        pixels: The mask file, (H, W, C).
        target: What it means, (H, W); multilabel (C, H, W), a band per channel of `pixels`.
        task: Tells which values are classes.
        max_pixels: Parts of at most this many pixels are specks.
    """
    if target.ndim == 2:
        return _remove_specks(pixels, target, task, max_pixels)
    if len(target) != pixels.shape[2]:
        return pixels
    bands = [
        _remove_specks(pixels[..., [band]], target[band], task, max_pixels)
        for band in range(len(target))
    ]
    return np.concatenate(bands, axis=2)


def _remove_specks(
    pixels: NDArray[Any], target: NDArray[np.uint8], task: Task, max_pixels: int
) -> NDArray[Any]:
    # Parts that grow out of a removal may be specks again, though seldom twice.
    for _ in range(_MAX_PASSES):
        is_speck = np.zeros(target.shape, bool)
        for value in np.unique(target):
            if value == task.ignore_index:
                continue
            is_ground = value == 0 and task.kind == "binary"
            labels, areas = label_components(target == value, connectivity=4 if is_ground else 8)
            small = areas <= max_pixels
            small[0] = False
            is_speck |= small[labels]
        if not is_speck.any() or is_speck.all():
            break
        rows, columns = nearest_inside(~is_speck)
        pixels, target = pixels[rows, columns], target[rows, columns]
    return pixels
