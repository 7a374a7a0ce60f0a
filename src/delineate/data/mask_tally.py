"""Count what the masks of a data set hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from delineate.data.mask_decoder import Reading, format_code

NUM_LISTED = 12
"""How many codes a message lists."""


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
        self.files: dict[int, int] = defaultdict(int)
        self.example: dict[int, Path] = {}
        for tally in tallies:
            for code, pixels in codes_of(tally, reading).items():
                self.pixels[code] += pixels
                self.files[code] += 1
                self.example.setdefault(code, tally.path)
        self.is_jpeg = any(tally.path.suffix.lower() in (".jpg", ".jpeg") for tally in tallies)

    def describe(self, codes: Iterable[int]) -> str:
        """Return codes with their pixels and files, the most frequent first."""
        ranked = sorted(codes, key=lambda code: (-self.pixels[code], code))
        listed = ", ".join(
            f"{format_code(code, self.reading)} ({self.pixels[code]} pixels in {self.files[code]} "
            f"file{'' if self.files[code] == 1 else 's'}, as {self.example[code].name})"
            for code in ranked[:NUM_LISTED]
        )
        left = len(ranked) - NUM_LISTED
        return listed + (f" and {left} more" if left > 0 else "")


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
