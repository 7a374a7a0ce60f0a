"""Rasters of other pixel sizes are read at the model's, and results are on their own grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import torch
from rasterio.crs import CRS
from scipy import ndimage
from torch import Tensor, nn

from delineate.cli.info_display import describe_model
from delineate.cli.prediction_display import print_estimate, print_prediction
from delineate.errors import DataError, UsageError
from delineate.model_file import SegmentationModel, info, load_model, save_model
from delineate.models import build_model
from delineate.prediction.predict import predict
from delineate.prediction.scene_options import SceneOptions
from delineate.prediction.scene_resolution import choose_resampling
from delineate.preprocessing import Preprocessing
from delineate.raster_windows import Grid
from delineate.rasters import GeoReference, Raster, read_raster, write_image, write_raster
from delineate.task import Task

TRAINED = (0.5, 0.5)
UTM = CRS.from_epsg(32616).to_wkt()


class Blur(nn.Module):
    """Sees blobs of seven pixels, so that the size of the pixels matters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 1, 7, 7), 1 / 49))

    def forward(self, images: Tensor) -> Tensor:
        padded = nn.functional.pad(images, (3, 3, 3, 3), mode="replicate")
        return 20 * nn.functional.conv2d(padded, self.weight)


def make_model(pixel_size: tuple[float, float] | None = TRAINED, **parts: Any) -> SegmentationModel:
    preprocessing = Preprocessing(1, std=(0.2,), dtype="uint8", pixel_size=pixel_size)
    return SegmentationModel(Blur(), Task("binary", ("a",)), preprocessing, {}, (64, 64), **parts)


def draw(side: int = 96) -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(side, side)), 6)
    noisy = 128 + 60 * smooth / smooth.std() + rng.normal(0, 80, smooth.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def write_scene(path: Path, pixels: np.ndarray, size: float, crs: str = UTM) -> Path:
    write_image(path, pixels[..., None], GeoReference(crs, (size, 0, 7e5, 0, -size, 4e6)))
    return path


def mask_of(model: SegmentationModel, scene: Path, out: Path, **options: Any) -> np.ndarray:
    predict(model, scene, out=out, options=SceneOptions(**options), device="cpu", exist_ok=True)
    return read_raster(out / scene.name).pixels[..., 0]


def test_a_finer_copy_of_a_scene_gives_the_same_mask(tmp_path: Path) -> None:
    pixels = draw()
    usual = write_scene(tmp_path / "usual.tif", pixels, 0.5)
    fine = write_scene(tmp_path / "fine.tif", np.kron(pixels, np.ones((2, 2), np.uint8)), 0.25)
    model = make_model()
    wanted = np.kron(mask_of(model, usual, tmp_path / "out"), np.ones((2, 2), np.uint8))
    assert 0.2 < wanted.mean() < 0.8
    found = mask_of(model, fine, tmp_path / "out")
    assert (found == wanted).mean() > 0.975
    assert found.mean() == pytest.approx(wanted.mean(), abs=0.01)
    native = mask_of(model, fine, tmp_path / "out", resolution="native")
    assert (native == wanted).mean() < 0.93
    # What is on by itself is what --resolution says.
    assert np.array_equal(mask_of(make_model(None), fine, tmp_path / "out", resolution=0.5), found)
    assert np.array_equal(mask_of(make_model(None), fine, tmp_path / "out"), native)


def test_the_summary_says_what_was_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, size in (("alike", 0.54), ("fine", 0.25)):
        write_scene(tmp_path / f"{name}.tif", draw(), size)
    write_image(tmp_path / "photo.png", draw())
    sources = [tmp_path / name for name in ("alike.tif", "fine.tif", "photo.png")]
    summary = predict(make_model(), sources, out=tmp_path / "out", device="cpu")
    (scene,) = summary.scenes
    assert scene.image.name == "fine.tif"
    assert scene.resampling is not None
    assert (scene.resampling.own, scene.resampling.trained) == ((0.25, 0.25), TRAINED)
    assert (scene.height, scene.width) == (96, 96)
    assert summary.num_unsized == 1
    print_prediction(summary, tmp_path / "out")
    text = capsys.readouterr().out
    assert "read at 0.5 m a pixel instead of its own 0.25 m" in text
    assert "1 image does not tell the size of its pixels; taken as the 0.5 m" in text


def test_results_lie_on_the_scenes_own_grid(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "a.tif", draw(90), 0.3)
    predict(make_model(), scene, out=tmp_path / "out", save=["mask", "prob"], device="cpu")
    for name in ("a.tif", "a_prob.tif"):
        with rasterio.open(tmp_path / "out" / name) as found, rasterio.open(scene) as source:
            assert found.transform == source.transform
            assert found.crs == source.crs
            assert found.shape == source.shape


def test_a_volumes_slice_is_resampled_by_its_spacing(tmp_path: Path) -> None:
    model = make_model((0.5e-3, 0.5e-3))
    fine = Raster(np.kron(draw(), np.ones((2, 2), np.uint8))[..., None], spacing=(0.25, 0.25))
    write_raster(tmp_path / "slice.tif", fine)
    summary = predict(model, tmp_path / "slice.tif", out=tmp_path / "out", device="cpu")
    assert summary.scenes[0].resampling is not None
    assert read_raster(tmp_path / "out" / "slice.tif").pixels.shape == (192, 192, 1)


def test_the_predictor_resamples_arrays_as_files(tmp_path: Path) -> None:
    from delineate.prediction.predictor import load_predictor

    pixels = np.kron(draw(), np.ones((2, 2), np.uint8))[..., None]
    scene = write_scene(tmp_path / "fine.tif", pixels[..., 0], 0.25)
    predict(make_model(), scene, out=tmp_path / "p.tif", save=["prob"], device="cpu")
    probs = load_predictor(make_model(), device="cpu").predict_probs(
        pixels, None, Grid(192, 192, 96, 96)
    )
    wanted = read_raster(tmp_path / "p.tif").pixels[..., 0]
    np.testing.assert_allclose(probs[0], wanted, atol=1e-6)


def test_far_too_coarse_a_raster_is_refused_and_named(tmp_path: Path) -> None:
    coarse = write_scene(tmp_path / "landsat.tif", draw(), 30.0)
    with pytest.raises(DataError, match=r"landsat.tif has pixels of 30 m .* 60 times off"):
        predict(make_model(), coarse, out=tmp_path / "out", device="cpu")
    assert mask_of(make_model(), coarse, tmp_path / "out", resolution="native").shape == (96, 96)


def test_what_is_chosen() -> None:
    path = Path("a.tif")
    assert choose_resampling(path, (0.5, 0.5), None, None) is None
    assert choose_resampling(path, None, None, TRAINED) is None
    assert choose_resampling(path, (0.47, 0.54), None, TRAINED) is None
    assert choose_resampling(path, (0.25, 0.25), "native", TRAINED) is None
    asked = choose_resampling(path, (0.5, 0.5), 0.52, TRAINED)
    assert asked is not None
    assert asked.trained == (0.52, 0.52)
    with pytest.raises(UsageError, match="does not say how large its pixels are"):
        choose_resampling(path, None, 0.5, TRAINED)


def test_the_model_file_keeps_the_size(tmp_path: Path) -> None:
    settings = {"width": 4, "depth": 2}
    model = make_model((0.5, 0.6))
    model.network = build_model("unet", 1, 1, **settings).eval()
    model.architecture = {"name": "unet", "in_channels": 1, "num_classes": 1, "settings": settings}
    save_model(model, tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").preprocessing == model.preprocessing
    described = describe_model(info(tmp_path / "model.safetensors"))
    assert described["pixel size"] == "0.5 x 0.6 m"
    with pytest.raises(UsageError, match="should be above 0"):
        Preprocessing(1, pixel_size=(0.5, 0.0))


def test_a_dry_run_tells_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = write_scene(tmp_path / "fine.tif", draw(), 0.25)
    summary = predict(make_model(), scene, out=tmp_path / "out", dry_run=True, device="cpu")
    assert summary.estimate is not None
    assert summary.estimate.resamplings[scene].own == (0.25, 0.25)
    print_estimate(summary.estimate)
    assert "read at 0.5 m a pixel instead of its own 0.25 m" in capsys.readouterr().out


def test_a_mosaic_is_resampled_and_tells_its_size(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "fine.tif", draw(), 0.25)
    rasterio.shutil.copy(scene, tmp_path / "fine.vrt", driver="VRT")
    options = SceneOptions(vrt=True)
    found = predict(
        make_model(), tmp_path / "fine.vrt", out=tmp_path / "v", options=options, device="cpu"
    )
    assert found.scenes[0].resampling is not None
    assert found.num_unsized == 0
    predict(make_model(), scene, out=tmp_path / "t", device="cpu")
    masks = [read_raster(tmp_path / name / "fine.tif").pixels for name in "vt"]
    assert np.array_equal(*masks)


def test_results_by_bands_are_not_replaced_unless_told(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", draw())
    for attempt in range(2):
        arguments = {"out": tmp_path / "o", "options": SceneOptions(refine="guided")}
        if attempt:
            with pytest.raises(UsageError, match=r"exist already: .*a\.tif"):
                predict(make_model(), tmp_path / "a.png", device="cpu", **arguments)
        else:
            predict(make_model(), tmp_path / "a.png", device="cpu", **arguments)
