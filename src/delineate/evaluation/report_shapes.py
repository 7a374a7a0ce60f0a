"""The part of a report on boundaries, objects and topology."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from delineate.metrics import METRICS
from delineate.metrics.boundary import BOUNDARY_DISTANCES, BOUNDARY_SCORES
from delineate.metrics.images import summarise_images
from delineate.metrics.objects import OBJECT_COUNTS, OBJECT_SCORES
from delineate.metrics.topology import TOPOLOGY_SCORES
from delineate.pages import bullets, details, paragraph, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from delineate.evaluation.details import Details
    from delineate.task import Task

LABELS = {
    "hausdorff_distance": "Hausdorff",
    "hd95": "HD95",
    "hd95_with_misses": "HD95, misses at the diagonal",
    "average_surface_distance": "Mean distance",
    "surface_dice": "Surface Dice",
    "boundary_iou": "Boundary IoU",
    "object_precision": "Precision",
    "object_recall": "Recall",
    "object_f1": "F1",
    "panoptic_quality": "Panoptic quality",
    "segmentation_quality": "IoU of matches",
    "count_error": "Count error",
    "count_bias": "Count bias",
    "num_objects": "True",
    "num_predicted": "Predicted",
    "num_matched": "Matched",
    "num_missed": "Missed",
    "num_spurious": "Spurious",
    "cl_dice": "clDice",
    "parts_error": "Parts error",
    "holes_error": "Holes error",
}
"""Heading of each number."""


def draw_shapes(seen: Details, task: Task, unit: str | None) -> list[Markup]:
    """Return the tables of a split and what their numbers mean, as blocks of a page.

    Args:
        seen: Whose measures are summed up.
        task: The classes.
        unit: Of the spacing of all images; None shows pixels.
    """
    summary = summarise_images(seen.measures, task)
    boundary_names = ("hd95", "hd95_with_misses", *BOUNDARY_SCORES[2:])
    blocks = []
    boundary = "boundary" if unit is None else "boundary_in_units"
    blocks.append(
        _table(
            "Boundaries: means over the images where the class is; distances in "
            f"{unit or 'pixels'}",
            summary,
            boundary,
            boundary_names,
            extra={"num_without_distance": "All missed or spurious"},
        )
    )
    shown = tuple(name for name in OBJECT_SCORES if name in LABELS)
    blocks.append(
        _table(
            "Objects: connected parts, matched where their IoU is above 0.5, over all images",
            summary,
            "objects",
            shown,
        )
    )
    blocks.append(_table("Numbers of objects", summary, "objects", OBJECT_COUNTS))
    blocks.append(_table("Topology: means over images", summary, "topology", TOPOLOGY_SCORES))
    names = [name for name in (*boundary_names, *shown, *TOPOLOGY_SCORES) if name in METRICS]
    blocks.append(
        details(
            "What these numbers mean",
            bullets([f"{LABELS[name]}: {METRICS[name].meaning}" for name in names]),
        )
    )
    blocks.append(
        paragraph(
            "An image in which a class is missed altogether has no distance, which would flatter "
            "the mean: such images are counted, and in the second HD95 each stands with the "
            "diagonal of the image."
        )
    )
    return blocks


def _table(
    caption: str,
    summary: dict[str, dict[str, Any]],
    part: str,
    names: Sequence[str],
    extra: dict[str, str] | None = None,
) -> Markup:
    extra = extra or {}
    headings = ["Class", *(LABELS[name] for name in names), *extra.values()]
    rows = []
    for class_name, numbers in summary.items():
        scores = numbers[part] or {}
        row: list[str | Markup] = [class_name, *(_show(name, scores.get(name)) for name in names)]
        rows.append([*row, *(str(numbers[name]) for name in extra)])
    return table(caption, headings, rows)


def _show(name: str, score: float | None) -> str:
    if score is None:
        return "–"
    if name in OBJECT_COUNTS:
        return f"{int(score):,}"
    if name.startswith(BOUNDARY_DISTANCES) or name.endswith("_error"):
        return f"{score:.2f}"
    return f"{score:+.2f}" if name == "count_bias" else f"{score:.3f}"
