from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from delineate.config import build_settings, merge_settings
from delineate.data.doctor.diagnosis import Diagnosis, diagnose
from delineate.data.doctor.findings import Finding
from delineate.data.inventory import read_data_file
from delineate.data.samples import write_sample

Diagnose = Callable[..., Diagnosis]
Find = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="session")
def drawn_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    write_sample("cells", folder, num_images=12, size=96)
    return folder


@pytest.fixture
def cells(drawn_cells: Path, tmp_path: Path) -> Path:
    """A clean set of twelve grey images of cells, with masks of 0 and 255."""
    return Path(shutil.copytree(drawn_cells, tmp_path / "cells"))


@pytest.fixture
def diagnose_with() -> Diagnose:
    """Diagnose a folder with settings of the section `data`."""

    def diagnose_with(folder: Path, *, manifest: Path | None = None, **data: Any) -> Diagnosis:
        settings = build_settings(merge_settings(read_data_file(folder), {"data": data}))
        return diagnose(folder, settings, manifest=manifest)

    return diagnose_with


@pytest.fixture
def find(diagnose_with: Diagnose) -> Find:
    """The findings of a folder by their codes."""

    def find(folder: Path, **settings: Any) -> dict[str, Finding]:
        return {finding.code: finding for finding in diagnose_with(folder, **settings).findings}

    return find
