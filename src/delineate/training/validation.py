"""Validation: whole images, the predictor and tiling of `predict`, thresholds tuned."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from delineate.evaluation.scoring import (
    LabelledImage,
    SplitScores,
    predict_sample,
    score_samples,
)
from delineate.evaluation.tuning_predictions import PredictionStore
from delineate.postprocess import postprocess_mask
from delineate.processes import ALONE, Team

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from delineate.prediction.predictor import Predictor
    from delineate.raster_windows import Grid
    from delineate.task import Task
    from delineate.training.objective import Loss

KEPT_BYTES = 128 * 2**20
"""Memory for predictions that are kept to be shown; the rest is scored and forgotten."""
_SMALLEST_PROB = 1e-6


@dataclass(frozen=True)
class KeptImage:
    """A validation image and its prediction, kept for pictures."""

    index: int
    """Position in the split."""
    name: str
    pixels: NDArray[Any]
    target: NDArray[Any]
    output: NDArray[Any]
    """Class indices, (H, W) uint8, of a multiclass task; else probabilities, (C, H, W) float16."""
    certainty: NDArray[np.uint8] | None = None
    """Probability of the class of each pixel in 255ths, (H, W), of a multiclass task."""

    def mask(
        self, task: Task, thresholds: Sequence[float] | None, postprocessing: Mapping[str, Any]
    ) -> NDArray[np.uint8]:
        """Return the predicted labels."""
        is_mask = task.kind == "multiclass"
        mask = self.output if is_mask else task.mask(self.output, thresholds)
        return postprocess_mask(mask, task, **postprocessing)


@dataclass(frozen=True)
class Validation:
    """One pass over the validation split."""

    scores: SplitScores
    loss: float
    """The training loss of the whole-image probabilities, averaged over the images; NaN where a
    probability is not finite."""
    kept: tuple[KeptImage, ...]
    predictions: PredictionStore
    """Of all images, small, to tune on."""
    postprocessing: dict[str, Any] = field(default_factory=dict)
    """What the scores were made with; nothing until it has been tuned."""
    choices: tuple[str, ...] = ()
    """What was chosen by tuning and why, in sentences."""

    def mask(self, image: KeptImage) -> NDArray[np.uint8]:
        """Return the predicted labels of an image as they were scored."""
        return image.mask(self.scores.task, self.scores.thresholds, self.postprocessing)

    @property
    def dice(self) -> float:
        """Pooled Dice at the tuned thresholds, macro mean over the foreground; NaN undefined."""
        return _number(self.scores.pooled["dice"])

    @property
    def miou(self) -> float:
        """Pooled IoU by the same rule."""
        return _number(self.scores.pooled["iou"])


class Validator:
    """Scores the network on the validation split, as it is at the time of the call."""

    def __init__(
        self,
        predictor: Predictor,
        samples: Callable[[Team], Iterator[LabelledImage]],
        task: Task,
        loss: Loss,
        *,
        device: torch.device,
        num_bins: int,
        memory_bytes: int = 256 * 2**20,
        team: Team = ALONE,
    ) -> None:
        self._team = team
        self._predictor = predictor
        self._samples = samples
        self._task = task
        self._loss = loss
        self._device = device
        self._num_bins = num_bins
        self._memory_bytes = memory_bytes

    def run(self) -> Validation:
        """Predict and score every image once.

        Several processes deal the images out in turns; all have the scores of all images then, and
        each has the pictures and predictions of its own (see `collect`).
        """
        observed = _ObservedPass(self)
        scores = score_samples(
            observed, observed, self._task, num_bins=self._num_bins, team=self._team
        )
        loss = float(np.mean(self._team.join(observed.losses)))
        return Validation(scores, loss, tuple(observed.kept), observed.predictions)

    def collect(self, validation: Validation) -> Validation:
        """Return a validation with the pictures and predictions of all processes, on the first."""
        if self._team.is_alone:
            return validation
        kept = [image for part in self._team.gather(validation.kept) for image in part]
        predictions = PredictionStore(self._task, memory_bytes=self._memory_bytes)
        mine = validation.predictions
        for turn in range(self._team.most(len(mine))):
            one = (mine[turn], mine.samples[turn]) if turn < len(mine) else None
            for part in self._team.gather(one):
                if part is not None:
                    predictions.adopt(*part)
        return replace(
            validation,
            kept=tuple(sorted(kept, key=lambda image: image.index)),
            predictions=predictions,
        )

    def spread(self, validation: Validation) -> Validation:
        """Return a validation with the scores that the first process has tuned, on all."""
        names = ("scores", "postprocessing", "choices")
        tuned = self._team.share({name: getattr(validation, name) for name in names})
        return replace(validation, **tuned)

    def estimate_seconds(self, budget: float) -> float:
        """Return about how long `run` takes, from as many images as fit into `budget` seconds.

        The first image is predicted twice, as the first prediction prepares the device.
        """
        observed = _ObservedPass(self)
        measured_pixels = total_pixels = 0
        seconds = 0.0
        for index, sample in enumerate(observed):
            num_pixels = sample.pixels.shape[0] * sample.pixels.shape[1]
            total_pixels += num_pixels
            if index and seconds >= budget:
                continue
            if index == 0:
                predict_sample(observed, sample)
            start = time.perf_counter()
            score_samples(observed, [sample], self._task, num_bins=self._num_bins)
            seconds += time.perf_counter() - start
            measured_pixels += num_pixels
        return seconds * total_pixels / max(measured_pixels, 1)

    def loss_of(self, probs: NDArray[np.float32], sample: LabelledImage) -> float:
        """Return the loss of one image from its probabilities, (C, H, W)."""
        target = torch.from_numpy(np.asarray(sample.target, dtype=np.int64))[None]
        is_counted = target != self._task.ignore_index
        valid = is_counted.all(dim=1, keepdim=True) if target.ndim == 4 else is_counted[:, None]
        if sample.valid is not None:
            valid = valid & torch.from_numpy(sample.valid)[None, None]
        logits = _logits(torch.from_numpy(probs)[None].to(self._device), self._task)
        with torch.no_grad():
            loss = self._loss(logits, target.to(self._device), valid.to(self._device))
        return float(loss)


class _ObservedPass:
    """Samples and predictor of one pass, noting the loss of each image and some pictures.

    `score_samples` takes a sample, predicts it and only then takes the next, so the probabilities
    that come by are those of the sample taken last.
    """

    def __init__(self, validator: Validator) -> None:
        self._validator = validator
        self._current: LabelledImage | None = None
        self._numbers = validator._team.turns(sys.maxsize)
        self._num_seen = 0
        self._room = KEPT_BYTES // validator._team.size
        self.losses: list[float] = []
        self.kept: list[KeptImage] = []
        self.predictions = PredictionStore(validator._task, memory_bytes=validator._memory_bytes)

    def __iter__(self) -> Iterator[LabelledImage]:
        for sample in self._validator._samples(self._validator._team):
            self._current = sample
            yield sample
            self._num_seen += 1

    def predict_probs(
        self,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        grid: Grid | None = None,
    ) -> NDArray[np.float32]:
        sample = self._current
        assert sample is not None
        probs = self._validator._predictor.predict_probs(pixels, valid, grid)
        if np.isfinite(probs).all():
            self.losses.append(self._validator.loss_of(probs, sample))
        else:  # the loss tells the loop to give these weights up; until then they must be scored
            self.losses.append(math.nan)
            probs = np.nan_to_num(probs, nan=0.0)
        number = self._numbers[self._num_seen]
        self.predictions.add(sample.name, probs, sample.target, sample.valid, number=number)
        is_multiclass = self._validator._task.kind == "multiclass"
        output = probs.argmax(axis=0).astype(np.uint8) if is_multiclass else probs.astype("float16")
        num_bytes = output.nbytes * (2 if is_multiclass else 1)
        if num_bytes <= self._room:
            self._room -= num_bytes
            certainty = np.rint(255 * probs.max(axis=0)).astype(np.uint8) if is_multiclass else None
            self.kept.append(
                KeptImage(number, sample.name, pixels, sample.target, output, certainty)
            )
        return probs


def _logits(probs: Tensor, task: Task) -> Tensor:
    """Return logits that `task` turns back into these probabilities."""
    if task.kind == "multiclass":
        return probs.clamp_min(_SMALLEST_PROB).log()
    return probs.clamp(_SMALLEST_PROB, 1 - _SMALLEST_PROB).logit()


def _number(score: float | None) -> float:
    return math.nan if score is None else score
