"""Cut a patch out of an image through whatever was drawn, in one resampling.

The image is sampled once through the composed map, straight into the patch, together with its
target. Only the part of the image that the patch needs is touched, so that the cost does not
depend on the image's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from delineate.augmentation.spatial import Size, SpatialDraw
from delineate.task import IGNORE_INDEX

Pixels = NDArray[Any]

PREFILTER_BELOW = 0.7
"""Magnifications below this blur the image before it is sampled, against aliasing."""


def cut_patch(
    pixels: Pixels,
    target: Pixels,
    corner: tuple[int, int],
    patch_size: Size,
    draw: SpatialDraw | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
) -> tuple[Pixels, Pixels, NDArray[np.bool_]]:
    """Cut one patch out of an image and its target, changed in place as drawn.

    The image is interpolated linearly (blurred before where it shrinks below `PREFILTER_BELOW`,
    by the Gaussian that takes a pixel's width to the sampling distance), the target takes its
    nearest pixel. Where nothing is interpolated, the values are those of the image, bit for bit.
    What lies outside the image shows its mirrored content, has the target `ignore_index` and is
    not valid.

    Args:
        pixels: The image, (H, W, C), uint8, uint16, int16 or float32.
        target: (H, W), or (K, H, W) for a multilabel task; uint8.
        corner: Row and column of the window's top left pixel; may lie outside the image. The
            window has `draw.window_size(patch_size)` pixels.
        patch_size: (height, width) of the patch.
        draw: What to change; None cuts the window as it is.
        ignore_index: The target value that does not count.

    Returns:
        The patch (h, w, C), its target (h, w) or (K, h, w), and which pixels are valid, (h, w):
        inside the image and with a target other than `ignore_index` (for some class).
    """
    draw = draw or SpatialDraw()
    planes = target if target.ndim == 2 else np.moveaxis(target, 0, -1)
    if draw.is_exact:
        patch, labels = _slice(pixels, planes, corner, patch_size, draw, ignore_index)
    else:
        patch, labels = _resample(pixels, planes, corner, patch_size, draw, ignore_index)
    valid = labels != ignore_index
    if labels.ndim == 3:
        return patch, np.ascontiguousarray(np.moveaxis(labels, -1, 0)), valid.any(axis=-1)
    return patch, labels, valid


def resize_target(target: Pixels, size: Size) -> Pixels:
    """Return a target at another size, each pixel taking the value of the nearest.

    Pixel areas correspond (`INTER_NEAREST_EXACT`); OpenCV's plain `INTER_NEAREST` takes the top
    left pixel instead and shifts the target against an image resized linearly.

    Args:
        target: (H, W), or (K, H, W) for a multilabel task; uint8.
        size: The new (height, width).
    """
    if target.ndim == 3:
        return np.stack([resize_target(plane, size) for plane in target])
    resized: Pixels = cv2.resize(target, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized


def _slice(
    pixels: Pixels,
    planes: Pixels,
    corner: tuple[int, int],
    patch_size: Size,
    draw: SpatialDraw,
    ignore_index: int,
) -> tuple[Pixels, Pixels]:
    """Cut, turn and flip without interpolation."""
    height, width = draw.window_size(patch_size)
    top, left = corner
    bottom, right = top + height, left + width
    num_rows, num_cols = pixels.shape[:2]
    if top >= 0 and left >= 0 and bottom <= num_rows and right <= num_cols:
        patch = pixels[top:bottom, left:right]
        labels = planes[top:bottom, left:right]
    else:
        rows, cols = np.arange(top, bottom), np.arange(left, right)
        patch = pixels[_mirror(rows, num_rows)[:, None], _mirror(cols, num_cols)]
        labels = np.full((height, width, *planes.shape[2:]), ignore_index, planes.dtype)
        inside = (
            slice(min(max(-top, 0), height), max(min(num_rows - top, height), 0)),
            slice(min(max(-left, 0), width), max(min(num_cols - left, width), 0)),
        )
        labels[inside] = planes[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    return _turn(patch, draw), _turn(labels, draw)


def _mirror(indices: NDArray[np.int_], size: int) -> NDArray[np.int_]:
    """Fold indices into 0..size-1, mirrored about the border pixels."""
    if size == 1:
        return np.zeros_like(indices)
    folded = np.abs(indices) % (2 * size - 2)
    mirrored: NDArray[np.int_] = np.minimum(folded, 2 * size - 2 - folded)
    return mirrored


def _turn(array: Pixels, draw: SpatialDraw) -> Pixels:
    array = np.rot90(array, draw.quarter_turns)
    if draw.flip_horizontal:
        array = array[:, ::-1]
    if draw.flip_vertical:
        array = array[::-1]
    return np.ascontiguousarray(array)


def _resample(
    pixels: Pixels,
    planes: Pixels,
    corner: tuple[int, int],
    patch_size: Size,
    draw: SpatialDraw,
    ignore_index: int,
) -> tuple[Pixels, Pixels]:
    """Sample image and target through the one composed map."""
    matrix = draw.matrix()
    height, width = patch_size
    window = draw.window_size(patch_size)
    # The middle of the patch maps to the middle of the window; pixel centres are integers.
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    offset = np.array(corner) + (np.array(window) - 1) / 2 - matrix @ middle
    shrinkage = math.sqrt(abs(np.linalg.det(matrix)))
    sigma = 0.0
    if shrinkage * PREFILTER_BELOW > 1:
        sigma = 0.5 * math.sqrt(shrinkage**2 - 1)
    margin = 2 + math.ceil(4 * sigma)

    maps = None
    if draw.displacement is not None:
        maps = _elastic_maps(draw.displacement, patch_size, matrix, offset)
        lowest, highest = (np.array([end(plane) for plane in maps]) for end in (np.min, np.max))
    else:
        ends = np.array([[0, 0], [0, width - 1], [height - 1, 0], [height - 1, width - 1]])
        corners = ends @ matrix.T + offset
        lowest, highest = corners.min(axis=0), corners.max(axis=0)
    # A patch beside the image still needs a pixel to mirror.
    limits = np.array(pixels.shape[:2])
    first = np.clip(np.floor(lowest).astype(int) - margin, 0, limits - 1)
    last = np.clip(np.ceil(highest).astype(int) + margin + 1, first + 1, limits)
    part = (slice(first[0], last[0]), slice(first[1], last[1]))
    image_part = np.ascontiguousarray(pixels[part])
    target_part = np.ascontiguousarray(planes[part])
    if sigma > 0:
        image_part = cv2.GaussianBlur(
            image_part, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101
        ).reshape(image_part.shape)

    sample: Callable[..., Pixels]
    if maps is None:
        # OpenCV counts (x, y): both axes of the map are swapped.
        affine = np.column_stack([matrix[::-1, ::-1], (offset - first)[::-1]])

        def sample(array: Pixels, interpolation: int, **border: Any) -> Pixels:
            flags = interpolation | cv2.WARP_INVERSE_MAP
            out: Pixels = cv2.warpAffine(array, affine, (width, height), flags=flags, **border)
            return out
    else:
        row_map, col_map = (
            plane - np.float32(start) for plane, start in zip(maps, first, strict=True)
        )

        def sample(array: Pixels, interpolation: int, **border: Any) -> Pixels:
            out: Pixels = cv2.remap(array, col_map, row_map, interpolation, **border)
            return out

    patch = sample(image_part, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    labels = _by_fours(
        lambda group: sample(
            group,
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(ignore_index,) * 4,
        ),
        target_part,
    )
    return patch.reshape(*patch_size, pixels.shape[2]), labels


def _elastic_maps(
    displacement: NDArray[np.float32],
    patch_size: Size,
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> list[NDArray[np.float32]]:
    """Return the image rows and the image columns of the patch pixels, each (h, w)."""
    height, width = patch_size
    # The linear map commutes with the interpolation and is cheaper on the control points.
    moved = displacement @ matrix.T.astype(np.float32)
    maps = []
    for axis in (0, 1):
        plane = np.ascontiguousarray(moved[..., axis])
        plane = np.asarray(
            cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC), np.float32
        )
        plane += (matrix[axis, 0] * np.arange(height) + offset[axis]).astype(np.float32)[:, None]
        plane += (matrix[axis, 1] * np.arange(width)).astype(np.float32)
        maps.append(plane)
    return maps


def _by_fours(sample: Callable[[Pixels], Pixels], planes: Pixels) -> Pixels:
    """Sample (h, w) or (h, w, K) by groups of four: a border value has four channels."""
    if planes.ndim == 2:
        return sample(planes)
    groups = []
    for first in range(0, planes.shape[2], 4):
        group = sample(np.ascontiguousarray(planes[:, :, first : first + 4]))
        groups.append(group if group.ndim == 3 else group[:, :, None])
    return groups[0] if len(groups) == 1 else np.concatenate(groups, axis=2)
