"""Keep finished parts of a raster on the disk, so that a kill at any moment loses little.

A folder beside the result holds two files: ``blocks``, finished bands one after the other, and
``journal.jsonl``, a line for what the work is and then one per band. A band's line is written when
the band is on the disk; what a kill left behind it is cut off when the work goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import UnreadableFileError, UsageError
from delineate.files import disk_errors
from delineate.prediction.seams import SeamSums
from delineate.prediction.unfinished import refuse_changes
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT_VERSION = 2

BLOCK_WIDTH = 2048
"""Bands are stored in blocks that begin at multiples of this column, to be read one by one."""

_JOURNAL = "journal.jsonl"
_BLOCKS = "blocks"
_BLOCKS_HELD = 4
_FIELDS = 6


class Journal:
    """Finished bands of a raster: added in the order of their columns, then of their rows."""

    def __init__(self, folder: Path, header: Mapping[str, Any], blocks: int, lines: int) -> None:
        """Take the open files of a journal; `open_journal` opens them."""
        self.folder = folder
        self.header = header
        """What `open_journal` was given when the work began."""
        self.seams = SeamSums()
        """Of all finished bands together."""
        self.tallies: NDArray[np.float64] | None = None
        """Those of all finished bands, added up; None where no band had any."""
        self._dtype = np.dtype(header["dtype"])
        self._channels = int(header["channels"])
        self._blocks, self._lines = blocks, lines
        self._end = 0
        # Per band row, col, height, width, and first and last place in the arrays of blocks.
        self._bands = array("q")
        self._offsets, self._digests = array("q", [0]), array("q")
        self._strips: dict[int, tuple[int, list[int]]] = {}
        self._load = lru_cache(_BLOCKS_HELD)(self._load_block)

    @property
    def is_prob(self) -> bool:
        """Whether it keeps probabilities, not labels."""
        return bool(self._dtype.kind == "f")

    def __len__(self) -> int:
        """Return the number of finished bands."""
        return len(self._bands) // _FIELDS

    def add(
        self,
        window: Window,
        pixels: NDArray[Any],
        seams: SeamSums,
        tallies: Sequence[Sequence[float]] = (),
    ) -> None:
        """Store a finished band.

        Args:
            window: Where it lies; below the last band of the same columns.
            pixels: (channels, height, width).
            seams: How far the tiles that made it disagree.
            tallies: Rows of numbers that are added up over all bands.

        Raises:
            ResourceError: If the disk is full; the bands before stay.
        """
        assert pixels.shape == (self._channels, window.height, window.width)
        sizes, digests = [], []
        with disk_errors(self.folder):
            for first, last in _block_columns(window):
                part = pixels[:, :, first - window.col : last - window.col]
                stored = self._pack(np.ascontiguousarray(part, self._dtype))
                _write_all(self._blocks, stored)
                sizes.append(len(stored))
                digests.append(zlib.crc32(stored))
            os.fsync(self._blocks)
            place = [window.row, window.col, window.height, window.width]
            entry = {
                "window": place,
                "sizes": sizes,
                "crc32": digests,
                "seams": astuple(seams),
                "tallies": tallies,
            }
            _write_all(self._lines, json.dumps(entry).encode() + b"\n")
        self._remember(entry)

    def read(self, window: Window) -> NDArray[Any]:
        """Return the pixels of a window, (channels, height, width); all of it must be finished.

        Raises:
            UnreadableFileError: If the stored bands are damaged.
        """
        out = np.empty((self._channels, window.height, window.width), self._dtype)
        num_filled = 0
        for start, (stop, rows) in self._strips.items():
            if stop <= window.col or start >= window.col + window.width:
                continue
            first = max(bisect_right(rows, window.row) - 1, 0)
            base = self._first_band(start)
            for index in range(base + first, base + len(rows)):
                row, col, height, width, *_ = self._band(index)
                if row >= window.row + window.height:
                    break
                num_filled += self._copy(index, Window(row, col, height, width), window, out)
        assert num_filled == window.height * window.width, f"{window} is not finished"
        return out

    def close(self) -> None:
        """Close the files."""
        os.close(self._blocks)
        os.close(self._lines)

    def replay(self) -> None:
        """Take over the bands that are whole, and cut off what follows them."""
        end_of_lines = 0
        num_bytes = os.fstat(self._blocks).st_size
        with (self.folder / _JOURNAL).open("rb") as file:
            for number, line in enumerate(file):
                if number > 0:
                    try:
                        entry = json.loads(line) if line.endswith(b"\n") else None
                    except ValueError:
                        entry = None
                    if entry is None or self._end + sum(entry["sizes"]) > num_bytes:
                        break
                    self._remember(entry)
                end_of_lines += len(line)
        os.ftruncate(self._lines, end_of_lines)
        os.ftruncate(self._blocks, self._end)
        os.lseek(self._lines, 0, os.SEEK_END)
        os.lseek(self._blocks, 0, os.SEEK_END)

    def _remember(self, entry: Mapping[str, Any]) -> None:
        row, col, height, width = entry["window"]
        first = len(self._digests)
        for size, digest in zip(entry["sizes"], entry["crc32"], strict=True):
            self._end += size
            self._offsets.append(self._end)
            self._digests.append(digest)
        self._bands.extend([row, col, height, width, first, len(self._digests)])
        self._strips.setdefault(col, (col + width, []))[1].append(row)
        self.seams += SeamSums(*entry["seams"])
        if entry["tallies"]:
            band = np.asarray(entry["tallies"], dtype=np.float64)
            self.tallies = band if self.tallies is None else self.tallies + band

    def _band(self, index: int) -> array[int]:
        return self._bands[index * _FIELDS : (index + 1) * _FIELDS]

    def _first_band(self, start: int) -> int:
        total = 0
        for col, (_, rows) in self._strips.items():
            if col == start:
                break
            total += len(rows)
        return total

    def _copy(self, index: int, band: Window, window: Window, out: NDArray[Any]) -> int:
        """Copy what a band has of a window; return the number of pixels."""
        first_block = self._band(index)[4]
        top, bottom = (
            max(band.row, window.row),
            min(band.row + band.height, window.row + window.height),
        )
        num_copied = 0
        for number, (first, last) in enumerate(_block_columns(band)):
            left, right = max(first, window.col), min(last, window.col + window.width)
            if left >= right or top >= bottom:
                continue
            pixels = self._load(first_block + number, band.height, last - first)
            out[
                :, top - window.row : bottom - window.row, left - window.col : right - window.col
            ] = pixels[:, top - band.row : bottom - band.row, left - first : right - first]
            num_copied += (bottom - top) * (right - left)
        return num_copied

    def _load_block(self, index: int, height: int, width: int) -> NDArray[Any]:
        start, stop = self._offsets[index], self._offsets[index + 1]
        stored = os.pread(self._blocks, stop - start, start)
        if len(stored) != stop - start or zlib.crc32(stored) != self._digests[index]:
            raise UnreadableFileError(
                f"{self.folder} holds damaged blocks; remove it and predict again"
            )
        content = stored if self.is_prob else zlib.decompress(stored)
        return np.frombuffer(content, self._dtype).reshape(self._channels, height, width)

    def _pack(self, pixels: NDArray[Any]) -> bytes:
        # Probabilities hardly shrink, and deflating them would take longer than a small network.
        return pixels.tobytes() if self.is_prob else zlib.compress(pixels.data, 1)


@contextmanager
def open_journal(
    folder: Path, identity: Mapping[str, Any], dtype: str, channels: int, **chosen: Any
) -> Iterator[Journal]:
    """Begin a journal, in place of one that may be there.

    Args:
        folder: Made for it; removed with `remove_journal` when the result is written.
        identity: What the result depends on; work goes on only for the same.
        dtype: Of the pixels of bands.
        channels: Of the pixels of bands.
        **chosen: What was chosen at the start and must stay.

    Raises:
        UsageError: If the folder cannot be written to.
        ResourceError: If the disk is full.
    """
    remove_journal(folder)
    header = {
        "format_version": FORMAT_VERSION,
        "identity": identity,
        "dtype": dtype,
        "channels": channels,
        **chosen,
    }
    with disk_errors(folder):
        folder.mkdir(parents=True)
        (folder / _BLOCKS).touch()
        temporary = folder / f"{_JOURNAL}.tmp"
        temporary.write_text(json.dumps(header) + "\n", encoding="utf-8")
        temporary.replace(folder / _JOURNAL)
    with _open(folder, header) as journal:
        yield journal


@contextmanager
def resume_journal(folder: Path, identity: Mapping[str, Any]) -> Iterator[Journal]:
    """Open a journal to go on with it.

    Raises:
        UsageError: If there is none, or it is of other work; the message names what differs.
    """
    header = journal_header(folder)
    if header is None:
        raise UsageError(f"there is no unfinished work in {folder} to go on with")
    refuse_changes(header["identity"], json.loads(json.dumps(identity)), folder)
    with _open(folder, header) as journal:
        yield journal


def journal_header(folder: Path) -> dict[str, Any] | None:
    """Return what a journal says of its work; None if there is no journal."""
    try:
        with (folder / _JOURNAL).open("rb") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError):
        return None
    is_known = isinstance(header, dict) and header.get("format_version") == FORMAT_VERSION
    return header if is_known else None


def remove_journal(folder: Path) -> None:
    """Remove a journal, the part first without which the rest is none."""
    (folder / _JOURNAL).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


@contextmanager
def _open(folder: Path, header: Mapping[str, Any]) -> Iterator[Journal]:
    with disk_errors(folder):
        blocks = os.open(folder / _BLOCKS, os.O_RDWR)
        lines = os.open(folder / _JOURNAL, os.O_RDWR)
    journal = Journal(folder, header, blocks, lines)
    try:
        journal.replay()
        yield journal
    finally:
        journal.close()


def _block_columns(window: Window) -> Iterator[tuple[int, int]]:
    """Yield the first column of each block of a band, and the column after its last."""
    start, stop = window.col, window.col + window.width
    while start < stop:
        end = min(start - start % BLOCK_WIDTH + BLOCK_WIDTH, stop)
        yield start, end
        start = end


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
