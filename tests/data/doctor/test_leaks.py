"""Copies, groups, overlapping ground and second annotators: what is said, and what is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from delineate.data.doctor.diagnosis import Diagnosis
from delineate.data.doctor.findings import DropFiles, Finding, KeepInTraining
from delineate.data.doctor.footprints import find_overlaps
from delineate.data.samples import write_sample
from delineate.rasters import GeoReference, write_image

Find = Callable[..., dict[str, Finding]]
Diagnose = Callable[..., Diagnosis]

UTM, WGS84 = "EPSG:32633", "EPSG:4326"


def write_tiles(root: Path, places: dict[str, GeoReference | None]) -> None:
    """Write noise for each place, in the folders of its name, and masks beside it."""
    rng = np.random.default_rng(0)
    for name, geo in places.items():
        split, stem = name.split("/")
        for role in ("images", "masks"):
            (root / split / role).mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
        write_image(root / split / "images" / f"{stem}.tif", picture, geo)
        mask = np.zeros((64, 64), np.uint8)
        mask[10:40, 10:40] = 255
        Image.fromarray(mask).save(root / split / "masks" / f"{stem}.png")


def at(east: float, north: float, crs: str = UTM, step: float = 1.0) -> GeoReference:
    return GeoReference(crs, (step, 0, east, 0, -step, north))


def test_overlap_is_the_shared_ground(tmp_path: Path, diagnose_with: Diagnose) -> None:
    write_tiles(
        tmp_path,
        {
            "train/a": at(500_000, 4_000_000),
            "train/b": at(500_032, 4_000_000),
            "test/c": at(500_048, 3_999_968),
            "test/d": at(500_200, 4_000_000),
            "val/e": at(500_064, 4_000_064),  # touches along its lower edge only
        },
    )
    diagnosis = diagnose_with(tmp_path)
    overlaps = find_overlaps(diagnosis.examination)
    found = {
        (Path(one.first.image.path).stem, Path(one.second.image.path).stem): one for one in overlaps
    }
    assert set(found) == {("a", "c"), ("b", "c")}
    assert found["a", "c"].share == pytest.approx(16 * 32 / 64**2)
    assert found["b", "c"].share == pytest.approx(48 * 32 / 64**2)
    assert found["b", "c"].box == (32, 16, 64, 64)
    [finding] = [f for f in diagnosis.findings if f.code == "overlap-across-splits"]
    assert finding.severity == "warning"
    assert "train/images/b.tif (train) and test/images/c.tif (test) by 38%" in finding.what


def test_overlap_across_coordinate_systems(tmp_path: Path, diagnose_with: Diagnose) -> None:
    from rasterio.warp import transform

    [lon], [lat] = transform(UTM, WGS84, [500_000], [4_000_000])
    write_tiles(
        tmp_path,
        {
            "train/a": at(500_000, 4_000_000),
            "test/b": at(lon, lat, WGS84, 1e-5),
            "test/c": at(lon + 0.01, lat, WGS84, 1e-5),
            "test/d": None,
        },
    )
    [overlap] = find_overlaps(diagnose_with(tmp_path).examination)
    assert {overlap.first.image.path, overlap.second.image.path} == {
        "train/images/a.tif",
        "test/images/b.tif",
    }
    assert overlap.share > 0.9


def test_tiles_that_all_name_one_place_say_nothing(tmp_path: Path, diagnose_with: Diagnose) -> None:
    same = at(500_000, 4_000_000)
    write_tiles(tmp_path, {"train/a": same, "train/b": same, "test/c": same})
    assert find_overlaps(diagnose_with(tmp_path).examination) == []


@pytest.fixture
def split_cells(tmp_path: Path) -> Path:
    """Ten images for training and four for the test."""
    root = tmp_path / "cells"
    write_sample("cells", root, num_images=14, size=96)
    for role in ("images", "masks"):
        for number, path in enumerate(sorted((root / role).iterdir())):
            folder = root / ("train" if number < 10 else "test") / role
            folder.mkdir(parents=True, exist_ok=True)
            path.rename(folder / path.name)
        (root / role).rmdir()
    return root


def copy(root: Path, name: str, split: str, to: str) -> None:
    for role in ("images", "masks"):
        shutil.copy(root / "train" / role / name, root / split / role / to)


def test_the_training_copy_is_kept(split_cells: Path, find: Find) -> None:
    copy(split_cells, "cells_002.png", "test", "other.png")
    finding = find(split_cells)["duplicate-across-splits"]
    assert finding.severity == "error"
    assert finding.files == ("test/images/other.png", "train/images/cells_002.png")
    assert finding.remedies == (KeepInTraining(finding.files),)
    assert "test/images/other.png" in finding.fix
    assert "test/masks/other.png" in finding.fix
    assert "cells_002" not in finding.fix
    exclude = ("test/images/other.png", "test/masks/other.png")
    assert "duplicate-across-splits" not in find(split_cells, exclude=exclude)


def test_a_copy_in_the_same_split_warns(split_cells: Path, find: Find) -> None:
    copy(split_cells, "cells_002.png", "train", "other.png")
    finding = find(split_cells)["duplicate-image"]
    assert finding.severity == "warning"
    assert finding.remedies == (DropFiles(("train/images/other.png",)),)
    assert "duplicate-across-splits" not in find(split_cells)


def test_a_near_copy_names_how_it_was_turned(split_cells: Path, find: Find) -> None:
    copy(split_cells, "cells_002.png", "test", "other.png")
    for role in ("images", "masks"):
        path = split_cells / "test" / role / "other.png"
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    finding = find(split_cells)["near-duplicate-across-splits"]
    assert "is mirrored" in finding.what
    assert finding.severity == "warning"


def rename(root: Path, names: Callable[[int], str]) -> None:
    for role in ("images", "masks"):
        for number, path in enumerate(sorted((root / role).iterdir())):
            path.rename(path.with_name(names(number) + path.suffix))


def test_names_alone_make_no_group(tmp_path: Path, find: Find) -> None:
    """The names look like patients, but their images are no more alike than any."""
    write_sample("cells", tmp_path, num_images=24, size=96)
    rename(tmp_path, lambda number: f"patient{number % 6:02d}_{number // 6}")
    assert "group-across-splits" not in find(tmp_path)


def darken(root: Path) -> None:
    """Give the images of every patient a light of their own."""
    for path in sorted((root / "images").iterdir()):
        patient = int(path.stem[7:9])
        pixels = np.asarray(Image.open(path)).astype(np.float32)
        rows = np.linspace(0, 1, len(pixels))[:, None] * (patient - 2.5) * 40
        lit = pixels * (0.2 + 0.1 * patient) + 20 * patient + rows
        Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8)).save(path)


def test_groups_that_content_confirms_are_told_with_a_pattern_that_settles_it(
    tmp_path: Path, find: Find
) -> None:
    write_sample("cells", tmp_path, num_images=24, size=96)
    rename(tmp_path, lambda number: f"patient{number % 6:02d}_{number // 6}")
    darken(tmp_path)
    finding = find(tmp_path)["group-across-splits"]
    pattern = finding.fix.split("'")[1]
    assert f"groups: '{pattern}'" in finding.fix
    assert "group-across-splits" not in find(tmp_path, groups=pattern)


def test_annotators_agree_as_much_as_their_masks_do(tmp_path: Path, find: Find) -> None:
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(tmp_path / f"{number}.png")
        mask = np.zeros((40, 40), np.uint8)
        mask[5:25, 5:25] = 255
        Image.fromarray(mask).save(tmp_path / f"{number}_1stHO.png")
        Image.fromarray(np.roll(mask, 10, 0)).save(tmp_path / f"{number}_2ndHO.png")
    finding = find(tmp_path, mask_suffix="_1stHO")["several-annotators"]
    assert "Dice of 0.50" in finding.what
    assert len(finding.files) == 8


def test_annotators_in_folders_of_their_own(tmp_path: Path, find: Find) -> None:
    write_sample("cells", tmp_path, num_images=4, size=64)
    (tmp_path / "masks").rename(tmp_path / "annotations")
    shutil.copytree(tmp_path / "annotations", tmp_path / "manual")
    found = find(tmp_path)
    assert "ambiguous-mask" in found
    assert "named annotations and manual" in found["several-annotators"].what
    assert "--data.masks annotations" in found["several-annotators"].fix
    for path in (tmp_path / "manual").iterdir():  # something else that has the same name
        stripes = np.zeros((64, 64), np.uint8)
        stripes[::16] = 255
        Image.fromarray(stripes).save(path)
    assert "several-annotators" not in find(tmp_path)
