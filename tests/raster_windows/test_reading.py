"""Windows of a file equal the same windows of the file read whole."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.errors import ShapeError, UnreadableFileError, UsageError
from delineate.raster_windows import create_raster, open_raster
from delineate.rasters import read_raster
from delineate.tiling import Window


def write_tiff(path: Path, bands: np.ndarray, **profile: object) -> Path:
    count, height, width = bands.shape
    profile = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": bands.dtype.name,
        "crs": "EPSG:32616",
        "transform": rasterio.Affine(0.5, 0, 100, 0, -0.5, 200),
    } | profile
    descriptions = profile.pop("descriptions", ())
    colorinterp = profile.pop("colorinterp", None)
    mask = profile.pop("mask", None)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **profile) as dataset,
    ):
        if colorinterp is not None:
            dataset.colorinterp = colorinterp
        dataset.write(bands)
        for index, name in enumerate(descriptions, start=1):
            dataset.set_band_description(index, name)
        if mask is not None:
            dataset.write_mask(mask)
    return path


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, (4, 37, 53)).astype(np.uint8)


@given(
    orientation=st.integers(1, 8),
    box=st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 9)] * 2),
)
@settings(deadline=None, max_examples=60)
def test_orientation_of_plain_tiff(
    tmp_path_factory: pytest.TempPathFactory, orientation: int, box: tuple[int, int, int, int]
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    pixels = np.arange(30 * 33, dtype=np.uint16).reshape(30, 33)
    tifffile.imwrite(path, pixels, extratags=[(274, "H", 1, orientation, True)])
    whole = read_raster(path).pixels
    with open_raster(path) as reader:
        assert (reader.height, reader.width) == whole.shape[:2]
        window = Window(*box)
        part, valid = reader.read(window)
    assert np.array_equal(part, whole[window.slices])
    assert valid.all()


def test_bands_by_number_name_and_order(tmp_path: Path, noise: np.ndarray) -> None:
    names = ("blue", "green", "red", "nir")
    path = write_tiff(tmp_path / "a.tif", noise, descriptions=names)
    with open_raster(path, bands=["nir", 1, "Red"]) as reader:
        assert reader.band_names == ("nir", "blue", "red")
        pixels, _ = reader.read(Window(3, 4, 10, 11))
    assert np.array_equal(pixels, np.moveaxis(noise[[3, 0, 2], 3:13, 4:15], 0, -1))
    with pytest.raises(UsageError, match="no band 'swir'; choose by number from: 1 'blue', 2"):
        open_raster(path, bands=["swir"]).__enter__()
    with pytest.raises(UsageError, match="no band 5"):
        open_raster(path, bands=[5]).__enter__()


def test_alpha_is_validity_and_no_channel(tmp_path: Path, noise: np.ndarray) -> None:
    noise[3] = 255
    noise[3, :9] = 0
    interp = [rasterio.enums.ColorInterp[name] for name in ("red", "green", "blue", "alpha")]
    path = write_tiff(tmp_path / "a.tif", noise, photometric="rgb", colorinterp=interp)
    with open_raster(path) as reader:
        pixels, valid = reader.read(reader.window)
        assert reader.count == 3
    assert np.array_equal(pixels, np.moveaxis(noise[:3], 0, -1))
    assert np.array_equal(valid, noise[3] != 0)
    with open_raster(path, bands=[1, 4]) as reader:
        assert np.array_equal(reader.read(reader.window)[0][..., 1], noise[3])


def test_internal_mask(tmp_path: Path, noise: np.ndarray) -> None:
    mask = np.zeros((37, 53), np.uint8)
    mask[5:20, 7:30] = 255
    path = write_tiff(tmp_path / "a.tif", noise[:3], photometric="rgb", mask=mask)
    with open_raster(path) as reader:
        _, valid = reader.read(Window(0, 0, 37, 30))
    assert np.array_equal(valid, mask[:, :30] != 0)


def test_nodata_counts_where_no_band_has_data(tmp_path: Path, noise: np.ndarray) -> None:
    noise[:, 0] = 7
    noise[0, 1] = 7
    path = write_tiff(tmp_path / "a.tif", noise, nodata=7)
    with open_raster(path) as reader:
        _, valid = reader.read(reader.window)
    assert np.array_equal(valid, (noise != 7).any(axis=0))
    assert not valid[0].any()


def test_nodata_of_float_bands_becomes_nan(tmp_path: Path, noise: np.ndarray) -> None:
    bands = noise[:2].astype(np.float32)
    bands[0, 3] = -9999
    bands[1, 3, :5] = np.nan
    path = write_tiff(tmp_path / "a.tif", bands, nodata=-9999)
    with open_raster(path) as reader:
        pixels, valid = reader.read(reader.window)
    assert np.isnan(pixels[3, :, 0]).all()
    assert not valid[3, :5].any()
    assert valid[3, 5:].all()


def test_sidecars_are_not_read(tmp_path: Path, noise: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise[0])
    (tmp_path / "a.tfw").write_text("1\n0\n0\n-1\n5\n5\n")
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:4326</SRS></PAMDataset>")
    write_tiff(tmp_path / "a.tif.msk", np.zeros((1, 37, 53), np.uint8), INTERNAL_MASK_FLAGS_1="2")
    write_tiff(tmp_path / "a.tif.ovr", np.zeros((1, 19, 27), np.uint8))
    with open_raster(path) as reader:
        assert reader.geo is None
        assert reader.read(reader.window)[1].all()
    whole = read_raster(path)
    assert (whole.geo, whole.nodata, whole.palette) == (None, None, None)
    np.testing.assert_array_equal(whole.pixels[..., 0], noise[0])


def test_vrt_named_tif_is_refused(tmp_path: Path, noise: np.ndarray) -> None:
    target = write_tiff(tmp_path / "secret.tif", noise[:1])
    rasterio.shutil.copy(target, tmp_path / "a.vrt", driver="VRT")
    path = (tmp_path / "a.vrt").rename(tmp_path / "a.tif")
    with pytest.raises(UnreadableFileError, match="is a VRT"):
        open_raster(path).__enter__()


def test_large_blocks_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    write_sparse_tile(path, side=32768)
    tracemalloc.start()
    with pytest.raises(UnreadableFileError, match="32768x32768 pixels, 1024 MiB each"):
        open_raster(path).__enter__()
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def write_sparse_tile(path: Path, side: int) -> None:
    profile = {"count": 1, "height": side, "width": side, "dtype": "uint8", "driver": "GTiff"}
    profile["crs"], profile["transform"] = "EPSG:32616", rasterio.Affine(1, 0, 9, 0, -1, 9)
    tiles = {"tiled": True, "blockxsize": side, "blockysize": side, "sparse_ok": True}
    with rasterio.open(path, "w", **profile, **tiles):
        pass


def test_page_stack_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((3, 20, 20), np.uint8), photometric="minisblack")
    with pytest.raises(UnreadableFileError, match="stack of 3 pages"):
        open_raster(path).__enter__()


def test_truncated_file_is_named(tmp_path: Path, noise: np.ndarray) -> None:
    path = write_tiff(tmp_path / "a.tif", noise)
    path.write_bytes(path.read_bytes()[:-3000])
    with (
        open_raster(path) as reader,
        pytest.raises(UnreadableFileError, match=r"a\.tif is truncated or damaged"),
    ):
        reader.read(reader.window)


def test_palette_as_colours_and_as_indices(tmp_path: Path) -> None:
    palette = np.array([[0, 0, 0], [10, 20, 30]], np.uint8)
    mask = np.eye(20, dtype=np.uint8)
    with create_raster(tmp_path / "a.tif", 20, 20, palette=palette) as writer:
        writer.write(Window(0, 0, 20, 20), mask)
    with open_raster(tmp_path / "a.tif") as reader:
        pixels, _ = reader.read(reader.window)
        assert reader.count == 3
    assert np.array_equal(pixels, palette[mask])
    with open_raster(tmp_path / "a.tif", as_indices=True) as reader:
        assert np.array_equal(reader.read(reader.window)[0][..., 0], mask)
        assert np.array_equal(reader.palette[:2], palette)


def test_png_is_read_by_the_same_door(tmp_path: Path, noise: np.ndarray) -> None:
    from PIL import Image

    noise[3, :4] = 0
    Image.fromarray(np.moveaxis(noise, 0, -1)).save(tmp_path / "a.png")
    with open_raster(tmp_path / "a.png") as reader:
        pixels, valid = reader.read(Window(2, 3, 8, 9))
    assert np.array_equal(pixels, np.moveaxis(noise[:3, 2:10, 3:12], 0, -1))
    assert np.array_equal(valid, noise[3, 2:10, 3:12] != 0)


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 38, 5), (30, 0, 8, 5), (0, 0, 0, 5)])
def test_windows_stay_inside(tmp_path: Path, noise: np.ndarray, box: tuple[int, ...]) -> None:
    path = write_tiff(tmp_path / "a.tif", noise)
    with open_raster(path) as reader, pytest.raises(ShapeError, match="not inside"):
        reader.read(Window(*box))
