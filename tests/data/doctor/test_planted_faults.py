"""Every kind of fault, planted in clean data: each is found, and little else is said."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "planted_faults.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("planted_faults", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted_faults"] = module
    spec.loader.exec_module(module)
    return module


planted = _load()
BASES = sorted({entry.base for entry in planted.FAULTS.values()})


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every clean set that faults are planted in."""
    folders = {}
    for base in BASES:
        folders[base] = tmp_path_factory.mktemp("clean") / "data"
        planted.write_clean(base, folders[base])
    return folders


@pytest.mark.parametrize("base", BASES)
def test_clean_data_raises_no_error_and_hardly_a_warning(base: str, clean: dict[str, Path]) -> None:
    findings = planted.examine(clean[base]).findings
    assert [finding.code for finding in findings if finding.severity == "error"] == []
    # The aerial sample has specks indeed: single pixels of land between crowns of trees.
    allowed = 0 if base.startswith("cells") else 1
    assert len(findings) <= allowed


@pytest.mark.parametrize("name", list(planted.FAULTS))
def test_a_planted_fault_is_found(name: str, clean: dict[str, Path], tmp_path: Path) -> None:
    entry = planted.FAULTS[name]
    root = tmp_path / "data"
    shutil.copytree(clean[entry.base], root)
    expected = entry.plant(root)
    findings = planted.examine(root).findings
    found = {finding.code: finding for finding in findings}
    assert entry.code in found
    finding = found[entry.code]
    assert expected <= set(finding.files)
    assert not finding.what.removesuffix("...").endswith(".")
    assert finding.fix
    for path in (*finding.files, *(item.file for item in finding.evidence)):
        assert (root / path).exists() or finding.code == "missing-file"
    others = set(found) - {entry.code, *entry.allowed, "specks"}
    assert others == set()
