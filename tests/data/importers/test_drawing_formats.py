"""YOLO, LabelMe and CVAT: objects drawn on images."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from delineate import import_dataset
from delineate.errors import DataError, DelineateError, UnknownNameError

SQUARE = [[2, 3], [10, 3], [10, 9], [2, 9]]


def png(pixels: np.ndarray[Any, Any]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture
def yolo(tmp_path: Path, save_picture: Any) -> Path:
    src = tmp_path / "src"
    for split, names in (("train", "ab"), ("val", "c")):
        for name in names:
            save_picture(src / "images" / split / f"{name}.jpg", 20, 40)
            label = src / "labels" / split / f"{name}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("1 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6\n0 0.25 0.25 0.5 0.25 0.5 0.5\n")
    (src / "data.yaml").write_text("path: /home/other/data\nnames:\n  0: cat\n  1: dog\n")
    return src


def test_yolo_shares_become_pixels(yolo: Path, masks_of: Any) -> None:
    (yolo / "labels" / "train" / "b.txt").unlink()
    summary = import_dataset(yolo, out=yolo.parent / "out")
    assert (summary.format, summary.splits) == ("yolo", {"train": 2, "val": 1})
    masks = masks_of(yolo.parent / "out")
    assert not masks["b"].any()
    assert any("images without a label file" in note for note in summary.notes)
    # 4 to 20 across, 2 to 12 down; the triangle of half 10 x 5 lies above, being smaller.
    assert (masks["a"] > 0).sum() == 16 * 10
    assert (masks["a"] == 1).sum() == pytest.approx(25, abs=5)
    assert masks["a"][5, 18] == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 0.1 0.1 nan 0.1 0.5 0.6", "line 1: .*NaN"),
        ("0 10 10 50 10 50 60", "0 to 1; divide"),
        ("7 0.1 0.1 0.5 0.1 0.5 0.6", "class is '7' and the classes are 0 to 1"),
        ("0 0.1 0.1 0.5 0.1 0.5", "no pairs"),
        ("0 a b c d e f", "something else than numbers"),
        ("0 0.1 0.1", "has 1 points"),
        ("-3 0.1 0.1 0.5 0.1 0.5 0.6", "class is '-3'"),
    ],
)
def test_broken_yolo_lines_are_named(yolo: Path, line: str, says: str) -> None:
    (yolo / "labels" / "train" / "a.txt").write_text(line)
    with pytest.raises(DataError, match=says):
        import_dataset(yolo, out=yolo.parent / "out")
    summary = import_dataset(yolo, out=yolo.parent / "out", skip_bad=True)
    assert summary.num_images == 2
    assert len(summary.skipped) == 1
    assert not list((yolo.parent / "out").rglob("a.*"))


def test_yolo_boxes_do_not_count_and_names_may_be_missing(yolo: Path, masks_of: Any) -> None:
    (yolo / "data.yaml").unlink()
    (yolo / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.2 0.4\n1 0 0 0.1 0 0.1 0.1\n")
    summary = import_dataset(yolo, out=yolo.parent / "out")
    assert (masks_of(yolo.parent / "out")["a"] == 255).sum() == 8 * 8
    assert list(summary.class_pixels) == ["background", "class_0", "class_1"]
    assert any("classes without a name" in note for note in summary.notes)


def labelme(shapes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "version": "5.5.0",
        "shapes": shapes,
        "imagePath": "..\\photos\\one.jpg",
        "imageData": None,
        "imageHeight": 20,
        "imageWidth": 30,
    } | more


def test_labelme_shapes(tmp_path: Path, save_picture: Any, save_json: Any, masks_of: Any) -> None:
    save_picture(tmp_path / "src" / "photos" / "one.jpg", 20, 30)
    bitmap = np.zeros((4, 5), np.uint8)
    bitmap[1:3, 1:4] = 255
    shapes = [
        {"label": "a", "shape_type": "rectangle", "points": [[10, 9], [2, 3]]},
        {"label": "b", "shape_type": "circle", "points": [[20, 10], [25, 10]]},
        {"label": "b", "points": [*SQUARE[:2], [10, 9]]},
        {"label": "c", "shape_type": "mask", "points": [[24, 14], [28, 17]], "mask": png(bitmap)},
        {"label": "__ignore__", "points": [[0, 18], [30, 18], [30, 20], [0, 20]]},
        {"label": "a", "shape_type": "linestrip", "points": SQUARE},
    ]
    save_json(tmp_path / "src" / "labels" / "one.json", labelme(shapes))
    summary = import_dataset(tmp_path / "src", out=tmp_path / "out")
    assert (summary.format, list(summary.class_pixels)) == (
        "labelme",
        ["background", "a", "b", "c"],
    )
    mask = masks_of(tmp_path / "out")["one"]
    assert (mask == 255).sum() == 60
    assert (mask == 3).sum() == 6
    np.testing.assert_array_equal(mask[15:17, 25:28], 3)
    assert (mask[:, 14:] == 2).sum() == pytest.approx(np.pi * 25, abs=4)
    assert (mask[3:9, 2:10] > 0).all()
    assert mask[4, 9] == 2  # the later shape lies above
    assert any("lines and points" in note for note in summary.notes)


def test_labelme_images_may_be_embedded(tmp_path: Path, save_json: Any, masks_of: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    shapes = [{"label": "a", "points": SQUARE}]
    save_json(tmp_path / "src" / "x.json", labelme(shapes, imageData=png(pixels)))
    import_dataset(tmp_path / "src", out=tmp_path / "out")
    [image] = (tmp_path / "out" / "images").iterdir()
    np.testing.assert_array_equal(np.asarray(Image.open(image)), pixels)
    assert masks_of(tmp_path / "out")["one"].sum() == 48


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, "is not below"),
        ({"imageData": "%%%"}, "no base64"),
        ({"imageData": base64.b64encode(b"GIF89a").decode()}, "truncated or damaged"),
        ({"imageData": base64.b64encode(b"II*\0").decode()}, "no PNG or JPEG"),
        ({"imagePath": "../../../etc/passwd"}, "is not below"),
        ({"shapes": [{"label": "a", "points": [[1, 2], [float("nan"), 3], [4, 4]]}]}, "NaN"),
        ({"shapes": [{"label": "a", "shape_type": "circle", "points": [[1, 2]]}]}, "2 points"),
        ({"imageHeight": 10**7}, "annotated as 10000000x30"),
    ],
)
def test_hostile_labelme(
    tmp_path: Path, save_picture: Any, save_json: Any, more: dict[str, Any], says: str
) -> None:
    if "shapes" in more or "imageHeight" in more:
        save_picture(tmp_path / "src" / "one.jpg", 20, 30)
    save_json(tmp_path / "src" / "x.json", labelme([{"label": "a", "points": SQUARE}]) | more)
    with pytest.raises(DataError, match=says):
        import_dataset(tmp_path / "src", out=tmp_path / "out")


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><labels><label><name>a</name></label><label><name>b</name></label></labels></task></meta>
<image id="0" name="sub/one.jpg" subset="Train" width="30" height="20">{shapes}</image>
</annotations>"""


def save_cvat(folder: Path, shapes: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "annotations.xml").write_text(CVAT.replace("{shapes}", shapes))


def test_cvat_shapes_lie_by_their_z_order(tmp_path: Path, save_picture: Any, masks_of: Any) -> None:
    save_picture(tmp_path / "src" / "images" / "one.jpg", 20, 30)
    save_cvat(
        tmp_path / "src",
        """
        <polygon label="b" points="2.0,3.0;10.0,3.0;10.0,9.0;2.0,9.0" z_order="4"/>
        <box label="a" xtl="0" ytl="0" xbr="6" ybr="6" z_order="1">
          <attribute name="colour">red</attribute></box>
        <ellipse label="a" cx="20" cy="10" rx="6" ry="3" rotation="90" z_order="0"/>
        <mask label="b" rle="1, 2, 3, 2, 0" left="25" top="17" width="4" height="2" z_order="0"/>
        <polyline label="a" points="0,0;9,9" z_order="9"/><tag label="a"/>
        """,
    )
    summary = import_dataset(tmp_path / "src", out=tmp_path / "out")
    assert (summary.format, summary.splits) == ("cvat", {"train": 1})
    mask = masks_of(tmp_path / "out")["one"]
    assert (mask[3:9, 2:10] == 2).all()
    assert (mask[:6, :6] == 1).sum() == 36 - 4 * 3
    assert (mask[:, 12:25] == 1).sum() == pytest.approx(np.pi * 18, abs=4)
    assert (mask[4:16, 20] == 1).all()
    np.testing.assert_array_equal(mask[17:19, 25:29], [[0, 2, 2, 0], [0, 0, 2, 2]])
    text = "\n".join(summary.notes)
    assert "1 lines, points, skeletons" in text
    assert "1 attributes of objects" in text


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ('<polygon label="a" points="1,nan;2,3;4,5"/>', "NaN"),
        ('<polygon label="a" points="1,2,3;4"/>', "polygon"),
        ('<box label="a" xtl="0" ytl="0" xbr="6"/>', "NaN"),
        ('<box label="a" xtl="0" ytl="0" xbr="6" ybr="6" rotation="inf"/>', "box"),
        ('<mask label="a" rle="1,99999999999" left="0" top="0" width="4" height="2"/>', "has run"),
        ('<mask label="a" rle="8" left="0" top="0" width="99999999" height="9"/>', "run lengths"),
        ('<mask label="a" rle="x" left="0" top="0" width="4" height="2"/>', "whole numbers"),
    ],
)
def test_hostile_cvat(tmp_path: Path, save_picture: Any, shapes: str, says: str) -> None:
    save_picture(tmp_path / "src" / "one.jpg", 20, 30)
    save_cvat(tmp_path / "src", shapes)
    with pytest.raises(DataError, match=says):
        import_dataset(tmp_path / "src", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<annotations><track id='0' label='a'/></annotations>", "tracks of a video"),
        ("<annotations><image name='x'/></annotations>", "no width and height"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations>&b;</annotations>", "no XML"),
        ("<annotations>", "no XML"),
        ("<annotations></annotations>", "no CVAT file"),
    ],
)
def test_files_that_are_no_cvat(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "annotations.xml").write_text(text)
    with pytest.raises(DelineateError, match=says):
        import_dataset(tmp_path / "src", out=tmp_path / "out", format="cvat")


def test_classes_are_chosen_ordered_and_ignored(yolo: Path, masks_of: Any) -> None:
    out = yolo.parent / "out"
    summary = import_dataset(yolo, out=out, classes=["dog"])
    assert list(summary.class_pixels) == ["background", "dog"]
    assert any("not asked for" in note for note in summary.notes)
    assert set(np.unique(masks_of(out)["a"])) == {0, 1}
    import_dataset(yolo, out=out, classes=["dog", "cat"], exist_ok=True)
    assert masks_of(out)["a"][5, 18] == 2
    import_dataset(yolo, out=out, ignore=["cat"], exist_ok=True)
    assert masks_of(out)["a"][5, 18] == 255
    with pytest.raises(UnknownNameError, match="Did you mean 'dog'"):
        import_dataset(yolo, out=out, classes=["dogs"], exist_ok=True)


def test_polygons_are_those_that_pillow_draws_but_for_their_borders(
    yolo: Path, masks_of: Any
) -> None:
    canvas = Image.new("L", (40, 20))
    ImageDraw.Draw(canvas).polygon([(4, 2), (20, 2), (20, 12), (4, 12)], fill=1)
    import_dataset(yolo, out=yolo.parent / "out", classes=["dog"])
    found = masks_of(yolo.parent / "out")["a"]
    assert (np.asarray(canvas) >= found).all()
    assert np.asarray(canvas).sum() - found.sum() <= 17 + 10  # Pillow fills the border, too
