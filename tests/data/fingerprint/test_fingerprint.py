import json
from dataclasses import replace

import numpy as np
import pytest

from delineate.data.fingerprint.builder import build_fingerprint, total_variation
from delineate.data.fingerprint.fingerprint import (
    Fingerprint,
    load_fingerprint,
    save_fingerprint,
)
from delineate.data.fingerprint.image import measure_image
from delineate.data.fingerprint.page import write_page
from delineate.errors import DataError
from delineate.task import Task

TASK = Task("binary", ("cell",))


def make_fingerprint(targets, pixels=None, task=TASK, **facts):
    rng = np.random.default_rng(0)
    measured = [
        (
            measure_image(
                rng.integers(0, 256, (*target.shape, 3)).astype(np.uint8)
                if pixels is None
                else pixels[index],
                target,
                task,
                in_channels=3,
                index=index,
            ),
            f"group {index}",
        )
        for index, target in enumerate(targets)
    ]
    return build_fingerprint(measured, task, len(measured), digest="0" * 64, dtype="uint8", **facts)


def squares(*corners, side=10, size=(64, 96)):
    target = np.zeros(size, dtype=np.uint8)
    for row, col in corners:
        target[row : row + side, col : col + side] = 1
    return target


def test_shares_and_objects_are_those_of_the_images():
    found = make_fingerprint([squares((5, 5), (40, 60)), squares(), squares((20, 20))])
    cell = found.classes["cell"]
    assert found.num_images == 3
    assert found.empty_share == pytest.approx(1 / 3)
    assert cell.num_objects == 3
    assert cell.image_share == pytest.approx(2 / 3)
    assert cell.pixel_share == pytest.approx(300 / (3 * 64 * 96))
    assert cell.area["50"] == 100
    assert cell.objects_per_image["50"] == 1.5
    assert found.class_shares["background"] == pytest.approx(1 - cell.pixel_share)
    assert (found.heights["50"], found.widths["50"]) == (64, 96)


def test_channels_tell_inside_from_the_rest_and_image_from_image():
    targets = [squares((5, 5)), squares((5, 5))]
    pixels = []
    for target, level in zip(targets, (20, 180), strict=True):
        image = np.full((*target.shape, 3), level, dtype=np.uint8)
        image[target == 1] = level + 40
        pixels.append(image)
    channel = make_fingerprint(targets, pixels).channels[0]
    assert channel.mean == pytest.approx(100, abs=2)
    assert channel.foreground_mean == pytest.approx(140, abs=2)
    assert channel.between_images == pytest.approx(1, abs=0.02)
    assert channel.percentiles["95"] <= 220
    assert channel.background_mean == pytest.approx(100, abs=2)
    assert channel.background_percentiles["99.5"] == 180


@pytest.mark.parametrize(
    ("task", "make"),
    [
        (TASK, lambda target: target),
        (Task("multiclass", ("ground", "roof"), background="ground"), lambda target: target),
        (Task("multiclass", ("roof", "ground"), background="ground"), lambda target: 1 - target),
        (Task("multilabel", ("a", "b")), lambda target: np.stack([target * 0, target])),
    ],
)
def test_the_background_is_what_no_foreground_class_has(task, make):
    target = squares((5, 5), (40, 60))
    pixels = np.where(target[..., None] == 1, 200, 50).astype(np.uint8).repeat(3, axis=2)
    channel = make_fingerprint([make(target)], [pixels], task).channels[0]
    assert (channel.background_mean, channel.background_std) == (50, 0)
    assert (channel.foreground_mean, channel.foreground_std) == (200, 0)


def test_thinness_is_one_over_the_width_of_a_line():
    target = np.zeros((64, 96), np.uint8)
    target[30:35, 3:93] = 1
    found = make_fingerprint([target]).classes["cell"]
    assert found.thinness == pytest.approx(1 / 5, abs=0.01)


def test_spacing_is_that_of_the_files_which_tell_it():
    assert make_fingerprint([squares()]).spacing == {}
    assert make_fingerprint([squares()], spacing=[0.3, 0.5, 0.5]).spacing["50"] == 0.5


def test_nothing_in_the_foreground_is_no_error():
    found = make_fingerprint([squares(), squares()])
    assert found.empty_share == 1
    assert found.classes["cell"].area == {}
    assert found.channels[0].foreground_mean is None
    full = make_fingerprint([np.ones((30, 30), np.uint8)])
    assert full.channels[0].background_mean is None


def test_a_fingerprint_survives_its_file(tmp_path):
    found = make_fingerprint([squares((5, 5)), squares()])
    path = tmp_path / "fingerprint.json"
    save_fingerprint(found, path)
    assert load_fingerprint(path) == found
    assert Fingerprint.from_dict(json.loads(path.read_text())) == found


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 1}', '{"format_version": 3}'])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "fingerprint.json"
    path.write_text(text)
    with pytest.raises(DataError, match="measure again"):
        load_fingerprint(path)


def test_without_images_there_is_no_fingerprint():
    with pytest.raises(DataError, match="no training image"):
        make_fingerprint([])


def test_total_variation_of_shares():
    assert total_variation((9, 1, 0), (1, 4, 5)) == pytest.approx(0.8)
    assert total_variation((2, 2), (50, 50)) == 0
    assert total_variation((0, 0), (0, 0)) == 0


def test_histograms_count_what_was_kept():
    found = make_fingerprint([squares((5, 5), (40, 60)), squares()])
    areas = found.classes["cell"].area_histogram
    assert sum(areas.counts) == 2
    edge = areas.counts.index(2)
    assert areas.edges[edge] <= 100 < areas.edges[edge + 1]
    channel = found.channels[0]
    assert channel.histogram.edges == channel.foreground_histogram.edges
    assert sum(channel.foreground_histogram.counts) == 200


def test_the_page_shows_every_class_and_escapes_its_name(tmp_path):
    found = replace(
        make_fingerprint([squares((5, 5)), squares()]),
        class_shares={"background": 0.9, "<script>": 0.1},
    )
    page = tmp_path / "fingerprint.html"
    write_page(page, found, "A <set>")
    text = page.read_text()
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "A &lt;set&gt;" in text
    assert "channel 3" in text
    assert "50%" in text  # of the images are empty
