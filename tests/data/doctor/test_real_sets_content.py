"""What is known to be wrong in the real sets, as far as their content shows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from delineate.config import build_settings
from delineate.data.doctor.diagnosis import diagnose
from delineate.data.doctor.findings import Finding


def look(name: str) -> dict[str, Finding]:
    """Return the findings of a set as it lies in its folder."""
    if "DELINEATE_DATA" not in os.environ:
        pytest.skip("DELINEATE_DATA names no folder of real data sets")
    findings = diagnose(Path(os.environ["DELINEATE_DATA"]) / name, build_settings({})).findings
    return {finding.code: finding for finding in findings}


def test_forest_has_a_test_image_in_training() -> None:
    found = look("amazon_forest")
    copies = found.pop("duplicate-across-splits")
    assert copies.severity == "error"
    assert copies.files == ("test/0.tiff", "training/images/Amazon_954.tiff_36.tiff")
    assert found["size-mismatch"].files == ("training/masks/Amazon_181.tiff_34.png",)
    assert found["empty-mask"].files == ("training/masks/Amazon_970.tiff_1.png",)
    known = {"missing-mask", "size-mismatch", "empty-mask", "specks", "tiny-objects"}
    assert set(found) - known == set()


def test_membranes_are_the_rare_value_of_one_volume() -> None:
    found = look("isbi_em")
    assert "`--data.foreground-value 0`" in found["foreground-is-most"].fix
    assert len(found["series-across-splits"].files) == 30
    assert set(found) <= {"foreground-is-most", "series-across-splits"}


def test_eyes_have_two_annotators_and_belong_to_children() -> None:
    found = look("chase_db1")
    assert "agree with a Dice of 0.78" in found["several-annotators"].what
    assert r"--data.groups 'Image_(\d+)" in found["group-across-splits"].fix
    assert {code for code, one in found.items() if one.severity == "error"} == {"ambiguous-mask"}
    assert len(found) == 3
