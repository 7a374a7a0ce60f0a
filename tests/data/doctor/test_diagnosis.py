from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from delineate import doctor
from delineate.cli.app import run
from delineate.config import build_settings
from delineate.data.doctor.diagnosis import Diagnosis, admit
from delineate.data.doctor.findings import FaultyDataError
from delineate.data.samples import write_sample
from delineate.errors import UsageError
from delineate.rasters import read_image, write_image

Diagnose = Callable[..., Diagnosis]


@pytest.fixture
def faulty(cells: Path) -> Path:
    """A set with a fault of every stage: names, files, sizes, values and copies."""
    images, masks = cells / "images", cells / "masks"
    (masks / "cells_000.png").unlink()
    (images / "cells_001.png").unlink()
    (images / "cells_002.png").write_bytes((images / "cells_002.png").read_bytes()[:200])
    write_image(masks / "cells_003.png", np.zeros((50, 50), np.uint8))
    smooth = read_image(masks / "cells_004.png")[..., 0].copy()
    smooth[:, ::7] = 130
    write_image(masks / "cells_004.png", smooth)
    for number in range(6, 12):
        shutil.copy(images / "cells_005.png", images / f"cells_{number:03d}.png")
    return cells


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


WANTED = {
    "missing-mask",
    "orphan-mask",
    "unreadable-file",
    "size-mismatch",
    "duplicate-across-splits",
}


def test_all_errors_are_told_at_once_and_nothing_is_written_into_the_data(
    faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(faulty)
    out = tmp_path / "out"
    assert run(["doctor", str(faulty), "--out", str(out)]) == 3
    text = capsys.readouterr()
    for code in WANTED:
        assert code in text.out
    assert re.search(r"has \d+ errors to settle before a training", text.err)
    assert snapshot(faulty) == before
    assert sorted(path.name for path in out.iterdir()) == [
        "doctor.html",
        "findings.json",
        "manifest.json",
    ]
    page = (out / "doctor.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    assert (
        page.count('class="card error"')
        == json.loads((out / "findings.json").read_text())["num_errors"]
    )
    assert "data:image" in page


def test_json_goes_to_the_standard_output_alone(
    faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", str(faulty), "--out", str(tmp_path / "out"), "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert {one["code"] for one in document["findings"] if one["severity"] == "error"} >= WANTED
    assert document == json.loads((tmp_path / "out" / "findings.json").read_text())
    sizes = next(one for one in document["findings"] if one["code"] == "size-mismatch")
    assert sizes["files"] == ["masks/cells_003.png"]
    assert sizes["remedies"][0]["kind"] == "DropFiles"
    assert all(one["what"] and one["why"] and one["fix"] for one in document["findings"])


def test_a_training_refuses_with_the_words_of_the_doctor(
    faulty: Path, diagnose_with: Diagnose
) -> None:
    told = {one.code: one.sentence for one in diagnose_with(faulty).errors}
    with pytest.raises(FaultyDataError) as error:
        admit(faulty, build_settings({}))
    for code in WANTED - {"unreadable-file"}:  # images are decoded once, when they are loaded
        assert told[code] in str(error.value)
    assert str(error.value).startswith(f"{faulty}: {len(error.value.findings)} errors\n- ")


def test_a_training_shows_all_errors(
    faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(faulty), "--run", str(tmp_path / "run"), "--epochs", "1"]) == 3
    text = capsys.readouterr().err
    assert "1 mask without an image (masks/cells_001.png)" in text
    assert "cells_003.png is 50x50, its image 96x96" in text
    assert f"'delineate doctor {faulty}' looks deeper" in text
    assert not (tmp_path / "run").exists()


def test_a_clean_set_is_admitted_as_it_is_listed(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", str(cells), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr()
    assert "24 files" in text.out
    assert "0 errors" in text.out
    assert text.err == ""
    inventory, task, decoder = admit(cells, build_settings({}))
    assert len(inventory.samples) == 12
    assert task == decoder.task


def test_masks_that_are_open_are_read_with_what_the_finding_proposes(
    tmp_path: Path, diagnose_with: Diagnose
) -> None:
    write_sample("aerial", tmp_path / "data", num_images=8, size=64)
    (tmp_path / "data" / "data.yaml").unlink()
    diagnosis = diagnose_with(tmp_path / "data")
    assert [one.code for one in diagnosis.errors] == ["no-legend"]
    decoder = diagnosis.examination.decoder
    assert decoder is not None
    assert decoder.task.kind == "multiclass"
    assert all(pair.content is not None for pair in diagnosis.examination.pairs)


def test_an_accepted_error_stops_nothing(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1, 12):
        shutil.copy(cells / "images/cells_000.png", cells / f"images/cells_{number:03d}.png")
    command = ["doctor", str(cells), "--out", str(tmp_path / "out")]
    assert run(command) == 3
    assert run([*command, "--data.accept", "duplicate-across-splits"]) == 0
    assert "duplicate-across-splits" in capsys.readouterr().out
    with pytest.raises(FaultyDataError, match="pixel for pixel"):
        admit(cells, build_settings({}))
    accepted = build_settings({"data": {"accept": ["duplicate-across-splits"]}})
    assert len(admit(cells, accepted)[0].samples) == 12


def test_the_results_never_lie_inside_the_data_unasked(
    cells: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(cells)
    before = snapshot(cells)
    assert run(["doctor", "."]) == 0
    assert "not written" in capsys.readouterr().out
    assert snapshot(cells) == before
    monkeypatch.chdir(cells.parent)
    assert doctor(cells).out == Path("doctor/cells")
    assert (cells.parent / "doctor" / "cells" / "doctor.html").exists()


def test_settings_of_other_sections_are_refused(cells: Path) -> None:
    with pytest.raises(UsageError, match="data and task, not of training"):
        doctor(cells, overrides={"training": {"epochs": 1}})


def test_names_in_the_page_are_text(tmp_path: Path) -> None:
    write_sample("cells", tmp_path / "data", num_images=6, size=64)
    evil = "<img src=x onerror=alert(1)>.png"
    shutil.copy(tmp_path / "data/images/cells_000.png", tmp_path / "data/images" / evil)
    doctor(tmp_path / "data", out=tmp_path / "out")
    page = (tmp_path / "out" / "doctor.html").read_text()
    assert "onerror=alert" in page
    assert "<img src=x" not in page


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("name", [b"caf\xe9.png", b"\x1b[2Jgone.png", b"new\nline.png"])
def test_any_name_of_a_file_can_be_told(
    cells: Path, tmp_path: Path, name: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(cells / "images/cells_000.png", cells / "images" / os.fsdecode(name))
    assert run(["doctor", str(cells), "--out", str(tmp_path / "out")]) == 3
    text = capsys.readouterr().out
    assert "1 image of 13 without a mask" in text
    assert "\x1b" not in text
    assert run(["doctor", str(cells), "--out", str(tmp_path / "out"), "--json"]) == 3
    (bare,) = (
        one
        for one in json.loads(capsys.readouterr().out)["findings"]
        if one["code"] == "missing-mask"
    )
    assert bare["files"] == [f"images/{os.fsdecode(name)}"]
