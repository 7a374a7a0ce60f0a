from __future__ import annotations

import numpy as np
import pytest

from delineate.pictures import (
    ERROR_COLOURS,
    class_colours,
    error_overlay,
    gallery,
    label_picture,
    overlay,
    shrink,
    to_rgb,
)
from delineate.task import Task

BINARY = Task("binary", ("cell",))
CLASSES = Task("multiclass", ("ground", "road", "roof"), background="ground")
LABELS = Task("multilabel", ("road", "water"))
GREY = np.full((8, 10, 3), 100, np.uint8)


def seen(picture: np.ndarray, row: int, col: int) -> str:
    """The name of what `error_overlay` shows at a pixel, by the nearest colour."""
    choices = {
        **ERROR_COLOURS,
        "found": (160, 160, 155),
        "dimmed": (55, 55, 55),
        "black": (0, 0, 0),
    }
    pixel = picture[row, col].astype(int)
    return min(choices, key=lambda name: int(np.abs(pixel - choices[name]).sum()))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.bool_])
def test_any_image_becomes_rgb(channels: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, (6, 5, channels)).astype(dtype)
    rgb = to_rgb(pixels)
    assert (rgb.shape, rgb.dtype) == ((6, 5, 3), np.uint8)
    assert rgb.flags.c_contiguous
    if dtype is np.uint8 and channels >= 3:
        np.testing.assert_array_equal(rgb, pixels[..., :3])


def test_stretch_ignores_outliers_and_nan() -> None:
    pixels = np.linspace(0, 1000, 10_000, dtype=np.float32).reshape(100, 100)
    pixels[0, 0], pixels[0, 1], pixels[0, 2] = 1e9, np.nan, np.inf
    rgb = to_rgb(pixels)
    assert rgb[0, 0, 0] == 255
    assert rgb[0, 1, 0] == rgb[0, 2, 0] == 0
    assert abs(int(rgb[50, 0, 0]) - 128) < 4
    assert to_rgb(np.full((2, 2), np.nan)).max() == 0
    assert to_rgb(np.full((2, 2), 7, np.uint16)).shape == (2, 2, 3)


@pytest.mark.parametrize("num_classes", [1, 10, 24, 60])
def test_class_colours_differ(num_classes: int) -> None:
    colours = class_colours(num_classes)
    assert colours.shape == (num_classes, 3)
    assert len(np.unique(colours, axis=0)) == num_classes


def test_overlay_tints_the_foreground_alone_and_leaves_its_input() -> None:
    mask = np.zeros((8, 10), np.uint8)
    mask[2:6, 2:7] = 1
    picture = overlay(GREY, mask, BINARY)
    assert (GREY == 100).all()
    np.testing.assert_array_equal(picture[2, 2], class_colours(1)[0])
    inside = picture[3, 4].astype(int)
    assert (inside != 100).any()
    assert (inside != class_colours(1)[0]).any()
    np.testing.assert_array_equal(picture[mask == 0], GREY[mask == 0])
    classes = overlay(GREY, mask * 2, CLASSES)
    np.testing.assert_array_equal(classes[2, 2], class_colours(3)[2])


def test_label_picture_shows_ignored_pixels_black() -> None:
    assert label_picture(np.asarray([[0, 1, 255]], np.uint8), BINARY)[0, :, 0].tolist() == [
        0,
        255,
        0,
    ]
    picture = label_picture(np.asarray([[[1, 0]], [[0, 1]]], np.uint8), LABELS)
    np.testing.assert_array_equal(picture[0], class_colours(2))


def test_binary_errors() -> None:
    target = np.zeros((8, 10), np.uint8)
    mask = target.copy()
    target[0, :3] = 1, 1, 255
    mask[0, :4] = 1, 0, 1, 1
    picture = error_overlay(GREY, mask, target, BINARY)
    names = [seen(picture, 0, col) for col in range(5)]
    assert names == ["found", "missed", "black", "false alarm", "dimmed"]


def test_multiclass_errors_tell_a_swap_from_a_miss() -> None:
    target = np.zeros((8, 10), np.uint8)
    mask = target.copy()
    target[0, :4] = 1, 1, 1, 0
    mask[0, :4] = 1, 2, 0, 2
    picture = error_overlay(GREY, mask, target, CLASSES)
    names = [seen(picture, 0, col) for col in range(5)]
    assert names == ["dimmed", "wrong class", "missed", "false alarm", "dimmed"]


def test_multilabel_errors() -> None:
    target, mask = np.zeros((2, 2, 8, 10), np.uint8)
    target[0, 0, :3], mask[0, 0, :3] = (1, 1, 0), (1, 0, 0)
    target[1, 0, 1:3], mask[1, 0, 1:3] = (0, 0), (1, 1)
    picture = error_overlay(GREY, mask, target, LABELS)
    names = [seen(picture, 0, col) for col in range(4)]
    assert names == ["found", "wrong class", "false alarm", "dimmed"]


def test_shrink_keeps_proportions_and_label_colours() -> None:
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[:, 50:] = 200
    assert shrink(picture, 50).shape == (20, 50, 3)
    assert shrink(picture, 500) is picture
    assert set(np.unique(shrink(picture, 33, is_labels=True))) == {0, 200}


def test_gallery_places_every_picture() -> None:
    red = np.zeros((20, 40, 3), np.uint8)
    red[..., 0] = 255
    blue = np.roll(red, 2, axis=-1)
    sheet = gallery(
        [[red, blue], [blue]], captions=["first", "second"], headings=["a", "b"], cell_size=64
    )
    assert sheet.dtype == np.uint8
    num_red = (sheet == (255, 0, 0)).all(axis=-1).sum()
    num_blue = (sheet == (0, 0, 255)).all(axis=-1).sum()
    assert num_red == 64 * 32
    assert num_blue == 2 * 64 * 32
    assert gallery([]).ndim == 3
