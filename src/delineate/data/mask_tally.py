"""Count what the masks of a data set hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from delineate.data.mask_decoder import (
    Reading,
    as_integers,
    check_palette,
    count_codes,
    format_code,
    pack_colours,
    read_codes,
)
from delineate.rasters import Raster

NUM_LISTED = 12
"""How many codes a message lists."""

MAX_COLOURS = 4096
"""How many colours of one file are counted; a file with more is a photograph or a JPEG."""


@dataclass(frozen=True)
class Tally:
    """What one mask file holds."""

    path: Path
    form: Literal["grey", "palette", "colour", "bands"]
    counts: Mapping[int, int]
    """Pixels by grey value, palette index, 0xRRGGBB, or value in any band."""
    palette: Mapping[int, int]
    """0xRRGGBB of each palette index that occurs."""
    num_bands: int = 1
    """Bands of the file."""


class FoundCodes:
    """Pixels and files by code, over all masks."""

    def __init__(self, tallies: Sequence[Tally], reading: Reading) -> None:
        self.reading = reading
        self.pixels: dict[int, int] = defaultdict(int)
        self.paths: dict[int, list[Path]] = defaultdict(list)
        self.fullest: dict[int, tuple[int, Path]] = {}
        """The file with the most pixels of a code, and how many these are."""
        for tally in tallies:
            for code, pixels in codes_of(tally, reading).items():
                self.pixels[code] += pixels
                self.paths[code].append(tally.path)
                if code not in self.fullest or pixels > self.fullest[code][0]:
                    self.fullest[code] = (pixels, tally.path)
        self.is_jpeg = any(tally.path.suffix.lower() in (".jpg", ".jpeg") for tally in tallies)

    def describe(self, codes: Iterable[int]) -> str:
        """Return codes with their pixels and files, the most frequent first."""
        ranked = sorted(codes, key=lambda code: (-self.pixels[code], code))
        listed = ", ".join(self._describe(code) for code in ranked[:NUM_LISTED])
        left = len(ranked) - NUM_LISTED
        return listed + (f" and {left} more" if left > 0 else "")

    def _describe(self, code: int) -> str:
        paths = self.paths[code]
        return (
            f"{format_code(code, self.reading)} ({self.pixels[code]} pixels in {len(paths)} "
            f"file{'' if len(paths) == 1 else 's'}, as {paths[0].name})"
        )

    def files_of(self, codes: Iterable[int]) -> tuple[str, ...]:
        """Return the files that hold any of the codes, sorted."""
        return tuple(sorted({str(path) for code in codes for path in self.paths[code]}))


def codes_of(tally: Tally, reading: Reading) -> dict[int, int]:
    """Return the pixels of a file by code."""
    codes: dict[int, int] = defaultdict(int)
    for key, pixels in tally.counts.items():
        if tally.form == "palette" and reading != "index":
            colour = tally.palette[key]
            codes[colour if reading == "colour" else colour & 0xFF] += pixels
        elif tally.form == "colour" and reading != "colour":
            codes[key & 0xFF] += pixels
        elif tally.form == "grey" and reading == "colour":
            codes[key * 0x010101] += pixels
        else:
            codes[key] += pixels
    return codes


def tally_mask(raster: Raster, path: Path, *, is_multilabel: bool = False) -> Tally:
    """Return what a decoded mask holds.

    Args:
        raster: The decoded file.
        path: Its name.
        is_multilabel: Whether bands are counted as they are.

    Raises:
        DataError: If it is no mask.
    """
    num_bands = raster.pixels.shape[2]
    if raster.palette is not None:
        check_palette(raster, path)
        counts = count_codes(raster.pixels)
        colours = pack_colours(raster.palette).tolist()
        return Tally(path, "palette", counts, {index: colours[index] for index in counts})
    if is_multilabel and num_bands != 1:
        counts = count_codes(as_integers(raster.pixels, path).transpose(2, 0, 1))
        return Tally(path, "bands", counts, {}, num_bands)
    if num_bands not in (3, 4):
        return Tally(path, "grey", count_codes(read_codes(raster, path, "grey")), {})
    counts = count_codes(read_codes(raster, path, "colour"))
    frequent = sorted(counts.items(), key=lambda item: -item[1])[:MAX_COLOURS]
    return Tally(path, "colour", dict(frequent), {})
