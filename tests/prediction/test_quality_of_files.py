"""What `predict` says of masks whose truth nobody knows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

from delineate.cli.prediction_display import print_prediction
from delineate.errors import ModelFileError
from delineate.model_file import SegmentationModel, load_model, save_model
from delineate.models import build_model
from delineate.prediction import scenes
from delineate.prediction.familiarity import learn_familiarity, look_of
from delineate.prediction.predict import predict
from delineate.prediction.predictor import load_predictor
from delineate.prediction.scene_options import SceneOptions
from delineate.prediction.scene_quality import judge_scene
from delineate.preprocessing import Preprocessing
from delineate.raster_windows import create_raster
from delineate.rasters import GeoReference, write_image
from delineate.task import Task
from delineate.tiling import Window

RGB = Preprocessing(3)


def texture(rng: np.random.Generator, mean: float = 120.0) -> np.ndarray:
    return np.clip(rng.normal(mean, 20, (48, 56, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    rng = np.random.default_rng(0)
    looks = [look_of(texture(rng), None, RGB) for _ in range(12)]
    known = learn_familiarity([x for x in looks if x is not None], [str(i) for i in range(12)])
    torch.manual_seed(0)
    settings: dict[str, Any] = {"width": 4, "depth": 2}
    return SegmentationModel(
        build_model("unet", 3, 1, **settings).eval(),
        Task("binary", ("cell",)),
        RGB,
        {"name": "unet", "in_channels": 3, "num_classes": 1, "settings": settings},
        (64, 64),
        thresholds=(0.01,),
        reference={
            "calibration": [[[0.0, 0.1], [1.0, 0.9]]],
            "familiarity": known.as_dict(),
            "images": ["0123456789ab"],
        },
    )


def test_predictions_are_judged_and_strange_images_named(
    model: SegmentationModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    (tmp_path / "in").mkdir()
    for name, mean in (("usual", 120.0), ("dark", 20.0)):
        write_image(tmp_path / "in" / f"{name}.png", texture(rng, mean))
    summary = predict(model, tmp_path / "in", out=tmp_path / "out", device="cpu")
    found = {path.stem: quality for path, quality in summary.qualities}
    assert found["usual"].alarm is None
    assert found["dark"].alarm is not None
    assert all(0 < quality.expected_dice < 1 for quality in found.values())
    print_prediction(summary, tmp_path / "out")
    text = capsys.readouterr().out
    assert "an estimate without the truth" in text
    assert "warning: 1 of 2 images look unlike the training images" in text
    assert f"dark.png: {found['dark'].alarm}" in text


def test_a_large_raster_is_judged_by_its_windows(model: SegmentationModel, tmp_path: Path) -> None:
    predictor = load_predictor(model, device="cpu")
    rng = np.random.default_rng(2)
    for mean in (120.0, 20.0):
        image = texture(rng, mean)
        write_image(tmp_path / "scene.tif", image)
        quality = judge_scene(predictor, tmp_path / "scene.tif")
        assert quality is not None
        assert (quality.alarm is not None) == (mean == 20.0)
        assert predictor.estimator is not None
        assert predictor.estimator.familiarity is not None
        look = look_of(image, None, RGB)
        assert look is not None
        assert quality.unfamiliarity == predictor.estimator.familiarity.ratio(look)
        assert quality.expected_dice is None


def write_textured(path: Path, side: int = 200) -> Path:
    """Write a scene whose upper left corner holds no data."""
    rng = np.random.default_rng(3)
    pixels = np.clip(rng.normal(120, 40, (side, side, 3)), 1, 255).astype(np.uint8)
    pixels[:50, :70] = 0
    place = GeoReference("EPSG:32616", (0.5, 0.0, 733601.0, 0.0, -0.5, 3725139.0))
    with create_raster(path, side, side, bands=3, geo=place, nodata=0) as writer:
        writer.write(Window(0, 0, side, side), np.moveaxis(pixels, -1, 0))
    return path


@pytest.mark.parametrize("save", [("mask",), ("mask", "prob"), ("prob",), ("overlay",)])
def test_a_raster_computed_by_bands_has_the_expected_dice_of_the_whole(
    model: SegmentationModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: tuple[str, ...]
) -> None:
    scene = write_textured(tmp_path / "scene.tif")
    middle = replace(model, thresholds=(0.5,), tile_size=(96, 96))
    whole = predict(middle, scene, out=tmp_path / "whole", save=save, device="cpu")
    monkeypatch.setattr(scenes, "STREAMED_PIXELS", 0)
    monkeypatch.setattr("delineate.prediction.strips.MAX_STRIP_WIDTH", 120)
    bands = predict(middle, scene, out=tmp_path / "bands", save=save, device="cpu")
    assert len(bands.scenes) == 1
    ((_, wanted),), ((_, found),) = whole.qualities, bands.qualities
    assert wanted.expected_dice is not None
    assert 0.2 < wanted.expected_dice < 0.9
    assert found.expected_dice == pytest.approx(wanted.expected_dice, abs=1e-6)
    assert found.unfamiliarity == wanted.unfamiliarity


def test_only_the_area_of_interest_is_judged(model: SegmentationModel, tmp_path: Path) -> None:
    pytest.importorskip("pyogrio", reason="the extra geo is not installed")
    scene = write_textured(tmp_path / "scene.tif")
    ring = [[733611, 3725039], [733701, 3725039], [733701, 3725129], [733611, 3725129]]
    crs = {"type": "name", "properties": {"name": "EPSG:32616"}}
    shape = {"type": "Polygon", "coordinates": [[*ring, ring[0]]], "crs": crs}
    (tmp_path / "aoi.geojson").write_text(json.dumps(shape))
    middle = replace(model, thresholds=(0.5,))
    found = {}
    for save in (("mask",), ("mask", "prob")):
        summary = predict(
            middle,
            scene,
            out=tmp_path / str(len(save)),
            save=save,
            options=SceneOptions(aoi=tmp_path / "aoi.geojson"),
            device="cpu",
        )
        ((_, quality),) = summary.qualities
        found[save] = quality.expected_dice
    assert found["mask",] == pytest.approx(found["mask", "prob"], abs=1e-6)
    with rasterio.open(tmp_path / "2" / "scene_prob.tif") as file:
        probs = file.read(1).astype(np.float64)
    # The fixture's calibration: frequencies are 0.1 + 0.8 p.
    seen = 0.1 + 0.8 * probs[np.isfinite(probs)]
    is_in = probs[np.isfinite(probs)] >= 0.5
    wanted = 2 * seen[is_in].sum() / (is_in.sum() + seen.sum())
    assert found["mask",] == pytest.approx(wanted, abs=1e-5)


def test_the_reference_survives_the_model_file_and_is_checked(
    model: SegmentationModel, tmp_path: Path
) -> None:
    save_model(model, tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").reference == model.reference
    for broken in (
        {"calibration": [[[0.0, 2.0]]]},
        {"calibration": [[[0.0, 0.5]], [[0.0, 0.5]]]},
        {"familiarity": {"looks": [[1.0], [1.0, 2.0]], "yardstick": 1.0}},
        {"secret": 1},
    ):
        model_of = SegmentationModel(**{**vars(model), "reference": broken})
        with pytest.raises(ModelFileError):
            save_model(model_of, tmp_path / "other.safetensors")
