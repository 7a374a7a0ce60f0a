import time

from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.training.length import (
    MAX_VALIDATIONS,
    VALIDATION_SHARE,
    Length,
    Pace,
    length_of_epochs,
    length_of_time,
    measure_seconds,
)


def test_an_epoch_shows_the_pixels_of_the_split():
    length = length_of_epochs(3, steps_per_epoch=None, num_pixels=1001, pixels_per_step=100)
    assert (length.num_steps, length.steps_per_epoch, length.num_epochs) == (33, 11, 3)
    length = length_of_epochs(3, steps_per_epoch=5, num_pixels=1001, pixels_per_step=100)
    assert (length.num_steps, length.num_epochs) == (15, 3)


@settings(deadline=None, max_examples=200)
@given(st.floats(1, 1e5), st.floats(1e-3, 30), st.floats(1e-4, 1e3))
def test_a_time_is_kept_and_validation_takes_at_most_a_tenth(seconds, step, validation):
    length = length_of_time(seconds, step_seconds=step, validation_seconds=validation)
    assert length.num_steps == length.num_epochs * length.steps_per_epoch
    assert 1 <= length.num_epochs <= MAX_VALIDATIONS
    total = length.num_steps * step + length.num_epochs * validation
    assert total <= seconds or length.num_steps == 1
    if length.num_epochs > 1:
        assert length.num_epochs * validation <= VALIDATION_SHARE * seconds
    # One step fewer per epoch is all that rounding may cost.
    rest = seconds * 0.985 - total
    assert rest <= length.num_epochs * step + 1e-6 * seconds or length.num_steps == 1


def test_a_validation_that_is_too_long_is_made_once_and_said():
    length = length_of_time(100, step_seconds=1, validation_seconds=30)
    assert length.num_epochs == 1
    assert "exceeds a tenth" in length.reason


def test_a_slower_machine_shortens_the_rest(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    length = Length(100, 20, "")
    pace = Pace(end=100, total_seconds=100, validation_seconds=0, num_steps=100)
    fitting = None
    for step in range(1, 100):
        now[0] += 2
        fitting = pace.fitting_steps(2.0, step=step, length=length)
        if fitting is not None:
            break
    assert fitting is not None
    assert now[0] + (fitting - step) * 2 <= 100
    assert fitting >= 48


def test_a_machine_as_fast_as_measured_is_left_alone(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    length = Length(90, 30, "")
    pace = Pace(end=100, total_seconds=100, validation_seconds=3, num_steps=90)
    for step in range(1, 91):
        now[0] += 1 + (3 if step % 30 == 1 and step > 1 else 0)
        assert pace.fitting_steps(1.0, step=step, length=length) is None


def test_neither_warming_up_nor_a_slow_spell_counts():
    waits = iter([0.2, 0.01, 0.2, 0.01])
    seconds = measure_seconds(lambda: time.sleep(next(waits)), budget=5, most=4)
    assert 0.01 <= seconds < 0.1


def test_two_runs_are_made_whatever_the_budget():
    count = []
    measure_seconds(lambda: count.append(1), budget=0, most=9)
    assert len(count) == 2
