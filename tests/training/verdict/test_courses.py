"""What the courses of losses and scores say, on courses whose truth is known."""

import numpy as np
import pytest

from delineate.training.verdict import courses

EPOCHS = 24
TIME = np.arange(EPOCHS) / EPOCHS


def with_noise(curve, share, seed):
    rng = np.random.default_rng(seed)
    return curve * (1 + share * rng.standard_normal(len(curve)))


def share_of(test, curve, noise, num=50):
    """Return in which share of noisy copies of a curve a test is true."""
    return sum(bool(test(with_noise(curve, noise, seed))) for seed in range(num)) / num


FALLING = 0.3 + 0.5 * np.exp(-5 * TIME)
FLAT = np.full(EPOCHS, 0.4)
RISING = 0.3 + 0.4 * np.exp(-10 * TIME) + 0.3 * np.clip(TIME - 0.25, 0, 1)
STANDING = 0.3 + 0.4 * np.exp(-12 * TIME)


def test_noise_is_told_from_a_trend():
    line = 1 - 0.8 * TIME
    assert courses.noise(line) < 1e-12
    # the mean over seeds, as one estimate of 24 epochs is rough itself
    rng = np.random.default_rng(0)
    found = [courses.noise(line + 0.05 * rng.standard_normal(EPOCHS)) for _ in range(100)]
    assert np.mean(found) == pytest.approx(0.05, rel=0.15)


def test_a_single_bad_epoch_is_smoothed_away():
    loss = FALLING.copy()
    loss[12] = 9.0
    assert courses.smooth(loss).max() <= loss[0]
    assert courses.rise_after_minimum(loss) == 0
    assert courses.largest_rise(loss) < 0.05


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_a_loss_that_rises_again_is_told_from_others(noise):
    def rises(loss):
        return courses.rise_after_minimum(loss) >= 0.15

    assert share_of(rises, RISING, noise) >= (0.6 if noise == 0.1 else 0.95)
    for loss in (FALLING, FLAT, STANDING):
        assert share_of(rises, loss, noise) <= 0.04


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_a_loss_that_stands_is_told_from_one_that_falls(noise):
    assert share_of(courses.has_stood, STANDING, noise) >= 0.6
    assert share_of(courses.has_stood, 0.9 - 0.4 * TIME, noise) <= 0.05
    assert share_of(courses.has_stood, FALLING, noise) <= 0.1


def test_where_noise_hides_the_level_nothing_stands():
    assert share_of(courses.has_stood, STANDING, 0.5) <= 0.05


@pytest.mark.parametrize("noise", [0, 0.05])
def test_a_loss_that_was_thrown_out_is_seen(noise):
    thrown = FALLING.copy()
    thrown[10:16] += 0.6
    assert share_of(lambda loss: courses.largest_rise(loss) >= 0.5, thrown, noise) == 1
    for loss in (FALLING, FLAT):
        assert share_of(lambda loss: courses.largest_rise(loss) >= 0.5, loss, noise) == 0


@pytest.mark.parametrize("noise", [0, 0.01])
def test_what_the_last_third_adds(noise):
    def gains(score):
        return courses.late_gain(score) >= 0.01

    assert share_of(gains, 0.3 + 0.3 * TIME, noise) >= 0.95
    assert share_of(gains, 0.8 - 0.5 * np.exp(-12 * TIME), noise) <= 0.1


def test_undefined_scores_are_passed_over():
    score = np.array([np.nan, 0.1, 0.2, 0.3, np.nan, 0.5])
    assert courses.late_gain(score) == pytest.approx(0.3)
    assert courses.late_gain(np.full(6, np.nan)) == 0


def test_few_epochs_say_nothing():
    few = np.array([0.9, 0.1, 0.8])
    assert courses.rise_after_minimum(few) == 0
    assert not courses.has_stood(few)
    assert courses.fall(few) == 0
    assert courses.largest_rise(few) == 0
    assert courses.late_gain(few) == 0
