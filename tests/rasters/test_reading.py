from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from delineate.errors import ShapeError, UnreadableFileError, UsageError
from delineate.pictures import class_colours
from delineate.rasters import (
    GeoReference,
    apply_palette,
    read_image,
    read_raster,
    read_size,
    write_image,
    write_mask,
    write_probs,
)
from delineate.task import Task

BINARY = Task("binary", ("thing",))
CLASSES = Task("multiclass", ("a", "b", "c"))
LABELS = Task("multilabel", ("a", "b", "c"))
RNG = np.random.default_rng(0)


def noise(*shape: int, dtype: str = "uint8") -> np.ndarray[Any, Any]:
    if dtype.startswith("float"):
        return RNG.normal(size=shape).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize(
    ("mode", "ending"),
    [
        ("L", "png"),
        ("LA", "png"),
        ("RGB", "png"),
        ("RGBA", "png"),
        ("RGB", "webp"),
        ("L", "tif"),
        ("RGB", "tif"),
        ("RGBA", "tif"),
        ("RGB", "bmp"),
        ("RGB", "ppm"),
    ],
)
def test_pixels_come_back(tmp_path: Path, mode: str, ending: str) -> None:
    pixels = noise(7, 5, len(mode))
    path = tmp_path / f"image.{ending}"
    options = {"lossless": True} if ending == "webp" else {}
    Image.fromarray(pixels.squeeze()).save(path, **options)
    np.testing.assert_array_equal(read_image(path), pixels)
    assert read_size(path) == (7, 5)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_of_16_bits_is_not_clipped(tmp_path: Path, channels: int) -> None:
    pixels = noise(9, 6, channels, dtype="uint16")
    swapped = pixels[..., [2, 1, 0, 3][:channels]] if channels > 1 else pixels
    cv2.imwrite(str(tmp_path / "deep.png"), swapped)
    found = read_image(tmp_path / "deep.png")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_keeps_type_and_bands(
    tmp_path: Path, dtype: str, compression: str | None, planar: str
) -> None:
    pixels = noise(11, 13, 5, dtype=dtype)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    path = tmp_path / "bands.tif"
    tifffile.imwrite(
        path, stored, photometric="minisblack", planarconfig=planar, compression=compression
    )
    found = read_image(path)
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels)


def test_pages_may_be_channels_but_not_slices(tmp_path: Path) -> None:
    pixels = noise(4, 6, 5)
    tifffile.imwrite(tmp_path / "channels.tif", pixels, imagej=True, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read_image(tmp_path / "channels.tif"), np.moveaxis(pixels, 0, -1))
    tifffile.imwrite(tmp_path / "stack.tif", pixels, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(UnreadableFileError, match=r"4 pages \(axes ZYX\)"):
        read_image(tmp_path / "stack.tif")


@pytest.mark.parametrize("ending", ["png", "gif", "tif"])
def test_palettes_are_kept_and_become_colours(tmp_path: Path, ending: str) -> None:
    indices = noise(6, 4) % 3
    image = Image.fromarray(indices, "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 9, 8, 7])
    image.save(tmp_path / f"p.{ending}", optimize=False)
    raster = read_raster(tmp_path / f"p.{ending}")
    assert raster.palette is not None
    colours = np.array([[255, 0, 0], [0, 255, 0], [9, 8, 7]], np.uint8)[indices]
    np.testing.assert_array_equal(apply_palette(raster, tmp_path), colours)
    np.testing.assert_array_equal(read_image(tmp_path / f"p.{ending}"), colours)


def test_bilevel_files_are_0_and_255(tmp_path: Path) -> None:
    bits = noise(5, 9) > 127
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png")[..., 0], bits * np.uint8(255))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_orientation_is_applied_and_nonsense_is_upright(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    image = Image.fromarray(noise(6, 4, 3))
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"turned.{ending}"
    if ending == "tif":
        image.save(path, tiffinfo={274: orientation})
    else:
        image.save(path, exif=exif, **({"quality": 100} if ending == "jpg" else {}))
    with Image.open(path) as plain:
        # Pillow applies nothing by itself to JPEG and PNG, but does to TIFF.
        expected = np.asarray(plain if ending == "tif" else ImageOps.exif_transpose(plain))
    assert read_size(path) == expected.shape[:2]
    np.testing.assert_array_equal(read_image(path), expected)


def test_damaged_exif_counts_as_upright(tmp_path: Path) -> None:
    pixels = noise(6, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), pixels)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "webp", "tif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_truncated_files_are_named(tmp_path: Path, ending: str, share: float) -> None:
    path = tmp_path / f"whole.{ending}"
    Image.fromarray(noise(64, 64, 3)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableFileError, match=rf"whole\.{ending}"):
        read_image(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_truncated_png_of_16_bits_is_named(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), noise(64, 64, channels, dtype="uint16"))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UnreadableFileError, match=r"deep\.png"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"<VRTDataset></VRTDataset>", "is a VRT"),
        (b"%PDF-1.4 is something else", "no image format that is read"),
        (b"GIF89a", "truncated or damaged"),
        (b"II*\0\x08\0\0\0\0\0", "truncated or damaged"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "strange.tif"
    path.write_bytes(content)
    for read in (read_image, read_size):
        with pytest.raises(UnreadableFileError, match=says):
            read(path)


@pytest.mark.parametrize("read", [read_image, read_size])
def test_missing_files_and_folders_are_named(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(UnreadableFileError, match="cannot be opened"):
            read(path)


def test_bombs_are_refused_by_their_header(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    )
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    for read in (read_image, read_size):
        with pytest.raises(UnreadableFileError, match=r"60000x60000 .* up to 100000000 pixels"):
            read(path)
    Image.fromarray(noise(20, 20)).save(tmp_path / "small.png")
    with pytest.raises(UnreadableFileError, match="up to 399 pixels"):
        read_image(tmp_path / "small.png", max_pixels=399)


def test_giant_tiles_are_refused_by_their_header(tmp_path: Path) -> None:
    path = tmp_path / "giant.tif"
    tifffile.imwrite(path, noise(64, 64), tile=(64, 64), photometric="minisblack")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for name in ("ImageWidth", "ImageLength", "TileWidth", "TileLength"):
            tag = file.pages.first.tags[name]
            size = {3: "<H", 4: "<I"}[int(tag.dtype)]
            struct.pack_into(size, content, tag.valueoffset, 65_520)
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"GiB for one tile|damaged"):
        read_image(path)


def test_sidecars_are_not_read(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 8)).save(tmp_path / "plain.tif")
    (tmp_path / "plain.tfw").write_text("1\n0\n0\n-1\n100\n200\n")
    (tmp_path / "plain.tif.aux.xml").write_text(
        "<PAMDataset><PAMRasterBand band='1'><NoDataValue>7</NoDataValue></PAMRasterBand>"
        "</PAMDataset>"
    )
    raster = read_raster(tmp_path / "plain.tif")
    assert raster.geo is None
    assert raster.nodata is None


masks = st.integers(1, 40).flatmap(
    lambda height: st.integers(1, 40).flatmap(
        lambda width: st.binary(min_size=height * width, max_size=height * width).map(
            lambda data: np.frombuffer(data, np.uint8).reshape(height, width)
        )
    )
)


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=masks, ending=st.sampled_from(["png", "tif"]))
def test_masks_come_back(tmp_path: Path, values: np.ndarray[Any, Any], ending: str) -> None:
    path = tmp_path / f"mask.{ending}"
    write_mask(path, values % 2, task=BINARY)
    found = read_image(path)[..., 0]
    np.testing.assert_array_equal(found, values % 2 * (255 if ending == "png" else 1))
    write_mask(path, values % 3, task=CLASSES, colours=class_colours(3))
    raster = read_raster(path)
    np.testing.assert_array_equal(raster.pixels[..., 0], values % 3)
    np.testing.assert_array_equal(apply_palette(raster, path), class_colours(3)[values % 3])


def test_georeference_nodata_and_names_are_written(tmp_path: Path) -> None:
    import rasterio

    geo = GeoReference(rasterio.CRS.from_epsg(32616).to_wkt(), (0.5, 0.0, 7e5, 0.0, -0.5, 3e6))
    labels = noise(3, 12, 10) % 2
    write_mask(tmp_path / "labels.tif", labels, task=LABELS, geo=geo)
    raster = read_raster(tmp_path / "labels.tif")
    np.testing.assert_array_equal(np.moveaxis(raster.pixels, -1, 0), labels)
    assert raster.geo is not None
    assert raster.geo.transform == geo.transform
    assert rasterio.CRS.from_wkt(raster.geo.crs) == rasterio.CRS.from_epsg(32616)
    assert raster.nodata == 255
    probs = noise(3, 600, 520, dtype="float32")
    write_probs(tmp_path / "probs.tif", probs, geo=geo, class_names=LABELS.class_names)
    np.testing.assert_array_equal(read_image(tmp_path / "probs.tif"), np.moveaxis(probs, 0, -1))
    with rasterio.open(tmp_path / "probs.tif") as dataset:
        assert dataset.descriptions == ("a", "b", "c")
        assert dataset.profile["tiled"]
    rgb = noise(12, 10, 3)
    for name in ("rgb.tif", "rgb.png"):
        write_image(tmp_path / name, rgb)
        np.testing.assert_array_equal(read_image(tmp_path / name), rgb)


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    mask = np.zeros((4, 4), np.uint8)
    geo = GeoReference(None, (1, 0, 5, 0, -1, 5))
    with pytest.raises(UsageError, match="cannot hold the place"):
        write_mask(tmp_path / "m.png", mask, task=BINARY, geo=geo)
    with pytest.raises(UsageError, match="cannot hold ignored"):
        write_mask(tmp_path / "m.png", mask + np.uint8(255), task=BINARY)
    with pytest.raises(UsageError, match="band per class"):
        write_mask(tmp_path / "m.png", np.zeros((3, 4, 4), np.uint8), task=LABELS)
    with pytest.raises(UsageError, match="format is unknown"):
        write_image(tmp_path / "m.jpg", mask)
    with pytest.raises(UsageError, match="written as TIFF"):
        write_probs(tmp_path / "m.png", np.zeros((1, 4, 4), np.float32))
    with pytest.raises(ShapeError, match="does not fit"):
        write_mask(tmp_path / "m.png", mask[None], task=BINARY)
    with pytest.raises(ShapeError, match="3 colours are needed"):
        write_mask(tmp_path / "m.png", mask, task=CLASSES)
    assert not list(tmp_path.iterdir())
