from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from delineate.data.importers.annotation import VOID, Notes, Patch, Region
from delineate.data.importers.painting import (
    box_points,
    fill_ellipse,
    fill_polygons,
    paint_regions,
    place,
    read_points,
    trim,
)
from delineate.errors import DataError

Array = np.ndarray[Any, Any]

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools
SIZE = (40, 50)


def whole(patch: Patch, size: tuple[int, int] = SIZE) -> Array:
    full = np.zeros(size, bool)
    rows = slice(patch.top, patch.top + patch.pixels.shape[0])
    full[rows, patch.left : patch.left + patch.pixels.shape[1]] = patch.pixels
    return full


def star(seed: int, centre: tuple[float, float], low: float, high: float) -> Array:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    radii = rng.uniform(low, high, 12)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1) + centre


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), x=st.floats(-10, 60), y=st.floats(-10, 50))
def test_a_pixel_belongs_to_a_polygon_if_its_centre_does(seed: int, x: float, y: float) -> None:
    outline, hole = star(seed, (x, y), 8, 22), star(seed + 1, (x, y), 1, 4)
    found = whole(fill_polygons([[outline, hole]], SIZE))
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    ring, inner = shapely.Polygon(outline), shapely.Polygon(hole)
    inside = shapely.contains_xy(ring, columns, rows)
    in_hole = shapely.contains_xy(inner, columns, rows)
    # Even-odd: where the hole reaches out of the outline it is filled itself.
    np.testing.assert_array_equal(found, inside ^ in_hole)


@pytest.mark.parametrize("seed", range(5))
def test_polygons_agree_with_pycocotools(seed: int) -> None:
    outline = star(seed, (25, 20), 6, 18)
    found = whole(fill_polygons([[outline]], SIZE))
    runs = coco.frPyObjects([outline.ravel().tolist()], *SIZE)
    reference = coco.decode(coco.merge(runs)).astype(bool)
    assert (found & reference).sum() / (found | reference).sum() > 0.97


def test_parts_of_one_object_are_all_filled() -> None:
    boxes = [box_points(1, 1, 4, 5), box_points(10, 2, 12, 3)]
    assert whole(fill_polygons([[box] for box in boxes], SIZE)).sum() == 3 * 4 + 2
    far = box_points(1000, 1000, 2000, 2000)
    assert fill_polygons([[far]], SIZE).pixels.size == 0
    assert fill_polygons([[far[:2]]], SIZE).pixels.size == 0


@pytest.mark.parametrize("degrees", [0, 30, 90, 400])
def test_ellipses_and_turned_boxes(degrees: float) -> None:
    size = (200, 200)
    ellipse = whole(fill_ellipse((90, 110), (60, 25), degrees, size), size)
    assert ellipse.sum() == pytest.approx(np.pi * 60 * 25, rel=0.01)
    box = whole(fill_polygons([[box_points(30, 85, 150, 135, degrees)]], size), size)
    assert box.sum() == pytest.approx(120 * 50, rel=0.02)
    outline = shapely.affinity.scale(shapely.Point(90, 110).buffer(1, quad_segs=64), 60, 25)
    turned = shapely.affinity.rotate(outline, degrees)  # y points down: clockwise to the eye
    rows, columns = np.mgrid[:200, :200] + 0.5
    reference = shapely.contains_xy(turned, columns, rows)
    assert (reference ^ ellipse).sum() <= 12


def test_bitmaps_are_cut_to_the_image_and_trimmed() -> None:
    ones = np.ones((5, 5), bool)
    assert whole(place(ones, -2, 48, SIZE)).sum() == 3 * 2
    assert place(ones, 40, 0, SIZE).pixels.size == 0
    full = np.zeros(SIZE, bool)
    full[3:7, 10:12] = True
    patch = trim(full)
    assert (patch.top, patch.left, patch.pixels.shape) == (3, 10, (4, 2))
    np.testing.assert_array_equal(whole(patch), full)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1, 2, 3], "no pairs"),
        ([[1, 2], [3]], "no points"),
        (["a", "b"], "no points"),
        (None, "no"),
        ([1, float("nan")], "NaN"),
        ([1, float("inf")], "NaN"),
        ([1, 10**400], "no points"),
        ([1, 1e9], "reaches to 1e\\+09"),
        ([[[1, 2], [3, 4]]], "no pairs"),
        (np.zeros(2_000_002).tolist(), "1000001 points"),
    ],
)
def test_nonsense_is_no_outline(values: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_points(values)


def test_overlaps_follow_the_rule_and_are_counted() -> None:
    def box(label: str | None, left: int, right: int) -> Region:
        corners = box_points(left, 0, right, 10)
        return Region(label, lambda size: fill_polygons([[corners]], size))

    regions = [box("a", 0, 4), box("b", 2, 20), box(None, 18, 30), box("c", 0, 50)]
    indices = {"a": 1, "b": 2, "skip": VOID}

    def paint(overlaps: Any) -> tuple[Array, str]:
        notes = Notes()
        target = paint_regions(
            regions, indices, (10, 50), overlaps=overlaps, where="x.png", notes=notes
        )
        return target, "\n".join(notes.lines())

    smaller, text = paint("smaller")
    assert smaller[0].tolist() == [1] * 4 + [2] * 16 + [VOID] * 10 + [0] * 20
    assert "20 pixels claimed by objects of different classes; the smaller object" in text
    assert "1 objects of classes that were not asked for" in text
    later, _ = paint("later")
    assert later[0].tolist() == [1] * 2 + [2] * 18 + [VOID] * 10 + [0] * 20
    indices = {"a": 0, "b": 1}
    bands, _ = paint("keep")
    assert bands[0, 0].tolist() == [1] * 4 + [0] * 16 + [VOID] * 10 + [0] * 20
    assert bands[1, 0].tolist() == [0] * 2 + [1] * 18 + [VOID] * 10 + [0] * 20
