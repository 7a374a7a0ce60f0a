from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from delineate.data.doctor import look
from delineate.data.doctor.look import ImageJob, look_at_image, measure_channel
from delineate.data.doctor.records import THUMBNAIL, ChannelRecord
from delineate.data.inventory import Sample


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("is_masked", [False, True])
def test_channels_are_measured_as_numpy_does(
    dtype: str, is_masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "MAX_COUNTED", 100)  # several strips
    rng = np.random.default_rng(0)
    values = rng.integers(3, 250, (50, 41, 2)).astype(dtype)[..., 0]
    values[:9] = 250
    usable = rng.random((50, 41)) < 0.5 if is_masked else None
    flat = (values if usable is None else values[usable]).ravel().astype(np.float64)
    found = measure_channel(values, usable)
    expected = ChannelRecord(
        low=flat.min(),
        high=250,
        mean=pytest.approx(flat.mean(), rel=1e-12),
        deviation=pytest.approx(flat.std(), rel=1e-12),
        share_at_low=pytest.approx((flat == flat.min()).mean(), rel=1e-12),
        share_at_high=pytest.approx((flat == 250).mean(), rel=1e-12),
    )
    assert found == expected


def test_a_channel_without_a_usable_pixel_is_none() -> None:
    for dtype in ("uint8", "float32"):
        assert measure_channel(np.ones((3, 3), dtype), np.zeros((3, 3), bool)) is None


def look_at(path: Path) -> look.ImageRecord:
    sample = Sample(path, (), "train", path.stem, path.stem)
    return look_at_image(ImageJob(sample, path.parent, (), None)).image


def test_copies_in_another_lossless_format_have_one_digest(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    np.save(tmp_path / "b.npy", pixels)
    np.save(tmp_path / "c.npy", pixels[::-1])
    a, b, c = (look_at(tmp_path / name) for name in ("a.tif", "b.npy", "c.npy"))
    assert a.pixel_digest == b.pixel_digest != c.pixel_digest
    assert a.digest != b.digest


def test_thumbnails_reach_from_black_to_white_whatever_the_type(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:130, :90]
    for dtype, factor in (("uint8", 1), ("uint16", 100), ("float32", 1e-3)):
        np.save(tmp_path / f"{dtype}.npy", ((rows + columns) * factor).astype(dtype)[..., None])
        thumbnail = look_at(tmp_path / f"{dtype}.npy").thumbnail
        assert thumbnail is not None
        assert thumbnail.shape == (THUMBNAIL, THUMBNAIL)
        assert (thumbnail.min(), thumbnail.max()) == (0, 255)
        assert thumbnail[0, 0] < 3
        assert thumbnail[-1, -1] > 252


def test_a_lone_pixel_is_an_image(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.full((1, 1, 1), 7, np.uint8))
    record = look_at(tmp_path / "one.npy")
    assert record.error is None
    assert record.size == (1, 1)


def test_what_holds_no_numbers_is_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "complex.tif", np.ones((5, 5), np.complex64))
    assert "complex" in (look_at(tmp_path / "complex.tif").error or "")
