from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score, jaccard_score

from delineate.cli.display import print_evaluation
from delineate.config import DataConfig, Settings, TaskConfig, dump_settings
from delineate.data.image_digest import digest_pixels
from delineate.data.inventory import build_inventory
from delineate.data.masks import inspect_masks
from delineate.errors import DataError, ModelFileError, UsageError
from delineate.evaluation.evaluate import evaluate
from delineate.files import digest_file
from delineate.model_file import SegmentationModel, save_model
from delineate.models import build_model
from delineate.prediction.predictor import load_predictor
from delineate.preprocessing import Preprocessing


def write_data(root: Path, *, channels: int = 3, values: int = 2, num_images: int = 10) -> Path:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(num_images):
        mask = np.kron(rng.integers(0, values, (4, 5)), np.ones((8, 8))).astype(np.uint8)
        pixels = (60 + 90 * mask[..., None] + rng.integers(0, 40, (32, 40, channels))) % 256
        name = f"group{index // 2}_{index}.png"
        Image.fromarray(pixels.astype(np.uint8).squeeze()).save(root / "images" / name)
        mask = mask * 255 if values == 2 else mask
        Image.fromarray(mask).save(root / "masks" / name)
    return root


def make_model(data: Path, config: DataConfig, task: TaskConfig | None = None) -> SegmentationModel:
    """A tiny untrained model whose prediction is about half foreground."""
    task_config = task or TaskConfig()
    found, decoder = inspect_masks(build_inventory(data, config), config, task_config)
    torch.manual_seed(0)
    settings = {"width": 4, "depth": 2}
    return SegmentationModel(
        network=build_model("unet", 3, found.num_classes, **settings).eval(),
        task=found,
        preprocessing=Preprocessing(3, (0.0, 255.0), (0.5,) * 3, (0.25,) * 3, "dataset"),
        architecture={
            "name": "unet",
            "in_channels": 3,
            "num_classes": found.num_classes,
            "settings": settings,
        },
        tile_size=(32, 32),
        thresholds=(0.4375,) if found.kind == "binary" else None,
        decoder=decoder.as_dict(),
        provenance={"config": dump_settings(Settings(data=config, task=task_config))},
    )


GROUPED = DataConfig(groups=r"group(\d+)", split=(0.4, 0.2, 0.4), split_seed=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def model(data: Path) -> SegmentationModel:
    return make_model(data, GROUPED)


@pytest.fixture(scope="module")
def run(model: SegmentationModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_model(model, folder / "model.safetensors")
    return folder


def test_scores_equal_scikit_learn_on_the_split_of_the_training(run: Path, data: Path) -> None:
    evaluation = evaluate(run, data, device="cpu")
    predictor = load_predictor(run, device="cpu")
    samples = build_inventory(data, GROUPED).of("test")
    assert [image.name for image in evaluation.scores.images] == [s.name for s in samples]
    predicted, truth = [], []
    for sample in samples:
        pixels = np.asarray(Image.open(sample.image))
        predicted.append(predictor.predict_mask(pixels).ravel())
        truth.append((np.asarray(Image.open(sample.masks[0])) > 0).ravel())
    together = np.concatenate(truth), np.concatenate(predicted)
    metrics = json.loads((run / "evaluation-test" / "metrics.json").read_text("utf-8"))
    assert metrics == json.loads(json.dumps(evaluation.metrics))
    assert metrics["pooled"]["dice"] == pytest.approx(f1_score(*together), abs=1e-12)
    assert metrics["pooled"]["iou"] == pytest.approx(jaccard_score(*together), abs=1e-12)
    means = [f1_score(t, p) for t, p in zip(truth, predicted, strict=True)]
    assert metrics["per_image"]["dice"] == pytest.approx(np.mean(means), abs=1e-12)
    assert metrics["threshold"] == 0.4375
    assert metrics["num_images"] == len(samples) == 4
    assert metrics["model"]["digest"] == digest_file(run / "model.safetensors")
    for part in (metrics["pooled"], metrics["per_image"], *metrics["classes"].values()):
        assert {"dice", "iou", "precision", "recall"} <= set(part)


def test_the_files_are_the_same_each_time(run: Path, data: Path, tmp_path: Path) -> None:
    first = evaluate(run, data, device="cpu", out=tmp_path / "a")
    second = evaluate(run, data, device="cpu", out=tmp_path / "b")
    assert first.metrics_path.read_bytes() == second.metrics_path.read_bytes()
    assert first.report_path.read_bytes() == second.report_path.read_bytes()
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["image-counts.json", "metrics.json", "report.html"]
    text = first.metrics_path.read_text("utf-8")
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def test_settings_go_over_those_of_the_model(run: Path, data: Path, tmp_path: Path) -> None:
    overrides = {
        "prediction": {"tile_size": (16, 16), "postprocessing": {"min_object_area": 10_000}},
        "evaluation": {"num_bins": 64},
        "data": {"split": (0.5, 0.5, 0.0)},
    }
    evaluation = evaluate(run, data, split="val", out=tmp_path, device="cpu", overrides=overrides)
    assert evaluation.metrics["prediction"]["tile_size"] == [16, 16]
    assert evaluation.scores.pooled["recall"] == 0.0
    assert evaluation.scores.histogram.num_bins == 64
    assert "took part in making this model" in evaluation.report_path.read_text("utf-8")


def test_a_model_in_memory_and_several_classes(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", values=3, num_images=6)
    config = DataConfig(legend={"ground": 0, "road": 1, "roof": 2}, split=(0.4, 0.3, 0.3))
    model = make_model(data, config, TaskConfig(background="ground"))
    with pytest.raises(UsageError, match="say with out"):
        evaluate(model, data)
    metrics = evaluate(model, data, out=tmp_path / "out", device="cpu").metrics
    assert metrics["threshold"] is None
    assert list(metrics["classes"]) == ["ground", "road", "roof"]
    assert metrics["model"]["digest"] is None
    assert "dice_with_background" in metrics["pooled"]


def test_data_that_does_not_fit_the_model_is_refused(
    run: Path, data: Path, model: SegmentationModel, tmp_path: Path
) -> None:
    classes = write_data(tmp_path / "classes", values=3)
    with pytest.raises(DataError, match="without a meaning"):
        evaluate(run, classes, out=tmp_path / "out")
    legend: dict[str, Any] = {"data": {"legend": {"ground": 0, "road": 1, "roof": 2}}}
    with pytest.raises(DataError):
        evaluate(run, classes, out=tmp_path / "out", overrides=legend)
    (classes / "data.yaml").write_text("class_names: [ground, road, roof]\n")
    with pytest.raises(DataError, match="has the classes ground, road, roof but the model knows"):
        evaluate(run, classes, out=tmp_path / "out")
    with pytest.raises(DataError, match="multiclass data set but the model is binary"):
        evaluate(run, data, out=tmp_path / "out", overrides={"task": {"kind": "multiclass"}})
    assert not (tmp_path / "out").exists()


def test_mistakes_are_named(run: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'tset'; choose one of train, val, test"):
        evaluate(run, data, split="tset")
    with pytest.raises(UsageError, match="not of training"):
        evaluate(run, data, overrides={"training": {"seed": 1}})
    with pytest.raises(ModelFileError, match="there is no model at"):
        evaluate(tmp_path / "missing", data)
    with pytest.raises(DataError, match=r"no images in its test split \(6 train, 4 val, 0 test\)"):
        evaluate(run, data, overrides={"data": {"split": (0.6, 0.4, 0.0)}})


def test_copies_of_training_images_are_called_out(
    model: SegmentationModel, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = build_inventory(data, GROUPED).of("test")[1]
    digest = digest_pixels(np.asarray(Image.open(copied.image)))
    leaky = replace(model, reference={"images": [digest, "0" * 12]})
    evaluation = evaluate(leaky, data, device="cpu", out=tmp_path / "leaky")
    alert = evaluation.alerts[0]
    assert "1 of the 4 images scored here are training images" in alert
    assert copied.name in alert
    assert f'role="alert">{alert[:60]}' in evaluation.report_path.read_text("utf-8")
    print_evaluation(evaluation)
    assert "warning: 1 of the 4 images scored here are training images" in capsys.readouterr().out
    images = evaluation.metrics["images"]
    assert [image["quality"]["in_training"] for image in images] == [False, True, False, False]
    clean = evaluate(model, data, device="cpu", out=tmp_path / "clean")
    assert not any("training images of this" in alert for alert in clean.alerts)
