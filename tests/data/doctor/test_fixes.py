"""What a finding says settles it does settle it, as a line of data.yaml and as flags."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from delineate.cli.setting_flags import split_setting_flags
from delineate.config import build_settings
from delineate.data.doctor.findings import Finding
from delineate.rasters import read_image, write_image

Find = Callable[..., dict[str, Finding]]


def masks_of(folder: Path) -> list[Path]:
    return sorted((folder / "masks").iterdir())


def rewrite(folder: Path, change: Callable[[Any], Any]) -> None:
    """Write every mask anew; `change` takes where the foreground is, (H, W) bool."""
    for path in masks_of(folder):
        write_image(path, change(read_image(path)[..., 0] > 0).astype(np.uint8))


def drop_mask(folder: Path) -> None:
    masks_of(folder)[3].unlink()


def drop_image(folder: Path) -> None:
    sorted((folder / "images").iterdir())[3].unlink()


def truncate(folder: Path) -> None:
    path = masks_of(folder)[3]
    path.write_bytes(path.read_bytes()[:-30])


def resize(folder: Path) -> None:
    write_image(masks_of(folder)[3], np.zeros((50, 50), np.uint8))


def smooth(folder: Path) -> None:
    for path in masks_of(folder):
        with Image.open(path) as picture:
            small = picture.resize((90, 90), Image.Resampling.BILINEAR)
        small.resize((96, 96), Image.Resampling.BILINEAR).save(path)


def add_void(folder: Path) -> None:
    def change(inside: Any) -> Any:
        mask = inside.astype(np.uint8)
        mask[40:60, 40:60] = 2
        mask[:5] = 255
        return mask

    rewrite(folder, change)


def begin_at_one(folder: Path) -> None:
    rewrite(folder, lambda inside: inside + 1)


def leave_gaps(folder: Path) -> None:
    def change(inside: Any) -> Any:
        mask = inside * 7
        mask[40:60, 40:60] = 3
        return mask

    rewrite(folder, change)


def number_instances(folder: Path) -> None:
    def change(inside: Any) -> Any:
        mask = np.zeros(inside.shape, np.uint8)
        mask[inside] = 1 + np.arange(inside.sum()) % 100
        return mask

    rewrite(folder, change)


def colour(folder: Path) -> None:
    rewrite(folder, lambda inside: np.where(inside[..., None], (200, 0, 100), (0, 90, 0)))


def annotate_twice(folder: Path) -> None:
    for path in masks_of(folder):
        shutil.copy(path, path.with_stem(f"{path.stem}_1stHO"))
        path.rename(path.with_stem(f"{path.stem}_2ndHO"))


def copy_across(folder: Path) -> None:
    first = folder / "images" / "cells_000.png"
    for number in range(1, 12):
        shutil.copy(first, folder / "images" / f"cells_{number:03d}.png")


FAULTS: dict[str, Callable[[Path], None]] = {
    "missing-mask": drop_mask,
    "orphan-mask": drop_image,
    "unreadable-file": truncate,
    "size-mismatch": resize,
    "smooth-edges": smooth,
    "void-value": add_void,
    "two-values": begin_at_one,
    "class-numbers": leave_gaps,
    "instance-numbers": number_instances,
    "no-legend": colour,
    "ambiguous-mask": annotate_twice,
    "duplicate-across-splits": copy_across,
}


def read_yaml(fix: str) -> dict[str, Any]:
    """Return the settings that a fix writes as lines of data.yaml."""
    if "\nlegend:\n" in fix:
        return dict(yaml.safe_load(fix[fix.index("legend:\n") :]))
    lines = [part for part in fix.split("`")[1::2] if re.match(r"[a-z_]+: ", part)]
    return dict(yaml.safe_load(lines[0]))


def read_flags(fix: str) -> dict[str, Any]:
    """Return the settings that a fix writes as flags; nothing if it has none."""
    parts = [part for part in fix.split("`")[1::2] if part.startswith("--data.")]
    if not parts:
        return {}
    _, overrides = split_setting_flags(shlex.split(parts[0]), ["data"])
    return dict(build_settings(overrides).data.model_dump(exclude_unset=True))


@pytest.mark.parametrize("code", FAULTS)
def test_the_line_of_data_yaml_settles_the_error(cells: Path, find: Find, code: str) -> None:
    (cells / "data.yaml").unlink()
    FAULTS[code](cells)
    found = find(cells)
    assert found[code].severity == "error"
    settings = read_yaml(found[code].fix)
    left = find(cells, **settings)
    assert code not in left
    assert not [finding for finding in left.values() if finding.severity == "error"]
    flags = read_flags(found[code].fix)
    if flags:
        whole = build_settings({"data": settings}).data.model_dump(exclude_unset=True)
        assert flags == whole
