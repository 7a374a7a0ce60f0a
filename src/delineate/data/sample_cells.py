"""Fluorescence-like cells: uneven light, touching, out of focus, noisy.

Global thresholds fail on them by design: the light falls off across the field, the background
glows where the light is strong, and blurred cells from other planes, which are not labelled, are
brighter than dim cells in focus.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from delineate.data.sample_noise import Floats, smooth_noise


def draw_cells(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one picture of cells.

    Args:
        rng: Source of all that is random.
        size: Height and width, in pixels; at least 32.

    Returns:
        The picture, (size, size) uint8, and its mask, (size, size) uint8, 255 in cells in focus.
    """
    coverage = rng.uniform(0.12, 0.4)
    radius = rng.uniform(7.0, 13.0)
    num_cells = max(3, round(coverage * size**2 / (np.pi * radius**2)))
    light = _illumination(rng, size)

    signal = np.zeros((size, size), np.float32)
    mask = np.zeros((size, size), np.uint8)
    for row, col in _positions(rng, num_cells, size, radius):
        _add_cell(rng, signal, mask, (row, col), radius * rng.uniform(0.75, 1.3))
    haze = _out_of_focus(rng, size, radius, max(3, num_cells // 2))

    focused = cv2.GaussianBlur(signal, (0, 0), rng.uniform(0.7, 1.3))
    glow = cv2.GaussianBlur(signal, (0, 0), radius) * 0.5
    background = rng.uniform(0.28, 0.45)
    photons = (focused + glow + haze + background) * light * rng.uniform(80, 240)
    counts = rng.poisson(photons) + rng.normal(0, 3.0, photons.shape)
    scale = np.percentile(counts, 99.8) * rng.uniform(1.0, 1.25)
    return np.clip(counts / scale * 255, 0, 255).astype(np.uint8), mask


def _illumination(rng: np.random.Generator, size: int) -> Floats:
    """Return a bright spot somewhere in the field that falls off to about a fourth."""
    rows, cols = np.mgrid[:size, :size].astype(np.float32) / size
    row, col = rng.uniform(-0.1, 1.1, 2)
    distance = np.hypot(rows - row, cols - col)
    return np.asarray(0.22 + np.exp(-((distance / rng.uniform(0.45, 0.7)) ** 2)), np.float32)


def _positions(
    rng: np.random.Generator, num_cells: int, size: int, radius: float
) -> NDArray[np.float64]:
    """Return cell centres (N, 2): clustered, so that many touch, but few overlap."""
    centres = rng.uniform(0, size, (max(1, num_cells // 5), 2))
    members = rng.integers(len(centres), size=num_cells * 2)
    points = centres[members] + rng.normal(0, 3.0 * radius, (num_cells * 2, 2))
    lonely = rng.random(len(points)) < 0.35
    points[lonely] = rng.uniform(0, size, (int(lonely.sum()), 2))
    kept: list[NDArray[np.float64]] = []
    for point in points:
        if all(np.hypot(*(point - other)) > 1.55 * radius for other in kept):
            kept.append(point)
    return np.array(kept[:num_cells])


def _add_cell(
    rng: np.random.Generator,
    signal: Floats,
    mask: NDArray[np.uint8],
    centre: tuple[float, float],
    radius: float,
) -> None:
    """Add one textured cell with an irregular outline."""
    reach = int(np.ceil(radius * 1.7))
    row, col = round(centre[0]), round(centre[1])
    top, left = max(0, row - reach), max(0, col - reach)
    bottom, right = min(signal.shape[0], row + reach), min(signal.shape[1], col + reach)
    if top >= bottom or left >= right:
        return
    rows, cols = np.mgrid[top:bottom, left:right].astype(np.float32)
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.62, 1.0)
    along = (cols - centre[1]) * np.cos(angle) + (rows - centre[0]) * np.sin(angle)
    across = (rows - centre[0]) * np.cos(angle) - (cols - centre[1]) * np.sin(angle)
    direction = np.arctan2(across, along)
    outline = np.full_like(along, radius)
    for order, amplitude in ((2, 0.08), (3, 0.05), (4, 0.025)):
        wobble = rng.normal(0, amplitude) * np.cos(order * direction + rng.uniform(0, 2 * np.pi))
        outline += radius * wobble.astype(np.float32)
    distance = np.hypot(along, across / ratio) / outline
    inside = distance < 1
    texture = 1 + 0.16 * smooth_noise(rng, 2 * reach + 2, 3.0)[: bottom - top, : right - left]
    shape = np.sqrt(np.clip(1 - (distance * 0.82) ** 2, 0, 1))
    # Brightness varies by a factor of six from cell to cell: mitotic cells glow, others are dim.
    brightness = np.exp(rng.normal(-0.15, 0.5)) * (0.75 if rng.random() < 0.8 else 1.5)
    cell = np.where(inside, brightness * shape * texture, 0).astype(np.float32)
    window = (slice(top, bottom), slice(left, right))
    signal[window] = np.maximum(signal[window], cell)
    mask[window][inside] = 255


def _out_of_focus(rng: np.random.Generator, size: int, radius: float, num_cells: int) -> Floats:
    """Return the blurred light of cells from other planes."""
    haze = np.zeros((size, size), np.float32)
    for _ in range(num_cells):
        disc = np.zeros_like(haze)
        centre = (int(rng.integers(size)), int(rng.integers(size)))
        cv2.circle(disc, centre, round(radius * rng.uniform(1.0, 1.6)), rng.uniform(0.4, 1.1), -1)
        haze += cv2.GaussianBlur(disc, (0, 0), radius * rng.uniform(0.5, 1.1))
    return haze
