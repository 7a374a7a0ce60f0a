"""Read nnU-Net's raw data sets: `dataset.json`, `imagesTr`, `labelsTr`.

https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
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
from delineate.data.importers.index_masks import translate
from delineate.data.importers.objects import choose_classes
from delineate.data.importers.sources import ImageFinder, read_json, stem_of
from delineate.data.importers.stacks import SLICE_GROUPS, channel_groups, read_pieces
from delineate.data.mask_decoder import as_integers
from delineate.data.pairing import Split
from delineate.errors import DataError, UnknownNameError, UnreadableFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def is_nnunet(document: Any) -> bool:
    """Return whether a JSON document is the `dataset.json` of nnU-Net."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("labels"), dict)
        and ("channel_names" in document or "modality" in document)
    )


def read_nnunet(src: Path, options: ImportOptions) -> Collection:
    """Read a folder with `dataset.json`, `imagesTr` and `labelsTr`.

    Volumes become slices, a picture each; the files of a case are its channels. The label `ignore`
    does not count; labels that are lists of values are regions, which overlap. With `labelsTs` the
    images of `imagesTs` are the test split.

    Raises:
        DataError: If something of it is missing.
    """
    notes = Notes()
    root = src if src.is_dir() else src.absolute().parent
    labels = _read_labels(root / "dataset.json")
    ignored = labels.pop("ignore", ())
    background = [name for name, group in labels.items() if group == (0,)]
    classes = {name: group for name, group in labels.items() if name not in background}
    values = dict.fromkeys((0, *(value for group in classes.values() for value in group)), 0)
    parts: dict[str, tuple[int, ...]] = {}
    if any(len(group) > 1 for group in classes.values()):
        for name in options.classes:
            if name not in classes:
                raise UnknownNameError("class", name, sorted(classes))
        parts = {name: classes[name] for name in options.classes or classes}
        names: tuple[str, ...] = tuple(parts)
        values = {value: value for value in values}
        ground = None
    else:
        table = choose_classes(list(classes), options, keep=False)
        names, ground = table.names, table.background
        values |= {group[0]: table.indices.get(name, 0) for name, group in classes.items()}
    values |= dict.fromkeys(ignored, VOID)
    cases = _find_cases(root, notes)
    if not cases:
        raise DataError(f"{root / 'labelsTr'} holds no label with images in {root / 'imagesTr'}")
    items = [
        Item(case, _reader(case, channels, mask, values, options, len(cases) == 1, notes), split)
        for case, channels, mask, split in cases
    ]
    return Collection(
        names,
        items,
        notes,
        background=ground,
        is_multilabel=bool(parts),
        parts=parts,
        groups=SLICE_GROUPS if len(items) > 1 else None,
    )


def _read_labels(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the values of each class, from both versions of the format."""
    document = read_json(path)
    if not is_nnunet(document):
        raise UnreadableFileError(
            f"{path} has no 'labels' and 'channel_names'; it is not nnU-Net's"
        )
    found: dict[str, tuple[int, ...]] = {}
    for key, value in document["labels"].items():
        is_first_version = isinstance(value, str)
        name, numbers = (value, key) if is_first_version else (key, value)
        group = numbers if isinstance(numbers, list) else [numbers]
        try:
            found[str(name)] = tuple(int(number) for number in group)
        except (TypeError, ValueError) as error:
            raise UnreadableFileError(f"{path}: label {key!r} has no whole number") from error
    if any(not 0 <= value < VOID for group in found.values() for value in group):
        raise UnreadableFileError(f"{path} has labels outside of 0 to {VOID - 1}")
    return found


def _find_cases(root: Path, notes: Notes) -> list[tuple[str, list[Path], Path, Split | None]]:
    """Return name, channel files, label file and split of each case."""
    cases: list[tuple[str, list[Path], Path, Split | None]] = []
    for images, masks, split in (("imagesTr", "labelsTr", None), ("imagesTs", "labelsTs", "test")):
        if not (root / images).is_dir():
            continue
        channels = channel_groups(ImageFinder([root / images]).images)
        labels = ImageFinder([root / masks]).images if (root / masks).is_dir() else []
        by_case = {stem_of(path): path for path in labels}
        for case in channels.keys() - by_case.keys():
            notes.add("cases without a label; they are left out", f"{images}/{case}")
        for case in by_case.keys() - channels.keys():
            notes.add("labels without an image; they are left out", f"{masks}/{case}")
        cases += [
            (case, channels[case], by_case[case], "test" if split else None)
            for case in sorted(channels.keys() & by_case.keys())
        ]
    return cases


def _reader(
    case: str,
    channels: list[Path],
    mask: Path,
    values: Mapping[int, int],
    options: ImportOptions,
    is_alone: bool,
    notes: Notes,
) -> Callable[[], Iterator[Piece]]:
    def read_target(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
        return translate(as_integers(pixels[..., 0], mask), values, mask)

    def read() -> Iterator[Piece]:
        return read_pieces(
            case,
            channels,
            mask,
            read_target,
            plane=options.plane,
            is_alone=is_alone,
            notes=notes,
        )

    return read
