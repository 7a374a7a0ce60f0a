from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.config import DataConfig
from delineate.data.inventory import (
    Inventory,
    build_inventory,
    list_images,
    list_samples,
    read_data_file,
    save_inventory,
)
from delineate.data.splitting import assign_splits
from delineate.errors import ConfigError, DataError, UnreadableFileError, UsageError
from delineate.rasters import write_image


def lay_out(root: Path, names: Sequence[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".tif"):
            write_image(path, np.zeros((2, 2), np.uint8))
        else:
            path.write_bytes(b"")
    return root


def pairs(inventory: Inventory) -> dict[str, tuple[str, ...]]:
    def relative(path: Path) -> str:
        return path.relative_to(inventory.root).as_posix()

    return {relative(s.image): tuple(map(relative, s.masks)) for s in inventory.samples}


def splits(inventory: Inventory) -> dict[str, str]:
    return {sample.name: sample.split for sample in inventory.samples}


LAYOUTS = {
    "images and masks": {"images/a.png": ("masks/a.png",), "images/b.jpg": ("masks/b.png",)},
    "image and label": {"image/0.png": ("label/0.png",), "image/10.png": ("label/10.png",)},
    "roles above splits": {
        "images/train/a.png": ("masks/train/a.png",),
        "images/val/a.png": ("masks/val/a.png",),
        "images/test/b.png": ("masks/test/b.png",),
    },
    "splits above roles": {
        "training/imgs/a.png": ("training/annotations/a.png",),
        "validation/imgs/a.png": ("validation/annotations/a.png",),
        "test/imgs/b.png": ("test/annotations/b.png",),
    },
    "role in the split's name": {
        "train/a.png": ("trainannot/a.png",),
        "val_images/a.png": ("val_masks/a.png",),
        "imagesTs/q.png": ("labelsTs/q.png",),
    },
    "year in the split's name": {
        "train2017/a.png": ("labels_train2017/a.png",),
        "val2017/c.png": ("labels_val2017/c.png",),
    },
    "scenes": {
        "Tile 1/images/part.jpg": ("Tile 1/masks/part.png",),
        "Tile 2/images/part.jpg": ("Tile 2/masks/part.png",),
    },
    "scenes below roles": {
        "images/tile_1/part.jpg": ("masks/tile_1/part.png",),
        "images/tile_2/part.jpg": ("masks/tile_2/part.png",),
    },
    "suffixes in one folder": {
        "a.png": ("a_mask.png",),
        "b.png": ("b_manual1.png",),
        "c.png": ("c_1stHO.png",),
        "d (1).png": ("d (1)-label.png",),
        "e_sat.jpg": ("e_mask.png",),
        "img_07.png": ("gt_07.png",),
    },
    "suffixes in folders": {
        "images/21_training.tif": ("1st_manual/21_manual1.gif",),
        "images/ISIC_0.jpg": ("1st_manual/ISIC_0_segmentation.png",),
        "images/x.tif": ("1st_manual/x.tif.png",),
    },
    "endings tell": {"MT/Imgs/a.jpg": ("MT/Imgs/a.png",), "MT/Imgs/b.jpg": ("MT/Imgs/b.png",)},
    "a file per instance": {
        "train/id1/images/id1.png": ("train/id1/masks/0c.png", "train/id1/masks/7f.png"),
        "train/id2/images/id2.png": ("train/id2/masks/12.png",),
    },
    "numbered parts": {"a.png": ("a_mask.png", "a_mask_1.png"), "b.png": ("b_mask.png",)},
    "a folder per sample": {"s1/image.png": ("s1/mask.png",), "s2/image.png": ("s2/mask.png",)},
    "splits of images alone": {
        "images/train/a.png": ("masks/a.png",),
        "images/test/b.png": ("masks/b.png",),
    },
    "a mask's name is another image's": {
        "images/a.png": ("masks/a.png",),
        "images/a_mask.png": ("masks/a_mask.png",),
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_are_found_by_name(tmp_path: Path, layout: str) -> None:
    expected = LAYOUTS[layout]
    names = [name for image, masks in expected.items() for name in (image, *masks)]
    junk = [".hidden.png", "Thumbs.db", "classes.json", "__MACOSX/a.png", ".git/x.png"]
    inventory = build_inventory(lay_out(tmp_path, [*names, *junk]), DataConfig())
    assert pairs(inventory) == expected


def test_folders_of_earlier_runs_are_no_data(tmp_path: Path) -> None:
    run = ["runs/r1/config.yaml", "runs/r1/inventory.csv", "runs/r1/figures/loss.png"]
    lay_out(tmp_path, ["images/a.png", "masks/a.png", *run])
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    assert list(pairs(build_inventory(tmp_path, DataConfig()))) == ["images/a.png"]


@pytest.mark.parametrize(
    ("names", "settings", "says"),
    [
        (["a.png", "a_1stHO.png", "a_2ndHO.png"], {}, "--data.mask-suffix _1stHO.* or '_2ndHO'"),
        (
            ["images/a.png", "1st_manual/a.png", "2nd_manual/a.png"],
            {},
            "--data.masks '1st_manual'.* or '2nd_manual'",
        ),
        (
            ["images/a.png", "images/a.jpg", "masks/a.png"],
            {},
            "several images match .*images/a.jpg, images/a.png",
        ),
        (["images/a.png", "images/b.png", "masks/a.png"], {}, r"1 image of 2 .*'images/b.png'"),
        (["images/a.png", "masks/a.png", "masks/c.png"], {}, r"1 mask without an image \(masks/c"),
        (["images/a.png", "masks/a_xyz.png"], {}, "--data.mask-suffix _xyz"),
        (["a.png", "b.png"], {}, "2 images of 2 without a mask .*--data.masks FOLDER"),
        ([], {}, "no image was found"),
        (["images/a.png", "masks/a.png"], {"groups": r"(\d+)"}, "does not match 1 image"),
        (
            ["images/train/a.png", "masks/train/a.png", "images/test/a.png", "masks/test/a.png"],
            {"groups": r"(a)\.png"},
            r"1 group in more than one split \(a\)",
        ),
        (["images/a.png", "masks/a.png"], {"images": ("pictures",)}, "pictures holds no image"),
    ],
)
def test_what_is_open_is_an_error_that_helps(
    tmp_path: Path, names: list[str], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        build_inventory(lay_out(tmp_path, names), DataConfig(**settings))


def test_all_problems_are_in_one_message(tmp_path: Path) -> None:
    lay_out(tmp_path, ["images/a.png", "images/b.png", "masks/b_1.png", "masks/zz.png"])
    lay_out(tmp_path, ["images/c.png", "masks/c_gt.png", "masks/c_mask.png"])
    with pytest.raises(DataError) as error:
        build_inventory(tmp_path, DataConfig())
    for part in ("several masks", "masks without an image", "without a mask"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mask_suffix": "_2ndHO"}, {"a.png": ("a_2ndHO.png",), "b.png": ("b_2ndHO.png",)}),
        (
            {"mask_suffix": "_*HO"},
            {"a.png": ("a_1stHO.png", "a_2ndHO.png"), "b.png": ("b_1stHO.png", "b_2ndHO.png")},
        ),
        ({"exclude": ("*_1stHO.png", "b*")}, {"a.png": ("a_2ndHO.png",)}),
    ],
)
def test_settings_choose_among_masks(
    tmp_path: Path, settings: dict[str, Any], expected: dict[str, tuple[str, ...]]
) -> None:
    names = [f"{image}{suffix}.png" for image in "ab" for suffix in ("", "_1stHO", "_2ndHO")]
    inventory = build_inventory(lay_out(tmp_path, names), DataConfig(**settings))
    assert pairs(inventory) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"images": ("p1", "p2"), "masks": ("q1", "q2")},
            {"p1/a.png": ("q1/a.png",), "p2/a.png": ("q2/a.png",)},
        ),
        ({"images": ("p1/*.png",), "masks": ("q1/*.png",)}, {"p1/a.png": ("q1/a.png",)}),
        ({"masks": ("q1",), "exclude": ("p2", "q2")}, {"p1/a.png": ("q1/a.png",)}),
    ],
)
def test_folders_can_be_named(
    tmp_path: Path, settings: dict[str, Any], expected: dict[str, tuple[str, ...]]
) -> None:
    lay_out(tmp_path, ["p1/a.png", "p2/a.png", "q1/a.png", "q2/a.png"])
    assert pairs(build_inventory(tmp_path, DataConfig(**settings))) == expected


def test_images_alone_suffice_where_masks_are_not_required(tmp_path: Path) -> None:
    lay_out(tmp_path, ["images/a.png", "images/b.png"])
    inventory = build_inventory(tmp_path, DataConfig(), require_masks=False)
    assert pairs(inventory) == {"images/a.png": (), "images/b.png": ()}


def test_csv_lists_files_splits_groups_and_instances(tmp_path: Path) -> None:
    lay_out(tmp_path, ["x/a.png", "x/b.png", "y/1.png", "y/2.png", "y/3.png"])
    lines = ["image;mask;split;group", "x/a.png;y/1.png;Training;g1", "x/a.png;y/2.png;train;g1"]
    (tmp_path / "list.csv").write_text("\n".join([*lines, "x/b.png;y/3.png;test;g2"]))
    inventory = build_inventory(tmp_path / "list.csv", DataConfig(split=(1, 0, 0)))
    assert pairs(inventory) == {"x/a.png": ("y/1.png", "y/2.png"), "x/b.png": ("y/3.png",)}
    assert [(s.split, s.group) for s in inventory.samples] == [("train", "g1"), ("test", "g2")]
    save_inventory(inventory, tmp_path / "saved.csv")
    again = build_inventory(tmp_path / "saved.csv", DataConfig(split=(1, 0, 0)))
    assert again == inventory


def test_csv_problems_are_named_by_line(tmp_path: Path) -> None:
    lay_out(tmp_path, ["a.png", "m.png"])
    path = tmp_path / "list.csv"
    path.write_text("image,mask,split\na.png,m.png,train\na.png,m.png,val\nb.png,m.png,dusk\n")
    with pytest.raises(
        DataError, match=r"(?s)line 3: a.png .*line 4: split 'dusk'.*1 file .*b.png"
    ):
        build_inventory(path, DataConfig())
    path.write_text("picture,label\na.png,m.png\n")
    with pytest.raises(DataError, match="columns picture, label but needs image and mask"):
        build_inventory(path, DataConfig())


def test_data_yaml_says_what_the_folder_cannot(tmp_path: Path) -> None:
    lay_out(tmp_path / "set", ["images/a.png", "masks/a.png"])
    path = tmp_path / "data.yaml"
    path.write_text("path: set\nforeground_value: 0\nclass_names: [membrane]\n")
    expected = {"data": {"foreground_value": 0}, "task": {"class_names": ["membrane"]}}
    assert read_data_file(path) == read_data_file(tmp_path) == expected
    assert read_data_file(tmp_path / "set") == {"data": {}, "task": {}}
    for data in (path, tmp_path):
        assert list(pairs(build_inventory(data, DataConfig()))) == ["images/a.png"]
    path.write_text("path: elsewhere\n")
    with pytest.raises(UnreadableFileError, match="path: elsewhere"):
        build_inventory(path, DataConfig())
    path.write_text("forground_value: 0\n")
    with pytest.raises(ConfigError, match="did you mean 'foreground_value'"):
        read_data_file(path)
    with pytest.raises(UnreadableFileError, match="does not exist"):
        build_inventory(tmp_path / "nowhere", DataConfig())


def test_sources_of_predictions_are_listed_once(tmp_path: Path) -> None:
    lay_out(tmp_path, ["images/a.png", "images/b.png", "masks/a.png", "loose.png"])
    a, b = tmp_path / "images" / "a.png", tmp_path / "images" / "b.png"
    assert list_images([tmp_path / "images", a]) == [a, b]
    assert list_images([f"{tmp_path}/images/*.png"]) == [a, b]
    assert tmp_path / "masks" / "a.png" not in list_images([tmp_path])
    assert list_images([tmp_path / "masks"]) == [tmp_path / "masks" / "a.png"]
    for source in (tmp_path / "none", f"{tmp_path}/*.jpg"):
        with pytest.raises(UnreadableFileError, match="holds no image"):
            list_images([source])


@pytest.mark.parametrize(
    ("given_splits", "expected"),
    [
        (["train", "val", "test"], {"train", "val", "test"}),
        (["train", "val"], {"train", "val", "test"}),
        (["train", "test"], {"train", "val", "test"}),
        (["train"], {"train", "val", "test"}),
        (["test"], {"test"}),
    ],
)
def test_splits_that_nobody_named_are_drawn_from_training(
    tmp_path: Path, given_splits: list[str], expected: set[str]
) -> None:
    names = [
        f"{split}/{role}/{split}{number}.png"
        for split in given_splits
        for number in range(5)
        for role in ("images", "masks")
    ]
    inventory = build_inventory(lay_out(tmp_path, names), DataConfig())
    assert {sample.split for sample in inventory.samples} == expected
    for name, split in splits(inventory).items():
        assert split == name.split("/")[0] or name.startswith("train/")


def test_groups_stay_together(tmp_path: Path) -> None:
    names = [
        f"{role}/child{child}_{eye}.png"
        for child in range(5)
        for eye in "LR"
        for role in ("images", "masks")
    ]
    inventory = build_inventory(lay_out(tmp_path, names), DataConfig(groups=r"child(\d)"))
    assert {s.group for s in inventory.samples} == set("01234")
    assert len({(s.group, s.split) for s in inventory.samples}) == 5
    assert {s.split for s in inventory.samples} == {"train", "val", "test"}
    with pytest.raises(UsageError, match="no regular expression"):
        build_inventory(tmp_path, DataConfig(groups="("))


@settings(deadline=None, max_examples=60)
@given(
    groups=st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=40),
    seed=st.integers(0, 5),
    shuffle=st.randoms(use_true_random=False),
)
def test_split_is_by_group_and_knows_no_order(
    groups: list[str], seed: int, shuffle: random.Random
) -> None:
    shares = (0.7, 0.15, 0.15)
    drawn = assign_splits(groups, [None] * len(groups), shares, seed)
    split_of = dict(zip(groups, drawn, strict=True))
    assert [split_of[group] for group in groups] == drawn
    order = list(groups)
    shuffle.shuffle(order)
    again = assign_splits(order, [None] * len(order), shares, seed)
    assert dict(zip(order, again, strict=True)) == split_of
    assert "train" in drawn
    if len(split_of) >= 3:
        assert set(drawn) == {"train", "val", "test"}


def test_shares_are_kept_and_checked() -> None:
    groups = [str(number) for number in range(100)]
    drawn = assign_splits(groups, [None] * 100, (0.6, 0.3, 0.1), seed=1)
    assert [drawn.count(split) for split in ("train", "val", "test")] == [60, 30, 10]
    assert drawn != assign_splits(groups, [None] * 100, (0.6, 0.3, 0.1), seed=2)
    assert "test" not in assign_splits(groups, [None] * 100, (0.8, 0.2, 0.0), seed=1)
    with pytest.raises(UsageError, match="add up to 1"):
        assign_splits(groups, [None] * 100, (0.6, 0.3, 0.3), seed=1)


def test_a_listing_keeps_what_does_not_fit(tmp_path: Path) -> None:
    names = [
        *("images/a.png", "masks/a.png", "images/b.png", "masks/lonely.png"),
        *("images/c.png", "masks/c_1stHO.png", "masks/c_2ndHO.png"),
    ]
    listing = list_samples(lay_out(tmp_path, names), DataConfig())
    assert [sample.name for sample in listing.samples] == ["images/a", "images/b", "images/c"]
    assert [len(sample.masks) for sample in listing.samples] == [1, 0, 0]
    others = [path.relative_to(tmp_path).as_posix() for path in listing.others]
    assert others == ["masks/c_1stHO.png", "masks/c_2ndHO.png", "masks/lonely.png"]
    found = {finding.code: finding.files for finding in listing.findings}
    assert found == {
        "ambiguous-mask": ("images/c.png", "masks/c_1stHO.png", "masks/c_2ndHO.png"),
        "missing-mask": ("images/b.png",),
        "orphan-mask": ("masks/lonely.png",),
    }


def test_a_folder_is_left_out_whole_only_if_no_image_of_it_has_a_mask(tmp_path: Path) -> None:
    names = ["images/train/a.png", "masks/train/a.png", "images/test/b.png", "images/test/c.png"]
    (bare,) = list_samples(lay_out(tmp_path / "one", names), DataConfig()).findings
    assert "--data.exclude 'images/test/*'" in bare.fix
    names += ["images/train/d.png"]
    (bare,) = list_samples(lay_out(tmp_path / "two", names), DataConfig()).findings
    assert "images/train/d.png" in bare.fix
    assert "*" not in bare.fix


def test_what_leaves_files_out_takes_their_names_as_they_are(tmp_path: Path) -> None:
    names = ["images/a.png", "masks/a.png", "images/b[1].png", "images/b1.png", "masks/b1.png"]
    folder = lay_out(tmp_path, names)
    (bare,) = list_samples(folder, DataConfig()).findings
    pattern = re.findall(r"--data.exclude '(.*?)'", bare.fix)[0]
    inventory = build_inventory(folder, DataConfig(exclude=(pattern,)))
    assert [sample.name for sample in inventory.samples] == ["images/a", "images/b1"]


def test_validation_images_can_be_named(tmp_path: Path) -> None:
    names = [
        f"{role}/{i}{side}.png" for i in range(5) for side in "LR" for role in ("images", "masks")
    ]
    root = lay_out(tmp_path, names)
    drawn = build_inventory(root, DataConfig(groups=r"(\d)"))
    pool = sorted(s.name for s in drawn.samples if s.split == "train")
    wanted = pool[:2]  # both images of a child
    named = build_inventory(root, DataConfig(groups=r"(\d)", validation=tuple(wanted)))
    assert sorted(s.name for s in named.of("val")) == wanted
    assert named.of("test") == drawn.of("test")
    assert len(named.of("train")) == 10 - 2 - len(drawn.of("test"))


def test_named_validation_images_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    names = [
        f"{role}/{i}{side}.png" for i in range(5) for side in "LR" for role in ("images", "masks")
    ]
    root = lay_out(tmp_path, names)
    drawn = build_inventory(root, DataConfig(groups=r"(\d)"))
    tested = drawn.of("test")[0].name
    trained = drawn.of("train")[0].name
    for wanted, complaint in (
        ("images/9L", r"names images that are not there \(1: images/9L\)"),
        (tested, "names images of the test split"),
        (trained, "leaves out images of the groups that it names"),
    ):
        with pytest.raises(UsageError, match=complaint):
            build_inventory(root, DataConfig(groups=r"(\d)", validation=(wanted,)))
