from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from delineate.data.doctor.findings import Finding, RecodeMask
from delineate.data.samples import write_sample
from delineate.rasters import read_image, write_image

Find = Callable[..., dict[str, Finding]]
RED, GREEN = (255, 0, 0), (0, 255, 0)
LEGEND = {"background": "#000000", "a": "#FF0000", "b": "#00FF00"}


@pytest.fixture
def palettes(tmp_path: Path) -> Path:
    """Six images with palette masks of three colours in one order."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(6):
        write_image(tmp_path / "images" / f"{number}.png", rng.integers(0, 256, (40, 40), np.uint8))
        save_palette(tmp_path / "masks" / f"{number}.png", (RED, GREEN), number)
    return tmp_path


def save_palette(path: Path, colours: tuple[tuple[int, int, int], ...], number: int = 0) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[5:15, 5 : 20 + number] = 1
    mask[20:30, 5 : 20 + number] = 2
    picture = Image.fromarray(mask)
    picture.putpalette([0, 0, 0, *(channel for colour in colours for channel in colour)])
    picture.save(path)


def test_palettes_in_one_order_are_no_finding(palettes: Path, find: Find) -> None:
    assert not set(find(palettes, legend=LEGEND)) & {"palette-order", "mask-form", "legend-file"}


def test_a_palette_in_another_order_is_named_and_written_anew(palettes: Path, find: Find) -> None:
    save_palette(palettes / "masks" / "4.png", (GREEN, RED))
    finding = find(palettes, legend=LEGEND)["palette-order"]
    assert "index 1 is #FF0000 in 5 files, #00FF00 in 1 file" in finding.what
    codes = ((0x000000, 0), (0x00FF00, 2), (0xFF0000, 1))
    assert RecodeMask("masks/4.png", "colour", codes) in finding.remedies
    # Without a legend nobody knows which class is which.
    assert find(palettes)["palette-order"].remedies == ()


def test_a_mask_in_another_form_is_told(cells: Path, find: Find) -> None:
    path = cells / "masks" / "cells_003.png"
    red = np.zeros((96, 96, 3), np.uint8)
    red[read_image(path)[..., 0] > 0] = RED
    write_image(path, red)
    assert find(cells)["mask-form"].files == ("masks/cells_003.png",)


def test_a_black_mask_among_colours_is_no_other_form(tmp_path: Path, find: Find) -> None:
    write_sample("aerial", tmp_path, num_images=8, size=64)
    write_image(tmp_path / "masks" / "aerial_001.png", np.zeros((64, 64), np.uint8))
    assert "mask-form" not in find(tmp_path, ignore=("#000000",))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.json", json.dumps({"classes": [{"title": "x", "color": "#112233"}] * 2})),
        ("class_dict.csv", "name,r,g,b\nroad,1,2,3\nwater,40,50,60\n"),
        ("labelmap.txt", "road:#010203\nwater:#A0B0C0\n"),
    ],
)
def test_a_file_of_class_names_that_fits_no_mask_is_misleading(
    palettes: Path, find: Find, name: str, text: str
) -> None:
    if name == "classes.json":
        text = text.replace("#112233", "#AABBCC", 1)
    (palettes / name).write_text(text)
    finding = find(palettes, legend=LEGEND)["legend-file"]
    assert finding.files == (name,)
    assert "#FF0000" in finding.what


def test_a_file_of_class_names_that_fits_is_none(palettes: Path, find: Find) -> None:
    (palettes / "class_dict.csv").write_text(
        "name,r,g,b\nnone,0,0,0\na,255,0,0\nb,0,255,0\nc,1,1,1"
    )
    assert "legend-file" not in find(palettes, legend=LEGEND)
    (palettes / "classes.json").write_text("{not json")
    assert "legend-file" not in find(palettes, legend=LEGEND)
