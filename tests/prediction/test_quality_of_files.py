"""What `predict` says of masks whose truth nobody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from delineate.cli.display import print_prediction
from delineate.errors import ModelFileError
from delineate.model_file import SegmentationModel, load_model, save_model
from delineate.models import build_model
from delineate.prediction.familiarity import learn_familiarity, look_of
from delineate.prediction.predict import predict
from delineate.prediction.predictor import load_predictor
from delineate.prediction.scene_quality import judge_scene
from delineate.preprocessing import Preprocessing
from delineate.rasters import write_image
from delineate.task import Task

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
