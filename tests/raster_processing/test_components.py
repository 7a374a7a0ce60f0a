"""Parts found block by block are the parts of the whole array."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from delineate.raster_processing.components import Components
from delineate.tiling import Window


def reference(values: np.ndarray, connectivity: int, outside: int | None) -> np.ndarray:
    """Label by scipy, value by value."""
    labels = np.zeros(values.shape, int)
    structure = np.ones((3, 3)) if connectivity == 8 else None
    for value in np.unique(values):
        if value != outside:
            own, _ = ndimage.label(values == value, structure)
            labels[own > 0] = own[own > 0] + labels.max()
    return labels


@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_equals_the_whole_array(data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    side = data.draw(st.integers(2, 17))
    connectivity = data.draw(st.sampled_from([4, 8]))
    outside = data.draw(st.sampled_from([0, None]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = rng.choice([0, 1, 2, 255], (height, width), p=[0.4, 0.45, 0.1, 0.05])
    weights = rng.random((height, width))
    with TemporaryDirectory() as folder:
        parts = Components(
            lambda window: values[window.slices],
            height,
            width,
            Path(folder),
            connectivity=connectivity,
            outside=outside,
            measure=lambda window: weights[window.slices][None],
            block_side=side,
        )
        first = np.full(values.shape, -1)
        found = {}
        for window, labels, facts in parts.blocks():
            first[window.slices] = facts.first[labels]
            for name in ("area", "value", "touches_border"):
                found.setdefault(name, np.zeros(values.shape, int))
                found[name][window.slices] = getattr(facts, name)[labels]
            found.setdefault("sum", np.zeros(values.shape))
            found["sum"][window.slices] = facts.sums[0][labels]
    wanted = reference(values, connectivity, outside)
    inside = wanted > 0
    count = wanted.max()
    assert parts.num_parts == count
    assert np.array_equal(first >= 0, inside)
    index = np.arange(count + 1)
    places = np.arange(values.size).reshape(values.shape)
    least = ndimage.minimum(places, wanted, index)
    assert np.array_equal(first[inside], least[wanted][inside])
    areas = np.bincount(wanted.ravel())
    assert np.array_equal(found["area"][inside], areas[wanted][inside])
    assert np.array_equal(found["value"][inside], values[inside])
    sums = ndimage.sum_labels(weights, wanted, index)
    assert np.allclose(found["sum"][inside], sums[wanted][inside], rtol=1e-12)
    border = np.zeros(values.shape, bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    touches = ndimage.maximum(border, wanted, index)
    assert np.array_equal(found["touches_border"][inside], touches[wanted][inside])
    for value, (area, place) in parts.largest.items():
        own = np.unique(wanted[inside & (values == value)])
        assert area == areas[own].max()
        assert place == min(least[i] for i in own if areas[i] == area)


def test_spiral_is_one_part(tmp_path: Path) -> None:
    """A line that crosses every border many times, and is joined only at its very end."""
    values = np.zeros((61, 61), np.uint8)
    top, left, bottom, right = 0, 0, 60, 60
    while top <= bottom and left <= right:
        values[top, left : right + 1] = 1
        values[top : bottom + 1, right] = 1
        values[bottom, left + 2 : right + 1] = 1
        values[top + 2 : bottom + 1, left + 2] = 1
        values[top + 2, left + 2 : left + 4] = 1
        top, left, bottom, right = top + 2, left + 2, bottom - 2, right - 2
    expected = ndimage.label(values)[1]
    parts = Components(lambda w: values[w.slices], 61, 61, tmp_path, connectivity=4, block_side=8)
    assert parts.num_parts == expected


def test_blocks_are_asked_for_once_a_pass(tmp_path: Path) -> None:
    asked: list[Window] = []

    def read(window: Window) -> np.ndarray:
        asked.append(window)
        return np.ones((window.height, window.width), np.uint8)

    parts = Components(read, 20, 30, tmp_path, block_side=10)
    assert len(asked) == 6
    assert [labels.max() for _, labels, _ in parts.blocks()] == [1] * 6
    assert len(asked) == 12
