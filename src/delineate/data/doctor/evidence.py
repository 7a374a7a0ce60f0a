"""Turn the evidence of a finding into pictures: the image, its mask, and one on the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from delineate.data.doctor.findings import Evidence
from delineate.errors import DelineateError
from delineate.pictures import class_colours, shrink, to_rgb
from delineate.rasters import apply_palette, read_raster

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from delineate.data.doctor.records import Examination

    Picture = NDArray[np.uint8]

SIDE = 280
"""Longer side of a picture, in pixels."""

MAX_COLOURED = 64
"""Masks of values below this are shown in the colours of classes, others as greys."""

_OUTLINE = (255, 40, 200)
_MIN_CROP = 48


@dataclass(frozen=True)
class Exhibit:
    """A titled strip of pictures."""

    title: str
    note: str
    headings: tuple[str, ...]
    pictures: tuple[Picture, ...]


def show_evidence(item: Evidence, examination: Examination) -> Exhibit | None:
    """Return the pictures of a piece of evidence, or None if a file cannot be read."""
    root = examination.listing.root
    image_of = {mask.path: pair.image for pair in examination.pairs for mask in pair.masks}
    is_mask = item.file in image_of or item.file in {mask.path for mask in examination.others}
    file, mask_file = item.file, item.mask
    if item.file in image_of and image_of[item.file].error is None:
        file, mask_file, is_mask = image_of[item.file].path, item.file, False
    try:
        picture = _read_mask(root / file) if is_mask else _read_image(root / file)
        mask = None if mask_file is None else _read_mask(root / mask_file)
    except DelineateError:
        return None
    is_fitting = mask is not None and picture.shape == mask.shape
    headings = ["mask" if is_mask else "image"]
    pictures = [_fit(picture, item.box if mask is None or is_fitting else None, is_labels=is_mask)]
    if item.box is not None:
        headings.insert(0, "where it is")
        pictures.insert(0, _fit(_draw_box(picture, item.box), None, is_labels=False))
    if mask is not None:
        headings.append("mask")
        pictures.append(_fit(mask, item.box if is_fitting else None, is_labels=True))
    if is_fitting:
        headings.append("its outlines on the image")
        pictures.append(_outline(pictures[-2], pictures[-1]))
    title = file if mask_file is None else f"{file} with {mask_file}"
    return Exhibit(title, item.caption, tuple(headings), tuple(pictures))


def _read_image(path: Path) -> Picture:
    raster = read_raster(path)
    return to_rgb(raster.pixels if raster.palette is None else apply_palette(raster, path))


def _read_mask(path: Path) -> Picture:
    """Return a mask as people see it: colours as they are, small numbers in class colours."""
    raster = read_raster(path)
    if raster.palette is not None:
        return apply_palette(raster, path)
    pixels = raster.pixels
    if pixels.shape[2] == 1 and pixels.dtype.kind in "iu":
        highest = int(pixels.max(initial=0))
        if 1 < highest < MAX_COLOURED and int(pixels.min(initial=0)) >= 0:
            colours = np.concatenate([np.zeros((1, 3), np.uint8), class_colours(highest)])
            return np.asarray(np.take(colours, pixels[..., 0], axis=0))
        if highest == 1:
            pixels = pixels.astype(np.uint8) * np.uint8(255)
    return to_rgb(pixels)


def _fit(picture: Picture, box: tuple[int, int, int, int] | None, *, is_labels: bool) -> Picture:
    """Return the picture, or what lies around `box`, at the size of the page."""
    if box is not None:
        top, left, bottom, right = _around(box, picture.shape)
        picture = picture[top:bottom, left:right]
    scale = SIDE / max(picture.shape[:2])
    if scale < 2:
        return shrink(picture, SIDE, is_labels=is_labels)
    size = (round(picture.shape[1] * int(scale)), round(picture.shape[0] * int(scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _around(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return a window three times as large as the box, inside the picture."""
    top, left, bottom, right = box
    margin = max(bottom - top, right - left, _MIN_CROP // 2)
    return (
        max(0, top - margin),
        max(0, left - margin),
        min(shape[0], bottom + margin),
        min(shape[1], right + margin),
    )


def _draw_box(picture: Picture, box: tuple[int, int, int, int]) -> Picture:
    top, left, bottom, right = box
    thickness = max(1, max(picture.shape[:2]) // 150)
    corners = (left - thickness, top - thickness), (right + thickness, bottom + thickness)
    return np.asarray(cv2.rectangle(picture.copy(), *corners, _OUTLINE, thickness), np.uint8)


def _outline(picture: Picture, mask: Picture) -> Picture:
    """Draw the borders between different pixels of the mask on the picture."""
    codes: NDArray[Any] = mask.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    if len(np.unique(codes)) > MAX_COLOURED:  # smooth edges would be borders all over
        codes = mask.mean(axis=2) >= 128
    border = np.zeros(codes.shape, bool)
    border[:, :-1] |= codes[:, :-1] != codes[:, 1:]
    border[:-1] |= codes[:-1] != codes[1:]
    drawn = picture.copy()
    drawn[border] = _OUTLINE
    return drawn
