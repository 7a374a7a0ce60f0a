"""Images of different pixel sizes are learned at one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS
from skimage.transform import downscale_local_mean

from delineate.data.cache import DecodedSample
from delineate.data.resolution import (
    Resampling,
    choose_resolution,
    grid_to,
    read_sizes,
    resample_sample,
)
from delineate.errors import DataError
from delineate.raster_windows import Grid
from delineate.rasters import GeoReference, write_image
from delineate.task import Task

BINARY = Task("binary", ("roof",))
CLASSES = Task("multiclass", ("land", "road", "water"))
UTM = CRS.from_epsg(32616).to_wkt()


def names(count: int) -> list[Path]:
    return [Path(f"{index}.tif") for index in range(count)]


def square(side: float) -> tuple[float, float]:
    return (side, side)


def test_alike_images_are_learned_as_they_are_and_their_size_is_known() -> None:
    found = choose_resolution(names(3), [square(0.5), (0.52, 0.48), square(0.5)])
    assert (found.pixel_size, found.num_resampled) == (square(0.5), 0)


def test_mixed_images_come_to_their_median() -> None:
    sizes = [square(0.25), square(0.5), (0.53, 0.5), square(1.0)]
    found = choose_resolution(names(4), sizes)
    # The median of the geometric means 0.25, 0.5, 0.5148 and 1, to three digits.
    assert found.pixel_size == square(0.507)
    assert found.num_resampled == 2
    assert "0.25 m to 1 m" in found.reason


def test_native_and_silent_images_are_taken_as_they_are() -> None:
    assert choose_resolution(names(2), [square(0.25), square(1.0)], "native").pixel_size is None
    found = choose_resolution(names(2), [square(0.25), None])
    assert (found.pixel_size, found.num_resampled) == (None, 0)
    assert "1 of 2 images do not tell" in found.reason


def test_a_size_that_is_asked_for_needs_images_that_tell_theirs() -> None:
    found = choose_resolution(names(2), [square(0.25), square(1.0)], 1.05)
    assert (found.pixel_size, found.num_resampled) == (square(1.05), 1)
    with pytest.raises(DataError, match=r"1 of 2 images do not tell .*1\.tif"):
        choose_resolution(names(2), [square(0.25), None], 1.0)


def test_halving_averages_pixels_and_lets_the_larger_share_have_a_pixel() -> None:
    rng = np.random.default_rng(0)
    fine = np.kron(rng.integers(0, 2, (20, 30)), np.ones((4, 4), int)).astype(np.uint8)
    pixels = np.repeat(fine[..., None] * np.uint8(200), 3, axis=2)
    found = resample_sample(DecodedSample(pixels, fine, None), Grid(80, 120, 20, 30), BINARY)
    assert found.pixels.shape == (20, 30, 3)
    assert found.valid is None
    # A pixel whose neighbours agree with it is theirs, whatever the filter.
    share = downscale_local_mean(fine, (4, 4))
    around = np.pad(share, 1, mode="edge")
    shifts = [around[r : r + 20, c : c + 30] for r in range(3) for c in range(3)]
    agrees = np.ptp(shifts, axis=0) == 0
    assert np.array_equal(found.target[agrees], share[agrees])
    assert (found.target == share).mean() > 0.95


def test_classes_are_never_mixed_into_others() -> None:
    target = np.zeros((40, 40), np.uint8)
    target[:, 20:] = 2
    target[:10, :10] = 255
    sample = DecodedSample(np.zeros((40, 40, 1), np.uint8), target, None)
    for new in (17, 40, 93):
        found = resample_sample(sample, Grid(40, 40, new, new), CLASSES)
        assert set(np.unique(found.target)) == {0, 2, 255}
        assert (found.target == 2).mean() == pytest.approx(0.5, abs=0.04)
        assert (found.target == 255).mean() == pytest.approx(1 / 16, abs=0.02)


def test_layers_of_a_multilabel_target_are_resampled_one_by_one() -> None:
    target = np.zeros((2, 40, 40), np.uint8)
    target[0, :20], target[1, :, :20] = 1, 1
    task = Task("multilabel", ("a", "b"))
    sample = DecodedSample(np.zeros((40, 40, 1), np.uint8), target, None)
    found = resample_sample(sample, Grid(40, 40, 20, 20), task)
    assert np.array_equal(found.target, target[:, ::2, ::2])


def test_nodata_stays_nodata_and_does_not_bleed() -> None:
    valid = np.ones((40, 40), bool)
    valid[:20] = False
    pixels = np.where(valid, 100, 7).astype(np.float32)[..., None]
    target = np.where(valid, 1, 255).astype(np.uint8)
    found = resample_sample(DecodedSample(pixels, target, valid), Grid(40, 40, 20, 20), BINARY)
    assert found.valid is not None
    assert np.array_equal(found.valid, np.arange(20)[:, None].repeat(20, 1) >= 10)
    assert (found.pixels[found.valid] == 100).all()
    assert np.array_equal(found.target == 255, ~found.valid)


def test_files_are_brought_to_the_size_that_is_wanted(tmp_path: Path) -> None:
    for name, side in (("a", 0.5), ("b", 0.25), ("c", 0.0001)):
        geo = GeoReference(UTM, (side, 0, 7e5, 0, -side, 4e6))
        write_image(tmp_path / f"{name}.tif", np.zeros((20, 40, 3), np.uint8), geo)
    (tmp_path / "d.tif").write_bytes(b"II*\0 nonsense")
    paths = [tmp_path / f"{name}.tif" for name in "abcd"]
    assert read_sizes(paths) == [square(0.5), square(0.25), square(0.0001), None]
    assert grid_to(paths[0], square(0.5)) is None
    assert grid_to(paths[1], square(0.5)) == Grid(20, 40, 10, 20)
    assert grid_to(paths[3], square(0.5)) is None
    assert grid_to(paths[1], None) is None
    sample = DecodedSample(np.ones((20, 40, 3), np.uint8), np.ones((20, 40), np.uint8), None)
    resampling = Resampling(tuple(paths), square(0.5), BINARY)
    assert resampling(0, sample) is sample
    assert resampling(1, sample).target.tolist() == np.ones((10, 20)).tolist()
    with pytest.raises(DataError, match="leave it out"):
        grid_to(paths[0], square(1e-5))
