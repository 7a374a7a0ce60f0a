from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from torch import Tensor, nn

from delineate.errors import DataError, DelineateError, UsageError
from delineate.model_file import SegmentationModel
from delineate.prediction import scenes
from delineate.prediction.predict import predict
from delineate.preprocessing import Preprocessing
from delineate.raster_windows import create_raster
from delineate.task import Task
from delineate.tiling import Window


class First(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images[:, :1]


MODEL = SegmentationModel(
    First(), Task("binary", ("x",)), Preprocessing(1, (0.0, 255.0)), {}, (512, 512)
)


def resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    pytest.skip("no /proc")


def test_a_huge_header_is_refused_at_once(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header
    chunk += struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 99) + b"IDAT" + bytes(99)
    )
    with pytest.raises(DataError):
        predict(MODEL, tmp_path / "bomb.png", out=tmp_path / "warm", device="cpu")
    before, start = resident(), time.perf_counter()
    with pytest.raises(DataError, match=r"bomb\.png is 60000x60000"):
        predict(MODEL, tmp_path / "bomb.png", out=tmp_path / "out", device="cpu")
    assert time.perf_counter() - start < 2
    assert resident() - before < 50e6
    assert not (tmp_path / "out").exists()


def test_a_huge_block_is_refused_before_it_is_read(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "width": 32768, "height": 32768, "count": 1, "dtype": "uint8"}
    with rasterio.open(
        tmp_path / "block.tif", "w", **profile, tiled=True, blockxsize=32768, blockysize=32768,
        compress="deflate", SPARSE_OK=True, transform=rasterio.Affine(2, 0, 0, 0, -2, 0),
    ):  # fmt: skip
        pass
    before = resident()
    with pytest.raises(DataError, match="block"):
        predict(MODEL, tmp_path / "block.tif", out=tmp_path / "out", device="cpu")
    assert resident() - before < 50e6


def test_a_disguised_mosaic_opens_no_connection_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, list[str]]
) -> None:
    monkeypatch.setattr(scenes, "STREAMED_PIXELS", 0)
    address, hits = server
    with create_raster(tmp_path / "canary.tif", 8, 8) as writer:
        writer.write(Window(0, 0, 8, 8), np.full((8, 8), 200, np.uint8))
    sources = [f"/vsicurl/{address}", tmp_path / "canary.tif"]
    for index, source in enumerate(sources):
        trap = tmp_path / f"trap{index}.tif"
        trap.write_text(
            '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" '
            f'band="1"><SimpleSource><SourceFilename relativeToVRT="0">{source}'
            "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
            "</VRTDataset>"
        )
        with pytest.raises(DataError):
            predict(MODEL, trap, out=tmp_path / "out", device="cpu")
    for path in (sources[0], address):
        with pytest.raises(DelineateError):
            predict(MODEL, path, out=tmp_path / "out", device="cpu")
    assert hits == []
    assert not list(tmp_path.rglob("out/*"))


def test_a_raster_of_a_million_by_a_million_is_planned_in_little_memory(tmp_path: Path) -> None:
    side = 10**6
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8"}
    with rasterio.open(
        tmp_path / "sparse.tif", "w", **profile, tiled=True, blockxsize=4096, blockysize=4096,
        SPARSE_OK=True, BIGTIFF="YES", transform=rasterio.Affine(2, 0, 0, 0, -2, 0),
    ):  # fmt: skip
        pass
    torch.zeros(1)
    before = resident()
    summary = predict(
        MODEL, tmp_path / "sparse.tif", out=tmp_path / "o.tif", dry_run=True, device="cpu"
    )
    assert resident() - before < 200e6
    assert summary.estimate is not None
    assert summary.estimate.num_tiles > 6.7e6
    assert summary.estimate.memory_bytes < 1.5 * 2**30
    with pytest.raises(DelineateError, match="disk full"):
        predict(MODEL, tmp_path / "sparse.tif", out=tmp_path / "o.tif", save=("prob",))


def test_an_output_is_never_a_source(tmp_path: Path) -> None:
    with create_raster(tmp_path / "a.tif", 8, 8) as writer:
        writer.write(Window(0, 0, 8, 8), np.zeros((8, 8), np.uint8))
    with pytest.raises(UsageError, match="would replace a source"):
        predict(MODEL, tmp_path / "a.tif", out=tmp_path / "a.tif", exist_ok=True, device="cpu")
