from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from delineate.data.sample_aerial import AERIAL_LEGEND, draw_aerial
from delineate.data.sample_cells import draw_cells
from delineate.data.sample_noise import layered_noise
from delineate.data.samples import SAMPLES, colour, write_sample
from delineate.errors import UnknownNameError
from delineate.rasters import read_image


def _dice(mask: np.ndarray, target: np.ndarray) -> float:
    return float(2 * (mask & target).sum() / (mask.sum() + target.sum()))


def test_global_threshold_fails_on_cells() -> None:
    scores, best_scores = [], []
    for index in range(8):
        picture, mask = draw_cells(np.random.default_rng([3, index]), 256)
        level, _ = cv2.threshold(picture, 0, 255, cv2.THRESH_OTSU)
        scores.append(_dice(picture > level, mask > 0))
        best_scores.append(max(_dice(picture > level, mask > 0) for level in range(0, 255, 8)))
    assert np.mean(scores) < 0.75
    assert max(scores) < 0.85
    assert np.mean(best_scores) < 0.75  # not even the best level per picture would do


def test_colour_alone_does_not_tell_aerial_classes_apart() -> None:
    """The nearest mean colour, fitted on the very same picture, mistakes every fourth pixel."""
    agreement = []
    for index in range(4):
        picture, labels = draw_aerial(np.random.default_rng([5, index]), 192)
        present = np.unique(labels)
        means = np.array([picture[labels == label].mean(axis=0) for label in present])
        distance = ((picture[:, :, None, :].astype(np.float32) - means) ** 2).sum(axis=-1)
        agreement.append(float((present[distance.argmin(axis=-1)] == labels).mean()))
    assert np.mean(agreement) < 0.75


@pytest.mark.parametrize("kind", sorted(SAMPLES))
@pytest.mark.parametrize("size", [64, 130])
def test_pictures_are_seeded_and_shaped(kind: str, size: int) -> None:
    picture, mask = SAMPLES[kind](np.random.default_rng(1), size)
    again, mask_again = SAMPLES[kind](np.random.default_rng(1), size)
    other, _ = SAMPLES[kind](np.random.default_rng(2), size)
    assert picture.dtype == mask.dtype == np.uint8
    assert picture.shape[:2] == mask.shape == (size, size)
    np.testing.assert_array_equal(picture, again)
    np.testing.assert_array_equal(mask, mask_again)
    assert (picture != other).mean() > 0.5


def test_aerial_scenes_hold_every_class() -> None:
    shares = np.zeros(len(AERIAL_LEGEND))
    for index in range(8):
        _, labels = draw_aerial(np.random.default_rng([7, index]), 192)
        shares += np.bincount(labels.ravel(), minlength=len(shares)) / labels.size / 8
    assert shares.min() > 0.02
    assert shares.sum() == pytest.approx(1)


def test_write_sample_writes_pairs_and_a_data_file(tmp_path: Path) -> None:
    data_file = write_sample("aerial", tmp_path / "new" / "aerial", num_images=2, size=96, seed=4)
    folder = data_file.parent
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names == sorted(path.name for path in (folder / "masks").iterdir())
    assert len(names) == 2
    legend = yaml.safe_load(data_file.read_text())["legend"]
    assert legend == AERIAL_LEGEND
    mask = read_image(folder / "masks" / names[0])
    colours = {tuple(bytes.fromhex(code[1:])) for code in legend.values()}
    assert {tuple(int(v) for v in c) for c in np.unique(mask.reshape(-1, 3), axis=0)} <= colours


def test_write_sample_of_cells_is_binary(tmp_path: Path) -> None:
    write_sample("cells", tmp_path, num_images=1, size=64)
    assert set(np.unique(read_image(tmp_path / "masks" / "cells_000.png"))) == {0, 255}
    assert read_image(tmp_path / "images" / "cells_000.png").shape == (64, 64, 1)


def test_unknown_sample_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="aerial, cells"):
        write_sample("cell", tmp_path)  # type: ignore[arg-type]


def test_colour_follows_the_legend() -> None:
    labels = np.arange(len(AERIAL_LEGEND), dtype=np.uint8)[None]
    written = ["#" + bytes(rgb).hex().upper() for rgb in colour(labels)[0]]
    assert written == list(AERIAL_LEGEND.values())


def test_layered_noise_is_normalised() -> None:
    field = layered_noise(np.random.default_rng(0), 64, 20)
    assert field.shape == (64, 64)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-3)
