"""Pictures for people: overlays, error maps and galleries, as RGB arrays.

Every function takes and returns numpy arrays, (H, W, 3) uint8 for pictures; nothing is read or
written. Colours are told apart with any common colour vision deficiency for the first few classes
(after Okabe and Ito, https://jfly.uni-koeln.de/color/) and in error maps.
"""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from delineate.task import Task

    Picture = NDArray[np.uint8]

PALETTE = (
    (0, 168, 132),
    (230, 145, 0),
    (70, 150, 235),
    (213, 84, 10),
    (204, 105, 170),
    (190, 170, 20),
    (120, 95, 220),
    (140, 100, 60),
    (95, 165, 60),
    (0, 165, 190),
)
"""RGB of the first classes; readable on light and on dark pages."""

ERROR_COLOURS = {
    "found": (236, 236, 226),
    "false alarm": (255, 136, 0),
    "missed": (38, 118, 255),
    "wrong class": (224, 60, 160),
}
"""RGB of what `error_overlay` shows."""

GUTTER = 8
"""Pixels between the cells of a gallery."""


def class_colours(num_classes: int) -> Picture:
    """Return a colour per class, (num_classes, 3): `PALETTE`, then hues by the golden ratio."""
    colours = list(PALETTE[:num_classes])
    for index in range(len(colours), num_classes):
        red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.7, 0.55 + 0.3 * (index % 2))
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return np.asarray(colours, dtype=np.uint8).reshape(-1, 3)


def to_rgb(pixels: NDArray[Any]) -> Picture:
    """Return any image as 8-bit RGB for looking at.

    The first three channels are red, green and blue; of one or two channels, the first is shown
    in grey. uint8 is kept; of other types each channel is stretched from its 1st to its 99th
    percentile, not counting NaN and infinities, which come out black.

    Args:
        pixels: (H, W) or (H, W, C), any number type.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1]
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype != np.uint8:
        pixels = np.stack([_stretch(pixels[..., c]) for c in range(pixels.shape[-1])], axis=-1)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _stretch(channel: NDArray[Any]) -> Picture:
    values = channel.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(values[finite], (1, 99))
    if high <= low:
        low, high = values[finite].min(), values[finite].max()
    span = high - low if high > low else 1.0
    scaled = np.where(finite, (values - low) / span, 0.0).clip(0, 1)
    return np.asarray(np.rint(255 * scaled), dtype=np.uint8)


def class_layers(mask: NDArray[Any], task: Task) -> list[tuple[int, NDArray[np.bool_]]]:
    """Return (class index, where it is) of each foreground class of a mask.

    Args:
        mask: (H, W) labels; multilabel (C, H, W). Ignored pixels belong to no class.
        task: What the labels mean.
    """
    if task.kind == "binary":
        return [(0, np.asarray(mask == 1))]
    if task.kind == "multilabel":
        return [(index, np.asarray(mask[index] == 1)) for index in task.foreground]
    return [(index, np.asarray(mask == index)) for index in task.foreground]


def overlay(rgb: Picture, mask: NDArray[Any], task: Task, *, opacity: float = 0.4) -> Picture:
    """Return the picture with each foreground class tinted and outlined in its colour.

    Args:
        rgb: (H, W, 3).
        mask: (H, W) labels; multilabel (C, H, W).
        task: What the labels mean; a declared background stays clear.
        opacity: Of the tint, in [0, 1]; the outline is opaque.
    """
    picture = rgb.copy()
    colours = class_colours(task.num_classes)
    layers = class_layers(mask, task)
    for index, where in layers:
        _tint(picture, where, colours[index], opacity)
    for index, where in layers:
        contours, _ = cv2.findContours(
            where.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        for contour in contours:
            picture[contour[:, 0, 1], contour[:, 0, 0]] = colours[index]
    return picture


def label_picture(mask: NDArray[Any], task: Task) -> Picture:
    """Return the mask alone: binary white on black, classes in their colours, the rest black."""
    picture = np.zeros((*mask.shape[-2:], 3), np.uint8)
    colours = class_colours(task.num_classes)
    for index, where in class_layers(mask, task):
        picture[where] = 255 if task.kind == "binary" else colours[index]
    return picture


def error_layers(
    mask: NDArray[Any], target: NDArray[Any], task: Task
) -> dict[str, NDArray[np.bool_]]:
    """Return where each kind of error is, (H, W) each, later ones over earlier ones.

    ``found``: foreground in both (binary and multilabel); ``false alarm``: foreground only in the
    mask; ``missed``: only in the target; ``wrong class``: different foreground classes; and
    ``ignored``. A class of a multiclass task without declared background is foreground.

    Args:
        mask: Predicted labels, (H, W); multilabel (C, H, W).
        target: True labels of the same shape.
        task: What the labels mean.
    """
    counted = target != task.ignore_index
    if task.kind == "multilabel":
        found = ((mask == 1) & (target == 1) & counted).any(axis=0)
        extra = ((mask == 1) & (target == 0)).any(axis=0)
        missed = ((mask == 0) & (target == 1)).any(axis=0)
        swapped = extra & missed
        ignored = ~counted.any(axis=0)
    else:
        is_mask, is_target = np.zeros((2, *target.shape), bool)
        for (_, in_mask), (_, in_target) in zip(
            class_layers(mask, task), class_layers(target, task), strict=True
        ):
            is_mask |= in_mask & counted
            is_target |= in_target
        found = is_mask & is_target & (mask == target) & (task.kind == "binary")
        extra, missed = is_mask & ~is_target, is_target & ~is_mask
        swapped = is_mask & is_target & (mask != target)
        ignored = ~counted
    return {
        "found": found,
        "false alarm": extra,
        "missed": missed,
        "wrong class": swapped,
        "ignored": ignored,
    }


def error_overlay(rgb: Picture, mask: NDArray[Any], target: NDArray[Any], task: Task) -> Picture:
    """Return the picture, dimmed and grey, with right and wrong pixels in `ERROR_COLOURS`.

    What they mean is said by `error_layers`; ignored pixels are black.

    Args:
        rgb: (H, W, 3).
        mask: Predicted labels, (H, W); multilabel (C, H, W).
        target: True labels of the same shape.
        task: What the labels mean.
    """
    grey = rgb.mean(axis=-1, keepdims=True) * 0.55
    picture = np.repeat(grey.astype(np.uint8), 3, axis=-1)
    layers = error_layers(mask, target, task)
    ignored = layers.pop("ignored")
    for name, where in layers.items():
        opacity = 0.6 if name == "found" else 0.9
        _tint(picture, where, np.asarray(ERROR_COLOURS[name]), opacity)
    picture[ignored] = 0
    return picture


def _tint(picture: Picture, where: NDArray[np.bool_], colour: NDArray[Any], opacity: float) -> None:
    tinted = picture[where] * (1 - opacity) + colour * opacity
    picture[where] = np.rint(tinted).astype(np.uint8)


def shrink(picture: NDArray[Any], max_size: int, *, is_labels: bool = False) -> NDArray[Any]:
    """Return the picture no larger than `max_size` on its longer side, in pixels.

    Averages areas; `is_labels` picks the nearest pixel instead, so that no colour is new.
    """
    height, width = picture.shape[:2]
    scale = max_size / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_NEAREST_EXACT if is_labels else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, size, interpolation=method), dtype=picture.dtype)


def gallery(
    rows: Sequence[Sequence[Picture]],
    *,
    captions: Sequence[str] = (),
    headings: Sequence[str] = (),
    cell_size: int = 256,
) -> Picture:
    """Return rows of pictures on a white sheet.

    Args:
        rows: Pictures, (H, W, 3) of any sizes; each is fitted into its cell.
        captions: A line of text above each row.
        headings: A line of text above each column.
        cell_size: Side of a cell, in pixels.
    """
    line = max(16, cell_size // 14)
    num_columns = max((len(row) for row in rows), default=0)
    top = GUTTER + (line + GUTTER if headings else 0)
    cells = [[_fit(picture, cell_size) for picture in row] for row in rows]
    sheet_width = GUTTER + num_columns * (cell_size + GUTTER)
    heights = [max((c.shape[0] for c in row), default=0) + GUTTER for row in cells]
    caption_height = line + GUTTER // 2 if captions else 0
    sheet_height = top + sum(heights) + caption_height * len(rows)
    sheet = Image.new("RGB", (sheet_width, max(1, sheet_height)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=line * 0.8)
    for column, heading in enumerate(headings):
        draw.text((GUTTER + column * (cell_size + GUTTER), GUTTER), heading, "black", font)
    y = top
    for index, row in enumerate(cells):
        if captions:
            draw.text((GUTTER, y), captions[index], "black", font)
            y += caption_height
        for column, cell in enumerate(row):
            sheet.paste(Image.fromarray(cell), (GUTTER + column * (cell_size + GUTTER), y))
        y += heights[index]
    return np.asarray(sheet)


def _fit(picture: Picture, size: int) -> Picture:
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    if scale <= 1:
        return shrink(picture, size)
    target = (max(1, int(width * scale)), max(1, int(height * scale)))
    return np.asarray(cv2.resize(picture, target, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
