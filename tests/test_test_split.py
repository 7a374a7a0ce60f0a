"""The test split changes nothing in a model: other test images and masks, the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from delineate import evaluate, load_model, train, write_sample
from delineate.config import DataConfig
from delineate.data.inventory import build_inventory
from delineate.model_file import SegmentationModel
from delineate.rasters import read_image, write_image

TINY: dict[str, Any] = {
    "model": {"width": 4, "depth": 2},
    "training": {"patch_size": [32, 32], "batch_size": 2, "steps_per_epoch": 3},
    "data": {"num_workers": 0},
}


def _train(data: Path, run: Path) -> SegmentationModel:
    return load_model(train(data, run=run, epochs=2, seed=0, overrides=TINY).model)


def test_other_test_images_give_the_same_model(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_sample("cells", data, num_images=10, size=64)
    first = _train(data, tmp_path / "first")

    samples = build_inventory(data, DataConfig()).of("test")
    assert samples
    for sample in samples:
        for path in (sample.image, *sample.masks):
            write_image(path, 255 - read_image(path)[..., 0])
    second = _train(data, tmp_path / "second")

    weights = second.network.state_dict()
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert first.thresholds == second.thresholds
    assert first.preprocessing == second.preprocessing
    assert first.metrics == second.metrics


def test_evaluating_leaves_the_model_file_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_sample("cells", data, num_images=8, size=64)
    model = train(data, run=tmp_path / "run", epochs=1, overrides=TINY).model
    before = model.read_bytes()
    evaluate(model, data, split="test", out=tmp_path / "scores")
    assert (tmp_path / "scores" / "metrics.json").is_file()
    assert model.read_bytes() == before
