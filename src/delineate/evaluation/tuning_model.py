"""A model whose threshold and post-processing are chosen anew on labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from delineate.errors import UsageError
from delineate.evaluation.tuning import Tuning, tune
from delineate.evaluation.tuning_predictions import PredictionStore
from delineate.progress import track

if TYPE_CHECKING:
    from delineate.config import TuningConfig
    from delineate.evaluation.scoring import LabelledImage, ProbabilityPredictor, SplitScores
    from delineate.model_file import SegmentationModel


def check_split(split: str) -> None:
    """Refuse to tune on images that would make the numbers a lie.

    Raises:
        UsageError: If the split is not the validation split.
    """
    if split == "val":
        return
    why = {
        "test": "what is chosen on test images cannot be judged by them",
        "train": "on training images the network looks better than it is",
    }.get(split, "only the validation split is for choosing")
    raise UsageError(
        f"tuning takes the val split and the split is {split}: {why}; give split='val' "
        "(--split val)"
    )


def tune_model(
    model: SegmentationModel,
    predictor: ProbabilityPredictor,
    images: Iterable[LabelledImage],
    groups: Sequence[str],
    config: TuningConfig,
    *,
    fixed: Mapping[str, Any] | None = None,
) -> tuple[SegmentationModel, Tuning]:
    """Predict each image once, and return a model with what was chosen; `model` stays as it is.

    Args:
        model: Weights and task.
        predictor: Of this model.
        images: Validation images.
        groups: Group of each image.
        config: Objective, and what is tried.
        fixed: Post-processing that stays; see `tune`.

    Raises:
        DataError: If there is no image.
        ResourceError: If the predictions find no room in memory and on disk.
    """
    store = PredictionStore(model.task, memory_bytes=config.memory_mib * 2**20)
    for image in track(images, "predicting val images", total=len(groups)):
        probs = predictor.predict_probs(image.pixels, image.valid)
        store.add(image.name, probs, image.target, image.valid)
    tuning = tune(store, groups, config, fixed=fixed)
    tuned = replace(model)
    tuning.apply(tuned)
    return tuned, tuning


def describe_scores(scores: SplitScores) -> dict[str, Any]:
    """Return the scores of the validation split as the model file keeps them."""
    described = scores.as_dict()
    return {name: described[name] for name in ("num_images", "threshold", "pooled", "classes")}
