import pytest

from delineate import progress
from delineate.progress import (
    ProgressDisplay,
    format_duration,
    format_numbers,
    progress_bar,
    quiet,
    track,
)


def test_plain_lines_are_rare_and_go_to_stderr(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress_bar("reading", total=100) as bar:
        for _ in range(100):
            now[0] += 1
            bar.advance(loss=0.25)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "reading: 10/100, 1 min 30 s left  loss 0.25"
    assert lines[-1].startswith("reading: 100/100")
    assert len(lines) == 11


def test_short_work_prints_nothing(capsys):
    assert list(track([1, 2, 3], "reading")) == [1, 2, 3]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("is_live", [True, False])
def test_other_processes_show_nothing(capsys, monkeypatch, is_live):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0)
    with quiet(), ProgressDisplay(is_live=is_live) as display, display.bar("reading", 3) as bar:
        display.print("a line")
        bar.advance(1)
    assert "".join(capsys.readouterr()) == ""
    with quiet(False), ProgressDisplay(is_live=False) as display:
        display.print("a line")
    assert capsys.readouterr().err == "a line\n"


def test_a_terminal_gets_bars_and_lasting_lines(capsys):
    with ProgressDisplay(is_live=True) as display, display.bar("training", 4) as bar:
        bar.advance(2, speed="3 patches/s")
        bar.resize(3)
        display.print("epoch 1")
    assert "epoch 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (42, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


def test_numbers_have_four_digits():
    assert format_numbers({"val_loss": 0.123456, "epoch": 3}) == "val loss 0.1235  epoch 3"
