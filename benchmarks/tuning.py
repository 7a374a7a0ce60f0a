"""What tuning gains on validation images, by its proof, and on test images, for one model.

python benchmarks/tuning.py RUN DATA [--objective dice] [--effort 40]

The test split decides nothing: it is scored three times here to see whether the proof was right.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from delineate.config import DataConfig, TuningConfig, build_settings
from delineate.data.cache import ImageCache
from delineate.data.inventory import Inventory, build_inventory
from delineate.data.masks import MaskDecoder
from delineate.evaluation.scoring import LabelledImage, SplitScores, score_samples
from delineate.evaluation.tuning import Tuning, tune
from delineate.evaluation.tuning_predictions import PredictionStore
from delineate.model_file import SegmentationModel, load_model
from delineate.postprocess import postprocess_mask
from delineate.prediction.predictor import Predictor, load_predictor


def read_images(inventory: Inventory, split: str, decoder: MaskDecoder) -> Iterator[LabelledImage]:
    cache = ImageCache(inventory.of(split), decoder, limit_gib=0.0)
    for sample, (pixels, target, valid) in zip(cache.samples, cache, strict=True):
        yield LabelledImage(sample.name, pixels, target, valid)


def score_test(
    predictor: Predictor, images: list[LabelledImage], choices: dict[str, dict]
) -> dict[str, SplitScores]:
    task = predictor.task
    probs = [predictor.predict_probs(image.pixels, image.valid) for image in images]

    class Known:
        def __init__(self) -> None:
            self.left = iter(probs)

        def predict_probs(self, pixels, valid=None):
            return next(self.left)

    return {
        name: score_samples(
            Known(),
            images,
            task,
            thresholds=choice["thresholds"],
            postprocess=lambda mask, steps=choice["steps"]: postprocess_mask(mask, task, **steps),
        )
        for name, choice in choices.items()
    }


def tune_validation(
    model: SegmentationModel, predictor: Predictor, inventory: Inventory, config: TuningConfig
) -> tuple[Tuning, float]:
    store = PredictionStore(model.task)
    decoder = MaskDecoder.from_dict(model.decoder)
    for image in read_images(inventory, "val", decoder):
        probs = predictor.predict_probs(image.pixels, image.valid)
        store.add(image.name, probs, image.target, image.valid)
    groups = {sample.name: sample.group for sample in inventory.of("val")}
    start = time.process_time()
    tuning = tune(store, groups, config)
    print(
        f"{store.num_pixels / 1e6:.2f} million pixels, {tuning.num_steps} ways of post-processing"
    )
    return tuning, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--objective", default="dice")
    parser.add_argument("--effort", type=float, default=40.0)
    given = parser.parse_args()
    model = load_model(given.run)
    predictor = load_predictor(model, device="cpu")
    stored = model.provenance["config"]["data"]
    defaults = DataConfig().model_dump(mode="json")
    wanted = {name: value for name, value in stored.items() if value != defaults.get(name)}
    inventory = build_inventory(given.data, build_settings({"data": wanted}).data)
    config = TuningConfig(objective=given.objective, effort=given.effort)
    tuning, seconds = tune_validation(model, predictor, inventory, config)
    print(f"tuned in {seconds:.1f} s of one core")
    print("\n".join(tuning.describe()))

    nothing: dict = {"steps": {}, "thresholds": None}
    if model.task.has_threshold:
        nothing["thresholds"] = (0.5,) * model.task.num_classes
    tuned = {"steps": tuning.postprocessing, "thresholds": tuning.thresholds}
    images = list(read_images(inventory, "test", MaskDecoder.from_dict(model.decoder)))
    scores = score_test(predictor, images, {"untouched": nothing, "chosen": tuned})
    for name, split in scores.items():
        print(
            f"test, {name}: Dice {split.pooled['dice']:.4f}, per image "
            f"{split.per_image['dice']:.4f}, precision {split.pooled['precision']:.4f}, recall "
            f"{split.pooled['recall']:.4f}"
        )


if __name__ == "__main__":
    main()
