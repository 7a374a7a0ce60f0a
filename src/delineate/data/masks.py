"""Read all masks of a data set once and find out what they mean."""

from __future__ import annotations

from delineate.config import DataConfig, TaskConfig
from delineate.data.doctor.checks import MASK_CHECKS, run_checks
from delineate.data.doctor.examination import examine
from delineate.data.doctor.findings import FaultyDataError
from delineate.data.inventory import Inventory, Listing
from delineate.data.mask_decoder import MaskDecoder
from delineate.errors import DataError
from delineate.task import Task

__all__ = ["MaskDecoder", "inspect_masks"]


def inspect_masks(
    inventory: Inventory, data: DataConfig, task: TaskConfig
) -> tuple[Task, MaskDecoder]:
    """Return the task that the masks pose and the decoder that reads them.

    Every mask is read; see `find_meaning` for how its values are understood.

    Raises:
        FaultyDataError: If files are unreadable, masks and images differ in size, or the values
            leave their meaning open. One message says all of it, with the setting that helps.
        DataError: If there is no mask.
    """
    listing = Listing(inventory.root, inventory.samples, (), ())
    examination = examine(listing, data, task, depth="headers")
    findings = run_checks(examination, MASK_CHECKS)
    if findings:
        raise FaultyDataError(findings, subject=str(inventory.root))
    if examination.decoder is None:
        raise DataError(f"{inventory.root}: there is no mask that can be read; add masks")
    return examination.decoder.task, examination.decoder
