"""An aerial scene: roads, roofs, vegetation, water and bare ground, seen from straight above.

One pixel is about 40 cm. The scene is laid out in a street grid that is turned and bent; colours
overlap between classes (grey roofs and grey roads, brown roofs and brown earth, dark trees and
shadows), so that colour alone does not tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from delineate.data.sample_noise import Floats, layered_noise, smooth_noise
from delineate.data.sample_roofs import shade_roof

AERIAL_LEGEND = {
    "land": "#E0B354",
    "building": "#B8405E",
    "road": "#7D8597",
    "vegetation": "#4F8A3C",
    "water": "#2A7FB8",
}
"""Class name to its colour in the masks, in the order of the indices."""

LAND, BUILDING, ROAD, VEGETATION, WATER = range(5)


@dataclass
class _Scene:
    """A scene while it is drawn."""

    rgb: Floats
    """Reflectance in full sun, (H, W, 3), about 0 to 1."""
    labels: NDArray[np.uint8]
    """Class indices, (H, W)."""
    shade: Floats
    """How much of the sun is blocked, (H, W), 0 to 1."""
    across: Floats
    """First coordinate of the street grid, (H, W), pixels."""
    along: Floats
    """Second coordinate of the street grid, (H, W), pixels."""
    sun: NDArray[np.float64]
    """Shift (row, col) of the shadow of something one pixel high."""

    @property
    def size(self) -> int:
        return int(self.labels.shape[0])


def draw_aerial(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one aerial scene.

    Args:
        rng: Source of all that is random.
        size: Height and width, in pixels; at least 64.

    Returns:
        The picture, (size, size, 3) uint8 RGB, and its class indices, (size, size) uint8, in the
        order of `AERIAL_LEGEND`.
    """
    scene = _lay_ground(rng, size)
    streets = [_cut_streets(rng, scene, axis) for axis in (scene.across, scene.along)]
    if rng.random() < 0.65:
        _pour_water(rng, scene)
    _build_houses(rng, scene, *streets)
    _plant_trees(rng, scene)
    return _photograph(rng, scene), scene.labels


def _lay_ground(rng: np.random.Generator, size: int) -> _Scene:
    """Start with meadow and bare ground, in parcels with soft borders."""
    angle, bend = rng.uniform(0, np.pi), rng.uniform(-14, 14)
    rows, cols = np.mgrid[:size, :size].astype(np.float32) - size / 2
    across = cols * np.cos(angle) + rows * np.sin(angle)
    along = rows * np.cos(angle) - cols * np.sin(angle)
    across = across + bend * np.sin(along / 110 + rng.uniform(0, 6))

    is_green = layered_noise(rng, size, 70) > rng.normal(-0.1, 0.45)
    grass = np.array([0.33, 0.42, 0.22]) * rng.uniform(0.85, 1.15) + rng.normal(0, 0.02, 3)
    earth = np.array([0.64, 0.55, 0.43]) * rng.uniform(0.85, 1.1) + rng.normal(0, 0.025, 3)
    coarse, fine = layered_noise(rng, size, 40), rng.standard_normal((size, size))
    furrows = np.sin(along / rng.uniform(1.6, 3.0)) * (smooth_noise(rng, size, 90) > 0.6)
    green = grass * (1 + 0.10 * coarse + 0.06 * fine)[..., None] + coarse[..., None] * [0.03, 0, 0]
    brown = earth * (1 + 0.08 * coarse + 0.035 * fine + 0.06 * furrows)[..., None]
    share = cv2.GaussianBlur(is_green.astype(np.float32), (0, 0), 1.2)[..., None]
    elevation, azimuth = rng.uniform(0.7, 1.5), rng.uniform(0, 2 * np.pi)
    return _Scene(
        rgb=np.asarray(green * share + brown * (1 - share), np.float32),
        labels=np.where(is_green, VEGETATION, LAND).astype(np.uint8),
        shade=np.zeros((size, size), np.float32),
        across=np.asarray(across, np.float32),
        along=np.asarray(along, np.float32),
        sun=elevation * np.array([np.sin(azimuth), np.cos(azimuth)]),
    )


def _cut_streets(rng: np.random.Generator, scene: _Scene, position: Floats) -> NDArray[np.float64]:
    """Lay parallel streets at uneven distances; return (N, 2): their centres and half widths."""
    reach = 0.75 * scene.size
    gaps = rng.uniform(85, 170, 24)
    centres = -reach - rng.uniform(0, 120) + np.cumsum(gaps)
    centres = centres[centres < reach]
    half_widths = rng.choice([5.0, 6.5, 9.5], len(centres), p=[0.4, 0.4, 0.2])
    other = scene.along if position is scene.across else scene.across
    asphalt = np.array([0.44, 0.44, 0.45]) * rng.uniform(0.8, 1.2)
    for centre, half_width in zip(centres, half_widths, strict=True):
        offset = position - centre
        distance = np.abs(offset)
        is_unpaved = half_width < 6 and rng.random() < 0.3
        tone = np.array([0.60, 0.53, 0.44]) if is_unpaved else asphalt * rng.uniform(0.85, 1.15)
        wear = (
            1
            + 0.05 * np.cos(offset / half_width * 2 * np.pi)
            + 0.05 * smooth_noise(rng, scene.size, 25)
        )
        grain = 0.02 * rng.standard_normal(distance.shape)
        surface = tone * (wear + grain)[..., None]
        edge = np.clip(half_width + 0.5 - distance, 0, 1)[..., None]
        if not is_unpaved:
            kerb = np.clip(half_width + 2.5 - distance, 0, 1)[..., None]
            scene.rgb += kerb * (np.array([0.62, 0.61, 0.58]) - scene.rgb)
        scene.rgb += edge * (surface - scene.rgb)
        if not is_unpaved and half_width > 6:
            dashes = (np.mod(other, 13) < 6) | (half_width > 9)
            line = np.clip(1.0 - distance, 0, 1) * dashes * 0.75
            scene.rgb += line[..., None] * (0.85 - scene.rgb)
        scene.labels[distance <= half_width] = ROAD
        _park_cars(rng, scene, position, other, centre, half_width)
    return np.stack([centres, half_widths], axis=1)


def _park_cars(
    rng: np.random.Generator,
    scene: _Scene,
    position: Floats,
    other: Floats,
    centre: float,
    half_width: float,
) -> None:
    """Put cars on a street, 4.4 m x 1.8 m; the ground below them stays road."""
    for _ in range(rng.poisson(scene.size / 60)):
        lane = centre + rng.choice([-1, 1]) * half_width * 0.5
        at = rng.uniform(-0.7, 0.7) * scene.size
        inside = (np.abs(position - lane) < 2.3) & (np.abs(other - at) < 5.5)
        glass = inside & (np.abs(np.abs(other - at) - 2.5) < 0.9)
        paint = rng.choice([0.15, 0.3, 0.6, 0.9]) + rng.normal(0, 0.05, 3)
        scene.rgb[inside] = paint
        scene.rgb[glass] = 0.12
        rows, cols = np.nonzero(inside)
        _cast_shadow(scene, rows, cols, 3.0)


def _pour_water(rng: np.random.Generator, scene: _Scene) -> None:
    """Let a river run through, or dig a pond; roads cross it on bridges, banks are bare."""
    size = scene.size
    if rng.random() < 0.6:
        course = scene.along - rng.uniform(-0.3, 0.3) * size
        course += 0.10 * size * np.sin(scene.across / rng.uniform(50, 90) + rng.uniform(0, 6))
        distance = np.abs(course) - rng.uniform(12, 26)
    else:
        rows, cols = np.mgrid[:size, :size].astype(np.float32)
        row, col = rng.uniform(0.2, 0.8, 2) * size
        distance = np.hypot(rows - row, (cols - col) * rng.uniform(0.7, 1.4))
        distance -= rng.uniform(0.12, 0.24) * size
    distance = distance + 4 * layered_noise(rng, size, 35)
    is_road = scene.labels == ROAD
    bank = (np.clip(5 - distance, 0, 4) / 4 * ~is_road)[..., None]
    sand = np.array([0.66, 0.60, 0.48]) * (1 + 0.05 * rng.standard_normal((size, size, 1)))
    scene.rgb += bank * (sand - scene.rgb)
    scene.labels[(distance < 4) & ~is_road] = LAND
    depth = np.clip(-distance / 22, 0, 1)[..., None]
    shallow, deep = np.array([0.30, 0.38, 0.33]), np.array([0.10, 0.19, 0.22])
    tint = rng.normal(0, 0.025, 3)
    ripples = (
        1
        + 0.05 * smooth_noise(rng, size, 3)[..., None]
        + 0.03 * rng.standard_normal((size, size, 1))
    )
    water = (shallow + (deep - shallow) * depth + tint) * ripples
    cover = (np.clip(0.5 - distance, 0, 1) * ~is_road)[..., None]
    scene.rgb += cover * (water - scene.rgb)
    scene.labels[(distance <= 0) & ~is_road] = WATER


def _build_houses(
    rng: np.random.Generator,
    scene: _Scene,
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
) -> None:
    """Fill the blocks between the streets with lots, some of which carry a house."""
    for west, east in pairwise(columns):
        for north, south in pairwise(rows):
            left, right = west[0] + west[1] + 4, east[0] - east[1] - 4
            top, bottom = north[0] + north[1] + 4, south[0] - south[1] - 4
            kind = rng.choice(["homes", "hall", "open"], p=[0.68, 0.18, 0.14])
            if kind == "open":
                continue
            lot = rng.uniform(34, 48) if kind == "homes" else rng.uniform(70, 110)
            num_across = max(1, round((right - left) / lot))
            num_along = max(1, round((bottom - top) / lot))
            for i in range(num_across):
                for j in range(num_along):
                    if rng.random() < 0.2:
                        continue
                    width, height = (right - left) / num_across, (bottom - top) / num_along
                    centre = (
                        left + (i + 0.5) * width + rng.normal(0, 1.5),
                        top + (j + 0.5) * height + rng.normal(0, 1.5),
                    )
                    half = (
                        width * rng.uniform(0.26, 0.38),
                        height * rng.uniform(0.26, 0.38),
                    )
                    _build_house(rng, scene, centre, half, is_hall=kind == "hall")


def _build_house(
    rng: np.random.Generator,
    scene: _Scene,
    centre: tuple[float, float],
    half: tuple[float, float],
    *,
    is_hall: bool,
) -> None:
    """Put one roof and its shadow where the ground allows it."""
    first, second = scene.across - centre[0], scene.along - centre[1]
    footprint = (np.abs(first) <= half[0]) & (np.abs(second) <= half[1])
    if not is_hall and min(half) > 7 and rng.random() < 0.35:
        corner = rng.choice([-1, 1], 2)
        footprint &= ~((first * corner[0] > half[0] * 0.2) & (second * corner[1] > half[1] * 0.1))
    if footprint.sum() < 40 or np.isin(scene.labels[footprint], (ROAD, WATER)).any():
        return
    height = rng.uniform(9, 15) if is_hall else rng.uniform(6, 11)
    rows, cols = np.nonzero(footprint)
    _cast_shadow(scene, rows, cols, height)
    window = (slice(rows.min(), rows.max() + 1), slice(cols.min(), cols.max() + 1))
    inside = footprint[window]
    # The street grid's axes, as directions in the picture, tell how a facet faces the sun.
    gradient = np.array([part.mean() for part in np.gradient(scene.across[window])])
    roof = shade_roof(
        rng, first[window], second[window], half, gradient, scene.sun, is_flat=is_hall
    )
    scene.rgb[window][inside] = roof[inside]
    scene.shade[window][inside] = 0
    scene.labels[window][inside] = BUILDING


def _plant_trees(rng: np.random.Generator, scene: _Scene) -> None:
    """Scatter tree crowns: groves where noise says so, single ones elsewhere."""
    size = scene.size
    density = layered_noise(rng, size, 60)
    for row, col in rng.uniform(0, size, (size * size // 260, 2)):
        spot = (int(row), int(col))
        label = scene.labels[spot]
        odds = 0.85 if density[spot] > 0.55 else (0.10 if label == VEGETATION else 0.04)
        if label not in (LAND, VEGETATION) or rng.random() > odds:
            continue
        _plant_tree(rng, scene, (row, col), rng.uniform(3.0, 8.5))


def _plant_tree(
    rng: np.random.Generator, scene: _Scene, centre: tuple[float, float], radius: float
) -> None:
    """Draw one crown, lit from the sun's side, and its shadow."""
    reach = int(np.ceil(radius * 1.3)) + 1
    top, left = max(0, int(centre[0]) - reach), max(0, int(centre[1]) - reach)
    window = (slice(top, int(centre[0]) + reach), slice(left, int(centre[1]) + reach))
    height, width = scene.labels[window].shape
    rows, cols = np.mgrid[top : top + height, left : left + width]
    down, across = (rows - centre[0]) / radius, (cols - centre[1]) / radius
    direction = np.arctan2(down, across)
    outline = 1 + 0.12 * np.cos(3 * direction + rng.uniform(0, 6))
    outline += 0.08 * np.cos(7 * direction + rng.uniform(0, 6))
    inside = np.hypot(down, across) < outline
    inside &= np.isin(scene.labels[window], (LAND, VEGETATION))
    _cast_shadow(scene, rows[inside], cols[inside], radius * 1.1)
    toward_sun = -(down * scene.sun[0] + across * scene.sun[1]) / np.hypot(*scene.sun)
    leaves = rng.normal(0, 0.16, down.shape)
    light = 0.85 + 0.4 * toward_sun + leaves
    green = np.array([0.20, 0.29, 0.14]) * rng.uniform(0.75, 1.25) + rng.normal(0, 0.015, 3)
    scene.rgb[window][inside] = (green * light[..., None])[inside]
    scene.shade[window][inside] = 0
    scene.labels[window][inside] = VEGETATION


def _cast_shadow(
    scene: _Scene, rows: NDArray[np.int64], cols: NDArray[np.int64], height: float
) -> None:
    """Block the sun behind pixels of something `height` pixels high.

    Roofs and crowns that are drawn later clear the shadow that falls on them.
    """
    num_steps = max(2, int(np.ceil(height * np.hypot(*scene.sun))))
    for step in np.linspace(0, height, num_steps):
        moved_rows = np.round(rows + scene.sun[0] * step).astype(int)
        moved_cols = np.round(cols + scene.sun[1] * step).astype(int)
        is_in = (moved_rows >= 0) & (moved_rows < scene.size)
        is_in &= (moved_cols >= 0) & (moved_cols < scene.size)
        where = (moved_rows[is_in], moved_cols[is_in])
        is_low = scene.labels[where] != BUILDING
        scene.shade[where[0][is_low], where[1][is_low]] = 1


def _photograph(rng: np.random.Generator, scene: _Scene) -> NDArray[np.uint8]:
    """Apply shadow, haze, the camera's sharpness, its colour cast and its noise."""
    shade = cv2.GaussianBlur(scene.shade, (0, 0), 0.8)[..., None]
    sky = np.array([0.42, 0.47, 0.56])
    radiance = scene.rgb * (1 - shade * (1 - sky))
    radiance = cv2.GaussianBlur(radiance.astype(np.float32), (0, 0), rng.uniform(0.5, 0.85))
    haze = rng.uniform(0, 0.09)
    cast = rng.normal(1, 0.04, 3)
    exposed = (radiance * (1 - haze) + haze * np.array([0.75, 0.8, 0.9])) * cast
    exposed = exposed * rng.uniform(0.85, 1.2) + rng.normal(0, 0.012, exposed.shape)
    return np.asarray(np.clip(exposed, 0, 1) ** 0.85 * 255, np.uint8)
