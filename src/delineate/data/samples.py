"""The built-in samples: data sets that the program draws itself, for demos and tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from delineate.data.sample_aerial import AERIAL_LEGEND, draw_aerial
from delineate.data.sample_cells import draw_cells
from delineate.errors import UnknownNameError
from delineate.files import write_text
from delineate.randomness import generator_for
from delineate.rasters import write_image

SampleKind = Literal["cells", "aerial"]
Draw = Callable[[np.random.Generator, int], tuple[NDArray[np.uint8], NDArray[np.uint8]]]

SAMPLES: dict[str, Draw] = {"cells": draw_cells, "aerial": draw_aerial}
"""Kind of sample -> function that draws a picture and its mask."""

_DATA_FILES: dict[str, dict[str, Any]] = {
    "cells": {"class_names": ["cell"]},
    "aerial": {"legend": AERIAL_LEGEND},
}


def write_sample(
    kind: SampleKind, out: Path | str, num_images: int = 24, size: int = 256, seed: int = 0
) -> Path:
    """Write a data set: ``images/``, ``masks/`` and the ``data.yaml`` that explains the masks.

    Args:
        kind: ``cells`` (binary, grey) or ``aerial`` (five classes as colours, RGB).
        out: Folder to write to; it is made where it is missing.
        num_images: Number of pictures.
        size: Their height and width, in pixels.
        seed: The same seed draws the same pictures.

    Returns:
        The path of ``data.yaml``.

    Raises:
        UnknownNameError: If there is no such kind.
    """
    if kind not in SAMPLES:
        raise UnknownNameError("sample", kind, sorted(SAMPLES))
    out = Path(out)
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    stream = sorted(SAMPLES).index(kind)
    for index in range(num_images):
        picture, mask = SAMPLES[kind](generator_for(seed, stream, index), size)
        name = f"{kind}_{index:03d}.png"
        write_image(out / "images" / name, picture)
        write_image(out / "masks" / name, mask if kind == "cells" else colour(mask))
    path = out / "data.yaml"
    write_text(path, yaml.safe_dump(_DATA_FILES[kind], sort_keys=False))
    return path


def colour(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the aerial sample's class indices (H, W) in its legend's colours (H, W, 3)."""
    colours = [tuple(bytes.fromhex(code[1:])) for code in AERIAL_LEGEND.values()]
    return np.array(colours, np.uint8)[labels]
