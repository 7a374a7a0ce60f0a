"""Groups that names tell."""

from __future__ import annotations

import re

import pytest

from delineate.data.doctor.name_groups import guess_groups


@pytest.mark.parametrize(
    ("paths", "pattern", "num_groups"),
    [
        ([f"Image_{n:02d}{eye}.jpg" for n in range(1, 15) for eye in "LR"], r"Image_(\d+)", 14),
        ([f"Tile {n}/images/part_{i}.jpg" for n in range(4) for i in range(5)], r"(Tile \d+)/", 4),
        (
            [
                f"train/{name}_{i:05d}.png"
                for name in ("0016E5", "0006R0", "01TP")
                for i in range(6)
            ],
            r"[^/_\-. ]+)_",
            3,
        ),
        ([f"kl/TCGA_{n}_1996/{n}_{i}.tif" for n in range(30, 36) for i in range(4)], "/", 6),
        ([f"scene {n}-{i}.png" for n in range(5) for i in range(4)], r"scene (\d+)", 5),
    ],
    ids=["eyes", "tiles", "sequences", "patients", "scenes"],
)
def test_groups_are_told(paths: list[str], pattern: str, num_groups: int) -> None:
    first = guess_groups(paths)[0]
    assert pattern in first.pattern
    assert len(set(first.groups)) == num_groups
    found = [re.search(first.pattern, path) for path in paths]
    assert [match[1] for match in found if match] == list(first.groups)


def test_the_coarsest_group_comes_first() -> None:
    paths = [f"p{p:02d}_scan{s}_{z:02d}.png" for p in range(5) for s in range(2) for z in range(4)]
    assert [len(set(guess.groups)) for guess in guess_groups(paths)] == [5, 10]


@pytest.mark.parametrize(
    "paths",
    [
        [f"images/cells_{n:03d}.png" for n in range(24)],
        [f"{n}.png" for n in range(30)],
        [f"{n:x}/images/{n:x}.png" for n in range(1000, 1030)],
        [f"{kind}/{kind}_{n}.png" for kind in ("blowhole", "crack") for n in range(20)],
        [f"images/train/{n}.png" for n in range(9)] + [f"images/val/{n}.png" for n in range(9)],
        [f"scene_{n}_{n % 2}.png" for n in range(9)],
        [],
        ["a.png"],
        ["ab.png", "c_2.png", "d_3_x.png"],
    ],
)
def test_names_that_tell_no_group(paths: list[str]) -> None:
    assert guess_groups(paths) == []
