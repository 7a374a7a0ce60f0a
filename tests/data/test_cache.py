from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from delineate.data.cache import ImageCache, load_sample
from delineate.data.inventory import Sample
from delineate.data.mask_decoder import MaskDecoder
from delineate.errors import DataError, UnreadableFileError
from delineate.task import Task

DECODER = MaskDecoder(Task("binary", ("cell",)), "grey", ((0,), (255,)))


def write_sample(
    folder: Path, name: str, pixels: np.ndarray, mask: np.ndarray, suffix: str = "png"
) -> Sample:
    image_path, mask_path = folder / f"{name}.{suffix}", folder / f"{name}_mask.png"
    if suffix == "tif":
        tifffile.imwrite(image_path, pixels, photometric="minisblack", planarconfig="contig")
    else:
        Image.fromarray(pixels).save(image_path)
    Image.fromarray((mask * 255).astype(np.uint8)).save(mask_path)
    return Sample(image_path, (mask_path,), "train", name, name)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        write_sample(
            tmp_path,
            f"{i}",
            rng.integers(0, 256, (20 + i, 30, 3)).astype(np.uint8),
            rng.integers(0, 2, (20 + i, 30)),
        )
        for i in range(4)
    ]


def test_images_and_targets_are_those_of_the_files(samples: list[Sample]) -> None:
    cache = ImageCache(samples, DECODER)
    assert len(cache) == cache.num_cached == 4
    assert cache.sizes == [(20, 30), (21, 30), (22, 30), (23, 30)]
    for sample, (pixels, target, valid) in zip(samples, cache, strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(sample.image)))
        np.testing.assert_array_equal(target, np.asarray(Image.open(sample.masks[0])) // 255)
        assert valid is None
    with pytest.raises(IndexError):
        cache[4]


def test_what_does_not_fit_is_decoded_again(samples: list[Sample]) -> None:
    whole = ImageCache(samples, DECODER)
    limit = (20 + 21) * 30 * 4 / 2**30
    cache = ImageCache(samples, DECODER, limit_gib=limit)
    assert cache.num_cached == 2
    assert ImageCache(samples, DECODER, limit_gib=0).num_cached == 0
    for one, other in zip(cache, whole, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.target, other.target)
    np.testing.assert_array_equal(cache.class_counts, whole.class_counts)
    assert [p.shape for p in cache.images()] == [(*size, 3) for size in cache.sizes]


def test_classes_are_counted_and_located(samples: list[Sample]) -> None:
    cache = ImageCache(samples, DECODER)
    targets = np.concatenate([image.target.ravel() for image in cache])
    assert cache.class_counts.tolist() == np.bincount(targets).tolist()
    assert cache.num_valid_pixels == targets.size
    for image, found in zip(cache, cache.class_pixels, strict=True):
        assert (image.target[tuple(found[0].T)] == 1).all()


def test_pixels_that_are_not_finite_are_not_valid_and_do_not_spread(tmp_path: Path) -> None:
    pixels = np.ones((5, 6, 2), np.float32)
    pixels[1, 2, 0], pixels[3, 3, 1] = np.nan, np.inf
    sample = write_sample(tmp_path, "float", pixels, np.ones((5, 6)), "tif")
    image = load_sample(sample, DECODER)
    assert (image.pixels == 1).all()
    assert image.valid is not None
    assert np.argwhere(~image.valid).tolist() == [[1, 2], [3, 3]]
    np.testing.assert_array_equal(image.target == 255, ~image.valid)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float64"])
def test_types_that_cannot_be_sampled_become_float(tmp_path: Path, dtype: str) -> None:
    pixels = np.arange(60).reshape(5, 6, 2).astype(dtype)
    sample = write_sample(tmp_path, "deep", pixels, np.ones((5, 6)), "tif")
    image = load_sample(sample, DECODER)
    assert image.pixels.dtype == ("uint16" if dtype == "uint16" else "float32")
    np.testing.assert_array_equal(image.pixels, pixels)


def test_nodata_is_not_valid(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    pixels = np.full((2, 8, 9), 5, np.uint8)
    pixels[:, 2:4, 3] = 0
    pixels[0, 6, 6] = 0
    sample = write_sample(tmp_path, "tile", np.zeros((8, 9, 3), np.uint8), np.ones((8, 9)), "png")
    path = tmp_path / "tile.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=9, height=8, count=2, dtype="uint8", nodata=0,
        crs="EPSG:32633", transform=rasterio.Affine(2, 0, 0, 0, -2, 0),
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
    image = load_sample(Sample(path, sample.masks, "train", "", "tile"), DECODER)
    assert image.valid is not None
    assert np.argwhere(~image.valid).tolist() == [[2, 3], [3, 3]]


def test_all_bad_files_are_named_together(samples: list[Sample]) -> None:
    for sample in samples[1:3]:
        sample.image.write_bytes(sample.image.read_bytes()[:-200])
    with pytest.raises(UnreadableFileError) as caught:
        ImageCache(samples, DECODER)
    assert all(str(sample.image) in str(caught.value) for sample in samples[1:3])
    assert str(samples[0].image) not in str(caught.value)


def test_a_single_bad_file_and_mixed_problems_are_told_apart(samples: list[Sample]) -> None:
    samples[0].image.write_bytes(b"nothing")
    with pytest.raises(UnreadableFileError, match=str(samples[0].image)):
        ImageCache(samples, DECODER)
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(samples[1].masks[0])
    with pytest.raises(DataError, match="2 samples") as caught:
        ImageCache(samples, DECODER)
    assert not isinstance(caught.value, UnreadableFileError)


@pytest.mark.parametrize("odd", ["type", "channels"])
def test_images_that_do_not_go_together_are_named(
    samples: list[Sample], tmp_path: Path, odd: str
) -> None:
    shape, dtype = ((9, 9, 3), np.uint16) if odd == "type" else ((9, 9, 7), np.uint8)
    stranger = write_sample(tmp_path, "odd", np.zeros(shape, dtype), np.ones((9, 9)), "tif")
    with pytest.raises(DataError, match="convert or remove") as caught:
        ImageCache([*samples, stranger], DECODER)
    assert str(stranger.image) in str(caught.value)
    assert str(samples[0].image) not in str(caught.value)


def test_multilabel_pixels_are_counted_by_plane(tmp_path: Path) -> None:
    task = Task("multilabel", ("a", "b"))
    decoder = MaskDecoder(task, "grey", ((1, 3), (2, 3)), ignored=(9,), rest=0)
    mask = np.array([[1, 2, 3], [0, 9, 3]], np.uint8)
    sample = write_sample(tmp_path, "m", np.zeros((2, 3), np.uint8), mask / 255)
    cache = ImageCache([sample], decoder)
    assert cache[0].target.shape == (2, 2, 3)
    assert cache.class_counts.tolist() == [3, 3]
    assert cache.num_valid_pixels == 5
