from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from delineate.errors import UnreadableFileError
from delineate.rasters import read_image, read_size

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", ">u2", "uint32", "int64", "float32", ">f8"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1), (300, 200, 12)])
def test_arrays_come_back(tmp_path: Path, ending: str, dtype: str, shape: Any) -> None:
    pixels = RNG.integers(0, 99, shape).astype(dtype)
    path = tmp_path / f"x.{ending}"
    np.save(path, np.asfortranarray(pixels)) if ending == "npy" else np.savez(path, pixels)
    found = read_image(path)
    np.testing.assert_array_equal(found, pixels.reshape(*shape[:2], -1))
    assert found.dtype.isnative
    assert read_size(path) == shape[:2]


def test_booleans_and_half_floats(tmp_path: Path) -> None:
    bits = RNG.random((4, 5)) < 0.5
    np.save(tmp_path / "b.npy", bits)
    np.testing.assert_array_equal(read_image(tmp_path / "b.npy")[..., 0], bits * np.uint8(255))
    np.savez_compressed(tmp_path / "h.npz", bits.astype(np.float16))
    assert read_image(tmp_path / "h.npz").dtype == np.float32


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("canary"),)


def test_pickles_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("o.npy", np.array([[_Evil()]], object), allow_pickle=True)
    np.savez("o.npz", np.array([[_Evil()]], object))
    Path("raw.npy").write_bytes(pickle.dumps(_Evil()))
    for name in ("o.npy", "o.npz", "raw.npy"):
        with pytest.raises(UnreadableFileError):
            read_image(Path(name))
    assert not Path("canary").exists()


def header(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text + b"\n"


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (header("(100000, 100000)"), "74.5 GiB for the whole"),
        (header("(1000, 1000)") + bytes(64), "damaged"),
        (header("(3, 512, 512)"), "channels seem to come first"),
        (header("(9, 9, 99999)"), "at most 1024 channels"),
        (header("(5,)"), "an image is"),
        (header("(2, 3, 4, 5)"), "an image is"),
        (header("(0, 3)"), "an image is"),
        (header("(-1, 3)"), "an image is"),
        (header("(2, 2)", "'<c8'"), "complex64"),
        (header("(2, 2)", "[('a', '<i4')]"), "whole or floating"),
        (header("(2, 2)", "'|O'"), "object"),
        (header("(2, 2)", "__import__('os')"), "damaged"),
        (b"\x93NUMPY\x09\x00\x00\x00", "format 9.0"),
        (b"\x93NUMPY", "damaged"),
    ],
)
def test_forged_headers_are_refused(
    tmp_path: Path, content: bytes, says: str, is_packed: bool
) -> None:
    path = tmp_path / "x.npy"
    if is_packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("arr_0.npy", content)
    else:
        path.write_bytes(content)
    for read in (read_image, read_size):
        if read is read_size and says == "damaged" and b"1000" in content:
            continue  # the header alone is sound
        with pytest.raises(UnreadableFileError, match=says):
            read(path)


def test_archives_hold_one_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", image=np.zeros((2, 2)), mask=np.zeros((2, 2)))
    with pytest.raises(UnreadableFileError, match=r"2 arrays \(image, mask\)"):
        read_image(tmp_path / "two.npz")
    with zipfile.ZipFile(tmp_path / "none.npz", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(UnreadableFileError, match=r"0 arrays \(none\)"):
        read_image(tmp_path / "none.npz")
    file = io.BytesIO()
    np.savez(file, np.zeros((20, 20)))
    (tmp_path / "cut.npz").write_bytes(file.getvalue()[:300])
    with pytest.raises(UnreadableFileError, match="damaged"):
        read_image(tmp_path / "cut.npz")


def test_archives_that_cannot_be_unpacked_say_so(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, np.zeros((20, 20)))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    for offset, value, says in ((8, 1, "encrypted"), (10, 99, "compression")):
        changed = bytearray(content)
        # Flags and method stand in the file's own header and, two bytes later, in the directory.
        changed[offset - 2] = changed[entry + offset] = value
        path.write_bytes(changed)
        for read in (read_image, read_size):
            with pytest.raises(UnreadableFileError, match=f"cannot be unpacked .*{says}"):
                read(path)


def test_a_header_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    text = b"-" * 9000 + b"1"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(UnreadableFileError, match="damaged"):
        read_image(tmp_path / "x.npy")


def test_a_mistake_of_the_program_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "x.npz", np.zeros((20, 20)))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(np.lib.format, "read_array", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        read_image(tmp_path / "x.npz")
