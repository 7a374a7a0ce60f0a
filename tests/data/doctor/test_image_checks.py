from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from delineate.data.doctor.findings import ConvertImage, Finding
from delineate.rasters import read_image, write_image

Find = Callable[..., dict[str, Finding]]
CODES = {"constant-image", "nearly-black", "clipped-image", "nan-pixels", "nodata-image"}


def test_a_clean_set_has_no_finding_of_values(cells: Path, find: Find) -> None:
    assert not set(find(cells)) & (CODES | {"mixed-channels", "mixed-types"})


def test_colour_among_grey_is_a_warning_and_16_bits_are_an_error(cells: Path, find: Find) -> None:
    path = cells / "images" / "cells_001.png"
    write_image(path, np.repeat(read_image(path), 3, axis=2))
    finding = find(cells)["mixed-channels"]
    assert (finding.severity, finding.files) == ("warning", ("images/cells_001.png",))
    assert finding.remedies == (ConvertImage("images/cells_001.png", 1),)
    path.unlink()
    tifffile.imwrite(path.with_suffix(".tif"), np.arange(96 * 96, dtype=np.uint16).reshape(96, 96))
    finding = find(cells)["mixed-types"]
    assert (finding.severity, finding.files) == ("error", ("images/cells_001.tif",))
    assert "1 to 4 channels of uint8" in finding.what
    assert "images/cells_001.tif" in finding.fix
    assert "masks/cells_001.png" in finding.fix


def test_images_that_say_nothing_are_found(cells: Path, find: Find) -> None:
    images = cells / "images"
    write_image(images / "cells_000.png", np.full((96, 96), 77, np.uint8))
    dark = np.random.default_rng(0).integers(0, 3, (96, 96)).astype(np.uint8)
    write_image(images / "cells_001.png", dark)
    bright = read_image(images / "cells_002.png")[..., 0].copy()
    bright[:40] = 255
    write_image(images / "cells_002.png", bright)
    found = find(cells)
    assert found["constant-image"].files == ("images/cells_000.png",)
    assert found["nearly-black"].files == ("images/cells_001.png",)
    assert found["clipped-image"].files == ("images/cells_002.png",)
    assert "42 % of the pixels at the brightest value" in found["clipped-image"].what


def test_white_paper_is_no_fault(cells: Path, find: Find) -> None:
    for path in (cells / "images").iterdir():
        pixels = read_image(path)[..., 0].copy()
        pixels[:40] = 255
        write_image(path, pixels)
    assert "clipped-image" not in find(cells)


def test_values_below_zero_are_not_black(cells: Path, find: Find) -> None:
    for path in (cells / "images").iterdir():
        pixels = read_image(path)[..., 0].astype(np.int16) * 4 - 1000
        path.unlink()
        tifffile.imwrite(path.with_suffix(".tif"), pixels)
    assert not set(find(cells)) & CODES


def test_nan_and_nodata_are_counted(tmp_path: Path, find: Find) -> None:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(6):
        pixels = rng.normal(size=(40, 40)).astype(np.float32)
        nodata = None
        if number == 2:
            pixels[:4] = np.nan
        if number == 4:
            pixels[1:], nodata = -9999, "-9999"
        tifffile.imwrite(
            tmp_path / "images" / f"{number}.tif",
            pixels,
            extratags=[] if nodata is None else [(42113, "s", 0, nodata, True)],
        )
        mask = np.zeros((40, 40), np.uint8)
        mask[5:20, 5 : 20 + number] = 255
        write_image(tmp_path / "masks" / f"{number}.png", mask)
    found = find(tmp_path)
    assert found["nan-pixels"].files == ("images/2.tif",)
    assert "up to 10 % of them" in found["nan-pixels"].what
    assert found["nodata-image"].files == ("images/4.tif",)
