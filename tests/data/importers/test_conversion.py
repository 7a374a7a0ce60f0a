from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from delineate import import_dataset
from delineate.cli.app import run
from delineate.config import DataConfig, TaskConfig, build_settings
from delineate.data.importers import FORMATS
from delineate.data.importers.conversion import RECORD
from delineate.data.importers.guessing import guess_format
from delineate.data.importers.layout import safe_name
from delineate.data.inventory import build_inventory, read_data_file
from delineate.data.masks import inspect_masks
from delineate.errors import DataError, ResourceError, UnreadableFileError, UsageError


@pytest.fixture
def coco(tmp_path: Path, save_picture: Any, save_json: Any) -> Path:
    """Ten images of two classes, of which one is in a folder of its own."""
    src = tmp_path / "src"
    images, annotations = [], []
    for number in range(10):
        name = f"img_{number}.png" if number else "other/img_1.png"
        save_picture(src / "images" / name, 48 + number, 64)
        images.append({"id": number, "file_name": name, "height": 48 + number, "width": 64})
        for category, left in ((1, 2 + number), (5, 30)):
            right = left + 12
            outline = [left, 8, right, 8, right, 30, left, 30]
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": category}
                | {"segmentation": [outline]}
            )
    categories = [{"id": 1, "name": "Häuser & Höfe"}, {"id": 5, "name": "road"}]
    save_json(
        src / "labels.json",
        {"images": images, "annotations": annotations, "categories": categories},
    )
    return src


def test_train_reads_what_was_imported(coco: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "data set"
    assert run(["import", str(coco), "--format", "coco", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "road" in printed
    assert f"next: delineate train {out}" in printed
    settings = build_settings(read_data_file(out))
    inventory = build_inventory(out, settings.data)
    task, decoder = inspect_masks(inventory, settings.data, settings.task)
    assert task.class_names == ("background", "Häuser & Höfe", "road")
    assert task.background == "background"
    target = decoder.decode(inventory.samples[0].masks)
    assert np.bincount(target.ravel()).tolist()[1:] == [264, 264]
    command = f"train {{}} --run {tmp_path / 'run'} --epochs 1 --model.width 4 --model.depth 2"
    tokens = [str(out) if part == "{}" else part for part in command.split()]
    tokens += ["--training.patch-size", "32", "32", "--training.batch-size", "2"]
    tokens += ["--training.steps-per-epoch", "2", "--data.num-workers", "0"]
    assert run(tokens) == 0
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_one_class_makes_a_binary_task(coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    import_dataset(coco, out=out, classes=["road"])
    settings = build_settings(read_data_file(out))
    task, _ = inspect_masks(build_inventory(out, settings.data), settings.data, settings.task)
    assert (task.kind, task.class_names) == ("binary", ("road",))
    import_dataset(coco, out=out, overlaps="keep", exist_ok=True)
    settings = build_settings(read_data_file(out))
    task, _ = inspect_masks(build_inventory(out, settings.data), settings.data, settings.task)
    assert (task.kind, task.num_classes) == ("multilabel", 2)


def test_names_that_clash_are_told_apart(coco: Path, tmp_path: Path, masks_of: Any) -> None:
    import_dataset(coco, out=tmp_path / "out")
    names = sorted(masks_of(tmp_path / "out"))
    assert len(names) == 10
    assert {"img_1", "img_1_2"} <= set(names)


def test_an_existing_folder_is_kept_unless_told(coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    import_dataset(coco, out=out)
    with pytest.raises(UsageError, match=r"exists; .*--exist-ok"):
        import_dataset(coco, out=out)
    (out / "stale").touch()
    import_dataset(coco, out=out, exist_ok=True)
    assert not (out / "stale").exists()
    (out / RECORD).unlink()
    with pytest.raises(UsageError, match="not made by this command"):
        import_dataset(coco, out=out, exist_ok=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "src"]


def test_nothing_partial_bears_the_name(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        assert not (tmp_path / "out").exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("delineate.data.importers.layout.shutil.copyfile", full)
    with pytest.raises(ResourceError, match="disk full"):
        import_dataset(coco, out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_debris_of_a_killed_import_is_swept(coco: Path, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    debris = tmp_path / f".out.{child}-0.tmp"
    debris.mkdir()
    import_dataset(coco, out=tmp_path / "out")
    assert not debris.exists()


def test_bad_images_are_all_listed_or_left_out(coco: Path, tmp_path: Path, capsys: Any) -> None:
    (coco / "images" / "img_3.png").unlink()
    (coco / "images" / "img_4.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError, match="2 of 10 files") as caught:
        import_dataset(coco, out=tmp_path / "out")
    assert "img_3.png" in str(caught.value)
    assert "img_4.png" in str(caught.value)
    command = ["import", str(coco), "--out", str(tmp_path / "out")]
    assert run(command) == 3
    assert "--skip-bad" in capsys.readouterr().err
    assert run([*command, "--skip-bad"]) == 0
    assert "Left out because it is wrong" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert (record["num_images"], len(record["skipped"])) == (8, 2)


@pytest.mark.parametrize("flag", ["--format", "--overlaps", "--plane"])
def test_unknown_choices_are_listed(coco: Path, tmp_path: Path, capsys: Any, flag: str) -> None:
    assert run(["import", str(coco), "--out", str(tmp_path / "out"), flag, "cocoo"]) == 2
    assert "choose one of" in capsys.readouterr().err


def test_formats_are_guessed_or_asked_for(coco: Path, tmp_path: Path, save_json: Any) -> None:
    assert guess_format(coco) == "coco"
    with pytest.raises(UnreadableFileError, match="does not exist"):
        guess_format(tmp_path / "none")
    save_json(coco / "x.json", {"shapes": [], "imagePath": "a.png"})
    with pytest.raises(UsageError, match="may be coco or labelme"):
        guess_format(coco)
    (tmp_path / "plain").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "plain" / "a.png")
    with pytest.raises(UsageError, match=", ".join(FORMATS)):
        guess_format(tmp_path / "plain")
    with pytest.raises(UnreadableFileError, match="does not exist"):
        import_dataset(tmp_path / "none", out=tmp_path / "out", format="coco")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a b-1.x", "a b-1.x"),
        ("서울_01", "서울_01"),
        ("a/b\\c:d*?", "a_b_c_d__"),
        ("...", "image"),
        (".hidden", "hidden"),
        ("x\n\0y", "x__y"),
        ("n" * 300, "n" * 120),
    ],
)
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_help_names_every_format(capsys: Any) -> None:
    assert run(["import", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(name in printed for name in FORMATS)


def test_settings_need_no_more_flags(coco: Path, tmp_path: Path) -> None:
    import_dataset(coco, out=tmp_path / "out")
    document = read_data_file(tmp_path / "out")
    assert set(document["data"]) <= set(DataConfig.model_fields)
    assert set(document["task"]) <= set(TaskConfig.model_fields)
