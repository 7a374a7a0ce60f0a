import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.data.fingerprint.image import SAMPLED_PIXELS, WINDOW, measure_image
from delineate.task import Task

BINARY = Task("binary", ("line",))
CLASSES = Task("multiclass", ("ground", "roof", "road"), background="ground")


def grey(target, low=50, high=150):
    return np.where(np.asarray(target)[..., None] == 1, high, low).astype(np.uint8)


def measure(target, pixels=None, task=BINARY, **settings):
    target = np.asarray(target, dtype=np.uint8)
    pixels = grey(target) if pixels is None else pixels
    return measure_image(pixels, target, task, in_channels=1, **settings)


@pytest.mark.parametrize("width", [2, 4, 6, 10])
def test_the_width_of_a_strip_is_its_width(width):
    target = np.zeros((200, 400))
    target[50 : 50 + width, 20:380] = 1
    shapes = measure(target).objects[0]
    assert shapes.widths[0] == pytest.approx(width, rel=0.05)
    assert shapes.areas[0] == 360 * width


def test_the_width_of_a_disc_is_two_thirds_of_its_diameter():
    rows, cols = np.mgrid[:201, :201] - 100
    shapes = measure(rows**2 + cols**2 <= 60**2).objects[0]
    assert shapes.widths[0] == pytest.approx(80, rel=0.03)


def test_objects_near_each_other_touch():
    target = np.zeros((60, 60))
    target[10:20, 10:20] = target[10:20, 22:30] = target[40:50, 40:50] = 1
    shapes = measure(target).objects[0]
    assert shapes.num_objects == 3
    assert shapes.num_touching == 2


def test_boundary_pixels_have_an_outside_neighbour_in_the_image():
    target = np.zeros((40, 40))
    target[:10, :10] = 1  # in the corner: two of its sides are the image's
    shapes = measure(target).objects[0]
    assert shapes.num_pixels == 100
    assert shapes.boundary_pixels == 19


def test_an_image_without_foreground_is_empty_and_a_full_one_has_no_surroundings():
    assert measure(np.zeros((30, 30))).is_empty
    full = measure(np.ones((30, 40))).objects[0]
    assert full.contrast is None
    assert full.boundary_pixels == 0
    assert full.widths[0] == 30


def test_contrast_counts_standard_deviations():
    rng = np.random.default_rng(0)
    target = np.zeros((100, 100))
    target[40:60, 40:60] = 1
    pixels = rng.normal(100 + 30 * target, 10)[..., None].astype(np.float32)
    assert measure(target, pixels).objects[0].contrast == pytest.approx(3, abs=0.3)


def test_texture_is_none_of_a_ramp_and_all_of_noise():
    target = np.zeros((64, 64))
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None], (64, 64, 1))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 1)).astype(np.uint8)
    assert measure(target, ramp).texture < 0.01
    assert measure(target, noise).texture == pytest.approx(1, abs=0.05)


def test_ignored_pixels_count_nowhere():
    target = np.zeros((40, 40), dtype=np.uint8)
    target[:20] = BINARY.ignore_index
    pixels = grey(target)
    pixels[:20] = 255
    image = measure(target, pixels)
    assert image.num_valid_pixels == 800
    assert image.class_counts.tolist() == [800, 0]
    assert set(image.values.ravel()) == {50}


def test_the_background_class_has_no_objects():
    target = np.zeros((40, 40))
    target[5:10, 5:10], target[20:30] = 1, 2
    image = measure(target, task=CLASSES)
    assert sorted(image.objects) == [1, 2]
    assert image.class_counts.tolist() == [1600 - 25 - 400, 25, 400]


def test_large_images_are_counted_whole_and_measured_in_a_window():
    target = np.zeros((64, 3 * WINDOW))
    target[10:14] = 1
    image = measure(target)
    assert image.size == target.shape
    assert image.class_counts.sum() == target.size
    assert image.objects[0].num_pixels == 4 * WINDOW
    assert len(image.values) == SAMPLED_PIXELS


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000))
def test_any_image_is_measured_without_a_warning(height, width, seed):
    rng = np.random.default_rng(seed)
    target = rng.choice(np.array([0, 1, 2, 255], np.uint8), (height, width))
    pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    image = measure_image(pixels, target, CLASSES, in_channels=3)
    assert image.class_counts.sum() == image.num_valid_pixels == (target != 255).sum()
    for index, shapes in image.objects.items():
        assert shapes.num_pixels == (target == index).sum()
        assert shapes.areas.sum() == shapes.num_pixels
        assert (shapes.widths >= 1).all()
        assert shapes.num_touching <= shapes.num_objects
