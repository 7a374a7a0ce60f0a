"""Read data sets whose masks are pictures already: Pascal VOC and Cityscapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.data.importers.annotation import (
    VOID,
    Collection,
    ImportOptions,
    Item,
    Notes,
    Piece,
)
from delineate.data.importers.objects import choose_classes
from delineate.data.importers.sources import ImageFinder, files_ending, read_text, stem_of
from delineate.data.mask_decoder import as_integers, format_code, pack_colours, read_codes
from delineate.data.pairing import SPLIT_WORDS, Split, read_entry
from delineate.errors import DataError
from delineate.rasters import read_raster

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
    *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)
"""http://host.robots.ox.ac.uk/pascal/VOC/, in the order of their indices."""

VOC_VOID = 0xE0E0C0
"""The colour of borders and difficult objects."""

CITYSCAPES_CLASSES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
"""The classes that are evaluated, with the ids of `*_labelIds.png`; all other ids do not count.
https://github.com/mcordts/cityscapesScripts"""


def voc_colours(num_classes: int) -> NDArray[np.uint8]:
    """Return the colours of Pascal VOC, (num_classes, 3): the bits of the index, spread."""
    index = np.arange(num_classes)
    colours = np.zeros((num_classes, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.astype(np.uint8)


def read_voc(src: Path, options: ImportOptions) -> Collection:
    """Read a folder with `JPEGImages`, `SegmentationClass` and, if there, `ImageSets`.

    `labelmap.txt` (as CVAT writes it) names classes and colours; without it they are the 20 of
    Pascal VOC. The pale border colour does not count. Images without a mask are left out.

    Raises:
        DataError: If there is no folder SegmentationClass, or it is empty.
    """
    notes = Notes()
    folders = sorted(path for path in src.rglob("SegmentationClass") if path.is_dir())
    masks = [mask for folder in folders for mask in ImageFinder([folder]).images]
    if not masks:
        raise DataError(f"{src} holds no folder SegmentationClass with masks")
    finder = ImageFinder(
        [options.images]
        if options.images
        else sorted(path for path in src.rglob("JPEGImages") if path.is_dir()) or [src]
    )
    colours = _labelmap(src)
    table = choose_classes(list(colours), options, keep=False)
    by_colour = {VOC_VOID: VOID}
    by_index = {VOID: VOID}
    for index, (name, codes) in enumerate(colours.items()):
        by_index[index] = table.indices.get(name, 0)
        by_colour |= dict.fromkeys(codes, by_index[index])
    splits = _image_sets(src)
    items = [
        Item(mask.name, _voc_reader(mask, finder, by_colour, by_index), splits.get(stem_of(mask)))
        for mask in masks
    ]
    stems = {stem_of(mask) for mask in masks}
    for image in finder.images:
        if stem_of(image) not in stems:
            notes.add("images without a mask; they are left out", image.name)
    return Collection(table.names, items, notes, background=table.background)


def _labelmap(src: Path) -> dict[str, list[int]]:
    """Return the colours of each class."""
    files = files_ending(src, "labelmap.txt")
    if not files:
        codes = pack_colours(voc_colours(len(VOC_CLASSES))).tolist()
        return {name: [code] for name, code in zip(VOC_CLASSES, codes, strict=True)}
    found: dict[str, list[int]] = {}
    for number, line in enumerate(read_text(files[0]).split("\n"), start=1):
        name, _, rest = line.strip().partition(":")
        if not name or name.startswith("#"):
            continue
        parts = rest.split(":")[0].split(",")
        if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
            raise DataError(f"{files[0]}, line {number}: {line[:60]!r} is no 'name:r,g,b::'")
        red, green, blue = (min(int(part), 255) for part in parts)
        found.setdefault(name, []).append((red << 16) | (green << 8) | blue)
    return found


def _image_sets(src: Path) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for path in files_ending(src, ".txt"):
        split = SPLIT_WORDS.get(path.stem.lower())
        if split is not None and "ImageSets" in path.parts:
            for line in read_text(path).split("\n"):
                if line.strip():
                    splits.setdefault(line.split()[0], split)
    return splits


def _voc_reader(
    mask: Path, finder: ImageFinder, by_colour: Mapping[int, int], by_index: Mapping[int, int]
) -> Callable[[], Iterator[Piece]]:
    def read() -> Iterator[Piece]:
        image = finder.find(stem_of(mask), has_ending=False)
        raster = read_raster(mask)
        is_grey = raster.palette is None and raster.pixels.shape[2] <= 2
        codes = read_codes(raster, mask, "grey" if is_grey else "colour")
        target = translate(codes, by_index if is_grey else by_colour, mask, is_colour=not is_grey)
        yield Piece(stem_of(mask), image, target)

    return read


def translate(
    codes: NDArray[np.integer[Any]],
    values: Mapping[int, int],
    path: Path,
    *,
    is_colour: bool = False,
) -> NDArray[np.uint8]:
    """Return the class index of each pixel.

    Args:
        codes: What the file holds, (H, W).
        values: Code -> class index.
        path: The file, for messages.
        is_colour: Whether codes are colours, for messages.

    Raises:
        DataError: If the file holds other codes.
    """
    found, places = np.unique(codes, return_inverse=True)
    unknown = [code for code in found.tolist() if code not in values]
    if unknown:
        listed = ", ".join(
            format_code(code, "colour" if is_colour else "grey") for code in unknown[:8]
        )
        raise DataError(
            f"mask {path} holds {listed}, which is no class; correct it, or name it in the list of "
            "classes beside it"
        )
    table = np.array([values[code] for code in found.tolist()], np.uint8)
    return table[places].reshape(codes.shape)


def read_cityscapes(src: Path, options: ImportOptions) -> Collection:
    """Read `leftImg8bit` and `gtFine` (or `gtCoarse`): the 19 classes that are evaluated.

    `*_labelIds.png` hold ids, `*_labelTrainIds.png` indices; all other ids do not count. Cities
    stay together in one split. Masks in which nothing counts (the test split has no others) are
    left out with their images.

    Raises:
        DataError: If there is no such mask.
    """
    notes = Notes()
    masks = files_ending(src, "_labelids.png") or files_ending(src, "_labeltrainids.png")
    masks = [mask for mask in masks if "gtCoarse" not in mask.name] or masks
    if not masks:
        raise DataError(f"{src} holds no *_labelIds.png")
    finder = ImageFinder([options.images or src])
    table = choose_classes(list(CITYSCAPES_CLASSES), options, keep=True)
    by_id = dict.fromkeys(range(-1, 256), VOID)
    by_index = dict(by_id)
    for index, (name, code) in enumerate(CITYSCAPES_CLASSES.items()):
        by_id[code] = by_index[index] = table.indices.get(name, VOID)
    items = []
    for mask in masks:
        stem, _, kind = mask.name.rpartition("_")
        values = by_index if kind.lower() == "labeltrainids.png" else by_id
        split = read_entry(PurePosixPath(mask.relative_to(src).as_posix())).split
        scene = stem.removesuffix("_gtFine").removesuffix("_gtCoarse")
        items.append(Item(mask.name, _city_reader(mask, scene, finder, values, notes), split))
    return Collection(table.names, items, notes, groups=r"([^/_]+)_\d+_\d+[^/]*$")


def _city_reader(
    mask: Path, scene: str, finder: ImageFinder, values: Mapping[int, int], notes: Notes
) -> Callable[[], Iterator[Piece]]:
    def read() -> Iterator[Piece]:
        raster = read_raster(mask)
        target = translate(as_integers(raster.pixels[..., 0], mask), values, mask)
        if (target == VOID).all():
            notes.add("masks in which nothing counts; they are left out", mask.name)
            return
        yield Piece(scene, finder.find(f"{scene}_leftImg8bit.png"), target)

    return read
