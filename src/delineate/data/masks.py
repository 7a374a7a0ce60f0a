"""Read all masks of a data set once and find out what they mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from delineate.config import DataConfig, TaskConfig
from delineate.data.inventory import Inventory, Sample
from delineate.data.mask_decoder import (
    MaskDecoder,
    as_integers,
    count_codes,
    pack_colours,
    read_codes,
)
from delineate.data.mask_meaning import find_meaning
from delineate.data.mask_tally import Tally
from delineate.errors import DataError
from delineate.progress import track
from delineate.rasters import read_raster, read_size
from delineate.task import Task

__all__ = ["MaskDecoder", "inspect_masks", "tally_mask"]

_NUM_EXAMPLES = 10


def inspect_masks(
    inventory: Inventory, data: DataConfig, task: TaskConfig
) -> tuple[Task, MaskDecoder]:
    """Return the task that the masks pose and the decoder that reads them.

    Every mask is read; see `find_meaning` for how its values are understood.

    Raises:
        DataError: If files are unreadable, masks and images differ in size, or the values leave
            their meaning open. One message says all of it, with the setting that helps.
    """
    problems: dict[str, list[str]] = defaultdict(list)
    tallies: list[Tally] = []
    for sample in track(inventory.samples, "checking masks"):
        tallies += _inspect_sample(sample, inventory.root, task, problems)
    messages = [
        f"{what} ({len(found)}): {'; '.join(found[:_NUM_EXAMPLES])}"
        + ("; ..." if len(found) > _NUM_EXAMPLES else "")
        for what, found in problems.items()
    ]
    decoder: MaskDecoder | None = None
    if tallies:
        has_instances = any(len(sample.masks) > 1 for sample in inventory.samples)
        try:
            decoder = find_meaning(tallies, data, task, has_instances=has_instances)
        except DataError as error:
            messages.append(str(error))
    else:
        messages.append("there is no mask that can be read")
    if messages or decoder is None:
        raise DataError(f"{inventory.root}: " + "\n".join(messages))
    return decoder.task, decoder


def _inspect_sample(
    sample: Sample, root: Path, task: TaskConfig, problems: dict[str, list[str]]
) -> Sequence[Tally]:
    """Return what the masks of an image hold; add what is wrong with them to `problems`."""
    try:
        size = read_size(sample.image)
    except DataError as error:
        problems["unreadable images"].append(str(error))
        return []
    tallies = []
    for path in sample.masks:
        try:
            tally, found = tally_mask(path, is_multilabel=task.kind == "multilabel")
        except DataError as error:
            problems["unusable masks"].append(str(error))
            continue
        if found != size:
            problems["masks of another size than their image"].append(
                f"{path.relative_to(root) if path.is_relative_to(root) else path} is "
                f"{found[0]}x{found[1]}, its image {size[0]}x{size[1]}; replace one, or leave both "
                f"out by `exclude: ['*{path.stem}*']`"
            )
            continue
        tallies.append(tally)
    return tallies


def tally_mask(path: Path, *, is_multilabel: bool = False) -> tuple[Tally, tuple[int, int]]:
    """Return what a mask holds, and its (height, width).

    Raises:
        DataError: If it is unreadable or no mask.
    """
    raster = read_raster(path)
    height, width, num_bands = raster.pixels.shape
    if raster.palette is not None:
        read_codes(raster, path, "colour")
        counts = count_codes(raster.pixels)
        colours = pack_colours(raster.palette).tolist()
        palette = {index: colours[index] for index in counts}
        return Tally(path, "palette", counts, palette), (height, width)
    if is_multilabel and num_bands != 1:
        counts = count_codes(as_integers(raster.pixels, path).transpose(2, 0, 1))
        return Tally(path, "bands", counts, {}, num_bands), (height, width)
    is_colour = num_bands in (3, 4)
    codes = read_codes(raster, path, "colour" if is_colour else "grey")
    return Tally(path, "colour" if is_colour else "grey", count_codes(codes), {}), (height, width)
