"""How often the alarm for unfamiliar images is raised, rightly and wrongly, on real sets.

``DELINEATE_DATA=... python benchmarks/familiarity.py`` learns the look of the training images of
each set and prints the share of alarms on its own test images (wrong ones), on changed copies of
these, and on the other sets (right ones). No network is needed; half a minute.
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
from delineate.errors import ShapeError
from delineate.prediction.familiarity import ALARM_RATIO, learn_familiarity, look_of
from delineate.preprocessing import measure_preprocessing
from delineate.rasters import read_image

SETS: dict[str, dict[str, Any]] = {
    "dsb2018_mini": {},
    "isbi_em": {},
    "chase_db1": {"mask_suffix": "_1stHO", "groups": r"Image_(\d+)"},
    "camvid_mini": {},
    "dubai_aerial": {"groups": r"(Tile \d+)"},
}
MAX_IMAGES = 40

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


def read(samples: tuple[Sample, ...]) -> list[tuple[np.ndarray, str]]:
    """Return up to `MAX_IMAGES` images, evenly chosen, and their groups."""
    step = max(1, len(samples) // MAX_IMAGES)
    return [(read_image(sample.image), sample.group) for sample in samples[::step]]


def main() -> None:
    """Print a row per set and change."""
    root = Path(os.environ["DELINEATE_DATA"])
    train, test = {}, {}
    for name, settings in SETS.items():
        inventory = build_inventory(root / name, DataConfig(**settings))
        train[name], test[name] = read(inventory.of("train")), read(inventory.of("test"))
    print(f"{'learnt from':14} {'shown':22} alarms  median distance")
    for name, images in train.items():
        preprocessing = measure_preprocessing(image for image, _ in images)
        looks = [look_of(image, None, preprocessing) for image, _ in images]
        known = learn_familiarity([x for x in looks if x is not None], [g for _, g in images])
        shown = {change: [make(i) for i, _ in test[name]] for change, make in CHANGES.items()}
        shown |= {other: [i for i, _ in test[other]] for other in SETS if other != name}
        for what, pictures in shown.items():
            ratios = []
            for picture in pictures:
                try:
                    look = look_of(picture, None, preprocessing)
                except ShapeError:
                    continue
                ratio = None if look is None else known.ratio(look)
                if ratio is not None:
                    ratios.append(ratio)
            if ratios:
                share = np.mean(np.asarray(ratios) > ALARM_RATIO)
                print(
                    f"{name:14} {what:22} {share:5.0%}   {np.median(ratios):.2f} of {len(ratios)}"
                )


if __name__ == "__main__":
    main()
