from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from delineate.data.doctor.diagnosis import Diagnosis
from delineate.data.doctor.manifest import write_manifest
from delineate.errors import UnreadableFileError

Diagnose = Callable[..., Diagnosis]


def flip_a_bit(path: Path, *, is_silent: bool) -> None:
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # the checksum of the last chunk of a PNG, which no decoder looks at
    path.write_bytes(bytes(data))
    if is_silent:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def codes(diagnosis: Diagnosis) -> dict[str, tuple[str, ...]]:
    wanted = ("damaged-file", "changed-file", "gone-file")
    return {one.code: one.files for one in diagnosis.findings if one.code in wanted}


def test_what_changed_since_the_last_look_is_told(
    cells: Path, tmp_path: Path, diagnose_with: Diagnose
) -> None:
    manifest = tmp_path / "manifest.json"
    first = diagnose_with(cells, manifest=manifest)
    assert not codes(first)
    write_manifest(manifest, first.examination)
    assert not codes(diagnose_with(cells, manifest=manifest))

    flip_a_bit(cells / "images" / "cells_001.png", is_silent=True)
    flip_a_bit(cells / "masks" / "cells_002.png", is_silent=False)
    for folder in ("images", "masks"):
        (cells / folder / "cells_003.png").unlink()
    second = diagnose_with(cells, manifest=manifest)
    assert codes(second) == {
        "damaged-file": ("images/cells_001.png",),
        "changed-file": ("masks/cells_002.png",),
        "gone-file": ("images/cells_003.png", "masks/cells_003.png"),
    }
    assert [one.code for one in second.errors] == ["damaged-file"]

    # Edits are taken over; damage stands until the file is restored or the manifest deleted.
    write_manifest(manifest, second.examination)
    assert codes(diagnose_with(cells, manifest=manifest)) == {
        "damaged-file": ("images/cells_001.png",)
    }


def test_files_that_were_left_out_are_neither_gone_nor_forgotten(
    cells: Path, tmp_path: Path, diagnose_with: Diagnose
) -> None:
    manifest = tmp_path / "manifest.json"
    write_manifest(manifest, diagnose_with(cells).examination)
    part = diagnose_with(cells, manifest=manifest, exclude=("*cells_00*",))
    assert not codes(part)
    write_manifest(manifest, part.examination)
    flip_a_bit(cells / "images" / "cells_001.png", is_silent=True)
    assert codes(diagnose_with(cells, manifest=manifest)) == {
        "damaged-file": ("images/cells_001.png",)
    }


@pytest.mark.parametrize("text", ["", "[]", '{"files": {"a": 1}, "format_version": 1}', "{}"])
def test_a_manifest_that_is_none_is_refused(
    cells: Path, tmp_path: Path, diagnose_with: Diagnose, text: str
) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(text)
    with pytest.raises(UnreadableFileError, match="delete it"):
        diagnose_with(cells, manifest=manifest)
