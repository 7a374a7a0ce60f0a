"""Remember the digest of every file, to tell at the next look which of them changed.

Most single flipped bits of a JPEG, and all of an uncompressed TIFF, decode without complaint into
other pixels. A file whose time of change is the same but whose bytes are not was damaged by its
disk or by a copy; with a new time of change it was edited.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from delineate.data.doctor.findings import Evidence, Finding, count, sample
from delineate.data.doctor.records import Examination, FileRecord
from delineate.errors import UnreadableFileError
from delineate.files import write_text

FORMAT_VERSION = 1


def write_manifest(path: Path, examination: Examination) -> None:
    """Write the digests of all files.

    A file that was damaged since the last look keeps its old digest, so that the error stands until
    the file is restored or the manifest is deleted.
    """
    root = examination.listing.root
    known = _read(path) if path.exists() else {}
    # What this look left out, by its settings, is remembered for the next that does not.
    files = {file: entry for file, entry in known.items() if (root / file).exists()}
    files |= {
        record.path: known[record.path] if _is_damaged(record, known) else _entry(record)
        for record in _records(examination)
        if record.digest
    }
    document = {"format_version": FORMAT_VERSION, "files": dict(sorted(files.items()))}
    write_text(path, json.dumps(document, indent=1) + "\n")


def compare_manifest(path: Path, examination: Examination) -> Iterator[Finding]:
    """Yield what changed since the manifest was written.

    Raises:
        UnreadableFileError: If the manifest is none.
    """
    known = _read(path)
    records = list(_records(examination))
    damaged = sorted(record.path for record in records if _is_damaged(record, known))
    edited = sorted(
        record.path
        for record in records
        if record.path in known
        and record.digest not in ("", known[record.path]["sha256"])
        and record.path not in damaged
    )
    seen = {record.path for record in records}
    root = examination.listing.root
    gone = sorted(file for file in known if file not in seen and not (root / file).exists())
    if damaged:
        yield Finding(
            "damaged-file",
            "error",
            tuple(damaged),
            f"{count(damaged, 'file')} whose bytes changed since the last look although nobody "
            f"wrote to them ({sample(damaged)})",
            "a flipped bit decodes without complaint into other pixels",
            f"restore them from a copy, and check the disk; if all is well, delete {path}",
            evidence=tuple(Evidence(file) for file in damaged),
        )
    if edited:
        yield Finding(
            "changed-file",
            "warning",
            tuple(edited),
            f"{count(edited, 'file')} that changed since the last look ({sample(edited)})",
            "scores before and after the change are of different data",
            "nothing, if the change is meant: the next look compares with these files",
            evidence=tuple(Evidence(file) for file in edited),
        )
    if gone:
        yield Finding(
            "gone-file",
            "warning",
            tuple(gone),
            f"{count(gone, 'file')} of the last look that are not there any more ({sample(gone)})",
            "scores before and after the change are of different data",
            "nothing, if they were taken out on purpose; else restore them",
        )


def _records(examination: Examination) -> Iterator[FileRecord]:
    for pair in examination.pairs:
        yield pair.image
        yield from pair.masks
    yield from examination.others


def _entry(record: FileRecord) -> dict[str, Any]:
    return {"sha256": record.digest, "bytes": record.num_bytes, "modified": record.modified}


def _is_damaged(record: FileRecord, known: dict[str, dict[str, Any]]) -> bool:
    former = known.get(record.path)
    return (
        former is not None
        and bool(record.digest)
        and former["sha256"] != record.digest
        and (former["bytes"], former["modified"]) == (record.num_bytes, record.modified)
    )


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        files: dict[str, dict[str, Any]] = document["files"]
        is_known = document["format_version"] == FORMAT_VERSION and all(
            {"sha256", "bytes", "modified"} <= set(entry) for entry in files.values()
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnreadableFileError(
            f"{path} is no manifest of digests ({type(error).__name__}); delete it to begin anew"
        ) from error
    if not is_known:
        raise UnreadableFileError(f"{path} is no manifest of this version; delete it to begin anew")
    return files
