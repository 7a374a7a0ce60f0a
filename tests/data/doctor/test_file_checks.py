from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from delineate.data.doctor.findings import (
    DropFiles,
    DropOrientation,
    Finding,
    Reorient,
    ResizeMask,
)
from delineate.rasters import read_image, write_image

Find = Callable[..., dict[str, Finding]]


def test_a_clean_set_has_no_finding_of_files(cells: Path, find: Find) -> None:
    codes = set(find(cells))
    assert not codes & {"unreadable-file", "not-a-mask", "size-mismatch", "missing-mask"}
    assert not codes & {"exif-rotation", "exif-one-sided", "mixed-types", "mixed-channels"}


def test_truncated_files_are_found_by_decoding_them(cells: Path, find: Find) -> None:
    image, mask = cells / "images" / "cells_002.png", cells / "masks" / "cells_005.png"
    for path in (image, mask):
        path.write_bytes(path.read_bytes()[:-40])
    (cells / "images" / "cells_007.png").write_bytes(b"")
    finding = find(cells)["unreadable-file"]
    assert finding.severity == "error"
    assert finding.files == (
        "images/cells_002.png",
        "images/cells_007.png",
        "masks/cells_005.png",
    )
    assert "cells_002.png is truncated" in finding.what
    assert str(cells) not in finding.what
    # Leaving out a file takes its partner along, which would be an error by itself.
    pairs = {f"{folder}/cells_{n:03d}.png" for folder in ("images", "masks") for n in (2, 5, 7)}
    assert finding.remedies == (DropFiles(tuple(sorted(pairs))),)
    patterns = tuple(sorted(pairs))
    assert all(repr(pattern) in finding.fix for pattern in patterns)
    assert "unreadable-file" not in find(cells, exclude=patterns)


def test_masks_of_another_size_are_padded_only_if_nearly_fitting(cells: Path, find: Find) -> None:
    near, far = cells / "masks" / "cells_000.png", cells / "masks" / "cells_001.png"
    write_image(near, np.pad(read_image(near)[..., 0], ((0, 0), (0, 3))))
    write_image(far, np.tile(read_image(far)[..., 0], (2, 2)))
    finding = find(cells)["size-mismatch"]
    assert "cells_000.png is 96x99, its image 96x96" in finding.what
    assert finding.files == ("masks/cells_000.png", "masks/cells_001.png")
    assert finding.remedies == (
        ResizeMask("masks/cells_000.png", (96, 96)),
        DropFiles(("images/cells_001.png", "masks/cells_001.png")),
    )


@pytest.fixture
def tall(tmp_path: Path) -> Path:
    """Eight JPEG images of 60 rows and 80 columns with their masks."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "tall" / folder).mkdir(parents=True)
    for number in range(8):
        pixels = rng.integers(0, 256, (60, 80), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "tall" / "images" / f"{number}.jpg")
        mask = np.zeros((60, 80), np.uint8)
        mask[10:30, 10 + number : 40] = 255
        write_image(tmp_path / "tall" / "masks" / f"{number}.png", mask)
    return tmp_path / "tall"


def turn(path: Path, orientation: int) -> None:
    """Write an orientation into a file, without touching its pixels."""
    with Image.open(path) as picture:
        exif = picture.getexif()
        exif[274] = orientation
        picture.save(path, exif=exif)


def test_exif_that_turns_the_image_off_its_mask_is_an_error(tall: Path, find: Find) -> None:
    turn(tall / "images" / "3.jpg", 6)
    found = find(tall)
    assert found["exif-rotation"].severity == "error"
    assert found["exif-rotation"].files == ("images/3.jpg", "masks/3.png")
    assert found["exif-rotation"].remedies == (DropOrientation("images/3.jpg"),)
    assert "size-mismatch" not in found


def test_exif_of_one_file_alone_is_a_warning_where_sizes_agree(tall: Path, find: Find) -> None:
    turn(tall / "images" / "3.jpg", 3)
    found = find(tall)
    assert found["exif-one-sided"].severity == "warning"
    assert "orientation 3, its mask 1" in found["exif-one-sided"].what
    assert found["exif-one-sided"].remedies == (Reorient("images/3.jpg"),)
    assert "exif-rotation" not in found


def test_an_orientation_that_is_none_is_told(tall: Path, find: Find) -> None:
    turn(tall / "images" / "3.jpg", 9)
    found = find(tall)
    assert found["exif-invalid"].files == ("images/3.jpg",)
    assert "exif-one-sided" not in found


def test_files_that_hold_no_mask_are_told_apart_from_broken_ones(cells: Path, find: Find) -> None:
    path = cells / "masks" / "cells_004.png"
    path.unlink()
    np.save(path.with_suffix(".npy"), np.full((96, 96), 0.5, np.float32))
    found = find(cells)
    assert found["not-a-mask"].files == ("masks/cells_004.npy",)
    assert "fractions" in found["not-a-mask"].what
    assert "unreadable-file" not in found
