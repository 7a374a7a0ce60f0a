"""The pictures of a report, and what its script draws them from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.evaluation.slider import (
    confidence_levels,
    count_reached,
    describe_confidence,
    describe_thresholds,
    slider_levels,
)
from delineate.pages import (
    LayeredRow,
    View,
    layered_rows,
    legend,
    outlined,
    overlay_address,
    paragraph,
    plot_area,
    values_address,
)
from delineate.pictures import (
    ERROR_COLOURS,
    class_colours,
    class_layers,
    error_layers,
    shrink,
    to_rgb,
)

if TYPE_CHECKING:
    from markupsafe import Markup
    from numpy.typing import NDArray

    from delineate.evaluation.result import Evaluation, Example
    from delineate.task import Task

PICTURE_SIZE = 512
"""Longer side of a picture, in pixels, where there are few."""

_MAX_STORED_PIXELS = 12e6
"""Pixels of all pictures and planes of values together, which bounds the size of the page."""
_TINT, _SOFT, _STRONG, _OPAQUE = 102, 153, 230, 255
_ERROR_OPACITY = {"found": _SOFT}


def draw_examples(evaluation: Evaluation) -> list[Markup]:
    """Return the strips of the images to show, as blocks of a page."""
    task = evaluation.scores.task
    if not evaluation.examples:
        return [paragraph("No image has foreground in its target or prediction.")]
    colours = class_colours(task.num_classes).tolist()
    shown = {task.class_names[index]: colours[index] for index in task.foreground}
    kinds = ["false alarm", "missed", "wrong class"]
    if task.kind == "binary":
        kinds = ["found", "false alarm", "missed"]
    elif task.kind == "multilabel":
        kinds = ["found", *kinds]
    elif len(task.foreground) == task.num_classes:
        kinds = ["wrong class"]
    size = picture_size(task, len(evaluation.examples))
    return [
        paragraph(
            "The images with the lowest Dice first, then some of the middle, then the highest. "
            "Truth and prediction:"
        ),
        legend(shown),
        paragraph("Errors (the image behind them is dimmed; ignored pixels are black):"),
        legend({kind: ERROR_COLOURS[kind] for kind in kinds}),
        layered_rows([_draw(example, task, size) for example in evaluation.examples]),
    ]


def picture_size(task: Task, num_examples: int) -> int:
    """Return the longer side of each picture, in pixels, for a page of bounded size."""
    layers = 4 + (1 if task.kind == "multiclass" else task.num_classes)
    stored = max(1, num_examples * layers)
    return min(PICTURE_SIZE, max(64, math.isqrt(int(_MAX_STORED_PIXELS / stored))))


def shrink_probs(probs: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return probabilities, (C, H, W), at the size of pictures, as the page shows them."""
    return np.stack([_nearest(channel, size) for channel in probs])


def script_data(evaluation: Evaluation) -> dict[str, Any]:
    """Return what `report.js` reads, JSON-ready."""
    scores, examples = evaluation.scores, evaluation.examples
    task = scores.task
    tally = None if evaluation.details is None else evaluation.details.confidence
    slider: dict[str, Any] = {"mode": "threshold", "classes": []}
    if scores.thresholds is not None:
        slider = describe_thresholds(scores)
    elif tally is not None:
        slider = describe_confidence(tally)
    size = picture_size(task, len(evaluation.examples))
    levels = []
    if scores.thresholds is not None:
        edges = scores.histogram.thresholds
        levels = [slider_levels(edges, [threshold]) for threshold in scores.thresholds]
    elif tally is not None:
        levels = [confidence_levels(tally)]
    return {
        **slider,
        "background": None if task.background is None else task.class_names.index(task.background),
        "colours": class_colours(task.num_classes).tolist(),
        "errors": ERROR_COLOURS,
        "plot": plot_area(),
        "examples": [_describe(example, task, levels, size) for example in examples],
    }


def _describe(
    example: Example, task: Task, levels: list[NDArray[np.float64]], size: int
) -> dict[str, Any]:
    target = _shrink_labels(example.target, task, size)
    height, width = target.shape[-2:]
    sources = []
    if example.probs is not None and levels:
        if task.kind == "multiclass":
            confidence = _nearest(example.probs.max(axis=0), size)
            best = _nearest(example.probs.argmax(axis=0).astype(np.uint8), size)
            sources.append(_plane(confidence, target, best, levels[0]))
        else:
            truths = target[None] if task.kind == "binary" else target
            for channel, truth, own in zip(example.probs, truths, levels, strict=True):
                probs = _nearest(channel, size)
                sources.append(_plane(probs, truth, np.zeros_like(truth), own))
    return {"height": height, "width": width, "sources": sources}


def _plane(
    probs: NDArray[Any],
    truth: NDArray[np.uint8],
    best: NDArray[np.uint8],
    levels: NDArray[np.float64],
) -> str:
    reached = count_reached(probs.astype(np.float32), levels)
    return values_address(np.stack([reached, truth, best], axis=-1))


def _draw(example: Example, task: Task, size: int) -> LayeredRow:
    target = _shrink_labels(example.target, task, size)
    mask = _shrink_labels(example.mask, task, size)
    height, width = example.pixels.shape[:2]
    dice = "no Dice" if example.dice is None else f"Dice {example.dice:.3f}"
    return LayeredRow(
        f"{example.name} ({example.rank})",
        shrink(to_rgb(example.pixels), size),
        [
            View("Image"),
            View("Truth", _label_overlay(target, task)),
            View("Prediction", _label_overlay(mask, task)),
            View("Errors", _error_overlay(mask, target, task), is_dimmed=True),
        ],
        f"{dice}, {width} × {height} pixels",
    )


def _label_overlay(mask: NDArray[Any], task: Task) -> str:
    colours = class_colours(task.num_classes).tolist()
    labels = np.zeros(mask.shape[-2:], np.uint8)
    for index, where in class_layers(mask, task):
        labels[where] = index + 1
    tints = [(r, g, b, _TINT) for r, g, b in colours]
    rims = [(r, g, b, _OPAQUE) for r, g, b in colours]
    drawn = outlined(labels, task.num_classes + 1)
    return overlay_address(drawn, [(0, 0, 0, 0), *tints, *rims][:256])


def _error_overlay(mask: NDArray[Any], target: NDArray[Any], task: Task) -> str:
    labels = np.zeros(mask.shape[-2:], np.uint8)
    layers = error_layers(mask, target, task)
    for number, where in enumerate(layers.values(), start=1):
        labels[where] = number
    colours = [
        (*ERROR_COLOURS[name], _ERROR_OPACITY.get(name, _STRONG))
        if name in ERROR_COLOURS
        else (0, 0, 0, _OPAQUE)
        for name in layers
    ]
    return overlay_address(labels, [(0, 0, 0, 0), *colours])


def _shrink_labels(labels: NDArray[Any], task: Task, size: int) -> NDArray[np.uint8]:
    if task.kind == "multilabel":
        return np.stack([_nearest(channel, size) for channel in labels.astype(np.uint8)])
    return np.asarray(_nearest(labels.astype(np.uint8), size), dtype=np.uint8)


def _nearest(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Shrink by picking pixels, so that thresholding and shrinking can change places."""
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    return shrink(values, size, is_labels=True)
