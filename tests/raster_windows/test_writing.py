"""What is written by windows is what GDAL reads, or nothing is there."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from delineate.errors import ResourceError, ShapeError, UsageError
from delineate.raster_windows import create_raster, open_raster
from delineate.rasters import GeoReference
from delineate.tiling import Window

PLACE = GeoReference("EPSG:32616", (0.5, 0.0, 100.0, 0.0, -0.5, 200.0))


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_round_trip(tmp_path: Path, dtype: str, cog: bool) -> None:
    bands = np.random.default_rng(1).integers(0, 200, (2, 600, 700)).astype(dtype)
    path = tmp_path / "a.tif"
    options = {"bands": 2, "dtype": dtype, "geo": PLACE, "nodata": 250, "names": ["a", "b"]}
    with create_raster(path, 600, 700, cog=cog, **options) as writer:
        for row in range(0, 600, 256):
            height = min(256, 600 - row)
            writer.write(Window(row, 0, height, 700), bands[:, row : row + height])
        assert not path.exists()
    with rasterio.open(path) as dataset:
        assert np.array_equal(dataset.read(), bands)
        assert dataset.crs == rasterio.CRS.from_epsg(32616)
        assert dataset.transform[:6] == PLACE.transform
        assert dataset.nodata == 250
        assert dataset.descriptions == ("a", "b")
        layout = dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT")
        assert (layout == "COG") is cog
        assert dataset.overviews(1) == ([2] if cog else [])
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_colour_table_and_unwritten_blocks(tmp_path: Path) -> None:
    palette = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    path = tmp_path / "a.tif"
    with create_raster(path, 300, 300, palette=palette, nodata=255, geo=PLACE) as writer:
        writer.write(Window(0, 0, 256, 256), np.ones((256, 256), np.uint8))
    with rasterio.open(path) as dataset:
        assert dataset.colormap(1)[1] == (4, 5, 6, 255)
        pixels = dataset.read(1)
    assert (pixels[:256, :256] == 1).all()
    assert (pixels[256:] == 255).all()


def test_fourth_band_is_no_alpha(tmp_path: Path) -> None:
    pixels = np.zeros((4, 20, 30), np.uint8)
    with create_raster(tmp_path / "a.tif", 20, 30, bands=4, geo=PLACE) as writer:
        writer.write(Window(0, 0, 20, 30), pixels)
    with open_raster(tmp_path / "a.tif") as reader:
        assert reader.count == 4
        assert reader.read(reader.window)[1].all()


def test_same_writes_give_same_bytes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 3, (500, 500)).astype(np.uint8)
    for name in ("a.tif", "b.tif"):
        with create_raster(tmp_path / name, 500, 500, geo=PLACE) as writer:
            writer.write(Window(0, 0, 256, 500), pixels[:256])
            writer.write(Window(256, 0, 244, 500), pixels[256:])
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"before")
    with (
        pytest.raises(ShapeError, match="do not fit"),
        create_raster(path, 20, 20) as writer,
    ):
        writer.write(Window(0, 0, 20, 20), np.zeros((20, 21), np.uint8))
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


SCRIPT = """
import resource, signal, sys
import numpy as np
from delineate.raster_windows import create_raster, open_raster
from delineate.tiling import Window
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
noise = np.random.default_rng(0).integers(0, 255, (1500, 1500)).astype(np.uint8)
from delineate.errors import ResourceError
try:
    with create_raster(sys.argv[1], 1500, 1500, cog=sys.argv[2] == "cog") as writer:
        writer.write(Window(0, 0, 1500, 1500), noise)
except ResourceError as error:
    print("refused", error)
"""


@pytest.mark.parametrize("layout", ["plain", "cog"])
def test_full_disk_leaves_nothing(tmp_path: Path, layout: str) -> None:
    arguments = [sys.executable, "-c", SCRIPT, str(tmp_path / "a.tif"), layout]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"refused {tmp_path / 'a.tif'} could not be written")
    assert not list(tmp_path.iterdir())


def test_other_endings_and_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"name a \.tif file"):
        create_raster(tmp_path / "a.png", 10, 10).__enter__()
    with pytest.raises(ShapeError, match="colour table"):
        create_raster(
            tmp_path / "a.tif", 10, 10, bands=2, palette=np.zeros((2, 3), np.uint8)
        ).__enter__()
    with pytest.raises(ResourceError, match="disk full"):
        create_raster(tmp_path / "a.tif", 10, 10, needed=10**18).__enter__()
