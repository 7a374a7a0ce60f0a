"""How often the alarm for unfamiliar images is raised, rightly and wrongly, on real sets.

``DELINEATE_DATA=... python benchmarks/familiarity.py`` learns the look of the training images of
each set and prints a table of alarms: on its own test images (wrong ones), on changed copies of
these, and on test images of the other sets (right ones). No network is needed; half a minute.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from delineate.config import DataConfig
from delineate.data.inventory import Sample, build_inventory
from delineate.prediction.familiarity import (
    ALARM_RATIO,
    Familiarity,
    learn_familiarity,
    look_of,
)
from delineate.preprocessing import Preprocessing, measure_preprocessing
from delineate.rasters import read_image

SETS: dict[str, dict[str, Any]] = {
    "dsb2018_mini": {},
    "isbi_em": {},
    "chase_db1": {"mask_suffix": "_1stHO", "groups": r"Image_(\d+)"},
    "camvid_mini": {},
    "dubai_aerial": {"groups": r"(Tile \d+)"},
}
MAX_TRAINING, MAX_TEST, MAX_OTHER = 40, 8, 4
"""Images of each set, evenly chosen."""

Change = Callable[[np.ndarray], np.ndarray]
CHANGES: dict[str, Change] = {
    "as it is": lambda image: image,
    "inverted": lambda image: 255 - image,
    "dark (x 0.4)": lambda image: (image * 0.4).astype(np.uint8),
    "blurred (3 px)": lambda image: cv2.GaussianBlur(image, (0, 0), 3).reshape(image.shape),
    "noise (sd 25)": lambda image: np.clip(
        image + np.random.default_rng(0).normal(0, 25, image.shape), 0, 255
    ).astype(np.uint8),
    "half the size": lambda image: (
        cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).reshape(
            image.shape[0] // 2 + image.shape[0] % 2, -1, image.shape[2]
        )
        if min(image.shape[:2]) % 2 == 0
        else image[::2, ::2]
    ),
    "red and blue swapped": lambda image: (
        image[..., [2, 1, 0, *range(3, image.shape[2])]] if image.shape[2] >= 3 else image
    ),
}


def read(samples: tuple[Sample, ...], count: int) -> list[tuple[np.ndarray, str]]:
    """Return up to `count` images, evenly chosen, and their groups."""
    chosen = samples
    if len(samples) > count:
        chosen = tuple(samples[i] for i in np.linspace(0, len(samples) - 1, count).astype(int))
    return [(read_image(sample.image), sample.group) for sample in chosen]


def count_alarms(known: Familiarity, pictures: list[np.ndarray], like: Preprocessing) -> str:
    """Return how many pictures are far from what is known, of how many."""
    ratios = []
    for picture in pictures:
        look = look_of(picture, None, like)
        ratio = None if look is None else known.ratio(look)
        if ratio is not None:
            ratios.append(ratio)
    return f"{sum(ratio > ALARM_RATIO for ratio in ratios)} of {len(ratios)}"


def main() -> None:
    """Print a column per set."""
    root = Path(os.environ["DELINEATE_DATA"])
    table: dict[str, list[str]] = {change: [] for change in (*CHANGES, "other sets")}
    inventories = {
        name: build_inventory(root / name, DataConfig(**settings))
        for name, settings in SETS.items()
    }
    for name, inventory in inventories.items():
        training = read(inventory.of("train"), MAX_TRAINING)
        like = measure_preprocessing(image for image, _ in training)
        looks = [look_of(image, None, like) for image, _ in training]
        known = learn_familiarity([x for x in looks if x is not None], [g for _, g in training])
        own = [image for image, _ in read(inventory.of("test"), MAX_TEST)]
        for change, make in CHANGES.items():
            table[change].append(count_alarms(known, [make(image) for image in own], like))
        others = [
            image
            for other, its_own in inventories.items()
            if other != name
            for image, _ in read(its_own.of("test"), MAX_OTHER)
        ]
        table["other sets"].append(count_alarms(known, others, like))
    print(f"| shown | {' | '.join(SETS)} |\n|{'---|' * (len(SETS) + 1)}")
    for change, cells in table.items():
        print(f"| {change} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
