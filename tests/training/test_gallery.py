"""Pictures of validation predictions, small ones each epoch and larger ones at the end."""

from types import SimpleNamespace

import numpy as np
import pytest

from delineate.pictures import GUTTER
from delineate.task import Task
from delineate.training import gallery
from delineate.training.gallery import EpochPictures, picture_probability
from delineate.training.validation import KeptImage

BINARY = Task("binary", ("cell",))
CLASSES = Task("multiclass", ("ground", "road", "tree"), background="ground")
SIDE = gallery.TILE_SIZE


def make_image(index, task=BINARY, size=64, probability=0.8):
    pixels = np.full((size, size, 1), 90, np.uint8)
    target = np.zeros((size, size), np.uint8)
    target[: size // 2] = 1
    if task.kind == "multiclass":
        certainty = np.full((size, size), round(255 * probability), np.uint8)
        return KeptImage(index, f"a/{index}.png", pixels, target, target, certainty)
    output = np.full((1, size, size), 0.2, np.float16)
    output[0, : size // 2] = probability
    return KeptImage(index, f"a/{index}.png", pixels, target, output)


def draw(task, num_images, validation):
    sheets = []
    EpochPictures(task, num_images, sheets.append).show(validation, 1)
    return sheets[0]


def make_validation(images, task=BINARY):
    def mask(image):
        return image.mask(task, (0.5,) if task.kind == "binary" else None, {})

    return SimpleNamespace(kept=tuple(images), mask=mask)


def cells_of(sheet, row, num_rows):
    """Return the four pictures of a row of a sheet."""
    height = (sheet.shape[0] - GUTTER) // num_rows
    bottom = sheet.shape[0] - (num_rows - 1 - row) * height - GUTTER
    columns = [GUTTER + column * (SIDE + GUTTER) for column in range(4)]
    return [sheet[bottom - SIDE // 2 : bottom, left : left + SIDE] for left in columns]


def test_a_sheet_shows_image_truth_prediction_and_probability():
    sheet = draw(BINARY, 1, make_validation([make_image(0)]))
    _, truth, prediction, probability = cells_of(sheet, 0, 1)  # the lower halves: no cell
    assert sheet.shape[1] == GUTTER + 4 * (SIDE + GUTTER)
    assert truth[: SIDE // 2 - 4].max() == prediction[: SIDE // 2 - 4].max() == 0
    assert np.unique(probability[4 : SIDE // 2 - 4]).tolist() == [51]


def test_the_probability_of_classes_is_that_of_the_most_probable():
    image = make_image(0, CLASSES, probability=0.6)
    assert np.unique(picture_probability(image)).tolist() == [153]
    assert draw(CLASSES, 2, make_validation([image], CLASSES)).shape[0] > SIDE
    binary = picture_probability(make_image(0))
    assert binary.shape == (64, 64, 3)
    assert binary[0, 0].tolist() == [204] * 3


def test_a_few_images_from_all_over_the_split_are_shown_small():
    images = [make_image(index, size=400) for index in range(9)]
    sheet = draw(BINARY, 3, make_validation(images))
    assert sheet.shape[0] < 3 * (SIDE + 40) + 40
    spread = [image.index for image in gallery._spread(images, 3)]
    assert spread == [0, 3, 6]


def test_later_epochs_are_shown_more_rarely(monkeypatch):
    monkeypatch.setattr(gallery, "TIME_SHARE", float("inf"))
    shown = []
    pictures = EpochPictures(BINARY, 1, lambda _: shown.append(epoch))
    validation = make_validation([make_image(0, size=16)])
    for epoch in range(1, 101):
        pictures.show(validation, epoch)
    assert shown[:19] == list(range(1, 20))
    assert shown[19:22] == [20, 22, 24]
    assert len(shown) < 50


def test_pictures_take_no_more_than_their_share_of_the_time(monkeypatch):
    now = [0.0]

    def clock():
        now[0] += 1.0  # each look at the clock, and so each picture, takes a second
        return now[0]

    monkeypatch.setattr(gallery.time, "perf_counter", clock)
    shown = []
    pictures = EpochPictures(BINARY, 1, shown.append)
    validation = make_validation([make_image(0, size=16)])
    for epoch, pause in ((1, 0), (2, 0), (3, 150)):
        now[0] += pause
        pictures.show(validation, epoch)
        assert len(shown) == (2 if epoch == 3 else 1)
    assert pictures.seconds == 2.0


@pytest.mark.parametrize(("num_images", "kept"), [(0, [make_image(0)]), (4, [])])
def test_nothing_is_drawn_of_nothing(num_images, kept):
    shown = []
    EpochPictures(BINARY, num_images, shown.append).show(make_validation(kept), 1)
    assert shown == []
