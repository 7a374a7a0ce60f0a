from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from pycocotools.coco import COCO

from delineate import import_dataset
from delineate.data.importers.coco import read_counts
from delineate.errors import DataError, DelineateError, UnreadableFileError
from delineate.rasters import read_image

Array = np.ndarray[Any, Any]

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools


def document(annotations: list[dict[str, Any]], **image: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "one.jpg", "height": 30, "width": 40} | image],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 3, "iscrowd": 0} | annotation
            for number, annotation in enumerate(annotations)
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
    }


@pytest.fixture
def src(tmp_path: Path, save_picture: Callable[..., None]) -> Path:
    save_picture(tmp_path / "src" / "images" / "one.jpg", 30, 40)
    return tmp_path / "src"


def blobs(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    mask = np.zeros((30, 40), np.uint8)
    top, left = rng.integers(0, 18), rng.integers(0, 28)
    mask[top : top + 12, left : left + 12] = rng.random((12, 12)) < 0.7
    return mask


def test_masks_equal_those_of_pycocotools(
    src: Path, save_json: Any, masks_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = coco.encode(np.asfortranarray(blobs(0)))
    flat = blobs(1).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    annotations: list[dict[str, Any]] = [
        {"segmentation": {"size": [30, 40], "counts": packed["counts"].decode()}},
        {"segmentation": {"size": [30, 40], "counts": [0, *counts] if flat[0] else counts}},
        {"segmentation": [[3.2, 4.9, 17.7, 2.1, 25.5, 20.25, 8, 26]], "category_id": 9},
        {"segmentation": [[30, 3, 45.5, 3, 35, 12], [30, 20, 38, 20, 38, 28.5]], "category_id": 9},
    ]
    save_json(src / "annotations" / "instances_train2017.json", document(annotations))
    summary = import_dataset(src, out=src.parent / "out", overlaps="later")
    assert (summary.format, summary.splits) == ("coco", {"train": 1})
    monkeypatch.setattr("builtins.print", lambda *_: None)  # it prints while it loads
    reference = COCO(str(src / "annotations" / "instances_train2017.json"))
    expected = np.zeros((30, 40), np.uint8)
    for annotation in reference.loadAnns(reference.getAnnIds()):
        value = {3: 1, 9: 2}[annotation["category_id"]]
        expected[reference.annToMask(annotation) == 1] = value
    np.testing.assert_array_equal(masks_of(src.parent / "out")["one"], expected)
    assert set(np.unique(expected)) == {0, 1, 2}


def test_smaller_objects_lie_above(src: Path, save_json: Any, masks_of: Any) -> None:
    large, small = [0, 0, 20, 0, 20, 20, 0, 20], [5, 5, 9, 5, 9, 9, 5, 9]
    save_json(
        src / "a.json",
        document([{"segmentation": [small], "category_id": 9}, {"segmentation": [large]}]),
    )
    summary = import_dataset(src, out=src.parent / "out")
    mask = masks_of(src.parent / "out")["one"]
    assert ((mask == 2).sum(), (mask == 1).sum()) == (16, 400 - 16)
    assert any("16 pixels claimed" in note for note in summary.notes)
    kept = import_dataset(src, out=src.parent / "kept", overlaps="keep")
    assert masks_of(src.parent / "kept")["one"].sum(axis=(0, 1)).tolist() == [400, 16]
    assert kept.class_pixels == {"cat": 400, "dog": 16}


def test_what_cannot_be_kept_is_said(src: Path, save_json: Any, masks_of: Any) -> None:
    save_json(
        src / "a.json",
        document(
            [
                {"segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]},
                {"segmentation": [], "bbox": [10, 10, 4, 5]},
                {"segmentation": None},
                {"segmentation": [[1, 1, 2, 1]]},
                {"image_id": 77, "segmentation": []},
            ]
        ),
    )
    summary = import_dataset(src, out=src.parent / "out")
    mask = masks_of(src.parent / "out")["one"]
    assert ((mask == 255).sum(), (mask == 1).sum()) == (20, 16)
    text = "\n".join(summary.notes)
    assert "1 objects with a box and no outline" in text
    assert "1 objects without outline or box" in text
    assert "1 objects that cover no pixel" in text
    assert "1 annotations of images that are not listed" in text
    assert "ignore:\n- 255" in (src.parent / "out" / "data.yaml").read_text()


@pytest.mark.parametrize(
    ("annotation", "image", "says"),
    [
        ({"segmentation": [[1, 1, float("nan"), 1, 5, 5]]}, {}, "NaN or infinite"),
        ({"segmentation": [[1, 1, 2e8, 3e8, 5, 5]]}, {}, "reaches to 3e"),
        ({"segmentation": [[1, 1, "x", 1, 5, 5]]}, {}, "no points"),
        ({"segmentation": "abc"}, {}, "is a str"),
        ({"segmentation": {"size": [30, 40], "counts": [10, 10**12]}}, {}, "pixels"),
        ({"segmentation": {"size": [30, 40], "counts": [600, 601]}}, {}, "make 1201 pixels"),
        ({"segmentation": {"size": [30, 40], "counts": [-5, 1205]}}, {}, "from 0 up"),
        ({"segmentation": {"size": [30, 40], "counts": "zzzzzzz"}}, {}, "no packing makes"),
        ({"segmentation": {"size": [30, 40], "counts": "\u00e9"}}, {}, "no packing makes"),
        ({"segmentation": {"size": [30, 40], "counts": "o" * 99}}, {}, "no packing makes"),
        ({"segmentation": {"size": [30, 40], "counts": "55"}}, {}, "make 10 pixels"),
        ({"segmentation": {"size": [30, 40], "counts": 7}}, {}, "run lengths"),
        ({"segmentation": {"size": [10**6, 10**6], "counts": [1]}}, {}, "of an image of"),
        ({"segmentation": [[1, 1, 5, 1, 5, 5]], "category_id": 4}, {}, "not listed"),
        ({"segmentation": [], "bbox": [1, 2]}, {}, "left, top, width, height"),
        ({"segmentation": [[1, 1, 5, 1, 5, 5]]}, {"height": 10**6}, "was annotated as 1000000x40"),
        ({}, {"file_name": "../../../etc/passwd.png"}, "is not below"),
        ({}, {"file_name": "/etc/hostname"}, "is not below"),
        ({}, {"file_name": "..\\..\\secret.png"}, "is not below"),
        ({}, {"file_name": ""}, "no name"),
        ({}, {"file_name": "one.jpg\0.png"}, "no name"),
        ({}, {"file_name": {"a": 1}}, "no name"),
    ],
)
def test_hostile_annotations_are_named_and_leave_nothing(
    src: Path, save_json: Any, annotation: dict[str, Any], image: dict[str, Any], says: str
) -> None:
    save_json(src.parent / "secret.png", {})
    save_json(src / "a.json", document([annotation], **image))
    out = src.parent / "out"
    with pytest.raises(DataError, match=says):
        import_dataset(src, out=out)
    assert sorted(path.name for path in src.parent.iterdir()) == ["secret.png", "src"]


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(density=st.floats(0, 1), seed=st.integers(0, 1000))
def test_packed_run_lengths_are_those_of_pycocotools(
    src: Path, save_json: Any, masks_of: Any, density: float, seed: int
) -> None:
    mask = (np.random.default_rng(seed).random((30, 40)) < density).astype(np.uint8)
    mask[:2, :2] = 1
    packed = coco.encode(np.asfortranarray(mask))["counts"].decode()
    save_json(src / "a.json", document([{"segmentation": {"size": [30, 40], "counts": packed}}]))
    out = src.parent / "out"
    import_dataset(src, out=out, exist_ok=True)
    np.testing.assert_array_equal(masks_of(out)["one"], mask)


def test_links_that_lead_out_are_refused(
    src: Path, save_json: Any, save_picture: Any, masks_of: Any
) -> None:
    save_picture(src.parent / "elsewhere" / "two.jpg", 30, 40)
    (src / "images" / "two.jpg").symlink_to(src.parent / "elsewhere" / "two.jpg")
    found = document([{"segmentation": [[1, 1, 5, 1, 5, 5]]}], file_name="two.jpg")
    save_json(src / "a.json", found)
    with pytest.raises(DataError, match="link that leads out"):
        import_dataset(src, out=src.parent / "out")
    summary = import_dataset(src, out=src.parent / "out", images=src.parent / "elsewhere")
    assert summary.num_images == 1


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("is_stored", [True, False])
def test_exif_is_obeyed_as_the_stated_size_tells(
    tmp_path: Path,
    save_picture: Any,
    save_json: Any,
    masks_of: Any,
    orientation: int,
    is_stored: bool,
) -> None:
    from PIL import Image, ImageOps

    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "src" / "one.jpg"
    mark = Image.new("RGB", (40, 30))
    mark.paste((255, 255, 255), (4, 2, 12, 8))
    path.parent.mkdir()
    upright = ImageOps.exif_transpose(mark) if orientation == 1 else mark
    upright.save(path, exif=exif, quality=100)
    is_turned = orientation in (6, 8)
    height, width = (40, 30) if is_turned and not is_stored else (30, 40)
    shown = read_image(path)[..., 0] > 128
    drawn = mark if height == 30 else Image.fromarray(shown)
    bits = np.asarray(drawn.convert("L")) > 128
    if orientation == 3:
        bits = shown  # of a half turn sizes say nothing; masks are taken for upright
    rows, columns = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    outline = [left, top, right, top, right, bottom, left, bottom]
    save_json(
        tmp_path / "src" / "a.json",
        document(
            [{"segmentation": [[int(number) for number in outline]]}], height=height, width=width
        ),
    )
    import_dataset(tmp_path / "src", out=tmp_path / "out")
    found = masks_of(tmp_path / "out")["one"] == 1
    assert found.shape == shown.shape
    np.testing.assert_array_equal(found, shown)


def test_files_that_are_no_coco(src: Path, save_json: Any) -> None:
    out = src.parent / "out"
    for content, says in (("{", "no JSON"), ("[" * 100_000, "no JSON"), ("[]", "not COCO")):
        (src / "a.json").write_text(content)
        with pytest.raises(UnreadableFileError, match=says):
            import_dataset(src / "a.json", out=out, format="coco")
    (src / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableFileError, match="as text"):
        import_dataset(src / "a.json", out=out, format="coco")
    save_json(src / "a.json", document([{"segmentation": [[1, 1, 5, 1, 5, 5]]}]) | {"images": [1]})
    with pytest.raises(UnreadableFileError, match="image without an id"):
        import_dataset(src, out=out, format="coco")
    with pytest.raises(DelineateError, match="no COCO file"):
        import_dataset(src / "images", out=out, format="coco")


def test_run_lengths_are_whole_numbers() -> None:
    assert read_counts([0, 5, 3]).tolist() == [0, 5, 3]
    for counts in ([1.5], [[1, 2]], ["a"], [float("nan")], [10**30]):
        with pytest.raises(DataError, match="run lengths"):
            read_counts(counts)
