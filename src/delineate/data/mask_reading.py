"""Choose whether masks are read as greys, palette indices or colours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from delineate.config import DataConfig
from delineate.data.mask_decoder import Reading
from delineate.data.mask_tally import FoundCodes, Tally


def choose_reading(
    tallies: Sequence[Tally], words: Sequence[tuple[bool, int]], data: DataConfig
) -> Reading:
    """Return how the codes of masks are read.

    Args:
        tallies: What the masks hold.
        words: (is a colour, code) of everything that the legend and the ignored codes name.
        data: `mask_threshold` and `foreground_value`.
    """
    if any(is_colour for is_colour, _ in words):
        return "colour"
    if data.mask_threshold is not None:
        return "grey"
    colours = {code for tally in tallies if tally.form == "colour" for code in tally.counts}
    if any(not _is_grey(code) for code in colours):
        return "colour"
    palettes: dict[int, set[int]] = defaultdict(set)
    for tally in tallies:
        for position, colour in tally.palette.items():
            palettes[position].add(colour)
    is_consistent = all(len(found) == 1 for found in palettes.values())
    is_grey = all(_is_grey(colour) for found in palettes.values() for colour in found)
    if not is_grey:
        return "index" if is_consistent else "colour"
    if not palettes or not is_consistent:
        return "grey"
    asked = {code for _, code in words}
    if data.foreground_value is not None:
        asked.add(data.foreground_value)
    grey = set(FoundCodes(tallies, "grey").pixels)
    index = set(FoundCodes(tallies, "index").pixels)
    if asked:
        return "index" if asked <= index and not asked <= grey else "grey"
    return "index" if len(grey) > 2 else "grey"


def _is_grey(colour: int) -> bool:
    return colour == (colour & 0xFF) * 0x010101
