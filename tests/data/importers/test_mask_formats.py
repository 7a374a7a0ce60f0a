"""Pascal VOC, Cityscapes, nnU-Net and instance masks: masks that are pictures already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from delineate import import_dataset
from delineate.data.importers.index_masks import CITYSCAPES_CLASSES, voc_colours
from delineate.errors import DataError, UnreadableFileError, UsageError
from delineate.rasters import read_raster, read_stack

RNG = np.random.default_rng(0)


def save_indices(path: Path, indices: np.ndarray[Any, Any], *, has_palette: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices.astype(np.uint8))
    if has_palette:
        image.putpalette(voc_colours(256).tobytes())
    image.save(path)


def test_the_colours_of_voc() -> None:
    assert voc_colours(21)[[0, 1, 2, 15, 20]].tolist() == [
        *([0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128])
    ]
    assert voc_colours(256)[255].tolist() == [224, 224, 192]


@pytest.mark.parametrize("form", ["palette", "grey", "colour"])
def test_voc_indices_and_void(tmp_path: Path, save_picture: Any, masks_of: Any, form: str) -> None:
    src = tmp_path / "VOC2012"
    indices = RNG.choice([0, 1, 15, 255], (12, 16))
    for name in ("p", "q"):
        save_picture(src / "JPEGImages" / f"{name}.jpg", 12, 16)
    save_picture(src / "JPEGImages" / "only_boxes.jpg", 12, 16)
    for name in ("p", "q"):
        path = src / "SegmentationClass" / f"{name}.png"
        save_indices(path, indices, has_palette=form != "grey")
        if form == "colour":
            Image.fromarray(voc_colours(256)[indices]).save(path)
    sets = src / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("p\n")
    (sets / "val.txt").write_text("q\n")
    summary = import_dataset(src, out=tmp_path / "out")
    assert (summary.format, summary.splits) == ("voc", {"train": 1, "val": 1})
    np.testing.assert_array_equal(masks_of(tmp_path / "out")["p"], indices)
    assert summary.num_void == 2 * (indices == 255).sum()
    assert any("images without a mask" in note for note in summary.notes)


def test_voc_with_a_label_map(tmp_path: Path, save_picture: Any, masks_of: Any) -> None:
    save_picture(tmp_path / "src" / "JPEGImages" / "p.jpg", 2, 3)
    colours = np.array([[[9, 9, 9], [250, 50, 20], [0, 0, 0]]] * 2, np.uint8)
    (tmp_path / "src" / "SegmentationClass").mkdir()
    Image.fromarray(colours).save(tmp_path / "src" / "SegmentationClass" / "p.png")
    legend = tmp_path / "src" / "labelmap.txt"
    legend.write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nroof:250,50,20::\n")
    with pytest.raises(DataError, match="holds #090909, which is no class"):
        import_dataset(tmp_path / "src", out=tmp_path / "out")
    legend.write_text("background:0,0,0::\nroof:250,50,20::\nwall:9,9,9::\n")
    import_dataset(tmp_path / "src", out=tmp_path / "out")
    assert masks_of(tmp_path / "out")["p"][0].tolist() == [2, 1, 0]
    legend.write_text("roof:red::\n")
    with pytest.raises(DataError, match=r"labelmap\.txt, line 1"):
        import_dataset(tmp_path / "src", out=tmp_path / "again")


def test_cityscapes_ids(tmp_path: Path, save_picture: Any, masks_of: Any) -> None:
    src = tmp_path / "src"
    ids = RNG.choice([0, 4, 7, 11, 26, 33], (8, 16))
    for split, city, number in (("train", "aachen", 0), ("val", "bern", 1), ("test", "wien", 2)):
        stem = f"{city}_00000{number}_000019"
        save_picture(src / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", 8, 16)
        path = src / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png"
        save_indices(path, ids * (split != "test"), has_palette=False)
    summary = import_dataset(src, out=tmp_path / "out")
    assert (summary.format, summary.splits) == ("cityscapes", {"train": 1, "val": 1})
    train_id = {7: 0, 11: 2, 26: 13, 33: 18}
    expected = np.vectorize(lambda code: train_id.get(code, 255))(ids)
    np.testing.assert_array_equal(masks_of(tmp_path / "out")["aachen_000000_000019"], expected)
    assert tuple(summary.class_pixels) == tuple(CITYSCAPES_CLASSES)
    assert any("masks in which nothing counts" in note for note in summary.notes)


def save_nifti(path: Path, values: np.ndarray[Any, Any], affine: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([0.8, 0.8, 3, 1]) if affine is None else affine
    nibabel.Nifti1Image(values, affine).to_filename(path)


NNUNET = {
    "channel_names": {"0": "CT", "1": "PET"},
    "labels": {"background": 0, "liver": 1, "tumour": 2, "ignore": 3},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


def save_case(src: Path, case: str, labels: np.ndarray[Any, Any], folder: str = "Tr") -> Any:
    images = RNG.integers(-1000, 1000, (2, *labels.shape)).astype(np.int16)
    for channel, values in enumerate(images):
        save_nifti(src / f"images{folder}" / f"{case}_{channel:04}.nii.gz", values)
    save_nifti(src / f"labels{folder}" / f"{case}.nii.gz", labels.astype(np.uint8))
    return images


def test_nnunet_volumes_become_slices(tmp_path: Path, save_json: Any, masks_of: Any) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    labels = RNG.integers(0, 4, (6, 5, 12))
    images = save_case(src, "case_1", labels)
    save_case(src, "case_2", labels[..., :4])
    save_case(src, "case_9", labels[..., :2], "Ts")
    save_json(src / "dataset.json", NNUNET)
    summary = import_dataset(src, out=out)
    assert (summary.format, summary.num_images, summary.splits["test"]) == ("nnunet", 18, 2)
    raster = read_raster(out / "images" / "case_1_z07.tif")
    # Rows run to the back, columns to the left: both axes backwards in RAS.
    expected = images[:, ::-1, ::-1, 7].transpose(2, 1, 0)
    np.testing.assert_array_equal(raster.pixels, expected)
    assert raster.pixels.dtype == np.int16
    assert raster.spacing == pytest.approx((0.8, 0.8))
    target = labels[::-1, ::-1, 7].T
    np.testing.assert_array_equal(masks_of(out)["case_1_z07"], np.where(target == 3, 255, target))
    text = (out / "data.yaml").read_text()
    assert "liver: 1\n  tumour: 2" in text
    assert "groups:" in text


def test_nnunet_regions_and_the_first_version(
    tmp_path: Path, save_json: Any, masks_of: Any
) -> None:
    src = tmp_path / "src"
    labels = RNG.integers(0, 3, (6, 5, 4))
    save_case(src, "a", labels)
    save_case(src, "b", labels)
    regions = {"background": 0, "whole": [1, 2], "core": [2]}
    save_json(src / "dataset.json", NNUNET | {"labels": regions})
    summary = import_dataset(src, out=tmp_path / "out")
    counts = {"whole": 2 * (labels > 0).sum(), "core": 2 * (labels == 2).sum()}
    assert summary.class_pixels == counts
    assert "kind: multilabel" in (tmp_path / "out" / "data.yaml").read_text()
    first = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "tumour"}}
    save_json(src / "dataset.json", first)
    summary = import_dataset(src, out=tmp_path / "first")
    assert list(summary.class_pixels) == ["background", "liver", "tumour"]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"background": 0, "liver": "x"}, "no whole number|no class"),
        ({"background": 0, "liver": 300}, "outside of 0 to 254"),
        ({"background": 0, "liver": 1}, "holds 2, which is no class"),
    ],
)
def test_broken_nnunet_labels(
    tmp_path: Path, save_json: Any, labels: dict[str, Any], says: str
) -> None:
    src = tmp_path / "src"
    save_case(src, "a", np.full((4, 4, 3), 2))
    save_json(src / "dataset.json", NNUNET | {"labels": labels})
    with pytest.raises(DataError, match=says):
        import_dataset(src, out=tmp_path / "out")


def test_volumes_and_labels_must_lie_on_one_grid(tmp_path: Path, save_json: Any) -> None:
    src = tmp_path / "src"
    save_json(src / "dataset.json", NNUNET | {"channel_names": {"0": "CT"}})
    labels = RNG.integers(0, 3, (6, 5, 4)).astype(np.uint8)
    save_nifti(src / "imagesTr" / "a_0000.nii.gz", labels)
    save_nifti(src / "labelsTr" / "a.nii.gz", labels[:, :, :3])
    with pytest.raises(DataError, match=r"its labels .* are 3x"):
        import_dataset(src, out=tmp_path / "out")
    shifted = np.diag([0.8, 0.8, 3, 1])
    shifted[:3, 3] = 10
    save_nifti(src / "labelsTr" / "a.nii.gz", labels, shifted)
    with pytest.raises(DataError, match="affines differ"):
        import_dataset(src, out=tmp_path / "out")
    with pytest.raises(UsageError, match="unknown plane 'axail'"):
        import_dataset(src, out=tmp_path / "out", plane="axail")
    (src / "dataset.json").unlink()
    with pytest.raises(UnreadableFileError, match=r"dataset\.json"):
        import_dataset(src, out=tmp_path / "out", format="nnunet")


def test_instances_in_files_stacks_and_one_file_each(
    tmp_path: Path, save_picture: Any, masks_of: Any
) -> None:
    src = tmp_path / "src"
    numbers = np.zeros((20, 30), np.uint16)
    numbers[2:8, 2:8], numbers[2:8, 8:12], numbers[12:16, 20:25] = 1, 700, 3
    for name in "ab":
        save_picture(src / "images" / f"{name}.png", 20, 30)
        (src / "masks").mkdir(exist_ok=True)
        tifffile.imwrite(src / "masks" / f"{name}.tif", numbers)
    summary = import_dataset(src, out=tmp_path / "out", format="instances", classes=["cell"])
    np.testing.assert_array_equal(masks_of(tmp_path / "out")["a"], numbers > 0)
    assert summary.class_pixels["cell"] == 2 * (numbers > 0).sum()
    assert any(note.startswith("2 objects that touch others") for note in summary.notes)

    stack = tmp_path / "stack"
    stack.mkdir()
    pages = RNG.integers(0, 60000, (10, 20, 30)).astype(np.uint16)
    tifffile.imwrite(stack / "img3d.tif", pages, imagej=True, metadata={"axes": "ZYX"})
    labels = np.stack([numbers] * 10)
    tifffile.imwrite(stack / "lbl3d.tif", labels, imagej=True, metadata={"axes": "ZYX"})
    summary = import_dataset(
        stack,
        out=tmp_path / "slices",
        format="instances",
        images=stack / "img3d.tif",
        masks=stack / "lbl3d.tif",
    )
    assert summary.splits == {"train": 7, "val": 2, "test": 1}
    assert any("volume alone" in note for note in summary.notes)
    image = read_raster(tmp_path / "slices" / "images" / "train" / "img3d_z3.tif")
    np.testing.assert_array_equal(image.pixels[..., 0], pages[3])
    assert len(read_stack(stack / "img3d.tif")) == 10
