"""What an importer hands over: images, the regions drawn on them, and what could not be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from delineate.data.pairing import Split
from delineate.task import IGNORE_INDEX

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from delineate.rasters import Raster

VOID = IGNORE_INDEX
"""The value of pixels that do not count in the masks that are written."""

MAX_CLASSES = 255
"""Classes that a mask of 8 bits can hold beside `VOID`."""

Overlaps = Literal["auto", "smaller", "later", "keep"]
"""What a pixel of several objects becomes; see `ImportOptions.overlaps`."""

NUM_EXAMPLES, MAX_EXAMPLE = 3, 40
"""Places that a note names, and the most letters of each."""


@dataclass(frozen=True)
class ImportOptions:
    """What a user may add to what the files say."""

    images: Path | None = None
    """Folder of the images, where it is not beside the annotations."""
    masks: Path | None = None
    """Folder or file of the masks (instances)."""
    classes: tuple[str, ...] = ()
    """The classes to keep, in the order of their indices; empty keeps all."""
    ignore: tuple[str, ...] = ()
    """Classes whose pixels do not count."""
    overlaps: Overlaps = "auto"
    """The smaller object lies above the larger, the later one above the earlier, both are kept (a
    band per class), or what the format says."""
    label_field: str | None = None
    """Property of vector features that names their class."""
    crs: str | None = None
    """Coordinate system of vectors whose file names none, such as EPSG:32616."""
    plane: str | None = None
    """How volumes are sliced: axial, coronal or sagittal."""


class Patch(NamedTuple):
    """The pixels of one object, in a window of the image."""

    top: int
    left: int
    pixels: NDArray[np.bool_]
    """(h, w), within the image."""


@dataclass(frozen=True)
class Region:
    """One object of an image."""

    label: str | None
    """Its class; None where its pixels do not count, unless another object holds them."""
    paint: Callable[[tuple[int, int]], Patch]
    """Returns its pixels in an image of (height, width)."""


@dataclass(frozen=True)
class Piece:
    """One image with its mask, ready to be written."""

    name: str
    """What it is to be called, without ending; unsafe characters and clashes are settled later."""
    image: Path | Raster
    """A file that is copied as it is, or pixels to write."""
    target: NDArray[np.uint8]
    """Class indices, (H, W), or 0 and 1 per class, (K, H, W); `VOID` where nothing counts."""
    split: Split | None = None
    """Where it goes, if not where its item goes."""


@dataclass(frozen=True)
class Item:
    """A file of the source, of which one image or, for stacks, several are made."""

    source: str
    """What messages call it."""
    read: Callable[[], Iterator[Piece]]
    """Reads it; raises `DataError` for what is wrong with it."""
    split: Split | None = None


class Notes:
    """What could not be kept, counted, with the first few places."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, message: str, where: str = "", count: int = 1) -> None:
        """Count one more thing; `message` is a plural noun phrase and what becomes of it."""
        if count == 0:
            return
        self._counts[message] = self._counts.get(message, 0) + count
        examples = self._examples.setdefault(message, [])
        if where and where not in examples and len(examples) <= NUM_EXAMPLES:
            examples.append(where)

    def lines(self) -> tuple[str, ...]:
        """Return one line per kind of thing, the most frequent first."""
        ranked = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(f"{count} {message}{self._where(message)}" for message, count in ranked)

    def _where(self, message: str) -> str:
        examples = self._examples[message]
        if not examples:
            return ""
        dots = ", ..." if len(examples) > NUM_EXAMPLES else ""
        return f" ({', '.join(map(_shorten, examples[:NUM_EXAMPLES]))}{dots})"


def _shorten(where: str) -> str:
    """Return the end of a long path."""
    return where if len(where) <= MAX_EXAMPLE else f"...{where[-MAX_EXAMPLE:]}"


@dataclass(frozen=True)
class Collection:
    """A data set as an importer found it, not yet read in full."""

    classes: tuple[str, ...]
    """Class names in the order of their indices in `Piece.target`."""
    items: Sequence[Item]
    notes: Notes
    background: str | None = None
    """The class of pixels that nothing covers, index 0; None where every pixel has a class."""
    is_multilabel: bool = False
    """Whether targets have a band per class; `background` is no class then."""
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Class -> the values of an index mask that belong to it, where one pixel has several."""
    groups: str | None = None
    """Regular expression for `data.groups`, where files tell what belongs together."""
