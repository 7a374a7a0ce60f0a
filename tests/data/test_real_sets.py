"""The public data sets of the issue: each goes in with nothing but its own facts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from delineate.config import DataConfig, TaskConfig
from delineate.data.inventory import Inventory, build_inventory
from delineate.data.masks import MaskDecoder, inspect_masks
from delineate.errors import DataError
from delineate.rasters import read_image, read_raster, read_size
from delineate.task import Task

LEGEND = {
    "Building": "#3C1098",
    "Land": "#8429F6",
    "Road": "#6EC1E4",
    "Vegetation": "#FEDD3A",
    "Water": "#E2A929",
}


@pytest.fixture(scope="session")
def data() -> Path:
    if "DELINEATE_DATA" not in os.environ:
        pytest.skip("DELINEATE_DATA names no folder of real data sets")
    return Path(os.environ["DELINEATE_DATA"])


def inspect(
    data: Path, task: dict[str, Any] | None = None, **settings: Any
) -> tuple[Inventory, Task, MaskDecoder]:
    config = DataConfig(**settings)
    inventory = build_inventory(data, config)
    return inventory, *inspect_masks(inventory, config, TaskConfig(**(task or {})))


def sizes(inventory: Inventory) -> tuple[int, int, int]:
    train, val, test = (len(inventory.of(split)) for split in ("train", "val", "test"))
    return train, val, test


def foreground_share(inventory: Inventory, decoder: MaskDecoder, num_images: int = 6) -> float:
    targets = [decoder.decode(sample.masks) for sample in inventory.samples[:num_images]]
    return float(np.mean([(target == 1).mean() for target in targets]))


def test_nuclei_are_merged_from_a_file_each(data: Path) -> None:
    inventory, task, decoder = inspect(data / "dsb2018_mini")
    assert task == Task("binary", ("foreground",))
    assert sizes(inventory) == (40, 8, 8)
    assert sum(len(sample.masks) for sample in inventory.samples) == 3001
    sample = max(inventory.samples, key=lambda sample: len(sample.masks))
    union = np.any([read_image(path) > 0 for path in sample.masks], axis=0)[..., 0]
    np.testing.assert_array_equal(decoder.decode(sample.masks), union)
    assert read_image(sample.image).shape == (*union.shape, 4)


def test_membranes_are_dark(data: Path) -> None:
    inventory, task, decoder = inspect(data / "isbi_em", foreground_value=0)
    assert task.kind == "binary"
    assert sizes(inventory) == (20, 5, 5)
    assert foreground_share(inventory, decoder, 30) == pytest.approx(0.22, abs=0.01)


def test_vessels_have_two_annotators_and_children_two_eyes(data: Path) -> None:
    with pytest.raises(DataError, match=r"28 images .*--data.mask-suffix _1stHO.*_2ndHO"):
        build_inventory(data / "chase_db1", DataConfig())
    inventory, task, decoder = inspect(
        data / "chase_db1", mask_suffix="_1stHO", groups=r"Image_(\d+)"
    )
    assert task.kind == "binary"
    assert sizes(inventory) == (20, 4, 4)
    assert all(sample.masks[0].stem == sample.image.stem + "_1stHO" for sample in inventory.samples)
    splits = {(sample.group, sample.split) for sample in inventory.samples}
    assert len(splits) == 14
    assert foreground_share(inventory, decoder, 28) == pytest.approx(0.069, abs=0.002)


def test_streets_have_a_void_class(data: Path) -> None:
    names = [f"street_{index}" for index in range(11)]
    folder = data / "camvid_mini"
    with pytest.raises(DataError, match=r"11 classes are named, .*\[11\].*`data.ignore`"):
        inspect(folder, {"class_names": names})
    inventory, task, decoder = inspect(folder, {"class_names": names}, ignore=(11,))
    assert sizes(inventory) == (62, 26, 30)
    assert task == Task("multiclass", tuple(names))
    raw = read_image(inventory.samples[0].masks[0])[..., 0]
    np.testing.assert_array_equal(
        decoder.decode(inventory.samples[0].masks), np.where(raw == 11, 255, raw)
    )


def test_land_cover_is_read_by_colour_from_palettes_that_differ(data: Path) -> None:
    folder, groups = data / "dubai_aerial", r"(Tile \d+)"
    with pytest.raises(DataError, match=r'class_1: "#8429F6"  # \d+ pixels in 72 files'):
        inspect(folder, groups=groups)
    with pytest.raises(DataError, match=r"#000000 \(552156 pixels in 9 files"):
        inspect(folder, groups=groups, legend=LEGEND, ignore=("#9B9B9B",))
    inventory, task, decoder = inspect(
        folder, groups=groups, legend=LEGEND, ignore=("#9B9B9B", "#000000")
    )
    assert task == Task("multiclass", tuple(LEGEND))
    assert sizes(inventory) == (54, 9, 9)
    assert len({(sample.group, sample.split) for sample in inventory.samples}) == 8
    palettes = [s for s in inventory.samples if read_raster(s.masks[0]).palette is not None][:3]
    assert len(palettes) == 3
    for sample in palettes:
        colours = read_image(sample.masks[0])
        target = decoder.decode(sample.masks, size=read_size(sample.image))
        for index, colour in enumerate(LEGEND.values()):
            rgb = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)
            np.testing.assert_array_equal(target == index, (colours == rgb).all(axis=2))


def test_forest_holds_an_unlabelled_split_and_a_mask_of_another_size(data: Path) -> None:
    folder = data / "amazon_forest"
    with pytest.raises(DataError, match=r"15 images of 60 .*--data.exclude 'test/\*'"):
        inspect(folder)
    with pytest.raises(DataError, match=r"Amazon_181.tiff_34.png is 512x515, its image 512x512"):
        inspect(folder, exclude=("test/*",))
    inventory, task, decoder = inspect(folder, exclude=("test/*", "*Amazon_181.tiff_34*"))
    assert task.kind == "binary"
    assert sizes(inventory)[1] == 15
    assert len(inventory.of("test")) > 0
    values = read_raster(inventory.samples[0].masks[0]).pixels[..., 0]
    np.testing.assert_array_equal(decoder.decode(inventory.samples[0].masks), values == 1)
    _, _, second = inspect(folder, exclude=("test/*", "*Amazon_181*_34*"), foreground_value=2)
    np.testing.assert_array_equal(second.decode(inventory.samples[0].masks), values == 2)


def test_defects_lie_beside_their_images_and_have_smooth_edges(data: Path) -> None:
    folder = data / "magnetic_tile"
    with pytest.raises(DataError, match=r"smooth edges .*--data.mask-threshold 128"):
        inspect(folder)
    inventory, task, _ = inspect(folder, mask_threshold=128)
    assert task.kind == "binary"
    assert len(inventory.samples) == 392 + 106
    assert all(
        (sample.image.suffix, sample.masks[0].suffix) == (".jpg", ".png")
        and sample.image.stem == sample.masks[0].stem
        for sample in inventory.samples
    )


def test_jpeg_masks_want_a_threshold(data: Path) -> None:
    folder = data / "special" / "kvasir_jpeg_masks"
    with pytest.raises(DataError, match=r"--data.mask-threshold 128"):
        inspect(folder)
    inventory, _, decoder = inspect(folder, mask_threshold=128)
    assert 0.1 < foreground_share(inventory, decoder) < 0.5


@pytest.mark.parametrize("view", ["Landscape", "Portrait"])
def test_every_orientation_shows_the_same_picture(data: Path, view: str) -> None:
    folder = data / "special" / "exif"
    upright = read_image(folder / f"{view}_1.jpg").astype(np.float64)
    for orientation in range(9):
        path = folder / f"{view}_{orientation}.jpg"
        pixels = read_image(path)
        assert read_size(path) == pixels.shape[:2]
        assert pixels.shape == upright.shape
        assert np.abs(pixels - upright).mean() < 12


def test_odd_tiffs_keep_type_bands_and_place(data: Path) -> None:
    folder = data / "special"
    solaris = read_raster(folder / "solaris_900_u16_32616.tif")
    assert (solaris.pixels.shape, solaris.pixels.dtype) == ((900, 900, 1), np.dtype(np.uint16))
    assert solaris.geo is not None
    assert "32616" in (solaris.geo.crs or "")
    assert read_image(folder / "tiff_8channel_uint8.tif").shape == (650, 500, 8)
    assert read_image(folder / "tiff_3channel_uint16.tif").dtype == np.uint16
    assert read_image(folder / "tiff_1channel_float.tif").dtype == np.float32
    with pytest.raises(DataError, match="31 pages"):
        read_image(folder / "stardist_img3d.tif")
