"""Plant every kind of fault in clean data and see whether the doctor finds it, and nothing else.

Run: ``python benchmarks/planted_faults.py [--only NAME]``. Prints a row per fault: what should be
found, whether it was, and what else was said. The tests run the same table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from delineate.config import build_settings, merge_settings
from delineate.data.doctor.diagnosis import Diagnosis, diagnose
from delineate.data.inventory import read_data_file
from delineate.data.sample_aerial import AERIAL_LEGEND, draw_aerial
from delineate.data.samples import SAMPLES, write_sample
from delineate.rasters import GeoReference, write_image

SIZE = 192
NUM_IMAGES = 20
LAST = NUM_IMAGES - 1
SPLITS = ("train",) * 14 + ("val",) * 3 + ("test",) * 3
"""Of the images in their order, where a set has splits by folder."""

Plant = Callable[[Path], set[str]]
"""Puts a fault into a data folder and returns the files that a finding has to name."""


@dataclass(frozen=True)
class Fault:
    """A fault to plant."""

    base: str
    """The clean set: `cells`, `aerial`, `ids` (aerial as class numbers), `cells/splits`, ..."""
    plant: Plant
    code: str
    """Of the finding that tells it."""
    allowed: frozenset[str] = frozenset()
    """Codes of other findings that are true of the planted data as well."""


FAULTS: dict[str, Fault] = {}


def fault(base: str, code: str, *allowed: str) -> Callable[[Plant], Plant]:
    """Enter a function into the table, under its name."""

    def enter(plant: Plant) -> Plant:
        FAULTS[plant.__name__] = Fault(base, plant, code, frozenset(allowed))
        return plant

    return enter


@cache
def drawn_files(kind: str) -> dict[str, bytes]:
    """Return the files of a sample; drawing it takes longer than looking at it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_sample(kind, root, NUM_IMAGES, SIZE)  # type: ignore[arg-type]
        files = (path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@cache
def drawn_scene(scene: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an aerial scene of four tiles in the light of its day, and its class indices."""
    rng = np.random.default_rng([9, scene])
    picture, labels = draw_aerial(rng, 2 * SIZE)
    tint = rng.uniform(0.75, 1.25, 3)
    return np.clip(picture * tint, 0, 255).astype(np.uint8), labels


def write_clean(base: str, out: Path) -> None:
    """Write a clean set: cells or aerial scenes, by folders or not."""
    kind, _, layout = base.partition("/")
    for name, content in drawn_files("aerial" if kind == "ids" else kind).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    if kind == "ids":
        names = {code: index for index, code in enumerate(AERIAL_LEGEND.values())}
        for path in sorted((out / "masks").iterdir()):
            colours = np.asarray(Image.open(path)).astype(np.int64)
            packed = (colours[..., 0] << 16) | (colours[..., 1] << 8) | colours[..., 2]
            labels = np.zeros(packed.shape, np.uint8)
            for code, index in names.items():
                labels[packed == int(code[1:], 16)] = index
            Image.fromarray(labels).save(path)
        (out / "data.yaml").write_text(f"class_names: [{', '.join(AERIAL_LEGEND)}]\n")
    if layout == "splits":
        for role in ("images", "masks"):
            for path, split in zip(sorted((out / role).iterdir()), SPLITS, strict=True):
                (out / split / role).mkdir(parents=True, exist_ok=True)
                path.rename(out / split / role / path.name)
            (out / role).rmdir()


def files(root: Path, role: str) -> list[Path]:
    """Return all images or masks, in the order of their names."""
    return sorted(root.rglob(f"{role}/*"), key=lambda path: path.name)


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the pixels of a PNG."""
    Image.fromarray(np.ascontiguousarray(change(np.asarray(Image.open(path))))).save(path)


def named(root: Path, *paths: Path) -> set[str]:
    """Return paths relative to the data folder."""
    return {path.relative_to(root).as_posix() for path in paths}


@fault("cells", "missing-mask")
def a_mask_is_missing(root: Path) -> set[str]:
    files(root, "masks")[3].unlink()
    return named(root, files(root, "images")[3])


@fault("cells", "orphan-mask")
def an_image_is_missing(root: Path) -> set[str]:
    files(root, "images")[3].unlink()
    return named(root, files(root, "masks")[3])


@fault("cells", "ambiguous-mask")
def two_masks_for_one_image(root: Path) -> set[str]:
    mask = files(root, "masks")[3]
    shutil.copy(mask, mask.with_name(f"{mask.stem}_mask.png"))
    return named(root, mask)


@fault("cells", "unreadable-file")
def a_file_is_cut_short(root: Path) -> set[str]:
    path = files(root, "images")[3]
    path.write_bytes(path.read_bytes()[:-2000])
    return named(root, path)


@fault("cells", "size-mismatch")
def a_mask_has_another_size(root: Path) -> set[str]:
    path = files(root, "masks")[3]
    rewrite(path, lambda mask: np.pad(mask, ((0, 3), (0, 0))))
    return named(root, path)


@fault("cells", "exif-rotation", "mixed-channels")
def exif_turns_the_image_alone(root: Path) -> set[str]:
    image, mask = files(root, "images")[3], files(root, "masks")[3]
    exif = Image.Exif()
    exif[274] = 6
    pixels = np.asarray(Image.open(image))[:100]
    image.unlink()
    Image.fromarray(pixels).save(image.with_suffix(".jpg"), quality=98, exif=exif)
    rewrite(mask, lambda values: values[:100])
    return named(root, image.with_suffix(".jpg"))


@fault("cells", "mixed-types")
def an_image_has_another_depth(root: Path) -> set[str]:
    path = files(root, "images")[3]
    rewrite(path, lambda pixels: pixels.astype(np.uint16) * 257)
    return named(root, path)


@fault("cells", "mixed-channels")
def an_image_is_in_colour(root: Path) -> set[str]:
    path = files(root, "images")[3]
    rewrite(path, lambda pixels: np.dstack([pixels, pixels, pixels // 2]))
    return named(root, path)


@fault("cells", "constant-image")
def an_image_is_constant(root: Path) -> set[str]:
    path = files(root, "images")[3]
    rewrite(path, lambda pixels: np.full_like(pixels, 77))
    return named(root, path)


@fault("aerial", "nearly-black")
def an_image_is_nearly_black(root: Path) -> set[str]:
    path = files(root, "images")[3]
    rewrite(path, lambda pixels: pixels // 40)
    return named(root, path)


@fault("aerial", "clipped-image")
def an_image_is_clipped(root: Path) -> set[str]:
    path = files(root, "images")[3]
    rewrite(path, lambda pixels: np.clip(pixels * 4.0, 0, 255).astype(np.uint8))
    return named(root, path)


@fault("cells", "nan-pixels", "mixed-types")
def an_image_holds_nan(root: Path) -> set[str]:
    path = files(root, "images")[3]
    values = np.asarray(Image.open(path), np.float32)
    values[10:14, 20:30] = np.nan
    path.unlink()
    Image.fromarray(values).save(path.with_suffix(".tif"))
    return named(root, path.with_suffix(".tif"))


@fault("cells", "smooth-edges")
def masks_are_smooth(root: Path) -> set[str]:
    paths = files(root, "masks")
    for path in paths:
        rewrite(path, lambda mask: cv2.GaussianBlur(mask, (0, 0), 0.5))
    return named(root, paths[0])


@fault("cells", "smooth-edges")
def masks_are_jpeg(root: Path) -> set[str]:
    paths = files(root, "masks")
    for path in paths:
        Image.open(path).save(path.with_suffix(".jpg"), quality=90)
        path.unlink()
    return named(root, paths[0].with_suffix(".jpg"))


@fault("aerial", "palette-order")
def palettes_change_their_order(root: Path) -> set[str]:
    paths = files(root, "masks")
    legend = [bytes.fromhex(code[1:]) for code in AERIAL_LEGEND.values()]
    for number, path in enumerate(paths):
        colours = np.asarray(Image.open(path))
        order = [(index + number) % len(legend) for index in range(len(legend))]
        indices = np.zeros(colours.shape[:2], np.uint8)
        for place, index in enumerate(order):
            indices[(colours == np.frombuffer(legend[index], np.uint8)).all(axis=2)] = place
        picture = Image.fromarray(indices)
        picture.putpalette(b"".join(legend[index] for index in order))
        picture.save(path)
    return named(root, paths[1])


@fault("aerial", "unnamed-colours")
def a_colour_outside_the_legend(root: Path) -> set[str]:
    path = files(root, "masks")[3]

    def blot(mask: np.ndarray) -> np.ndarray:
        mask = mask.copy()
        mask[40:60, 40:60] = (1, 2, 3)
        return mask

    rewrite(path, blot)
    return named(root, path)


@fault("ids", "unnamed-values")
def an_id_is_out_of_range(root: Path) -> set[str]:
    path = files(root, "masks")[3]

    def blot(mask: np.ndarray) -> np.ndarray:
        mask = mask.copy()
        mask[40:60, 40:60] = 9
        return mask

    rewrite(path, blot)
    return named(root, path)


@fault("ids", "void-value")
def void_is_255(root: Path) -> set[str]:
    paths = files(root, "masks")

    def blot(mask: np.ndarray) -> np.ndarray:
        mask = mask.copy()
        mask[:12] = 255
        return mask

    for path in paths:
        rewrite(path, blot)
    return set()


@fault("cells", "inverted-mask")
def one_mask_is_inverted(root: Path) -> set[str]:
    path = files(root, "masks")[3]
    rewrite(path, lambda mask: 255 - mask)
    return named(root, path)


@fault("cells", "foreground-is-most", "tiny-objects")
def all_masks_are_inverted(root: Path) -> set[str]:
    for path in files(root, "masks"):
        rewrite(path, lambda mask: 255 - mask)
    return set()


@fault("ids", "ids-one-off", "unnamed-values")
def ids_of_two_masks_count_from_one(root: Path) -> set[str]:
    paths = [path for path in files(root, "masks") if np.asarray(Image.open(path)).max() == 4][:2]
    for path in paths:
        rewrite(path, lambda mask: mask + 1)
    return named(root, *paths)


@fault("ids", "ids-from-one", "unnamed-values", "absent-class")
def all_ids_count_from_one(root: Path) -> set[str]:
    paths = files(root, "masks")
    for path in paths:
        rewrite(path, lambda mask: mask + 1)
    return named(root, *paths)


@fault("cells", "empty-mask")
def a_mask_is_empty(root: Path) -> set[str]:
    path = files(root, "masks")[3]
    rewrite(path, np.zeros_like)
    return named(root, path)


@fault("cells", "full-mask")
def a_mask_is_full(root: Path) -> set[str]:
    path = files(root, "masks")[3]
    rewrite(path, lambda mask: np.full_like(mask, 255))
    return named(root, path)


@fault("ids", "single-class-mask")
def a_mask_has_one_class(root: Path) -> set[str]:
    path = files(root, "masks")[3]
    rewrite(path, lambda mask: np.full_like(mask, 3))
    return named(root, path)


@fault("ids/splits", "class-not-in-training", "class-not-in-split", "rare-class")
def a_class_is_in_the_test_alone(root: Path) -> set[str]:
    for split in ("train", "val"):
        for path in files(root / split, "masks"):
            rewrite(path, lambda mask: np.where(mask == 1, 0, mask))
    return set()


@fault("ids/splits", "class-not-in-split")
def a_class_is_not_in_the_test(root: Path) -> set[str]:
    for path in files(root / "test", "masks"):
        rewrite(path, lambda mask: np.where(mask == 1, 0, mask))
    return set()


@fault("ids", "rare-class", "class-not-in-split", "class-not-in-training")
def a_class_is_in_two_images(root: Path) -> set[str]:
    masks = files(root, "masks")
    holders = [
        number for number, path in enumerate(masks) if (np.asarray(Image.open(path)) == 1).any()
    ]
    for number in holders[2:]:
        rewrite(masks[number], lambda mask: np.where(mask == 1, 0, mask))
    return named(root, *(files(root, "images")[number] for number in holders[:2]))


@fault("cells", "specks")
def masks_have_specks_and_pinholes(root: Path) -> set[str]:
    paths = files(root, "masks")[3:6]

    def pepper(mask: np.ndarray) -> np.ndarray:
        mask = mask.copy()
        inside = cv2.erode((mask > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        outside = cv2.dilate((mask > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
        for where, value in ((inside, 0), (outside, 255)):
            row, col = np.argwhere(where[8:-8, 8:-8])[50] + 8
            mask[row, col] = value
        return mask

    for path in paths:
        rewrite(path, pepper)
    return named(root, *paths)


@fault("cells", "tiny-objects")
def objects_are_tiny(root: Path) -> set[str]:
    rng = np.random.default_rng(0)
    for path in files(root, "masks"):

        def scatter(mask: np.ndarray) -> np.ndarray:
            tiny = np.zeros_like(mask)
            for row, col in rng.integers(8, SIZE - 8, (25, 2)):
                tiny[row : row + 3, col : col + 3] = 255
            return tiny

        rewrite(path, scatter)
    return set()


def shift(path: Path, down: int, right: int) -> None:
    rewrite(path, lambda mask: np.roll(mask, (down, right), (0, 1)))


@fault("aerial", "mask-shifted")
def one_mask_is_shifted(root: Path) -> set[str]:
    path = files(root, "masks")[3]
    shift(path, 6, -5)
    return named(root, path)


@fault("cells", "masks-shifted")
def all_masks_are_shifted(root: Path) -> set[str]:
    for path in files(root, "masks"):
        shift(path, 3, -2)
    return set()


def copy_pair(root: Path, number: int, split: str, change: Plant | None = None) -> set[str]:
    """Copy a pair into a split under another name; return both images."""
    found = []
    for role in ("images", "masks"):
        source = files(root, role)[number]
        target = root / split / role / f"zz_copy{source.suffix}"
        shutil.copy(source, target)
        found.append((source, target))
    return named(root, *found[0])


@fault("cells/splits", "duplicate-across-splits")
def a_training_image_is_a_test_image(root: Path) -> set[str]:
    return copy_pair(root, 2, "test")


@fault("aerial/splits", "duplicate-across-splits")
def a_copy_in_another_lossless_format(root: Path) -> set[str]:
    found = copy_pair(root, 2, "test")
    path = root / "test/images/zz_copy.png"
    Image.open(path).save(path.with_suffix(".tif"))
    path.unlink()
    return {name.replace("zz_copy.png", "zz_copy.tif") for name in found}


@fault("cells/splits", "duplicate-image")
def an_image_twice_in_training(root: Path) -> set[str]:
    return copy_pair(root, 2, "train")


def near_copy(root: Path, change: Callable[[np.ndarray], np.ndarray], ending: str) -> set[str]:
    """Put a changed copy of a training image, and of its mask, into the test split."""
    found = copy_pair(root, 2, "test")
    for role in ("images", "masks"):
        path = root / f"test/{role}/zz_copy.png"
        pixels = np.asarray(Image.open(path))
        changed = Image.fromarray(np.ascontiguousarray(change(pixels)))
        path.unlink()
        suffix = ending if role == "images" else ".png"
        changed.save(path.with_suffix(suffix), quality=70)
    return {name.replace("zz_copy.png", f"zz_copy{ending}") for name in found}


def nearest(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize; masks and images alike, so that no new colour appears."""
    return cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST_EXACT)


for _base in ("cells/splits", "aerial/splits"):
    for _name, _change, _ending in (
        ("encoded_as_jpeg", lambda pixels: pixels, ".jpg"),
        ("resized", lambda pixels: nearest(pixels, (180, 180)), ".png"),
        ("mirrored", lambda pixels: pixels[:, ::-1], ".jpg"),
        ("upside_down", lambda pixels: pixels[::-1], ".png"),
        ("turned", lambda pixels: np.rot90(pixels), ".png"),
        ("cropped", lambda pixels: pixels[4:, :-7], ".jpg"),
    ):

        def _plant(root: Path, change: Any = _change, ending: str = _ending) -> set[str]:
            return near_copy(root, change, ending)

        FAULTS[f"a_test_image_is_a_training_image_{_name} ({_base.partition('/')[0]})"] = Fault(
            _base, _plant, "near-duplicate-across-splits"
        )


@fault("aerial/splits", "near-duplicate-across-splits")
def a_test_image_is_a_training_image_brightened(root: Path) -> set[str]:
    found = copy_pair(root, 2, "test")
    rewrite(
        root / "test/images/zz_copy.png",
        lambda pixels: np.clip(pixels * 0.7 + 30, 0, 255).astype(np.uint8),
    )
    return found


def write_scenes(root: Path, names: Callable[[int, int], str], overlap: int = 0) -> None:
    """Replace an aerial set by six scenes of four tiles each."""
    shutil.rmtree(root / "images")
    shutil.rmtree(root / "masks")
    legend = [tuple(bytes.fromhex(code[1:])) for code in AERIAL_LEGEND.values()]
    side = SIZE - overlap
    for scene in range(6):
        picture, labels = drawn_scene(scene)
        for tile in range(4):
            row, col = tile // 2 * side, tile % 2 * side
            window = (slice(row, row + SIZE), slice(col, col + SIZE))
            image = root / "images" / f"{names(scene, tile)}.tif"
            image.parent.mkdir(exist_ok=True, parents=True)
            origin = (500_000.0 + 10_000 * scene + col, 4_000_000.0 - row)
            geo = GeoReference("EPSG:32633", (1, 0, origin[0], 0, -1, origin[1]))
            write_image(image, picture[window], geo if overlap else None)
            (root / "masks").mkdir(exist_ok=True)
            colours = np.array(legend, np.uint8)[labels[window]]
            Image.fromarray(colours).save(root / "masks" / f"{names(scene, tile)}.png")


@fault("aerial", "group-across-splits")
def tiles_of_a_scene_in_several_splits(root: Path) -> set[str]:
    write_scenes(root, lambda scene, tile: f"scene{scene:02d}_{tile}")
    return set()


@fault("aerial", "overlap-across-splits", "group-across-splits")
def tiles_overlap_on_the_ground(root: Path) -> set[str]:
    write_scenes(root, lambda scene, tile: f"{'abcdef'[scene]}{'wxyz'[tile]}", overlap=32)
    return set()


@fault("cells", "series-across-splits")
def slices_of_a_volume_drawn_at_random(root: Path) -> set[str]:
    first, mask = (np.asarray(Image.open(files(root, role)[0])) for role in ("images", "masks"))
    last = np.asarray(Image.open(files(root, "images")[1]))
    rng = np.random.default_rng(0)
    for number, (image, target) in enumerate(
        zip(files(root, "images"), files(root, "masks"), strict=True)
    ):
        # From one picture to another, and each with noise of its own.
        part = number / LAST
        mixed = first * (1 - part) + last * part + rng.normal(0, 25, first.shape)
        Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)).save(image)
        Image.fromarray(mask).save(target)
    return set()


@fault("aerial", "legend-file")
def a_side_file_names_other_colours(root: Path) -> set[str]:
    classes = [
        {"title": name, "color": f"#{number * 1234567 % 0xFFFFFF:06X}"}
        for number, name in enumerate(AERIAL_LEGEND, start=1)
    ]
    (root / "classes.json").write_text(json.dumps({"classes": classes}))
    return {"classes.json"}


@fault("cells", "several-annotators", "ambiguous-mask")
def two_annotators(root: Path) -> set[str]:
    masks = files(root, "masks")
    for path, image in zip(masks, files(root, "images"), strict=True):
        for number, change in ((1, lambda mask: mask), (2, lambda mask: cv2.dilate(mask, None))):
            second = image.with_name(f"{image.stem}_{number}{'st' if number == 1 else 'nd'}HO.png")
            Image.fromarray(change(np.asarray(Image.open(path)))).save(second)
        path.unlink()
    (root / "masks").rmdir()
    for path in files(root, "images"):
        path.rename(root / path.name)
    (root / "images").rmdir()
    return named(root, root / f"{masks[0].stem}_2ndHO.png")


def examine(root: Path) -> Diagnosis:
    """Return what the doctor finds, as `delineate doctor` would."""
    return diagnose(root, build_settings(merge_settings(read_data_file(root), {})))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="run the faults whose names hold this")
    only = parser.parse_args().only
    false_alarms = missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in (*SAMPLES, "ids", "cells/splits", "aerial/splits"):
            root = Path(folder) / f"clean {kind.replace('/', ' ')}"
            write_clean(kind, root)
            codes = [f"{f.severity} {f.code}" for f in examine(root).findings]
            print(f"clean {kind:20s} {', '.join(codes) or 'nothing'}")
        for name, entry in FAULTS.items():
            if only and only not in name:
                continue
            root = Path(folder) / name
            write_clean(entry.base, root)
            expected = entry.plant(root)
            start = time.perf_counter()
            findings = examine(root).findings
            seconds = time.perf_counter() - start
            hits = [f for f in findings if f.code == entry.code and expected <= set(f.files)]
            others = [f for f in findings if f.code not in {entry.code, *entry.allowed}]
            missed += not hits
            false_alarms += len(others)
            print(
                f"{'found ' if hits else 'MISSED'} {name:70s} {entry.code:30s} {seconds:4.1f} s  "
                f"{', '.join(f'{f.severity} {f.code}' for f in others)}",
                flush=True,
            )
            if not hits:
                for finding in findings:
                    print(f"       said: {finding.code} {finding.files[:4]} {finding.what[:160]}")
            shutil.rmtree(root)
    print(f"{len(FAULTS)} kinds of faults, {missed} missed, {false_alarms} false alarms")


if __name__ == "__main__":
    main()
