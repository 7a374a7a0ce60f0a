"""Read a data set for a plan: its pairs, its pixels, what makes input of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from delineate.config import Settings
from delineate.data.cache import ImageCache
from delineate.data.doctor.diagnosis import admit
from delineate.data.inventory import Inventory, list_samples
from delineate.data.masks import MaskDecoder
from delineate.data.memory import DataMemory
from delineate.data.resolution import (
    Resampling,
    Resolution,
    choose_resolution,
    grid_to,
    read_sizes,
)
from delineate.errors import DataError, UsageError
from delineate.preprocessing import Preprocessing, measure_preprocessing
from delineate.processes import count_local_processes
from delineate.raster_windows import Grid
from delineate.task import Task


@dataclass(frozen=True)
class ReadData:
    """A data set with all of it read once."""

    inventory: Inventory
    task: Task
    decoder: MaskDecoder
    preprocessing: Preprocessing
    """As measured; a plan may change whose mean and deviation count."""
    images: ImageCache
    """The training split."""
    validation_images: ImageCache
    """As decoded; `validation_grids` tells what the network reads of them."""
    validation_grids: tuple[Grid | None, ...]
    resolution: Resolution
    """At what pixel size the network learns."""
    spacing: tuple[float, ...]
    """Sides of the pixels, in metres, of the training images that tell them."""


def check_there(data: Path) -> None:
    """Refuse data that are not there.

    Raises:
        UsageError: If there is no such file or folder.
    """
    if not data.exists():
        raise UsageError(f"data {data} is not there; give a folder, a data.yaml or a CSV of paths")


def read_data(
    data: Path,
    settings: Settings,
    *,
    joins_validation: bool = False,
    memory: DataMemory | None = None,
) -> ReadData:
    """Read all of a data set once.

    Args:
        data: A folder, a data.yaml or a CSV of paths.
        settings: What to make of it.
        joins_validation: Whether the images of the validation split are taken for training images
            too, as for cross-validation.
        memory: What was measured of the data before; what is no longer as it was is tolerated then.

    Raises:
        DataError: If images or masks are not usable; lists everything found.
    """
    if memory is None:
        inventory, task, decoder = admit(data, settings)
    else:
        listing = list_samples(data, settings.data)
        inventory, decoder = Inventory(listing.root, listing.samples), memory.decoder
        task = decoder.task
    if joins_validation:
        inventory = inventory.join_validation()
    for split in ("train", "val"):
        if not inventory.of(split) and not (split == "val" and joins_validation):
            raise DataError(
                f"{data} has no images in its {split} split; training needs both train and val: "
                "add images or change data.split"
            )
    limit = settings.data.cache_gib / count_local_processes()
    paths = [sample.image for sample in inventory.of("train")]
    sizes = [] if memory is not None else read_sizes(paths)
    resolution = (
        choose_resolution(paths, sizes, settings.data.resolution)
        if memory is None
        else Resolution(memory.preprocessing.pixel_size, 0, "as when training began")
    )
    images = ImageCache(
        inventory.of("train"),
        decoder,
        limit_gib=0.75 * limit,
        resample=Resampling(tuple(paths), resolution.pixel_size, task),
        facts=None if memory is None else memory.images,
    )
    validation_images = ImageCache(
        inventory.of("val"),
        decoder,
        limit_gib=0.25 * limit,
        description="reading validation images",
    )
    return ReadData(
        inventory=inventory,
        task=task,
        decoder=decoder,
        preprocessing=replace(
            measure_preprocessing(images.images()), pixel_size=resolution.pixel_size
        )
        if memory is None
        else memory.preprocessing,
        images=images,
        validation_images=validation_images,
        validation_grids=tuple(
            grid_to(sample.image, resolution.pixel_size) for sample in inventory.of("val")
        ),
        resolution=resolution,
        spacing=tuple(math.sqrt(size[0] * size[1]) for size in sizes if size is not None),
    )
