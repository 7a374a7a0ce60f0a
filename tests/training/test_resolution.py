"""From files of different pixel sizes to a model that knows its own, and is judged on theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rasterio.crs import CRS

from delineate.evaluation.evaluate import evaluate
from delineate.model_file import read_model_info
from delineate.prediction.predict import predict
from delineate.prediction.scene_options import SceneOptions
from delineate.rasters import GeoReference, read_raster, write_image, write_mask
from delineate.task import Task
from delineate.training.trainer import train

UTM = CRS.from_epsg(32616).to_wkt()
SIZES = (0.5, 0.5, 0.25, 1.0, 0.5)
METRES = 64.0


def draw_ponds(folder: Path, sizes: tuple[float, ...] = SIZES, per_split: int = 5) -> Path:
    """Write GeoTIFFs of ponds of 4 m, drawn fine and averaged down to each file's pixels."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for index in range(per_split):
            fine = np.zeros((256, 256), np.uint8)
            for _ in range(6):
                row, col = (int(place) for place in rng.integers(30, 226, 2))
                cv2.circle(fine, (col, row), 16, 1, -1)
            size = sizes[index % len(sizes)]
            side = round(METRES / size)
            share = cv2.resize(fine.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
            noisy = 60 + 100 * share + rng.normal(0, 10, share.shape)
            pixels = noisy.clip(0, 255).astype(np.uint8)[..., None]
            place = GeoReference(UTM, (size, 0, 7e5 + 100 * index, 0, -size, 4e6))
            for name in ("images", "masks"):
                (folder / split / name).mkdir(parents=True, exist_ok=True)
            write_image(folder / split / "images" / f"{index}.tif", pixels, place)
            mask = (share >= 0.5).astype(np.uint8)
            task = Task("binary", ("pond",))
            write_mask(folder / split / "masks" / f"{index}.tif", mask, task=task, geo=place)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("ponds")
    data = draw_ponds(folder / "data")
    settings: dict[str, Any] = {
        "model": {"width": 4, "depth": 2},
        "training": {"patch_size": [64, 64], "steps_per_epoch": 20, "learning_rate": 0.01},
        "data": {"num_workers": 0},
        "evaluation": {"tuning": {"effort": 0}},
    }
    train(data, run=folder / "run", epochs=2, seed=0, device="cpu", overrides=settings)
    return data, folder / "run"


def test_the_run_is_at_the_median_and_says_so(run: tuple[Path, Path]) -> None:
    _, folder = run
    assert read_model_info(folder)["preprocessing"]["pixel_size"] == [0.5, 0.5]
    assert "resolution: 0.5" in (folder / "config.yaml").read_text()
    plan = (folder / "plan.md").read_text()
    assert "resampling: pixels of the training images measure 0.25 m to 1 m: 2 images are" in plan
    fingerprint = json.loads((folder / "fingerprint.json").read_text())
    assert fingerprint["heights"]["0.5"] == fingerprint["heights"]["99.5"] == 128


def test_images_are_judged_at_their_own_resolution(run: tuple[Path, Path], tmp_path: Path) -> None:
    data, folder = run
    found = evaluate(folder, data, out=tmp_path / "e", device="cpu")
    sides = [int(image.counts.matrix.sum()) for image in found.scores.images]
    assert sides == [round(METRES / size) ** 2 for size in SIZES]
    dices = [image.scores["dice"] for image in found.scores.images]
    assert min(dice for dice in dices if dice is not None) > 0.8
    assert found.data["resampling"].startswith("2 of 5 images were read at 0.5 m a pixel")
    assert "2 of 5 images were read" in found.report_path.read_text(encoding="utf-8")
    # What predict writes is what was scored.
    name = data / "test" / "images" / "2.tif"
    predict(folder, name, out=tmp_path / "2.tif", device="cpu")
    mask = read_raster(tmp_path / "2.tif").pixels[..., 0]
    truth = read_raster(data / "test" / "masks" / "2.tif").pixels[..., 0]
    both = 2 * ((mask == 1) & (truth == 1)).sum() / ((mask == 1).sum() + (truth == 1).sum())
    assert both == pytest.approx(dices[2], abs=1e-6)


def test_native_is_worse_where_sizes_matter(run: tuple[Path, Path], tmp_path: Path) -> None:
    data, folder = run
    native = {"data": {"resolution": "native"}}
    found = evaluate(folder, data, out=tmp_path / "n", device="cpu", overrides=native)
    usual = evaluate(folder, data, out=tmp_path / "u", device="cpu")
    assert found.data["resampling"] is None
    assert found.scores.pooled["dice"] != usual.scores.pooled["dice"]
    options = SceneOptions(resolution="native")
    name = data / "test" / "images" / "2.tif"
    summary = predict(folder, name, out=tmp_path / "2.tif", options=options, device="cpu")
    assert summary.scenes == ()
