"""Turn volumes and stacks of pages into single pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from delineate.data.importers.annotation import Notes, Piece
from delineate.data.importers.sources import stem_of
from delineate.data.pairing import Split
from delineate.errors import DataError
from delineate.rasters import Stack, read_header, read_stack

SLICE_GROUPS = r"([^/]+?)(?:_z\d+)?\.[^./]+$"
"""`data.groups` that keeps the slices of a volume in one split."""

_GRID_TOLERANCE = 1e-3
"""Millimetres by which the grids of an image and its labels may differ."""

_BLOCKS: tuple[tuple[float, Split], ...] = ((0.7, "train"), (0.85, "val"), (1.0, "test"))
"""Up to which share of the slices of a lone volume each split goes."""


def read_pieces(
    name: str,
    channels: Sequence[Path],
    labels: Path,
    read_target: Callable[[NDArray[np.generic]], NDArray[np.uint8]],
    *,
    plane: str | None,
    is_alone: bool,
    notes: Notes,
) -> Iterator[Piece]:
    """Yield the pictures of an image file, or of the files of its channels.

    Args:
        name: What they are called; slices add `_z` and their number.
        channels: Files of equal size, each with one channel or more.
        labels: The file of their masks, with as many pictures.
        read_target: Returns class indices, (H, W), of one picture of `labels`, (H, W, C).
        plane: How volumes are sliced.
        is_alone: Whether nothing else is imported, so that its slices make all splits.
        notes: Takes what could not be kept.

    Raises:
        DataError: If files are unreadable or do not lie on one grid.
    """
    single = [read_header(path).num_pages == 1 for path in (*channels, labels)]
    masks = read_stack(labels, plane=plane)
    images = [read_stack(path, plane=plane) for path in channels]
    for path, image in zip(channels, images, strict=True):
        check_grid(path, image, labels, masks)
    if all(single) and len(channels) == 1 and images[0].grid is None:
        yield Piece(name, channels[0], read_target(masks.pixels[0]))
        return
    stack = images[0]
    if len(images) > 1:
        merged = np.concatenate([image.pixels for image in images], axis=-1)
        stack = Stack(merged, stack.spacing, stack.grid)
    digits = len(str(max(len(stack) - 1, 1)))
    if is_alone and len(stack) > 1:
        notes.add(
            "volume alone; the first 70 % of its slices are for training, then 15 % each for "
            "validation and test",
            name,
        )
    for index in range(len(stack)):
        split = None
        if is_alone and len(stack) > 1:
            split = next(split for share, split in _BLOCKS if index < share * len(stack))
        suffix = f"_z{index:0{digits}d}" if len(stack) > 1 else ""
        yield Piece(name + suffix, stack.page(index), read_target(masks.pixels[index]), split)


def check_grid(path: Path, image: Stack, labels: Path, masks: Stack) -> None:
    """Refuse an image and labels that do not lie on each other.

    Raises:
        DataError: If their sizes, or their places in the scanner, differ.
    """
    if image.pixels.shape[:3] != masks.pixels.shape[:3]:
        sizes = ["x".join(map(str, stack.pixels.shape[:3])) for stack in (image, masks)]
        raise DataError(
            f"{path} is {sizes[0]} (pictures x height x width) and its labels {labels} are "
            f"{sizes[1]}; find the right pair"
        )
    if image.grid is None or masks.grid is None:
        return
    if not np.allclose(image.grid, masks.grid, atol=_GRID_TOLERANCE, rtol=1e-4):
        raise DataError(
            f"{path} and its labels {labels} lie in different places (their affines differ); "
            "resample the labels to the image, or copy its header if it is right"
        )


def channel_groups(images: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the files of each case by its name: `case_0000.nii.gz` is the first channel."""
    found: dict[str, list[Path]] = {}
    for path in sorted(images, key=lambda path: path.name):
        case, _, number = stem_of(path).rpartition("_")
        if case and len(number) == 4 and number.isdigit():
            found.setdefault(case, []).append(path)
    return found
