"""Where sure predictions contradict the labels: what to look at first when labels are checked.

To be asked of predictions by networks that have not seen the image (out of fold); others have
learned the faults by heart. After confident learning, https://arxiv.org/abs/1911.00068: a class is
surely predicted where it is at least as probable as it is on average where it is labelled. A region
is suspect where one class is predicted and others are labelled, if part of it is surely predicted.
Strips of a pixel or two along boundaries, which differ between any two annotators, are left out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from delineate.files import write_text
from delineate.morphology import label_components, opening

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task

    FloatArray = NDArray[np.float64]
    LabelledProbs = tuple[str, NDArray[np.float32], NDArray[Any]]
    """Name, probabilities (C, H, W) and labels of an image, valid pixels only."""

MAX_SUSPECTS = 200
"""Regions that are listed, the most suspect ones."""
LEAST_PIXELS = 9
"""Smaller regions are left out."""

SURE = 0.9
"""A probability that is sure in any case: networks are surer than they are right, so that their
mean would leave nothing suspect."""
LEAST_SURE_SHARE = 0.1
"""Share of a region's pixels that must be surely predicted."""

_STRIP_RADIUS = 1


@dataclass(frozen=True)
class Suspect:
    """A region whose label is probably wrong."""

    image: str
    label: str
    """The class that it is labelled as; `not X` outside of a class that stands alone."""
    suggestion: str
    """The class that was predicted."""
    row: int
    """Of the first pixel of its bounding box."""
    col: int
    height: int
    width: int
    num_pixels: int
    probability: float
    """Mean probability of the suggestion over the region, 0.5 standing for the threshold."""
    weight: float
    """Sum over the pixels of what the suggestion is more probable than the label."""


class _Layer(NamedTuple):
    """Classes that exclude each other, as planes."""

    names: tuple[str, ...]
    probs: NDArray[np.float32]
    """(K, H, W)."""
    labels: NDArray[Any]
    """(H, W) of 0 to K - 1, or the ignore index."""


def find_suspects(
    images: Callable[[], Iterator[LabelledProbs]],
    task: Task,
    thresholds: Sequence[float] | None = None,
) -> list[Suspect]:
    """Return the regions whose labels are most doubtful, the most suspect first.

    Args:
        images: Gives the images; called twice.
        task: What labels and probabilities mean.
        thresholds: One per class, on probabilities; None is 0.5. Probabilities count by their odds
            against those of the threshold, so that it lies at 0.5. Multiclass takes none.
    """
    levels = tuple(thresholds or (0.5,) * task.num_classes)
    bars = _measure_bars(images(), task, levels)
    found: list[Suspect] = []
    for name, probs, target in images():
        for layer, bar in zip(_layers(probs, target, task, levels), bars, strict=True):
            found += _find_regions(name, layer, bar)
        if len(found) > 4 * MAX_SUSPECTS:
            found = _rank(found)
    return _rank(found)


def save_suspects(suspects: Sequence[Suspect], path: Path) -> None:
    """Write the regions as CSV, a row each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("rank", *Suspect.__dataclass_fields__))
    for rank, one in enumerate(suspects, start=1):
        place = (one.row, one.col, one.height, one.width, one.num_pixels)
        scores = (f"{one.probability:.4f}", f"{one.weight:.1f}")
        writer.writerow((rank, one.image, one.label, one.suggestion, *place, *scores))
    write_text(path, text.getvalue())


def _layers(
    probs: NDArray[np.float32], target: NDArray[Any], task: Task, levels: Sequence[float]
) -> Iterator[_Layer]:
    """Yield the decisions that are made at each pixel: one, or one per class of a multilabel."""
    if task.kind == "multiclass":
        yield _Layer(task.class_names, probs, target)
        return
    planes = target[None] if target.ndim == 2 else target
    for name, plane, labels, level in zip(task.class_names, probs, planes, levels, strict=True):
        ours, rest = plane * np.float32(1 - level), (1 - plane) * np.float32(level)
        plane = ours / np.maximum(ours + rest, np.finfo(np.float32).tiny)
        yield _Layer((f"not {name}", name), np.stack([1 - plane, plane]), labels)


def _measure_bars(
    images: Iterator[LabelledProbs], task: Task, levels: Sequence[float]
) -> list[FloatArray]:
    """Return the probability from which each class of each layer is surely predicted.

    Its mean where it is labelled (https://arxiv.org/abs/1911.00068, equation 2), `SURE` at most;
    infinite where it never is.
    """
    num_layers = task.num_classes if task.kind == "multilabel" else 1
    num_values = task.num_classes if task.kind == "multiclass" else 2
    sums, counts = np.zeros((2, num_layers, num_values))
    for _, probs, target in images:
        for number, layer in enumerate(_layers(probs, target, task, levels)):
            for value in range(num_values):
                where = layer.labels == value
                sums[number, value] += layer.probs[value][where].sum(dtype=np.float64)
                counts[number, value] += where.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        return list(np.where(counts > 0, np.minimum(sums / counts, SURE), np.inf))


def _find_regions(name: str, layer: _Layer, bars: FloatArray) -> Iterator[Suspect]:
    from scipy.ndimage import find_objects

    best = layer.probs.argmax(axis=0)
    counted = layer.labels < len(layer.names)
    labels = np.where(counted, layer.labels, 0).astype(np.intp)
    differs = counted & (best != labels)
    own = np.take_along_axis(layer.probs, labels[None], axis=0)[0]
    for value in np.unique(best[differs]):
        regions, areas = label_components(opening(differs & (best == value), _STRIP_RADIUS))
        for number, box in enumerate(find_objects(regions), start=1):
            where = regions[box] == number
            probability = layer.probs[value][box][where]
            is_sure = probability >= np.float32(bars[value])
            if areas[number] < LEAST_PIXELS or is_sure.mean() < LEAST_SURE_SHARE:
                continue
            yield Suspect(
                image=name,
                label=layer.names[int(np.bincount(labels[box][where]).argmax())],
                suggestion=layer.names[int(value)],
                row=box[0].start,
                col=box[1].start,
                height=where.shape[0],
                width=where.shape[1],
                num_pixels=int(areas[number]),
                probability=float(probability.mean()),
                weight=float((probability - own[box][where]).sum(dtype=np.float64)),
            )


def _rank(suspects: Sequence[Suspect]) -> list[Suspect]:
    ranked = sorted(suspects, key=lambda one: (-one.weight, one.image, one.row, one.col))
    return ranked[:MAX_SUSPECTS]
