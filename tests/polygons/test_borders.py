"""Arcs traced by blocks are those of the whole raster, and enclose the regions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.polygons.borders import Arc, join_pieces, trace_blocks


def arcs_of(ids: np.ndarray, side: int) -> list[Arc]:
    return list(join_pieces(trace_blocks(lambda w: ids[w.slices], *ids.shape, side)))


def key(arc: Arc) -> tuple[int, int, bytes]:
    return arc.left, arc.right, arc.points.astype(np.int64).tobytes()


@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    side=st.integers(1, 20),
    seed=st.integers(0, 2**32),
    levels=st.integers(1, 4),
)
@settings(deadline=None, max_examples=40)
def test_blocks_do_not_matter_and_areas_are_right(
    size: tuple[int, int], side: int, seed: int, levels: int
) -> None:
    ids = np.random.default_rng(seed).integers(0, levels, size).astype(np.int64)
    arcs = arcs_of(ids, side)
    assert sorted(map(key, arcs)) == sorted(map(key, arcs_of(ids, 100)))
    # Green's theorem: what lies left of the arcs of a region is its area.
    areas = dict.fromkeys(range(-1, levels), 0)
    for arc in arcs:
        row, col = arc.points.astype(np.int64).T
        swept = int((col[:-1] * -row[1:] - col[1:] * -row[:-1]).sum())
        areas[arc.left] += swept
        areas[arc.right] -= swept
    for level in range(levels):
        assert areas[level] == 2 * (ids == level).sum()


def test_ring_without_nodes_starts_at_its_first_corner() -> None:
    ids = np.zeros((9, 9), np.int64)
    ids[3:6, 2:7] = 1
    rings = [arc for arc in arcs_of(ids, 4) if arc.left == 0]
    assert len(rings) == 1
    assert rings[0].right == 1
    assert rings[0].points.tolist() == [[3, 2], [3, 7], [6, 7], [6, 2], [3, 2]]


def test_vertices_are_where_borders_turn_or_end() -> None:
    ids = np.zeros((4, 4), np.int64)
    ids[1:3, 1:] = 1
    shown = np.zeros((5, 5), bool)
    for block in trace_blocks(lambda w: ids[w.slices], 4, 4, 2):
        rows, cols = block.vertices.shape
        shown[block.window.row :, block.window.col :][:rows, :cols] = block.vertices
    corners = [[0, 0], [0, 4], [1, 1], [1, 4], [3, 1], [3, 4], [4, 0], [4, 4]]
    assert np.argwhere(shown).tolist() == corners


def test_long_borders_of_many_short_pieces() -> None:
    """A comb whose border crosses the blocks thousands of times."""
    ids = np.zeros((300, 400), np.int64)
    ids[:, ::2] = 1
    ids[0], ids[-1] = 1, 0
    first, second = arcs_of(ids, 7), arcs_of(ids, 1000)
    assert sorted(map(key, first)) == sorted(map(key, second))
    assert max(len(arc.points) for arc in first) > 500
