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


def make_fingerprint(targets, pixels=None):
    rng = np.random.default_rng(0)
    measured = [
        (
            measure_image(
                rng.integers(0, 256, (*target.shape, 3)).astype(np.uint8)
                if pixels is None
                else pixels[index],
                target,
                TASK,
                in_channels=3,
                index=index,
            ),
            f"group {index}",
        )
        for index, target in enumerate(targets)
    ]
    return build_fingerprint(measured, TASK, len(measured), digest="0" * 64, dtype="uint8")


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


def test_nothing_in_the_foreground_is_no_error():
    found = make_fingerprint([squares(), squares()])
    assert found.empty_share == 1
    assert found.classes["cell"].area == {}
    assert found.channels[0].foreground_mean is None


def test_a_fingerprint_survives_its_file(tmp_path):
    found = make_fingerprint([squares((5, 5)), squares()])
    path = tmp_path / "fingerprint.json"
    save_fingerprint(found, path)
    assert load_fingerprint(path) == found
    assert Fingerprint.from_dict(json.loads(path.read_text())) == found


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 1}', '{"format_version": 2}'])
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
