"""Roofs of the aerial sample: hip, gable and flat, in sunlight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from delineate.data.sample_noise import Floats

_TILES = np.array(
    [
        [0.66, 0.38, 0.28],  # terracotta
        [0.55, 0.30, 0.24],  # dark red
        [0.47, 0.40, 0.34],  # brown
        [0.42, 0.43, 0.46],  # slate
        [0.56, 0.55, 0.53],  # grey
        [0.70, 0.62, 0.50],  # beige
    ]
)
_FLAT = np.array([[0.62, 0.62, 0.60], [0.78, 0.77, 0.74], [0.45, 0.45, 0.46], [0.70, 0.66, 0.58]])


def shade_roof(
    rng: np.random.Generator,
    first: Floats,
    second: Floats,
    half: tuple[float, float],
    axis: NDArray[np.float64],
    sun: NDArray[np.float64],
    *,
    is_flat: bool,
) -> Floats:
    """Return the colours of one roof.

    Args:
        rng: Source of all that is random.
        first: Offset from the roof's centre along its first axis, (H, W), pixels.
        second: Offset along its second axis, (H, W), pixels.
        half: Half its size along both axes, pixels.
        axis: Direction (row, col) of the first axis in the picture.
        sun: Shift (row, col) of a shadow; the sun stands on the opposite side.
        is_flat: Whether the roof is flat; else it is hipped or gabled.

    Returns:
        Reflectance in the sun, (H, W, 3).
    """
    if is_flat or rng.random() < 0.2:
        return _flat_roof(rng, first, second, half)
    return _pitched_roof(rng, first, second, half, axis, sun)


def _pitched_roof(
    rng: np.random.Generator,
    first: Floats,
    second: Floats,
    half: tuple[float, float],
    axis: NDArray[np.float64],
    sun: NDArray[np.float64],
) -> Floats:
    axis = axis / (np.hypot(*axis) + 1e-6)
    normals = np.array([axis, [axis[1], -axis[0]]])
    # Rows of `normals` are the axes in the picture; the second is the first turned by 90 degrees.
    to_sun = -sun / np.hypot(*sun)
    inset_first, inset_second = half[0] - np.abs(first), half[1] - np.abs(second)
    if rng.random() < 0.4:  # gable: the ridge runs the whole length
        on_first = np.full(first.shape, half[0] < half[1])
    else:
        on_first = inset_first < inset_second
    facing = np.where(
        on_first,
        np.sign(first) * float(normals[0] @ to_sun),
        np.sign(second) * -float(normals[1] @ to_sun),
    )
    rise = np.where(on_first, inset_first, inset_second)
    courses = 0.03 * np.sin(rise * rng.uniform(1.6, 2.4))
    ridge = np.exp(-((inset_first - inset_second) ** 2) / 1.5) * 0.06
    weather = 0.035 * rng.standard_normal(first.shape)
    light = 0.92 + 0.30 * facing + courses + ridge + weather
    colour = _TILES[rng.integers(len(_TILES))] * rng.uniform(0.85, 1.15) + rng.normal(0, 0.02, 3)
    roof = colour * light[..., None]
    chimney = np.hypot(first - half[0] * rng.uniform(-0.5, 0.5), second - half[1] * 0.3) < 1.3
    roof[chimney] = 0.25
    return np.asarray(roof, np.float32)


def _flat_roof(
    rng: np.random.Generator, first: Floats, second: Floats, half: tuple[float, float]
) -> Floats:
    colour = _FLAT[rng.integers(len(_FLAT))] * rng.uniform(0.85, 1.1)
    seams = 0.025 * (np.mod(first, rng.uniform(7, 12)) < 1)
    stains = 0.03 * rng.standard_normal(first.shape)
    roof = colour * (1 + stains - seams)[..., None]
    inset = np.minimum(half[0] - np.abs(first), half[1] - np.abs(second))
    roof[inset < 1.6] = colour * 1.18
    for _ in range(rng.integers(1, 5)):
        row, col = rng.uniform(-0.65, 0.65, 2) * half
        width, height = rng.uniform(1.5, 3.5, 2)
        is_shadow = (np.abs(first - row - 1.5) < width) & (np.abs(second - col - 1.5) < height)
        is_box = (np.abs(first - row) < width) & (np.abs(second - col) < height)
        roof[is_shadow] *= 0.6
        roof[is_box] = colour * rng.uniform(0.75, 1.3)
    return np.asarray(roof, np.float32)
