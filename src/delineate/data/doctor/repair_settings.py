"""What a repaired copy says of itself in its data.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from delineate.config import DataConfig, TaskConfig, dump_settings
from delineate.pictures import class_colours
from delineate.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from delineate.config import Settings
    from delineate.data.mask_decoder import MaskDecoder

_IN_THE_TABLE = ("images", "masks", "mask_suffix", "exclude", "groups")
_OF_COLOURS = ("foreground_value", "mask_threshold", "class_names")


def copied_settings(settings: Settings, recoded: MaskDecoder | None) -> dict[str, Any]:
    """Return the settings of a copy, as far as they are not the usual ones.

    Args:
        settings: Those of the original.
        recoded: What its masks meant, where their colours became class numbers.
    """
    kept = _changed(settings.data, DataConfig()) | _changed(settings.task, TaskConfig())
    for name in _IN_THE_TABLE:
        kept.pop(name, None)
    if recoded is None:
        return kept
    for name in _OF_COLOURS:
        kept.pop(name, None)
    if recoded.task.kind == "binary":
        kept.pop("background", None)
    return kept | _index_settings(recoded.task)


def _changed(section: DataConfig | TaskConfig, usual: DataConfig | TaskConfig) -> dict[str, Any]:
    """Return the settings of a section that differ from their defaults."""
    defaults = dump_settings(usual)
    return {
        name: value for name, value in dump_settings(section).items() if value != defaults[name]
    }


def index_task(task: Task) -> Task:
    """Return the task as which class numbers are written."""
    if task.kind == "binary":
        return Task("multiclass", ("background", *task.class_names))
    return task


def _index_settings(task: Task) -> dict[str, Any]:
    """Return the settings that tell what class numbers mean."""
    names = index_task(task).class_names
    return {
        "legend": {name: number for number, name in enumerate(names)},
        "ignore": [task.ignore_index],
    }


def index_colours(decoder: MaskDecoder) -> NDArray[np.uint8]:
    """Return the colour of each class: that of the legend, which the masks had."""
    colours = class_colours(len(decoder.classes))
    for number, codes in enumerate(decoder.classes):
        if codes:
            colours[number] = [codes[0] >> 16 & 255, codes[0] >> 8 & 255, codes[0] & 255]
    return colours
