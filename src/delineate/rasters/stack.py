"""Several pictures of one size in one file: the slices of a volume, the pages of a TIFF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import UnreadableFileError
from delineate.rasters.raster import Raster

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Stack:
    """A decoded file of several pictures."""

    pixels: NDArray[Any]
    """(N, H, W, C) in the file's own type."""
    spacing: tuple[float, float, float] | None = None
    """Millimetres between pages, rows and columns, where the file gives them."""
    grid: tuple[float, ...] | None = None
    """Where the voxels of a volume lie in the scanner: 3 x 4 numbers, row by row."""
    axes: str = ""
    """The axes of the file, as tifffile names them; empty for a volume."""

    def __len__(self) -> int:
        return len(self.pixels)

    def page(self, index: int) -> Raster:
        """Return one picture."""
        spacing = None if self.spacing is None else self.spacing[1:]
        return Raster(np.ascontiguousarray(self.pixels[index]), spacing=spacing)

    def only_page(self, path: Path) -> Raster:
        """Return the picture of a stack that has a single one.

        Raises:
            UnreadableFileError: If there are several, or none.
        """
        if len(self) == 1:
            return self.page(0)
        what = f"a stack of {len(self)} pages (axes {self.axes})" if self.axes else "a volume"
        count = "" if self.axes else f" of {len(self)} slices"
        raise UnreadableFileError(
            f"{path} is {what}{count} and an image is one picture; make a data set of its "
            "pictures by 'delineate import'"
        )
