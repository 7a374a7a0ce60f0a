"""Predictions of each image by the network that has not seen it, as files.

A file holds the probabilities as `predict --save prob` writes them, with 10 bits after the leading
one: a thousandth of their size, which takes half the room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.evaluation.scoring import LabelledImage, predict_sample
from delineate.prediction.predictor import load_predictor
from delineate.progress import track
from delineate.rasters import read_header, read_raster, write_probs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.data.inventory import Sample
    from delineate.raster_windows import Grid

FOLDER = "out-of-fold"
"""Of the predictions and what was found by them, in the folder of the cross-validation."""

_DROPPED_BITS = 13  # of the 23 after the leading one


def probs_path(run: Path, name: str) -> Path:
    """Return where the out-of-fold probabilities of an image are."""
    place = run / FOLDER / name
    return place.with_name(f"{place.name}_prob.tif")


def is_predicted(run: Path, names: Iterable[str]) -> bool:
    """Return whether the predictions of all images are there; each appears whole or not at all."""
    return all(probs_path(run, name).exists() for name in names)


def predict_held_out(
    run: Path,
    model: Path,
    images: Iterable[LabelledImage],
    samples: Sequence[Sample],
    *,
    device: str,
) -> None:
    """Write the probabilities of the images that a fold has held out.

    Args:
        run: The folder of the cross-validation.
        model: Of the fold.
        images: The images, decoded.
        samples: Their files, in the same order.
        device: Where to compute.

    Raises:
        ResourceError: If the disk is full.
    """
    predictor = load_predictor(model, device=device)
    names = predictor.task.class_names
    listed = track(images, "predicting held out images", total=len(samples))
    for image, sample in zip(listed, samples, strict=True):
        probs = round_probs(predict_sample(predictor, image))
        geo = read_header(sample.image).geo
        write_probs(probs_path(run, sample.name), probs, geo=geo, class_names=names)


def read_probs(run: Path, name: str) -> NDArray[np.float32]:
    """Return the out-of-fold probabilities of an image, (C, H, W)."""
    pixels = read_raster(probs_path(run, name)).pixels
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0), dtype=np.float32)


def round_probs(probs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities to the precision of the files, half to even."""
    bits = np.ascontiguousarray(probs, dtype=np.float32).view(np.uint32)
    half = np.uint32((1 << (_DROPPED_BITS - 1)) - 1)
    is_odd = (bits >> np.uint32(_DROPPED_BITS)) & np.uint32(1)
    kept = (bits + half + is_odd) >> np.uint32(_DROPPED_BITS) << np.uint32(_DROPPED_BITS)
    return kept.view(np.float32)


class RecalledImages:
    """Images in turn, and as their prediction what was written of each.

    The prediction that is asked for is that of the image taken last.
    """

    def __init__(self, run: Path, images: Iterable[LabelledImage]) -> None:
        self._run = run
        self._images = images
        self._name = ""

    def __iter__(self) -> Iterator[LabelledImage]:
        for image in self._images:
            self._name = image.name
            yield image

    def predict_probs(
        self,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        grid: Grid | None = None,
        /,
    ) -> NDArray[np.float32]:
        """Return the probabilities, (C, H, W); see `ProbabilityPredictor`."""
        return read_probs(self._run, self._name)
