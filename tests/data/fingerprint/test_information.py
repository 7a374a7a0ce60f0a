import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.data.fingerprint.information import held_out_information, normalise_images

PER_IMAGE = 500


def make(num_images, mean_of_image, mean_of_class, seed=0, spread=1.0):
    """Return values (N, 1), labels and images; two classes, each half of every image."""
    rng = np.random.default_rng(seed)
    images = np.repeat(np.arange(num_images), PER_IMAGE)
    labels = np.tile(np.arange(PER_IMAGE) % 2, num_images)
    values = mean_of_image[images] + mean_of_class[labels] + rng.normal(0, spread, len(images))
    return values[:, None], labels, images


def test_classes_that_never_overlap_tell_all_of_one_bit():
    values, labels, images = make(10, np.zeros(10), np.array([0.0, 100.0]))
    assert held_out_information(values, labels, images) == pytest.approx(1, abs=0.05)


def test_noise_tells_nothing():
    values, labels, images = make(10, np.zeros(10), np.zeros(2))
    assert held_out_information(values, labels, images) == pytest.approx(0, abs=0.02)


def test_brightness_of_the_image_hides_what_normalising_shows():
    brightness = np.linspace(0, 500, 10)
    values, labels, images = make(10, brightness, np.array([0.0, 20.0]), spread=3.0)
    raw = held_out_information(values, labels, images)
    normalised = held_out_information(normalise_images(values, images), labels, images)
    assert raw < 0.3
    assert normalised > 0.9


def test_brightness_that_is_the_class_is_lost_by_normalising():
    rng = np.random.default_rng(0)
    images = np.repeat(np.arange(10), PER_IMAGE)
    labels = images % 2  # an image is all water or all sand
    values = (100.0 * labels + rng.normal(0, 5, len(labels)))[:, None]
    assert held_out_information(values, labels, images) > 0.9
    assert held_out_information(normalise_images(values, images), labels, images) < 0.05


def test_images_are_normalised_by_themselves():
    values, _, images = make(4, np.arange(4.0) * 50, np.array([0.0, 7.0]))
    normalised = normalise_images(values, images)
    for image in range(4):
        part = normalised[images == image]
        assert part.mean() == pytest.approx(0, abs=1e-9)
        assert part.std() == pytest.approx(1)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000))
def test_any_sample_gives_a_number_of_at_most_the_classes_bits(images, channels, classes, seed):
    rng = np.random.default_rng(seed)
    num = images * 20
    values = rng.integers(0, 4, (num, channels)).astype(float)
    labels = rng.integers(0, classes, num)
    groups = np.arange(num) % images
    found = held_out_information(values, labels, groups)
    assert found <= np.log2(max(classes, 2)) + 1e-9
    assert np.isfinite(normalise_images(values, groups)).all()
