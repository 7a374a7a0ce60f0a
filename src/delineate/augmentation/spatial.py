"""Draws flips, turns, rotation, scale, shear and elastic deformation.

A draw composes into one map from patch pixels to image pixels; `resampling` cuts through it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from delineate.errors import UsageError

Size = tuple[int, int]

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
        turned = np.linalg.matrix_power(_QUARTER_TURN, self.quarter_turns % 4)
        flips = [-1.0 if self.flip_vertical else 1.0, -1.0 if self.flip_horizontal else 1.0]
        return np.asarray((np.eye(2) if self.linear is None else self.linear) @ turned * flips)


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
        return np.asarray(rotation @ [[1.0, 0.0], [slant, 1.0]] / magnification)

    def _draw_displacement(self, rng: np.random.Generator, patch_size: Size) -> NDArray[np.float32]:
        rows, cols = (max(2, round(side / self.elastic_spacing) + 1) for side in patch_size)
        displacement = rng.standard_normal((rows, cols, 2), dtype=np.float32)
        return displacement * np.float32(self.elastic_magnitude)
