from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from delineate.data.doctor.diagnosis import Diagnosis
from delineate.data.doctor.evidence import SIDE, show_evidence
from delineate.data.doctor.findings import Evidence
from delineate.rasters import read_image, write_image

Diagnose = Callable[..., Diagnosis]
PINK = (255, 40, 200)
IMAGE, MASK = "images/cells_000.png", "masks/cells_000.png"


def is_pink(picture: np.ndarray) -> np.ndarray:
    return (picture == PINK).all(axis=-1)


def test_a_mask_is_shown_on_its_image(cells: Path, diagnose_with: Diagnose) -> None:
    examination = diagnose_with(cells).examination
    for item in (Evidence(MASK, "odd"), Evidence(IMAGE, "odd", mask=MASK)):
        exhibit = show_evidence(item, examination)
        assert exhibit is not None
        assert exhibit.headings == ("image", "mask", "its outlines on the image")
        assert exhibit.note == "odd"
        image, mask, outlined = exhibit.pictures
        assert max(image.shape) <= SIDE
        scale = image.shape[0] // 96
        inside = read_image(cells / MASK)[..., 0] > 0
        np.testing.assert_array_equal(mask[::scale, ::scale, 0] > 0, inside)
        assert is_pink(outlined).any()
        assert not is_pink(image).any()
        np.testing.assert_array_equal(outlined[~is_pink(outlined)], image[~is_pink(outlined)])


def test_a_box_is_drawn_and_shown_larger(cells: Path, diagnose_with: Diagnose) -> None:
    examination = diagnose_with(cells).examination
    exhibit = show_evidence(Evidence(IMAGE, box=(40, 50, 42, 53), mask=MASK), examination)
    assert exhibit is not None
    assert exhibit.headings[0] == "where it is"
    where, near, *_ = exhibit.pictures
    rows, columns = np.nonzero(is_pink(where))
    scale = where.shape[0] // 96
    assert (rows.min() // scale, columns.min() // scale) == (39, 49)
    assert near.shape[0] > 3 * (2 + 2 * 24)


def test_a_mask_of_another_size_is_not_laid_on_the_image(
    cells: Path, diagnose_with: Diagnose
) -> None:
    write_image(cells / MASK, np.zeros((50, 40), np.uint8))
    exhibit = show_evidence(Evidence(IMAGE, mask=MASK), diagnose_with(cells).examination)
    assert exhibit is not None
    assert exhibit.headings == ("image", "mask")


def test_what_cannot_be_read_is_not_shown(cells: Path, diagnose_with: Diagnose) -> None:
    (cells / IMAGE).write_bytes(b"no image")
    examination = diagnose_with(cells).examination
    assert show_evidence(Evidence(IMAGE), examination) is None
    alone = show_evidence(Evidence(MASK), examination)
    assert alone is not None
    assert alone.headings == ("mask",)
