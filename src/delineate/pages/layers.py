"""Pictures in layers: a photograph stored once, and thin overlays on it.

Each photograph is one JPEG that all views of it share (``<use>`` of an SVG image), each overlay a
PNG of a few colours with transparency, and the values that a script draws from a PNG of bytes. So
a page stays small, shows everything without a script, and prints.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

JPEG_QUALITY = 85
_PNG_LEVEL = 6

Colour = tuple[int, int, int, int]
"""(red, green, blue, opacity), 0 to 255 each."""


@dataclass(frozen=True)
class View:
    """One way of looking at a photograph."""

    label: str
    overlay: str = ""
    """Address of the picture on top, as `overlay_address` returns it; none where empty."""
    is_dimmed: bool = False
    """Whether the photograph below is grey and dark, so that the overlay stands out."""


@dataclass(frozen=True)
class LayeredRow:
    """A photograph and its views, side by side."""

    title: str
    photo: NDArray[np.uint8]
    """(H, W, 3)."""
    views: Sequence[View]
    note: str = ""


def overlay_address(indices: NDArray[np.uint8], colours: Sequence[Colour]) -> str:
    """Return a ``data:`` address of a picture with transparency.

    Args:
        indices: Which colour each pixel has, (H, W).
        colours: Up to 256.
    """
    image = Image.fromarray(indices)
    image.putpalette([part for colour in colours for part in colour[:3]])
    buffer = io.BytesIO()
    image.save(
        buffer,
        "PNG",
        transparency=bytes(colour[3] for colour in colours),
        compress_level=_PNG_LEVEL,
    )
    return _address("png", buffer.getvalue())


def values_address(values: NDArray[np.uint8]) -> str:
    """Return a ``data:`` address that keeps bytes exactly, for a script to read.

    Args:
        values: (H, W, 3); what the channels mean is between writer and reader.
    """
    written, content = cv2.imencode(
        ".png",
        np.ascontiguousarray(values[..., ::-1]),  # OpenCV writes blue first
        [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL],
    )
    assert written
    return _address("png", content.tobytes())


def photo_address(picture: NDArray[np.uint8]) -> str:
    """Return a ``data:`` address of a picture, (H, W, 3), as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return _address("jpeg", buffer.getvalue())


def outlined(labels: NDArray[np.uint8], num_labels: int) -> NDArray[np.uint8]:
    """Return labels with the rim of each region told apart: label + `num_labels` - 1.

    A rim is a pixel of a region with another label above, below, left or right of it, so it lies
    inside its region. Label 0 has no rim; what reaches 256 keeps its label.

    Args:
        labels: (H, W), 0 to `num_labels` - 1.
        num_labels: 0 counts.
    """
    differs = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    across = labels[:, 1:] != labels[:, :-1]
    differs[1:] |= down
    differs[:-1] |= down
    differs[:, 1:] |= across
    differs[:, :-1] |= across
    if 2 * num_labels - 2 > 255:
        return labels
    return labels + (differs & (labels > 0)) * np.uint8(num_labels - 1)


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
