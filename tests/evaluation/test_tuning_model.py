"""Tuning through the command line, from training to a tuned model file."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from delineate.cli.app import run
from delineate.errors import UsageError
from delineate.evaluation.evaluate import evaluate
from delineate.evaluation.tuning_model import RepeatedPredictor
from delineate.model_file import load_model, read_model_info
from delineate.postprocess import postprocess_mask
from delineate.prediction.predictor import load_predictor
from delineate.rasters import read_image

FAST = ["--evaluation.tuning.opening-radii", "0", "--evaluation.tuning.closing-radii", "0"]


def draw_speckled(root: Path, num_images: int = 12, size: int = 48) -> Path:
    """Bright circles on a ground with bright specks that belong to nothing."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for index in range(num_images):
        mask = np.zeros((size, size), np.uint8)
        for _ in range(2):
            row, col = rng.integers(8, size - 8, 2)
            cv2.circle(mask, (int(col), int(row)), int(rng.integers(5, 9)), 255, -1)
        specks = (rng.random(mask.shape) < 0.03) & (mask == 0)
        image = 60 + 90 * (mask > 0) + 90 * specks + rng.normal(0, 12, mask.shape)
        cv2.imwrite(str(root / "images" / f"{index:02d}.png"), image.clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(root / "masks" / f"{index:02d}.png"), mask)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_speckled(tmp_path_factory.mktemp("data") / "specks")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    flags = ["--epochs", "3", "--training.steps-per-epoch", "6", "--training.batch-size", "2"]
    flags += ["--training.patch-size", "32", "32", "--model.width", "4", "--model.depth", "2"]
    flags += ["--data.num-workers", "0", "--data.split", "0.4", "0.4", "0.2", *FAST]
    assert run(["train", str(data), "--run", str(folder), "--device", "cpu", *flags]) == 0
    return folder


def test_training_ends_with_a_choice_and_its_proof(trained: Path) -> None:
    model = load_model(trained)
    tuning = model.tuning
    assert tuning["objective"] == "dice"
    assert tuning["num_images"] == tuning["num_groups"] == 5
    assert tuning["thresholds"] == list(model.thresholds or ())
    assert tuning["postprocessing"] == model.prediction["postprocessing"]
    assert set(tuning["proofs"]) == {"threshold", "post-processing", "temperature"}
    for proof in tuning["proofs"].values():
        assert proof["luck"] == pytest.approx(proof["gain"] - proof["nested_gain"]["estimate"])
    assert model.metrics["validation"]["threshold"] == tuning["thresholds"][0]
    (curve,) = tuning["curves"].values()
    assert max(curve["scores"]) == pytest.approx(tuning["proofs"]["threshold"]["after"])
    assert curve["thresholds"] == sorted(curve["thresholds"])
    notes = (trained / "plan.md").read_text(encoding="utf-8")
    assert "## Threshold and post-processing" in notes
    assert "images that had no say" in notes


def test_the_model_scores_on_validation_what_its_file_says(trained: Path, data: Path) -> None:
    evaluation = evaluate(trained, data, split="val", out=trained.parent / "val", device="cpu")
    stored = read_model_info(trained)["metrics"]["validation"]
    assert evaluation.scores.pooled == pytest.approx(stored["pooled"], abs=1e-9)


def test_tuning_writes_another_model_and_says_where(
    trained: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "model.safetensors").read_bytes()
    command = ["evaluate", str(trained), str(data), "--split", "val", "--tune", "--device", "cpu"]
    assert run([*command, "--objective", "f_beta", "--evaluation.tuning.beta", "3", *FAST]) == 0
    path = trained / "evaluation-val" / "model.safetensors"
    printed = capsys.readouterr().out
    assert str(path) in printed
    assert "F3 of the pooled pixels, on 5 validation images" in printed
    assert (trained / "model.safetensors").read_bytes() == before
    tuned = load_model(path)
    assert tuned.tuning["objective"] == "f_beta"
    metrics = json.loads((path.parent / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["threshold"] == (tuned.thresholds or (None,))[0]
    assert metrics["pooled"]["dice"] == tuned.metrics["validation"]["pooled"]["dice"]
    # The choice reaches prediction.
    predictor = load_predictor(path, device="cpu")
    pixels = read_image(data / "images" / "00.png")
    probs = predictor.predict_probs(pixels)
    expected = postprocess_mask(
        tuned.task.mask(probs, tuned.thresholds), tuned.task, **tuned.tuning["postprocessing"]
    )
    np.testing.assert_array_equal(predictor.predict_mask(pixels), expected)


def test_a_given_post_processing_stays(trained: Path, data: Path, tmp_path: Path) -> None:
    overrides = {"prediction": {"postprocessing": {"min_object_area": "9"}}}
    evaluation = evaluate(
        trained, data, split="val", tune=True, out=tmp_path, device="cpu", overrides=overrides
    )
    assert evaluation.tuned_model == tmp_path / "model.safetensors"
    tuned = load_model(tmp_path / "model.safetensors")
    assert tuned.prediction["postprocessing"]["min_object_area"] == 9
    assert "post-processing" not in tuned.tuning["proofs"]


@pytest.mark.parametrize("memory", [0, 2 * 4 * 6, 10**6])
def test_what_was_predicted_is_recalled_as_far_as_there_is_room(memory: int) -> None:
    calls: list[float] = []

    class Counting:
        def predict_probs(
            self, pixels: np.ndarray, valid: object = None, grid: object = None
        ) -> np.ndarray:
            calls.append(float(pixels.max()))
            return np.full((1, 2, 3), pixels.max(), np.float32)

    images = [np.full((2, 3, 1), value) for value in (0.1, 0.2, 0.3)]
    repeated = RepeatedPredictor(Counting(), memory)
    first = [repeated.predict_probs(image) for image in images]
    repeated.repeat()
    again = [repeated.predict_probs(image) for image in images]
    np.testing.assert_array_equal(first, again)
    assert len(calls) == {0: 6, 48: 4, 10**6: 3}[memory]


@pytest.mark.parametrize("split", ["test", "train"])
def test_only_validation_images_are_tuned_on(
    trained: Path, data: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(trained), str(data), "--split", split, "--tune"]) == 2
    assert "--split val" in capsys.readouterr().err
    assert not (trained / f"evaluation-{split}").exists()


def test_an_objective_without_tuning_is_refused(trained: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="--tune"):
        evaluate(trained, data, split="val", objective="iou")
    command = ["evaluate", str(trained), str(data), "--split", "val", "--tune"]
    assert run([*command, "--objective", "dise"]) == 2
