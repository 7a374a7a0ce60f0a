"""How much an image looks like the training images.

Each image is a short row of numbers: brightness, contrast and range of each channel, and how much
detail there is at three sizes. The distance of a new image is that to its nearest training images;
the yardstick is such a distance of training images to those of other groups, which 95 % of them
keep within. So a
new kind of stain, camera, season or magnification is noticed; a change of what is shown, at the
same look, is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from delineate.preprocessing import convert_channels
from delineate.tiling import Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from delineate.preprocessing import Preprocessing

    FloatArray = NDArray[np.float64]
    LookWindow = tuple[NDArray[Any], NDArray[np.bool_] | None]

ALARM_RATIO = 1.25
"""Share of the yardstick from which an image is reported."""
MAX_IMAGES = 200
"""Training images that are remembered, chosen evenly."""
YARDSTICK_SHARE = 0.95
"""Share of the training images that are no farther from other groups than the yardstick."""
FEWEST_GROUPS = 4
"""With fewer groups of training images there is no yardstick, and no alarm."""

_WINDOW = 256
_WINDOWS_PER_SIDE = 3
_NUM_NEAREST = 3
_DETAIL_SIZES = (1, 2, 4)
_SMALLEST_SPREAD = {"value": 0.02, "detail": 0.1}
"""Differences that are never large: shares of the value range, and powers of ten of detail."""
_SMALLEST_DETAIL = 1e-4
_SMALLEST_VALID = 0.5
_DIGITS = 4


def name_look(num_channels: int) -> list[str]:
    """Return what the numbers of `measure_look` are, in words."""
    parts = ("brightness", "contrast", "darkest parts", "brightest parts")
    names = [
        f"{part} of channel {channel + 1}" if num_channels > 1 else part
        for part in parts
        for channel in range(num_channels)
    ]
    return [*names, *(f"detail of {size} px" for size in _DETAIL_SIZES)]


def look_windows(height: int, width: int) -> list[Window]:
    """Return the parts of an image that its look is measured on: up to 3 x 3, evenly spread."""
    sides = min(height, _WINDOW), min(width, _WINDOW)
    return [
        Window(row, col, *sides)
        for row in _spread(height, sides[0])
        for col in _spread(width, sides[1])
    ]


def _spread(size: int, length: int) -> list[int]:
    count = min(_WINDOWS_PER_SIDE, -(-size // _WINDOW))
    return [int(start) for start in np.linspace(0, size - length, count).round()]


def look_of(
    pixels: NDArray[Any], valid: NDArray[np.bool_] | None, preprocessing: Preprocessing
) -> FloatArray | None:
    """Return the look of a whole image; see `measure_look`.

    Args:
        pixels: As read, (H, W, C).
        valid: Pixels that hold a measurement, (H, W); None counts all.
        preprocessing: Whose channels and value range make images comparable.
    """
    windows = [window.slices for window in look_windows(*pixels.shape[:2])]
    parts = [(pixels[place], None if valid is None else valid[place]) for place in windows]
    return measure_look(parts, preprocessing)


def measure_look(windows: Iterable[LookWindow], preprocessing: Preprocessing) -> FloatArray | None:
    """Return the look of an image from its windows (`look_windows`).

    Args:
        windows: Pixels as read, (h, w, C) each, and which of them hold a measurement, (h, w), or
            None. Windows of which less than half does are left out.
        preprocessing: Whose channels and value range make images comparable.

    Returns:
        (F,) numbers, named by `name_look`; None if no window is left.
    """
    low, high = preprocessing.value_range
    rows, details = [], []
    for window, valid in windows:
        pixels = convert_channels(window, preprocessing.in_channels).astype(np.float32)
        pixels = np.nan_to_num((pixels - low) / (high - low), posinf=0.0, neginf=0.0)
        values = pixels.reshape(-1, preprocessing.in_channels)
        if valid is not None:
            if valid.mean() < _SMALLEST_VALID:
                continue
            values = pixels[valid]
            pixels = np.where(valid[..., None], pixels, values.mean(axis=0))
        dark, bright = np.percentile(values[:: max(1, len(values) // 8192)], (5, 95), axis=0)
        rows.append([values.mean(axis=0), values.std(axis=0), dark, bright])
        details.append(_details(pixels.mean(axis=2)))
    if not rows:
        return None
    values = np.mean(rows, axis=0, dtype=np.float64).ravel()
    return np.concatenate([values, np.log10(np.mean(details, axis=0) + _SMALLEST_DETAIL)])


def _details(grey: NDArray[np.float32]) -> list[float]:
    found = []
    for size in _DETAIL_SIZES:
        height, width = max(1, grey.shape[0] // size), max(1, grey.shape[1] // size)
        small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        steps = [np.abs(np.diff(small, axis=axis)) for axis in (0, 1) if small.shape[axis] > 1]
        found.append(float(sum(step.mean() for step in steps)))
    return found


@dataclass(frozen=True)
class Familiarity:
    """What training images look like, and how different they are from each other."""

    looks: FloatArray
    """(N, F): a row of `measure_look` per remembered training image."""
    yardstick: float | None
    """Distance to those of other groups that `YARDSTICK_SHARE` of the training images keep within;
    None with too few groups."""

    @property
    def _scale(self) -> FloatArray:
        num_details = len(_DETAIL_SIZES)
        floor = np.full(self.looks.shape[1], _SMALLEST_SPREAD["value"])
        floor[-num_details:] = _SMALLEST_SPREAD["detail"]
        return np.asarray(np.maximum(self.looks.std(axis=0), floor))

    def distance(self, look: FloatArray) -> float:
        """Return the distance to the nearest training images, in standard deviations."""
        return float(_nearest_distance(look, self.looks, self._scale))

    def ratio(self, look: FloatArray) -> float | None:
        """Return the distance in shares of the yardstick; None without one."""
        if not self.yardstick:
            return None
        return self.distance(look) / self.yardstick

    def explain(self, look: FloatArray, num_channels: int) -> str:
        """Say in what an image differs most from all training images."""
        lowest, highest = self.looks.min(axis=0), self.looks.max(axis=0)
        beyond = np.maximum(lowest - look, look - highest) / self._scale
        worst = int(beyond.argmax())
        if beyond[worst] <= 0:
            return "it combines brightness, contrast and detail as no training image does"
        name = name_look(num_channels)[worst]
        numbers = np.asarray([look[worst], lowest[worst], highest[worst]])
        if worst >= len(look) - len(_DETAIL_SIZES):
            numbers = 10**numbers
        value, low, high = numbers
        return f"{name} is {value:.3g}, in training images {low:.3g} to {high:.3g}"

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description; `Familiarity.from_dict` is its inverse."""
        return {"looks": self.looks.round(_DIGITS).tolist(), "yardstick": self.yardstick}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Familiarity:
        """Build from what `as_dict` returned."""
        return cls(np.asarray(document["looks"], dtype=np.float64), document["yardstick"])


def learn_familiarity(looks: Sequence[FloatArray], groups: Sequence[str]) -> Familiarity:
    """Return what there is to remember of training images.

    Args:
        looks: `measure_look` of each.
        groups: Group of each; the images of one group are not compared with each other.
    """
    table = np.stack(looks).round(_DIGITS)
    found = Familiarity(table, None)
    names = np.asarray(groups)
    if len(set(groups)) < FEWEST_GROUPS:
        return found
    scale = found._scale
    distances = [
        _nearest_distance(look, table[names != name], scale)
        for look, name in zip(table, names, strict=True)
    ]
    return Familiarity(table, round(float(np.quantile(distances, YARDSTICK_SHARE)), _DIGITS))


def remembered(num_images: int) -> list[int]:
    """Return the positions of the training images to remember, at most `MAX_IMAGES`."""
    if num_images <= MAX_IMAGES:
        return list(range(num_images))
    positions = np.linspace(0, num_images - 1, MAX_IMAGES).round()
    return [int(position) for position in positions]


def _nearest_distance(look: FloatArray, looks: FloatArray, scale: FloatArray) -> float:
    squares = (((looks - look) / scale) ** 2).mean(axis=1)
    nearest = np.sort(squares)[:_NUM_NEAREST]
    return float(np.sqrt(nearest).mean())
