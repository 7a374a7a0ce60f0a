from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.errors import ResourceError, UnreadableFileError, UsageError
from delineate.prediction import journal as module
from delineate.prediction.journal import journal_header, open_journal, resume_journal
from delineate.prediction.seams import SeamSums
from delineate.tiling import Window

IDENTITY = {"image": "a.tif", "bytes": 7}


def bands(height: int, width: int, strip: int, step: int) -> list[Window]:
    return [
        Window(row, col, min(step, height - row), min(strip, width - col))
        for col in range(0, width, strip)
        for row in range(0, height, step)
    ]


def fill(folder: Path, pixels: np.ndarray, windows: list[Window]) -> None:
    with open_journal(folder, IDENTITY, pixels.dtype.name, len(pixels), choice=3) as journal:
        for window in windows:
            journal.add(window, pixels[:, *window.slices], SeamSums(2, 0.5, 0.25))


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 50),
    st.integers(1, 90),
    st.integers(1, 60),
    st.integers(1, 20),
    st.sampled_from(["uint8", "float32"]),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_windows_are_read_back_as_they_were_added(
    tmp_path_factory: pytest.TempPathFactory,
    height: int, width: int, strip: int, step: int, dtype: str, random: Any, data: Any,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("work") / "journal"
    pixels = np.random.default_rng(0).integers(0, 99, (2, height, width)).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_WIDTH", 16)
        fill(folder, pixels, bands(height, width, strip, step))
        with resume_journal(folder, IDENTITY) as journal:
            assert len(journal) == len(bands(height, width, strip, step))
            assert journal.header["choice"] == 3
            assert journal.seams == SeamSums(2 * len(journal), 0.5 * len(journal), 0.25)
            for _ in range(5):
                row, col = random.randrange(height), random.randrange(width)
                window = Window(
                    row, col, random.randint(1, height - row), random.randint(1, width - col)
                )
                np.testing.assert_array_equal(journal.read(window), pixels[:, *window.slices])


def test_tallies_of_finished_bands_are_added_up_and_outlive_a_kill(tmp_path: Path) -> None:
    pixels = np.zeros((1, 40, 30), np.uint8)
    with open_journal(tmp_path / "a", IDENTITY, "uint8", 1) as journal:
        assert journal.tallies is None
        for number, window in enumerate(bands(40, 30, 30, 10), start=1):
            tallies = [(number / 3, 0.1, number), (1e-9, 0.0, 0)]
            journal.add(window, pixels[:, *window.slices], SeamSums(), tallies)
        before = journal.tallies
    assert before is not None
    np.testing.assert_allclose(before, [[10 / 3, 0.4, 10], [4e-9, 0, 0]])
    with resume_journal(tmp_path / "a", IDENTITY) as journal:
        np.testing.assert_array_equal(journal.tallies, before)


@pytest.mark.parametrize("cut", [1, 30, 90])
def test_what_a_kill_cut_is_dropped_and_added_again(tmp_path: Path, cut: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 9, (1, 40, 30), dtype=np.uint8)
    windows = bands(40, 30, 30, 10)
    fill(tmp_path / "whole", pixels, windows)
    fill(tmp_path / "cut", pixels, windows[:3])
    lines = tmp_path / "cut" / "journal.jsonl"
    content = lines.read_bytes()
    lines.write_bytes(content[:-cut])
    with (tmp_path / "cut" / "blocks").open("ab") as file:
        file.write(b"half a block")
    with resume_journal(tmp_path / "cut", IDENTITY) as journal:
        assert len(journal) == 2
        for window in windows[2:]:
            journal.add(window, pixels[:, *window.slices], SeamSums(2, 0.5, 0.25))
        np.testing.assert_array_equal(journal.read(Window(0, 0, 40, 30)), pixels)
    for name in ("journal.jsonl", "blocks"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "cut" / name).read_bytes() == whole


def test_a_line_whose_block_is_not_there_does_not_count(tmp_path: Path) -> None:
    pixels = np.zeros((1, 20, 8), np.float32)
    fill(tmp_path / "j", pixels, bands(20, 8, 8, 10))
    blocks = tmp_path / "j" / "blocks"
    blocks.write_bytes(blocks.read_bytes()[:-1])
    with resume_journal(tmp_path / "j", IDENTITY) as journal:
        assert len(journal) == 1


def test_damaged_blocks_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "j", np.zeros((1, 20, 8), np.float32), bands(20, 8, 8, 10))
    with (tmp_path / "j" / "blocks").open("r+b") as file:
        file.seek(500)
        file.write(b"x")
    with (
        resume_journal(tmp_path / "j", IDENTITY) as journal,
        pytest.raises(UnreadableFileError, match="damaged"),
    ):
        journal.read(Window(0, 0, 20, 8))


def test_other_work_is_refused_by_name(tmp_path: Path) -> None:
    fill(tmp_path / "j", np.zeros((1, 2, 2), np.uint8), [])
    with (
        pytest.raises(UsageError, match="bytes was 7, is 8"),
        resume_journal(tmp_path / "j", {**IDENTITY, "bytes": 8}),
    ):
        pass
    assert journal_header(tmp_path / "nothing") is None
    with pytest.raises(UsageError, match="no unfinished"), resume_journal(tmp_path / "n", {}):
        pass


def test_a_full_disk_keeps_what_was_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.zeros((1, 20, 8), np.uint8)
    windows = bands(20, 8, 8, 10)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with open_journal(tmp_path / "j", IDENTITY, "uint8", 1) as journal:
        journal.add(windows[0], pixels[:, *windows[0].slices], SeamSums())
        monkeypatch.setattr(module, "_write_all", full)
        with pytest.raises(ResourceError, match="disk full"):
            journal.add(windows[1], pixels[:, *windows[1].slices], SeamSums())
    with resume_journal(tmp_path / "j", IDENTITY) as journal:
        assert len(journal) == 1
