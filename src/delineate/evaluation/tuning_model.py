"""A model whose threshold and post-processing are chosen anew on labelled images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from delineate.errors import UsageError
from delineate.evaluation.scoring import predict_sample
from delineate.evaluation.tuning import Tuning, tune
from delineate.evaluation.tuning_predictions import PredictionStore
from delineate.progress import track

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from delineate.config import TuningConfig
    from delineate.evaluation.scoring import LabelledImage, ProbabilityPredictor, SplitScores
    from delineate.model_file import SegmentationModel
    from delineate.raster_windows import Grid


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


class RepeatedPredictor:
    """Predicts the same images twice in the same order, and the second time recalls what it can."""

    def __init__(self, predictor: ProbabilityPredictor, memory_bytes: int) -> None:
        """Start before the first image.

        Args:
            predictor: Asked for what is not remembered.
            memory_bytes: Limit of what is remembered.
        """
        self._predictor = predictor
        self._room = memory_bytes
        self._remembered: deque[NDArray[np.float32] | None] = deque()
        self._is_again = False

    def repeat(self) -> None:
        """Begin again with the first image."""
        self._is_again = True

    def predict_probs(
        self,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        grid: Grid | None = None,
        /,
    ) -> NDArray[np.float32]:
        """Return probabilities, (C, H, W); see `ProbabilityPredictor`."""
        known = self._remembered.popleft() if self._is_again and self._remembered else None
        if known is not None:
            return known
        probs = self._predictor.predict_probs(pixels, valid, grid)
        if not self._is_again:
            fits = probs.nbytes <= self._room
            self._room -= probs.nbytes if fits else 0
            self._remembered.append(probs if fits else None)
        return probs


def tune_model(
    model: SegmentationModel,
    predictor: RepeatedPredictor,
    images: Iterable[LabelledImage],
    groups: Sequence[str],
    config: TuningConfig,
    *,
    fixed: Mapping[str, Any] | None = None,
) -> tuple[SegmentationModel, Tuning]:
    """Predict each image once, and return a model with what was chosen; `model` stays as it is.

    Args:
        model: Weights and task.
        predictor: Of this model; is ready to repeat the images afterwards.
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
        probs = predict_sample(predictor, image)
        store.add(image.name, probs, image.target, image.valid)
    predictor.repeat()
    tuning = tune(store, groups, config, fixed=fixed)
    tuned = replace(model)
    tuning.apply(tuned)
    return tuned, tuning


def describe_scores(scores: SplitScores) -> dict[str, Any]:
    """Return the scores of the validation split as the model file keeps them."""
    described = scores.as_dict()
    return {name: described[name] for name in ("num_images", "threshold", "pooled", "classes")}
