"""Rasters that lie askew or nowhere, hold nothing in places, are tiny, or have bad company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from torch import Tensor, nn

from delineate.model_file import SegmentationModel
from delineate.prediction import scenes
from delineate.prediction.predict import predict
from delineate.preprocessing import Preprocessing
from delineate.task import Task

PLACE = rasterio.Affine(0.5, 0, 733601.0, 0, -0.5, 3725139.0)
ASKEW = rasterio.Affine(0.4, 0.3, 733601.0, 0.3, -0.4, 3725139.0)


class Blur(nn.Module):
    """Sees 5 x 5 pixels, so that what is wrong in one shows in its neighbours."""

    def forward(self, images: Tensor) -> Tensor:
        weight = torch.full((1, 1, 5, 5), 0.4)
        return nn.functional.conv2d(images, weight, padding=2)


def make_model(dtype: str = "uint8", pixel_size: tuple[float, float] | None = None) -> object:
    value_range = (0.0, 255.0) if dtype == "uint8" else (0.0, 1.0)
    preprocessing = Preprocessing(1, value_range, dtype=dtype, pixel_size=pixel_size)
    return SegmentationModel(Blur(), Task("binary", ("a",)), preprocessing, {}, (32, 32))


def write(path: Path, pixels: np.ndarray, **options: object) -> Path:
    height, width = pixels.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1}
    profile |= {"crs": "EPSG:32616", "transform": PLACE, "dtype": pixels.dtype, **options}
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels, 1)
    return path


def draw(height: int = 50, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width)).astype(np.uint8)


@pytest.fixture(params=["whole", "bands"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "bands":
        monkeypatch.setattr(scenes, "STREAMED_PIXELS", 0)
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_a_raster_that_lies_askew_keeps_its_place(tmp_path: Path) -> None:
    scene = write(tmp_path / "a.tif", draw(), transform=ASKEW)
    predict(make_model(), scene, out=tmp_path / "o", save=["mask", "prob"], device="cpu")
    for name in ("a.tif", "a_prob.tif"):
        with rasterio.open(tmp_path / "o" / name) as found:
            assert found.transform == ASKEW
            assert found.crs.to_epsg() == 32616


def test_pixels_askew_have_sides_and_areas(tmp_path: Path) -> None:
    pyogrio = pytest.importorskip("pyogrio.raw", reason="the extra geo is not installed")
    pixels = np.zeros((50, 60), np.uint8)
    pixels[10:30, 20:50] = 255
    scene = write(tmp_path / "a.tif", pixels, transform=ASKEW)
    model = make_model(pixel_size=(1.0, 1.0))
    summary = predict(model, scene, out=tmp_path / "o", save=["polygons"], device="cpu")
    # Sides of 0.5 m, since 0.3, 0.4 and 0.5 make a right angle.
    assert summary.scenes[0].resampling is not None
    assert summary.scenes[0].resampling.own == pytest.approx((0.5, 0.5))
    meta, _, _, columns = pyogrio.read(tmp_path / "o" / "a.gpkg")
    areas = columns[list(meta["fields"]).index("area_m2")]
    assert areas.tolist() == pytest.approx([20 * 30 * 0.25], rel=0.1)


@pytest.mark.usefixtures("way")
def test_what_is_no_number_does_not_bleed(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).random((50, 60)).astype(np.float32)
    holes = np.zeros(sound.shape, bool)
    holes[20:24, 30:40] = holes[0, 0] = True
    probs = {}
    for name, value in (("nan", np.nan), ("inf", np.inf), ("nodata", -9999.0)):
        pixels = np.where(holes, np.float32(value), sound)
        options = {"nodata": -9999.0} if name == "nodata" else {}
        scene = write(tmp_path / f"{name}.tif", pixels, **options)
        predict(make_model("float32"), scene, out=tmp_path / "o", save=["mask", "prob"])
        with rasterio.open(tmp_path / "o" / f"{name}_prob.tif") as file:
            probs[name] = file.read(1)
        with rasterio.open(tmp_path / "o" / f"{name}.tif") as file:
            assert np.array_equal(file.read(1) == 255, holes)
            assert file.nodata == 255
    assert np.array_equal(np.isnan(probs["nan"]), holes)
    for other in ("inf", "nodata"):
        assert np.array_equal(probs[other], probs["nan"], equal_nan=True)
    # The network saw the mean there, 0.5, which 0 stands for.
    mean = np.where(holes, np.float32(0.5), sound)
    scene = write(tmp_path / "mean.tif", mean)
    predict(make_model("float32"), scene, out=tmp_path / "o", save=["prob"], exist_ok=True)
    with rasterio.open(tmp_path / "o" / "mean_prob.tif") as file:
        assert np.allclose(file.read(1)[~holes], probs["nan"][~holes], atol=1e-6)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 2)])
def test_tiny_rasters_work_resampled_or_not(tmp_path: Path, size: tuple[int, int]) -> None:
    scene = write(tmp_path / "a.tif", draw(*size))
    for number, pixel_size in enumerate((None, (0.5, 0.5), (2.0, 2.0), (0.1, 0.1))):
        model = make_model(pixel_size=pixel_size)
        predict(model, scene, out=tmp_path / str(number), device="cpu")
        with rasterio.open(tmp_path / str(number) / "a.tif") as found:
            assert found.shape == size
            assert set(np.unique(found.read(1))) <= {0, 1}


@pytest.mark.usefixtures("way")
def test_what_lies_beside_a_raster_is_not_followed(
    tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    address, hits = server
    alone = write(tmp_path / "alone.tif", draw())
    scene = write(tmp_path / "scene.tif", draw())
    trap = (
        '<VRTDataset rasterXSize="60" rasterYSize="50"><VRTRasterBand dataType="Byte" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="0">/vsicurl/{address}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    for ending in (".ovr", ".msk"):
        (tmp_path / f"scene.tif{ending}").write_text(trap)
    (tmp_path / "scene.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:4326</SRS><Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>"
        f"/vsicurl/{address}</MDI></Metadata><PAMRasterBand band='1'><NoDataValue>7</NoDataValue>"
        "</PAMRasterBand></PAMDataset>"
    )
    (tmp_path / "scene.tfw").write_text("9\n0\n0\n-9\n5\n5\n")
    masks = []
    for path in (alone, scene):
        predict(make_model(), path, out=tmp_path / "o", device="cpu", exist_ok=True)
        with rasterio.open(tmp_path / "o" / path.name) as file:
            masks.append(file.read(1))
            assert file.crs.to_epsg() == 32616
            assert file.transform == PLACE
    assert np.array_equal(*masks)
    assert hits == []
