"""Read every file of a data set and keep what the checks need.

Masks come first, as what they mean is known only once all of them were seen; then every image is
decoded once, beside its masks. Bounded memory: each worker holds one image at a time, and a record
is a few kilobytes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from delineate.config import DataConfig, TaskConfig
from delineate.data.discovery import relative_path
from delineate.data.doctor.findings import Evidence, FaultyDataError, Finding
from delineate.data.doctor.look import (
    ImageJob,
    MaskJob,
    crashed_image,
    crashed_mask,
    look_at_image,
    look_at_mask,
)
from delineate.data.doctor.records import Depth, Examination
from delineate.data.doctor.workers import MAX_WORKERS, run_jobs
from delineate.data.inventory import Listing
from delineate.data.mask_decoder import MaskDecoder
from delineate.data.mask_meaning import find_meaning
from delineate.data.mask_tally import Tally
from delineate.errors import DataError

MIN_BYTES_FOR_WORKERS = 20_000_000
"""Files that are smaller all together are read sooner than a worker starts."""

MAX_BYTES_FOR_TWO = 500_000_000
"""Where a file is larger, one worker decodes one file at a time, for the sake of the memory."""

_MAX_PROPOSALS = 4


def examine(
    listing: Listing, data: DataConfig, task: TaskConfig, *, depth: Depth = "pixels"
) -> Examination:
    """Look at every file of a data set.

    Args:
        listing: The files.
        data: What the values in the masks mean, as far as it is known.
        task: What is asked for.
        depth: How deep to look into images.
    """
    masks = [*dict.fromkeys(path for sample in listing.samples for path in sample.masks)]
    paths = [*masks, *(path for path in listing.others if path not in set(masks))]
    is_multilabel = task.kind == "multilabel"
    images = [sample.image for sample in listing.samples]
    num_workers = _choose_num_workers([*paths, *images] if depth == "pixels" else paths)
    records = run_jobs(
        look_at_mask,
        [MaskJob(path, listing.root, is_multilabel, depth) for path in paths],
        "checking masks",
        num_workers=num_workers,
        crashed=crashed_mask,
    )
    record_of = dict(zip(paths, records, strict=True))
    usable = [record_of[path].tally for path in masks] or [record.tally for record in records]
    meaning = read_meaning(
        [tally for tally in usable if tally is not None],
        data,
        task,
        has_instances=any(len(sample.masks) > 1 for sample in listing.samples),
        root=listing.root,
    )
    pairs = run_jobs(
        look_at_image,
        [
            ImageJob(
                sample,
                listing.root,
                tuple(record_of[path] for path in sample.masks),
                meaning.decoder,
                depth,
            )
            for sample in listing.samples
        ],
        "checking images",
        num_workers=num_workers if depth == "pixels" else 0,
        crashed=crashed_image,
    )
    return Examination(
        listing=listing,
        data=data,
        task=task,
        pairs=tuple(pairs),
        others=tuple(record_of[path] for path in listing.others),
        decoder=meaning.decoder,
        meaning=meaning.findings,
        depth=depth,
    )


@dataclass(frozen=True)
class Meaning:
    """What the masks mean, or what has to be said before they mean anything."""

    decoder: MaskDecoder | None
    """If `findings` propose settings, the decoder with these; None where nothing would do."""
    findings: tuple[Finding, ...]


def read_meaning(
    tallies: Sequence[Tally], data: DataConfig, task: TaskConfig, *, has_instances: bool, root: Path
) -> Meaning:
    """Find out what masks mean; where they leave it open, take what the finding proposes.

    Args:
        tallies: One per readable mask.
        data: The settings; a proposal goes over them.
        task: What is asked for.
        has_instances: Whether images have several masks.
        root: The data folder, to which the files of findings are relative.
    """
    findings: list[Finding] = []
    if not tallies:
        return Meaning(None, ())
    for _ in range(_MAX_PROPOSALS):
        try:
            decoder = find_meaning(tallies, data, task, has_instances=has_instances)
        except FaultyDataError as error:
            findings += [_relocate(finding, root) for finding in error.findings]
            if error.proposal is None:
                return Meaning(None, tuple(findings))
            data = _merge(data, error.proposal)
        except DataError as error:
            what, _, fix = str(error).rpartition("; ")
            findings.append(
                Finding(
                    "mask-settings",
                    "error",
                    (),
                    what or fix,
                    "a setting that is not understood leaves the masks without a meaning",
                    fix if what else "correct the setting",
                )
            )
            return Meaning(None, tuple(findings))
        else:
            return Meaning(decoder, tuple(findings))
    return Meaning(None, tuple(findings))


def _merge(data: DataConfig, proposal: Any) -> DataConfig:
    """Return settings with a proposal over them; codes to ignore are added to those there are."""
    changes = dict(proposal)
    if "ignore" in changes:
        changes["ignore"] = (*data.ignore, *changes["ignore"])
    return data.model_copy(update=changes)


def _relocate(finding: Finding, root: Path) -> Finding:
    """Return a finding whose files are relative to the data folder."""
    return replace(
        finding,
        files=tuple(relative_path(Path(file), root) for file in finding.files),
        evidence=tuple(
            Evidence(relative_path(Path(item.file), root), item.caption, item.box)
            for item in finding.evidence
        ),
    )


def _choose_num_workers(paths: Sequence[Path]) -> int:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    sizes = [path.stat().st_size for path in paths if path.exists()]
    if sum(sizes) < MIN_BYTES_FOR_WORKERS:
        return 0
    return 1 if max(sizes) > MAX_BYTES_FOR_TWO else min(MAX_WORKERS, cores)
