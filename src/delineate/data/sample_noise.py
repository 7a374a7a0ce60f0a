"""Smooth random fields, of which the built-in samples are made."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, size: int, scale: float) -> Floats:
    """Return a random field (size, size) of mean 0 and deviation 1, its features `scale` pixels."""
    num_knots = max(2, int(np.ceil(size / scale))) + 3
    knots = rng.standard_normal((num_knots, num_knots)).astype(np.float32)
    shift = rng.uniform(0, 1, 2)
    to_knots = np.array([[1 / scale, 0, 1 + shift[0]], [0, 1 / scale, 1 + shift[1]]], np.float32)
    field = cv2.warpAffine(
        knots,
        to_knots,
        (size, size),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def layered_noise(
    rng: np.random.Generator, size: int, scale: float, num_octaves: int = 4
) -> Floats:
    """Return smooth noise with finer and weaker noise on it, as in terrain; mean 0, deviation 1."""
    octaves = [
        smooth_noise(rng, size, max(1.5, scale / 2**octave)) * 0.55**octave
        for octave in range(num_octaves)
    ]
    field = np.sum(octaves, axis=0)
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)
