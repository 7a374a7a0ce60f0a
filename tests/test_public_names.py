"""The names of the package are a promise; loading them late is another."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import delineate

PUBLIC_NAMES = {
    "DelineateError",
    "Predictor",
    "SegmentationModel",
    "Settings",
    "Task",
    "__version__",
    "build_loss",
    "build_model",
    "build_settings",
    "compare",
    "cross_validate",
    "doctor",
    "evaluate",
    "import_dataset",
    "info",
    "load_model",
    "load_predictor",
    "plan",
    "predict",
    "read_settings",
    "save_model",
    "save_settings",
    "train",
    "write_sample",
}
SLOW_MODULES = ("torch", "matplotlib", "scipy", "rasterio", "tensorboard")


def test_public_names_are_pinned() -> None:
    assert set(delineate.__all__) == PUBLIC_NAMES
    assert set(dir(delineate)) == PUBLIC_NAMES


@pytest.mark.parametrize("name", sorted(PUBLIC_NAMES - {"__version__"}))
def test_public_name_resolves(name: str) -> None:
    value = getattr(delineate, name)
    assert callable(value)
    assert value.__doc__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(delineate.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.asname: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == delineate._MODULES


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        _ = delineate.trane


@pytest.mark.parametrize(
    "code",
    [
        "import delineate; delineate.Settings; delineate.Task",
        "from delineate.cli.app import run; assert run(['--help']) == 0",
        "from delineate.cli.app import run; assert run(['train', '--help']) == 0",
        "from delineate.cli.app import run; assert run(['info', 'missing']) == 4",
    ],
)
def test_import_and_help_do_not_load_torch(code: str) -> None:
    script = f"{code}\nimport sys; print('LOADED', *sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stderr.rpartition("LOADED")[2].split())
    assert "delineate" in loaded
    assert loaded.isdisjoint(SLOW_MODULES)
