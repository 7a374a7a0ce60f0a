"""Resampling does not depend on windows, keeps what is linear, and does not bleed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.raster_windows import (
    Grid,
    create_raster,
    find_pixel_size,
    open_raster,
    plan_grid,
    resample_reader,
)
from delineate.rasters import GeoReference
from delineate.tiling import Window

PLACE = GeoReference("EPSG:32616", (0.5, 0.0, 100.0, 0.0, -0.5, 200.0))


def write(path: Path, bands: np.ndarray, **options: object) -> Path:
    count, height, width = bands.shape
    with create_raster(path, height, width, bands=count, dtype=bands.dtype, **options) as writer:
        writer.write(Window(0, 0, height, width), bands)
    return path


@given(
    sizes=st.tuples(*[st.integers(1, 40)] * 4),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_windows_do_not_matter(
    sizes: tuple[int, int, int, int], seed: int, data: st.DataObject
) -> None:
    grid = Grid(*sizes)
    rng = np.random.default_rng(seed)
    values, valid = rng.random((*sizes[:2], 2)), rng.random(sizes[:2]) > 0.2

    def made(window: Window) -> tuple[np.ndarray, np.ndarray]:
        source = grid.source_window(window)
        return grid.resample(values[source.slices], valid[source.slices], window)

    whole, has_data = made(Window(0, 0, *sizes[2:]))
    row, col = data.draw(st.integers(0, sizes[2] - 1)), data.draw(st.integers(0, sizes[3] - 1))
    height = data.draw(st.integers(1, sizes[2] - row))
    width = data.draw(st.integers(1, sizes[3] - col))
    window = Window(row, col, height, width)
    part, part_has_data = made(window)
    assert np.allclose(part, whole[window.slices], rtol=1e-12)
    assert np.array_equal(part_has_data, has_data[window.slices])
    assert whole.min() >= 0
    assert whole.max() <= 1


@pytest.mark.parametrize("new", [(60, 90), (15, 10), (31, 47), (30, 40)])
def test_equals_antialiased_bilinear(new: tuple[int, int]) -> None:
    values = np.random.default_rng(0).random((30, 40, 3))
    grid = Grid(30, 40, *new)
    found, valid = grid.resample(values, np.ones((30, 40), bool), Window(0, 0, *new))
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(values).permute(2, 0, 1)[None], new, mode="bilinear", antialias=True
    )
    assert valid.all()
    assert np.allclose(found, wanted[0].permute(1, 2, 0).numpy(), atol=1e-12)


@pytest.mark.parametrize("new", [(20, 90), (61, 35), (140, 200)])
def test_images_are_made_part_by_part(
    new: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    pixels, valid = rng.integers(0, 255, (61, 83, 3), dtype=np.uint8), rng.random((61, 83)) < 0.8
    grid = Grid(61, 83, *new)
    values, wanted = grid.resample(pixels, valid, grid.window)
    monkeypatch.setattr("delineate.raster_windows.resampling._PART_SIDE", 16)
    found, has_data = grid.resample_image(pixels, valid)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.rint(values))
    assert np.array_equal(has_data, wanted)
    window = Window(3, 17, 15, 18)
    source = grid.source_window(window)
    part, _ = grid.resample_image(pixels[source.slices], valid[source.slices], window)
    assert np.array_equal(part, found[window.slices])


def test_nodata_does_not_bleed() -> None:
    values = np.full((20, 20, 1), 5.0)
    valid = np.ones((20, 20), bool)
    values[8:12, 8:12], valid[8:12, 8:12] = -9999.0, False
    for new in ((50, 50), (7, 7)):
        found, has_data = Grid(20, 20, *new).resample(values, valid, Window(0, 0, *new))
        assert np.allclose(found[has_data], 5)
        assert not has_data.all()
        assert (found[~has_data] == 0).all()


def test_raster_at_another_resolution(tmp_path: Path) -> None:
    bands = np.random.default_rng(0).integers(0, 255, (3, 60, 80)).astype(np.uint8)
    path = write(tmp_path / "a.tif", bands, geo=PLACE)
    with open_raster(path) as reader:
        size = find_pixel_size(reader.geo, reader.spacing, reader.height)
        assert size == (0.5, 0.5)
        grid = plan_grid(60, 80, size, (1.0, 1.0))
        coarse = resample_reader(reader, grid)
        assert (coarse.height, coarse.width) == (30, 40)
        assert coarse.geo.transform == (1.0, 0.0, 100.0, 0.0, -1.0, 200.0)
        pixels, valid = coarse.read(Window(3, 4, 10, 12))
        assert pixels.shape == (10, 12, 3)
        assert pixels.dtype == np.uint8
        assert valid.all()
        assert grid == Grid(60, 80, 30, 40)
        assert find_pixel_size(coarse.geo, None, 30) == (1.0, 1.0)
        same = resample_reader(reader, Grid(60, 80, 60, 80))
        window = Window(5, 6, 20, 30)
        assert np.array_equal(same.read(window)[0], reader.read(window)[0])
