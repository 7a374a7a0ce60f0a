"""Diagnose a data set: every fault at once, as a table, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.config import DataConfig, Settings, build_settings, merge_settings
from delineate.data.doctor.checks import CHEAP_CHECKS, CHECKS, describe_check, run_checks
from delineate.data.doctor.examination import examine
from delineate.data.doctor.findings import FaultyDataError, Finding
from delineate.data.doctor.manifest import compare_manifest, write_manifest
from delineate.data.doctor.page import write_page
from delineate.data.doctor.records import Examination
from delineate.data.inventory import Inventory, list_samples, read_data_file
from delineate.data.mask_decoder import MaskDecoder
from delineate.errors import DataError, UsageError
from delineate.files import write_text
from delineate.task import Task

if TYPE_CHECKING:
    from delineate.data.doctor.repair import RepairSummary

FORMAT_VERSION = 1

PAGE_NAME, FINDINGS_NAME, MANIFEST_NAME = "doctor.html", "findings.json", "manifest.json"
"""What `doctor` writes into its folder."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found, and what it was found in."""

    data: Path
    findings: tuple[Finding, ...]
    """Errors first."""
    examination: Examination
    settings: Settings
    out: Path | None = None
    """Folder of the page, the findings and the manifest; None where nothing was written."""
    repaired: RepairSummary | None = None
    """What the repaired copy holds; None where none was asked for."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stand in the way of a training."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def num_files(self) -> int:
        """How many files were looked at."""
        files = {pair.image.path for pair in self.examination.pairs}
        files |= {mask.path for pair in self.examination.pairs for mask in pair.masks}
        return len(files | {record.path for record in self.examination.others})

    def to_json(self) -> dict[str, Any]:
        """Return everything that was found as plain values for JSON."""
        pairs = self.examination.pairs
        task = None if self.examination.decoder is None else self.examination.decoder.task.as_dict()
        return {
            "format_version": FORMAT_VERSION,
            "data": str(self.data),
            "num_files": self.num_files,
            "num_images": {
                split: sum(pair.sample.split == split for pair in pairs)
                for split in ("train", "val", "test")
            },
            "task": task,
            "num_errors": len(self.errors),
            "num_warnings": len(self.findings) - len(self.errors),
            "findings": [finding.to_json() for finding in self.findings],
        }


def diagnose(data: Path, settings: Settings, *, manifest: Path | None = None) -> Diagnosis:
    """Read every file of a data set and return all that is wrong with it; writes nothing.

    Args:
        data: A folder, a data.yaml or a CSV of paths.
        settings: The sections `data` and `task` tell what is known about it.
        manifest: Digests of an earlier look, to compare with.

    Raises:
        DataError: If a pattern of the settings names nothing, or a CSV file has no column `image`.
        UnreadableFileError: If `data` or the manifest cannot be read.
        UsageError: If `groups` is no regular expression or the shares do not add up to 1.
    """
    listing = list_samples(data, settings.data)
    examination = examine(listing, settings.data, settings.task)
    findings = run_checks(examination, CHECKS)
    if manifest is not None and manifest.exists():
        findings = [*compare_manifest(manifest, examination), *findings]
        findings.sort(key=lambda finding: finding.severity != "error")
    return Diagnosis(data, _accept(findings, settings.data), examination, settings)


def doctor(
    data: Path | str,
    *,
    out: Path | str | None = None,
    fix: Path | str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Diagnosis:
    """Read every file of a data set, and write all that is wrong with it as a page and as JSON.

    Nothing is ever written into the data folder, unless `out` names a place in it. The folder
    of the results keeps a manifest of digests, with which the next look compares.

    Args:
        data: A folder, a data.yaml or a CSV of paths.
        out: Folder for doctor.html, findings.json and manifest.json; None takes `doctor/<name>` in
            the current folder, and writes nothing where that would lie inside the data.
        fix: Folder for a repaired copy, outside of the data; it must not exist yet, or be empty.
        overrides: Settings of the sections `data` and `task`, over those of a data.yaml.

    Returns:
        What was found; errors do not raise.

    Raises:
        DataError: If a pattern of the settings names nothing, or a CSV file has no column `image`.
        UnreadableFileError: If `data` or the manifest cannot be read.
        UsageError: If a setting contradicts itself, or `fix` cannot be written to.
    """
    data = Path(data)
    given = dict(overrides or {})
    if foreign := sorted(set(given) - {"data", "task"}):
        raise UsageError(
            f"the doctor takes settings of the sections data and task, not of {', '.join(foreign)}"
        )
    settings = build_settings(merge_settings(read_data_file(data), given))
    folder = _default_folder(data) if out is None else Path(out)
    manifest = None if folder is None else folder / MANIFEST_NAME
    diagnosis = diagnose(data, settings, manifest=manifest)
    if folder is not None and manifest is not None:
        diagnosis = replace(diagnosis, out=folder)
        write_page(
            folder / PAGE_NAME,
            data,
            diagnosis.findings,
            diagnosis.examination,
            [describe_check(check) for check in CHECKS],
        )
        document = json.dumps(diagnosis.to_json(), indent=1)
        write_text(folder / FINDINGS_NAME, document + "\n")
        write_manifest(manifest, diagnosis.examination)
    if fix is not None:
        from delineate.data.doctor.repair import repair

        diagnosis = replace(diagnosis, repaired=repair(diagnosis, Path(fix)))
    return diagnosis


def admit(data: Path, settings: Settings) -> tuple[Inventory, Task, MaskDecoder]:
    """Return the samples of a data set, its task and the decoder of its masks, if it has no error.

    This is the cheap part of the diagnosis, for a training to begin with: masks are decoded, of
    images the headers are read and the bytes digested.

    Raises:
        FaultyDataError: If an error was found; the message tells all of them, each with what
            settles it.
        DataError: If a pattern of the settings names nothing, or a CSV file has no column `image`.
        UnreadableFileError: If `data` cannot be read.
        UsageError: If `groups` is no regular expression or the shares do not add up to 1.
    """
    listing = list_samples(data, settings.data)
    examination = examine(listing, settings.data, settings.task, depth="bytes")
    findings = _accept(run_checks(examination, CHEAP_CHECKS), settings.data)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        closing = f"'delineate doctor {data}' looks deeper and shows the evidence"
        raise FaultyDataError(errors, subject=str(data), closing=closing)
    if examination.decoder is None:
        raise DataError(f"{data}: there is no mask that can be read; add masks")
    inventory = Inventory(listing.root, listing.samples)
    return inventory, examination.decoder.task, examination.decoder


def _accept(findings: Sequence[Finding], data: DataConfig) -> tuple[Finding, ...]:
    """Return the findings, those whose codes the user accepts as warnings."""
    return tuple(
        replace(finding, severity="warning") if finding.code in data.accept else finding
        for finding in findings
    )


def _default_folder(data: Path) -> Path | None:
    """Return `doctor/<name>`, or None where it would lie inside the data folder."""
    target = data.resolve()
    root = target if target.is_dir() else target.parent
    folder = Path("doctor") / (root.name if target.is_dir() else target.stem)
    return None if folder.resolve().is_relative_to(root) else folder
