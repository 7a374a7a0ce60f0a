"""Simplified arcs do not cross or touch, regions stay, and blocks do not matter."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from delineate.polygons.borders import join_pieces, trace_blocks
from delineate.polygons.rings import build_rings
from delineate.polygons.simplification import SEED, VERTEX, Pins, simplify


def label(values: np.ndarray) -> np.ndarray:
    """Number regions by their first pixel."""
    ids = np.zeros(values.shape, np.int64)
    places = np.arange(values.size).reshape(values.shape)
    for value in np.unique(values):
        own, count = ndimage.label(values == value)
        first = ndimage.minimum(places, own, np.arange(count + 1)).astype(int)
        ids[own > 0] = first[own[own > 0]]
    return ids


def polygons_of(values: np.ndarray, tolerance: float, side: int) -> dict[int, shapely.Polygon]:
    ids = label(values)
    height, width = ids.shape
    bits = np.zeros((height + 1, width + 1), np.uint8)
    bits[:-1, :-1][ids == np.arange(ids.size).reshape(ids.shape)] = SEED
    blocks = list(trace_blocks(lambda w: ids[w.slices], height, width, side))
    for block in blocks:
        rows, cols = block.vertices.shape
        bits[block.window.row :, block.window.col :][:rows, :cols] |= (
            VERTEX * block.vertices.astype(np.uint8)
        )
    pins = Pins(lambda w: bits[w.slices], height + 1, width + 1)
    sides: dict[int, list[np.ndarray]] = {}
    for arc in join_pieces(blocks):
        points = simplify(arc.points, tolerance, pins)
        sides.setdefault(arc.left, []).append(points)
        sides.setdefault(arc.right, []).append(points[::-1])
    sides.pop(-1)
    found = {}
    for region, arcs in sides.items():
        shell, holes = build_rings(arcs)
        found[region] = shapely.Polygon(shell, holes)
    return found


def random_values(seed: int, size: tuple[int, int], levels: int, smooth: float) -> np.ndarray:
    noise = np.random.default_rng(seed).random(size)
    noise = ndimage.gaussian_filter(noise, smooth)
    return np.digitize(noise, np.quantile(noise, np.arange(1, levels) / levels))


@given(
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    seed=st.integers(0, 2**32),
    levels=st.integers(2, 4),
    smooth=st.sampled_from([0.0, 0.6, 1.5]),
    tolerance=st.sampled_from([0.0, 0.8, 1.0, 2.5, 10.0]),
    side=st.integers(5, 50),
)
@settings(deadline=None, max_examples=40)
def test_regions_tile_the_raster(
    size: tuple[int, int], seed: int, levels: int, smooth: float, tolerance: float, side: int
) -> None:
    values = random_values(seed, size, levels, smooth)
    found = polygons_of(values, tolerance, side)
    ids = label(values)
    shapes = np.array(list(found.values()))
    assert sorted(found) == np.unique(ids).tolist()
    assert shapely.is_valid(shapes).all(), shapely.is_valid_reason(shapes)
    assert (shapely.area(shapes) > 0).all()
    assert shapely.coverage_is_valid(shapes)
    # Valid coverage without gaps: the areas add up to the outline's, and nothing is left out.
    union = shapely.union_all(shapes)
    assert shapely.area(shapes).sum() == pytest.approx(union.area)
    assert union.geom_type == "Polygon"
    assert not union.interiors
    if tolerance == 0:
        areas = dict(zip(*np.unique(ids, return_counts=True), strict=True))
        assert {region: shape.area for region, shape in found.items()} == areas
    again = polygons_of(values, tolerance, 100)
    assert {k: v.wkt for k, v in sorted(found.items())}.keys() == again.keys()
    assert all(shapely.equals(found[region], again[region]) for region in found)


def test_staircases_become_straight() -> None:
    rows, cols = np.mgrid[:60, :80]
    values = (rows > 0.7 * cols).astype(int)
    exact = polygons_of(values, 0, 16)
    simple = polygons_of(values, 1.5, 16)
    for region, shape in simple.items():
        assert shapely.get_num_coordinates(shape) <= 7
        assert shapely.get_num_coordinates(exact[region]) > 60
        assert shape.hausdorff_distance(exact[region]) <= 1.5


def test_corners_lie_within_the_tolerance() -> None:
    values = random_values(3, (120, 120), 2, 3.0)
    exact = polygons_of(values, 0, 64)
    for tolerance in (1.0, 3.0):
        for region, shape in polygons_of(values, tolerance, 64).items():
            gap = shapely.hausdorff_distance(shape.boundary, exact[region].boundary)
            assert gap <= tolerance + 1e-9
