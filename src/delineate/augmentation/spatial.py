"""Flips, turns, rotation, scale, shear and elastic deformation in one resampling.

A patch is cut straight from the image: everything drawn is composed into one map from patch
pixels to image pixels, and the image is sampled once through it, together with its target. Only
the part of the image that the patch needs is touched, so that the cost does not depend on the
image's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from delineate.errors import UsageError
from delineate.task import IGNORE_INDEX

Pixels = NDArray[Any]
Size = tuple[int, int]

PREFILTER_BELOW = 0.7
"""Magnifications below this blur the image before it is sampled, against aliasing."""

# One counter-clockwise quarter turn (as np.rot90), from patch to image offsets in (row, col).
_QUARTER_TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])


@dataclass(frozen=True)
class SpatialDraw:
    """What was drawn for one patch; the default changes nothing.

    The window of the image is turned counter-clockwise, then flipped; `linear` and `displacement`
    then move the sampling points about the window's centre.
    """

    quarter_turns: int = 0
    """Counter-clockwise quarter turns."""
    flip_horizontal: bool = False
    """Whether left and right are swapped."""
    flip_vertical: bool = False
    """Whether top and bottom are swapped."""
    linear: NDArray[np.float64] | None = None
    """(2, 2), from offsets (row, col) in the patch to offsets in the window; None is exact."""
    displacement: NDArray[np.float32] | None = None
    """Offsets (row, col) in patch pixels at the elastic control points, (grid h, grid w, 2)."""

    @property
    def is_exact(self) -> bool:
        """Whether patch pixels are image pixels, without interpolation."""
        return self.linear is None and self.displacement is None

    def window_size(self, patch_size: Size) -> Size:
        """Return (height, width) of the image window that a patch shows: swapped by odd turns."""
        height, width = patch_size
        return (width, height) if self.quarter_turns % 2 else (height, width)

    def matrix(self) -> NDArray[np.float64]:
        """Return the whole linear map, (2, 2), from patch to image offsets (row, col)."""
        matrix: NDArray[np.float64] = np.linalg.matrix_power(_QUARTER_TURN, self.quarter_turns % 4)
        matrix *= [-1.0 if self.flip_vertical else 1.0, -1.0 if self.flip_horizontal else 1.0]
        return matrix if self.linear is None else np.asarray(self.linear @ matrix)


class SpatialAugmentation:
    """Draws changes of place; `cut_patch` carries them out."""

    def __init__(
        self,
        *,
        flip_horizontal: float = 0.5,
        flip_vertical: float = 0.5,
        quarter_turns: bool = True,
        warp: float = 0.5,
        rotation: float = 15.0,
        scale: tuple[float, float] = (0.8, 1.25),
        shear: float = 5.0,
        elastic: float = 0.0,
        elastic_magnitude: float = 8.0,
        elastic_spacing: int = 64,
    ) -> None:
        """Take the settings of `SpatialConfig`.

        Args:
            flip_horizontal: Odds of a left-right flip.
            flip_vertical: Odds of an upside-down flip.
            quarter_turns: Whether to turn by 0, 90, 180 or 270 degrees, each as likely.
            warp: Odds that rotation, scale and shear are drawn at all.
            rotation: Largest rotation either way, in degrees.
            scale: Smallest and largest magnification, drawn evenly in its logarithm.
            shear: Largest shear either way, in degrees, below 90.
            elastic: Odds of an elastic deformation.
            elastic_magnitude: Standard deviation of a control point's displacement along each
                axis, in pixels.
            elastic_spacing: Distance of the control points, in pixels.

        Raises:
            UsageError: If `scale` is not two rising positive numbers or `shear` not below 90.
        """
        if not 0 < scale[0] <= scale[1]:
            raise UsageError(
                f"augmentation.spatial.scale is {scale}; give a smallest and a largest "
                "magnification, both above 0, such as (0.8, 1.25)"
            )
        if shear >= 90:
            raise UsageError(
                f"augmentation.spatial.shear is {shear} degrees; it should be below 90"
            )
        self.flip_horizontal = flip_horizontal
        self.flip_vertical = flip_vertical
        self.quarter_turns = quarter_turns
        self.warp = warp
        self.rotation = rotation
        self.scale = scale
        self.shear = shear
        self.elastic = elastic
        self.elastic_magnitude = elastic_magnitude
        self.elastic_spacing = elastic_spacing

    def draw(self, rng: np.random.Generator, patch_size: Size) -> SpatialDraw:
        """Draw the changes of one patch of (height, width) `patch_size`."""
        return SpatialDraw(
            quarter_turns=int(rng.integers(4)) if self.quarter_turns else 0,
            flip_horizontal=bool(rng.random() < self.flip_horizontal),
            flip_vertical=bool(rng.random() < self.flip_vertical),
            linear=self._draw_linear(rng) if rng.random() < self.warp else None,
            displacement=(
                self._draw_displacement(rng, patch_size) if rng.random() < self.elastic else None
            ),
        )

    def _draw_linear(self, rng: np.random.Generator) -> NDArray[np.float64]:
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        magnification = math.exp(rng.uniform(math.log(self.scale[0]), math.log(self.scale[1])))
        slant = math.tan(math.radians(rng.uniform(-self.shear, self.shear)))
        rotation = np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        return rotation @ np.array([[1.0, 0.0], [slant, 1.0]]) / magnification

    def _draw_displacement(self, rng: np.random.Generator, patch_size: Size) -> NDArray[np.float32]:
        rows, cols = (max(2, round(side / self.elastic_spacing) + 1) for side in patch_size)
        displacement = rng.standard_normal((rows, cols, 2), dtype=np.float32)
        return displacement * np.float32(self.elastic_magnitude)


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
        maps = _elastic_map(draw.displacement, patch_size, matrix, offset)
        lowest, highest = maps.min(axis=(0, 1)), maps.max(axis=(0, 1))
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
        row_map = np.ascontiguousarray(maps[..., 0] - np.float32(first[0]))
        col_map = np.ascontiguousarray(maps[..., 1] - np.float32(first[1]))

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


def _elastic_map(
    displacement: NDArray[np.float32],
    patch_size: Size,
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return the image position (row, col) of each patch pixel, (h, w, 2)."""
    height, width = patch_size
    smooth = cv2.resize(displacement, (width, height), interpolation=cv2.INTER_CUBIC)
    rows = smooth[..., 0] + np.arange(height, dtype=np.float32)[:, None]
    cols = smooth[..., 1] + np.arange(width, dtype=np.float32)
    (a, b), (c, d) = matrix.astype(np.float32)
    top, left = offset.astype(np.float32)
    return np.stack([a * rows + b * cols + top, c * rows + d * cols + left], axis=-1)


def _by_fours(sample: Callable[[Pixels], Pixels], planes: Pixels) -> Pixels:
    """Sample (h, w) or (h, w, K) by groups of four: a border value has four channels."""
    if planes.ndim == 2:
        return sample(planes)
    groups = []
    for first in range(0, planes.shape[2], 4):
        group = sample(np.ascontiguousarray(planes[:, :, first : first + 4]))
        groups.append(group if group.ndim == 3 else group[:, :, None])
    return groups[0] if len(groups) == 1 else np.concatenate(groups, axis=2)
