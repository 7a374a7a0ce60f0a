"""A file that brings its decoder down costs one request."""

from __future__ import annotations

import os
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from delineate.errors import UnreadableFileError
from delineate.rasters import (
    GeoReference,
    Raster,
    UntrustedReader,
    read_raster,
    read_untrusted,
    write_image,
    write_raster,
)

PIXELS = np.random.default_rng(0).integers(0, 255, (37, 53, 3), dtype=np.uint8)
LIMIT = 64 * 2**20


@pytest.fixture(scope="module")
def reader() -> Iterator[UntrustedReader]:
    with UntrustedReader(memory_bytes=LIMIT, timeout=60) as found:
        yield found


@pytest.fixture
def good(tmp_path: Path) -> Path:
    write_image(tmp_path / "good.png", PIXELS)
    return tmp_path / "good.png"


def write_bomb(path: Path, side: int) -> Path:
    """Write a sound PNG of one colour, a thousand times as large in memory as on the disk."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        code = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + code

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes((3 * side + 1) * side), 9)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )
    return path


def test_files_are_read_as_ever(reader: UntrustedReader, tmp_path: Path) -> None:
    place = GeoReference("EPSG:32616", (0.5, 0.0, 733601.0, 0.0, -0.5, 3725139.0))
    write_image(tmp_path / "a.tif", PIXELS.astype(np.uint16) * 200, place)
    write_raster(tmp_path / "b.tif", Raster(PIXELS[..., :1], spacing=(0.75, 0.4), nodata=7))
    Image.fromarray(PIXELS[..., 0]).convert("P").save(tmp_path / "c.png")
    np.save(tmp_path / "d.npy", PIXELS[..., 0] / 7)
    for name in ("a.tif", "b.tif", "c.png", "d.npy"):
        wanted, found = read_raster(tmp_path / name), reader.read(tmp_path / name)
        np.testing.assert_array_equal(found.pixels, wanted.pixels)
        assert found.pixels.dtype == wanted.pixels.dtype
        assert (found.geo, found.nodata) == (wanted.geo, wanted.nodata)
        assert found.spacing == wanted.spacing
        assert (found.palette is None) == (wanted.palette is None)
        if found.palette is not None:
            np.testing.assert_array_equal(found.palette, wanted.palette)


def test_refusals_are_those_of_the_reader(reader: UntrustedReader, tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_text("<VRTDataset/>")
    for path in (tmp_path / "x.tif", tmp_path / "missing.png"):
        with pytest.raises(UnreadableFileError) as plain:
            read_raster(path)
        with pytest.raises(UnreadableFileError) as found:
            reader.read(path)
        assert str(found.value) == str(plain.value)


def test_too_much_memory_costs_one_request(
    reader: UntrustedReader, tmp_path: Path, good: Path
) -> None:
    bomb = write_bomb(tmp_path / "bomb.png", 6000)  # 103 MiB decoded
    assert bomb.stat().st_size < 2**18
    with pytest.raises(UnreadableFileError, match=r"bomb\.png (takes more than 64 MiB|cannot be)"):
        reader.read(bomb)
    np.testing.assert_array_equal(reader.read(good).pixels, PIXELS)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_costs_one_request(good: Path, number: signal.Signals) -> None:
    with UntrustedReader(memory_bytes=LIMIT, timeout=60) as reader:
        reader.read(good)
        child = reader._child
        assert child is not None
        os.kill(child.pid, number)
        with pytest.raises(UnreadableFileError, match=f"good.png .* status -{int(number)}"):
            reader.read(good)
        np.testing.assert_array_equal(reader.read(good).pixels, PIXELS)
    assert child.poll() is not None


def test_a_file_that_never_ends_is_given_up(tmp_path: Path, good: Path) -> None:
    fifo = tmp_path / "endless.png"
    os.mkfifo(fifo)
    with UntrustedReader(memory_bytes=LIMIT, timeout=60) as reader:
        reader.read(good)
        reader._timeout = 0.3
        with pytest.raises(UnreadableFileError, match=r"took longer than 0\.3 s"):
            reader.read(fifo)
        reader._timeout = 60
        np.testing.assert_array_equal(reader.read(good).pixels, PIXELS)


def test_one_file_has_a_process_of_its_own(good: Path) -> None:
    np.testing.assert_array_equal(read_untrusted(good, timeout=60).pixels, PIXELS)
