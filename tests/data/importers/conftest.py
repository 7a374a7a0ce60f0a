from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from delineate.rasters import read_raster

Array = np.ndarray[Any, Any]
Masks = Callable[[Path], dict[str, Array]]


@pytest.fixture
def masks_of() -> Masks:
    """The masks of an imported data set by the names of their images, (H, W) or (H, W, C)."""

    def masks_of(out: Path) -> dict[str, Array]:
        files = [path for path in sorted((out / "masks").rglob("*")) if path.is_file()]
        images = sorted(path.stem for path in (out / "images").rglob("*") if path.is_file())
        assert images == sorted(path.stem for path in files)
        return {path.stem: read_raster(path).pixels.squeeze() for path in files}

    return masks_of


@pytest.fixture
def save_picture() -> Callable[..., None]:
    """Write a picture of noise of (height, width)."""

    def save_picture(path: Path, height: int, width: int, **options: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(height).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, **options)

    return save_picture


@pytest.fixture
def save_json() -> Callable[[Path, Any], None]:
    """Write a document as JSON, in a folder that is made if it is missing."""

    def save_json(path: Path, document: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))

    return save_json


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets."""
    if "DELINEATE_DATA" not in os.environ:
        pytest.skip("DELINEATE_DATA names no folder of real data sets")
    return Path(os.environ["DELINEATE_DATA"])
