"""A repaired copy has none of the faults that were repaired, and the original is as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from delineate.cli.app import run
from delineate.config import build_settings, merge_settings
from delineate.data.doctor.diagnosis import Diagnosis, diagnose
from delineate.data.doctor.findings import (
    BinarizeMask,
    ConvertImage,
    DropFiles,
    DropOrientation,
    Finding,
    InvertMask,
    KeepInTraining,
    RecodeMask,
    Remedy,
    RemoveSpecks,
    Reorient,
    ResizeMask,
)
from delineate.data.doctor.repair import RECORD, TABLE, RepairSummary, repair
from delineate.data.inventory import read_data_file
from delineate.data.samples import write_sample
from delineate.errors import DataError, UsageError
from delineate.files import digest_file
from delineate.rasters import read_header, read_image, read_raster, write_image

Array = np.ndarray[Any, Any]


def look(data: Path, **settings: Any) -> Diagnosis:
    return diagnose(data, build_settings(merge_settings(read_data_file(data), {"data": settings})))


def with_remedies(diagnosis: Diagnosis, *remedies: Remedy) -> Diagnosis:
    from dataclasses import replace

    finding = Finding("planted", "error", (), "what", "why", "fix", remedies)
    return replace(diagnosis, findings=(finding,))


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): digest_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def save(path: Path, pixels: Array, **options: Any) -> None:
    Image.fromarray(pixels).save(path, **options)


def pair(data: Path, number: int) -> tuple[Path, Path]:
    images = sorted((data / "images").rglob("*.png"))
    image = images[number]
    return image, next((data / "masks").rglob(image.name))


def codes(diagnosis: Diagnosis) -> set[str]:
    return {finding.code for finding in diagnosis.findings}


def fix(data: Path, out: Path, **settings: Any) -> tuple[Diagnosis, RepairSummary, Diagnosis]:
    before = digests(data)
    diagnosis = look(data, **settings)
    summary = repair(diagnosis, out)
    assert digests(data) == before
    return diagnosis, summary, look(out)


def test_the_planted_faults_are_gone(cells: Path, tmp_path: Path) -> None:
    image, mask = pair(cells, 0)
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])  # truncated
    image, mask = pair(cells, 1)
    save(mask, np.pad(read_image(mask)[..., 0], ((0, 2), (0, 3)), mode="edge"))  # a few pixels off
    image, mask = pair(cells, 2)
    pair(cells, 3)[1].unlink()  # no partner
    image, mask = pair(cells, 4)
    save(image, np.repeat(read_image(image), 3, axis=2))  # colour among greys
    image, mask = pair(cells, 5)
    target = read_image(mask)[..., 0].copy()
    inside = cv2.erode(target, np.ones((7, 7), np.uint8), borderValue=0)
    outside = cv2.erode(255 - target, np.ones((7, 7), np.uint8), borderValue=0)
    for region in (inside, outside):
        places = np.argwhere(region)[:: np.count_nonzero(region) // 3]
        target[tuple(places.T)] ^= 255
    save(mask, target)
    image, mask = pair(cells, 6)
    save(mask, 255 - read_image(mask)[..., 0])  # inverted
    image, mask = pair(cells, 7)
    for path, copy in (
        (image, cells / "images" / "copy.png"),
        (mask, cells / "masks" / "copy.png"),
    ):
        copy.write_bytes(path.read_bytes())

    diagnosis, summary, after = fix(cells, tmp_path / "out")
    repaired = {finding.code for finding in diagnosis.findings if finding.remedies}
    expected = {"unreadable-file", "size-mismatch", "missing-mask", "mixed-channels", "specks"}
    assert expected <= repaired
    assert not repaired & codes(after), codes(after)
    assert not after.errors
    assert summary.num_images == len(after.examination.pairs)
    assert (tmp_path / "out" / TABLE).is_file()
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record["dropped"] == list(summary.dropped)
    # A second repair finds nothing to do.
    again = repair(after, tmp_path / "again")
    assert (again.repairs, again.dropped) == ({}, ())


@pytest.mark.parametrize("orientation", [2, 3, 5, 6, 8])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_orientations_are_settled(
    cells: Path, tmp_path: Path, orientation: int, ending: str
) -> None:
    image, mask = pair(cells, 0)
    exif = Image.Exif()
    exif[274] = orientation
    wide = read_image(image)[:64, :, 0].copy()
    turned = image.with_suffix(f".{ending}")
    image.unlink()
    save(turned, wide, exif=exif, **({"quality": 95} if ending == "jpg" else {}))
    save(mask, read_image(mask)[:64, :, 0])
    name = f"images/{turned.name}"
    diagnosis = look(cells)
    out = tmp_path / "upright"
    repair(with_remedies(diagnosis, Reorient(name)), out)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(turned)))
    path = out / "images" / f"{turned.stem}.png"
    np.testing.assert_array_equal(read_image(path)[..., 0], expected)
    assert read_header(path).orientation == 1
    out = tmp_path / "stored"
    repair(with_remedies(diagnosis, DropOrientation(name)), out)
    path = out / "images" / turned.name
    with Image.open(turned) as stored:
        np.testing.assert_array_equal(read_image(path)[..., 0], np.asarray(stored))
    assert read_header(path).orientation == 1
    if ending == "jpg":  # not encoded again: only the tag differs
        pairs = zip(path.read_bytes(), turned.read_bytes(), strict=True)
        assert sum(new != old for new, old in pairs) <= 4


def test_masks_are_recoded_cut_padded_and_swapped(cells: Path, tmp_path: Path) -> None:
    values = np.array([[0, 10, 200], [255, 129, 3]], np.uint8)
    names = [f"masks/{pair(cells, number)[1].name}" for number in range(5)]
    for name in names:
        save(cells / name, values)
    remedies = (
        BinarizeMask(names[0], 129),
        RecodeMask(names[1], "grey", ((10, 9), (200, 199))),
        ResizeMask(names[2], (3, 2)),
        ResizeMask(names[3], (1, 5), fill=7),
        ConvertImage(f"images/{Path(names[4]).name}", 3),
    )
    repair(with_remedies(look(cells), *remedies), tmp_path / "out")
    found = [read_image(tmp_path / "out" / name)[..., 0].tolist() for name in names]
    assert found[0] == [[0, 0, 255], [255, 255, 0]]
    assert found[1] == [[0, 9, 199], [255, 129, 3]]
    assert found[2] == [[0, 10], [255, 129], [255, 129]]
    assert found[3] == [[0, 10, 200, 7, 7]]
    assert read_image(tmp_path / "out" / "images" / Path(names[4]).name).shape[2] == 3


def test_two_values_are_swapped_and_others_refused(cells: Path, tmp_path: Path) -> None:
    _, mask = pair(cells, 0)
    before = read_image(mask)
    diagnosis = look(cells)
    remedy = InvertMask(f"masks/{mask.name}")
    repair(with_remedies(diagnosis, remedy), tmp_path / "out")
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "masks" / mask.name), 255 - before)
    save(mask, np.arange(96 * 96, dtype=np.uint8).reshape(96, 96))
    with pytest.raises(DataError, match="256 values, and two are needed"):
        repair(with_remedies(diagnosis, remedy), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_palettes_keep_their_colours_through_a_cut(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_sample("cells", data, num_images=4, size=64)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
    for mask in (data / "masks").iterdir():
        indices = (read_image(mask)[..., 0] > 0).astype(np.uint8)
        indices[:9] = 2
        picture = Image.fromarray(indices)
        picture.putpalette(colours.tobytes())
        picture.save(mask)
    mask = next((data / "masks").iterdir())
    remedy = ResizeMask(f"masks/{mask.name}", (70, 64))
    repair(with_remedies(look(data), remedy), tmp_path / "out")
    raster = read_raster(tmp_path / "out" / "masks" / mask.name)
    assert raster.palette is not None
    np.testing.assert_array_equal(raster.palette[:3], colours)
    assert raster.pixels.shape == (70, 64, 1)


def test_mixed_palettes_become_one(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_sample("cells", data, num_images=8, size=64)
    (data / "data.yaml").unlink(missing_ok=True)
    legend = {"cell": "#FF0000", "ground": "#0000FF"}
    targets = {}
    for number, mask in enumerate(sorted((data / "masks").iterdir())):
        inside = read_image(mask)[..., 0] > 0
        order = [[0, 0, 255], [255, 0, 0]] if number % 2 else [[255, 0, 0], [0, 0, 255]]
        picture = Image.fromarray((inside if number % 2 else ~inside).astype(np.uint8))
        picture.putpalette(np.array(order, np.uint8).tobytes())
        picture.save(mask)
        targets[mask.stem] = inside
    diagnosis, summary, after = fix(data, tmp_path / "out", legend=legend)
    assert "palette-order" in codes(diagnosis)
    assert "palette-order" not in codes(after)
    assert summary.repairs["RecodeMask"] == 8
    assert after.examination.decoder is not None
    assert after.examination.decoder.reading == "index"
    assert after.examination.decoder.task.class_names == ("cell", "ground")
    for stem, inside in targets.items():
        raster = read_raster(tmp_path / "out" / "masks" / f"{stem}.png")
        np.testing.assert_array_equal(raster.pixels[..., 0] == 0, inside)
        assert raster.palette is not None
        assert raster.palette[:2].tolist() == [[255, 0, 0], [0, 0, 255]]


def test_copies_are_kept_in_training_only(cells: Path, tmp_path: Path) -> None:
    diagnosis = look(cells)
    pairs = {split: [] for split in ("train", "val", "test")}
    for sample in diagnosis.examination.listing.samples:
        pairs[sample.split].append(f"images/{sample.image.name}")
    files = (*pairs["train"][:2], pairs["test"][0])
    summary = repair(
        with_remedies(diagnosis, KeepInTraining(files), KeepInTraining(tuple(pairs["val"]))),
        tmp_path / "out",
    )
    assert set(summary.dropped) == {files[2]}
    after = look(tmp_path / "out")
    groups = {
        f"images/{sample.image.name}": (sample.split, sample.group)
        for sample in after.examination.listing.samples
    }
    assert groups[files[0]] == groups[files[1]]
    for sample in diagnosis.examination.listing.samples:
        name = f"images/{sample.image.name}"
        if name not in summary.dropped:
            assert groups[name][0] == sample.split


def test_specks_are_removed_and_holes_filled(cells: Path, tmp_path: Path) -> None:
    _, mask = pair(cells, 0)
    target = np.zeros((96, 96), np.uint8)
    cv2.circle(target, (50, 50), 20, 255, -1)
    clean = target.copy()
    target[50, 50:52] = 0
    target[3, 3] = target[90, 90] = target[91, 91] = 255
    save(mask, target)
    repair(with_remedies(look(cells), RemoveSpecks(f"masks/{mask.name}", 2)), tmp_path / "out")
    found = read_image(tmp_path / "out" / "masks" / mask.name)[..., 0]
    np.testing.assert_array_equal(found, clean)


def test_the_copy_must_have_a_place_of_its_own(cells: Path, tmp_path: Path) -> None:
    diagnosis = look(cells)
    with pytest.raises(UsageError, match="lies within the data"):
        repair(diagnosis, cells / "fixed")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UsageError, match="exists"):
        repair(diagnosis, tmp_path / "full")
    every = tuple(f"images/{sample.image.name}" for sample in diagnosis.examination.listing.samples)
    with pytest.raises(DataError, match="no image would be left"):
        repair(with_remedies(diagnosis, DropFiles(every)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_georeferenced_masks_stay_so(tmp_path: Path) -> None:
    from delineate.rasters import GeoReference, write_mask
    from delineate.task import Task

    geo = GeoReference(None, (2.0, 0, 500.0, 0, -2.0, 900.0))
    target = np.zeros((40, 40), np.uint8)
    target[10:30, 10:30] = 1
    for number in range(4):
        write_image(tmp_path / "data" / "images" / f"{number}.tif", target * np.uint8(9), geo)
        write_mask(
            tmp_path / "data" / "masks" / f"{number}.tif",
            target,
            task=Task("binary", ("a",)),
            geo=geo,
        )
    repair(
        with_remedies(look(tmp_path / "data"), ResizeMask("masks/1.tif", (42, 40))),
        tmp_path / "out",
    )
    raster = read_raster(tmp_path / "out" / "masks" / "1.tif")
    assert (raster.geo, raster.nodata) == (geo, 255)
    assert raster.pixels.shape == (42, 40, 1)


def test_the_command_writes_the_copy_and_says_so(cells: Path, tmp_path: Path, capsys: Any) -> None:
    _, mask = pair(cells, 1)
    save(mask, np.pad(read_image(mask)[..., 0], ((0, 2), (0, 3)), mode="edge"))
    out = tmp_path / "out"
    assert run(["doctor", str(cells), "--out", str(tmp_path / "a"), "--fix", str(out)]) == 3
    printed = capsys.readouterr().out
    assert f"copy       {out}, 12 images" in printed
    assert "ResizeMask: 1 file" in printed
    assert run(["doctor", str(out), "--out", str(tmp_path / "b")]) == 0
