"""The report of an evaluation: one HTML file that opens offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from delineate.evaluation.report_curves import draw_curves
from delineate.evaluation.report_examples import draw_examples, script_data
from delineate.evaluation.report_quality import draw_quality
from delineate.evaluation.report_shapes import draw_shapes
from delineate.evaluation.report_slices import draw_slices
from delineate.evaluation.slices import draws_images
from delineate.metrics.confusion import CONVENTION
from delineate.pages import (
    Section,
    Tile,
    bar,
    bullets,
    details,
    heat_table,
    paragraph,
    render_page,
    subheading,
    table,
    threshold_control,
    tiles,
)

if TYPE_CHECKING:
    from markupsafe import Markup

    from delineate.evaluation.intervals import Intervals
    from delineate.evaluation.result import Evaluation
    from delineate.evaluation.scoring import SplitScores
    from delineate.task import Task

NUM_ROWS_OPEN = 25
"""A table of more images than this is folded."""
MAX_ROWS = 300
"""Images in the table, the worst ones, so that the page stays small; the rest is in the JSON."""

UNDEFINED = "–"


def build_report(evaluation: Evaluation) -> str:
    """Return the report of an evaluation as HTML."""
    scores = evaluation.scores
    model, data = evaluation.model["name"] or "the model", evaluation.data["name"]
    count = len(scores.images)
    data_of_page = script_data(evaluation)
    more = []
    if evaluation.slices:
        more.append(
            Section(
                "Where it fails",
                draw_slices(evaluation.slices, draws_images=draws_images(evaluation.groups)),
            )
        )
    if evaluation.details is not None:
        shapes = draw_shapes(evaluation.details, scores.task, evaluation.data.get("unit"))
        more.append(Section("Boundaries and objects", shapes))
        more.append(Section("Without the truth", draw_quality(scores, evaluation.details)))
    return render_page(
        f"{model} on {data}",
        [
            Section("Result", _result(evaluation)),
            Section("Curves and pictures", _explore(evaluation, data_of_page)),
            Section("Classes", _classes(scores)),
            *more,
            Section("Every image", [_images(scores)]),
            Section("How it was made", _making(evaluation)),
        ],
        lead=f"Evaluation on the {evaluation.split} split: {count} "
        f"image{'' if count == 1 else 's'}, {scores.counts.num_pixels:,} pixels that count"
        f"{' (summed over the classes)' if scores.task.kind == 'multilabel' else ''}.",
        alerts=evaluation.alerts,
        script="report.js",
        data=data_of_page,
    )


def show(score: float | None, digits: int = 3) -> str:
    """Return a score as text; a dash where it is undefined."""
    return UNDEFINED if score is None else f"{score:.{digits}f}"


def _result(evaluation: Evaluation) -> list[Markup]:
    scores = evaluation.scores
    per_image = scores.per_image
    items = []
    for name, label in (
        ("dice", "Dice"),
        ("iou", _iou_label(scores.task)),
        ("precision", "Precision"),
        ("recall", "Recall"),
        ("pixel_accuracy", "Pixel accuracy"),
    ):
        note = f"mean over images {show(per_image[name])}"
        interval = None if evaluation.intervals is None else evaluation.intervals.pooled.get(name)
        if interval is not None and interval.low is not None and interval.high is not None:
            note = f"{show(interval.low)} to {show(interval.high)}; {note}"
        if f"{name}_with_background" in scores.pooled:
            with_background = show(scores.pooled[f"{name}_with_background"])
            note += f"; with background {with_background}"
        items.append(Tile(label, show(scores.pooled[name]), note))
    if scores.task.kind == "binary" and scores.thresholds is not None:
        items.append(Tile("Threshold", show(scores.thresholds[0]), "from the model file"))
    blocks = [tiles(items)]
    blocks.append(paragraph(_meaning(scores)))
    if evaluation.intervals is not None and evaluation.intervals.num_groups > 1:
        blocks.append(paragraph(_certainty(evaluation.intervals)))
    blocks.append(details("The convention behind these numbers", paragraph(CONVENTION)))
    return blocks


def _certainty(intervals: Intervals) -> str:
    unit = "images" if intervals.num_groups == intervals.num_images else "groups of images"
    return (
        f"Ranges under the numbers: {100 * intervals.confidence:g} % bootstrap intervals over "
        f"{intervals.num_groups} {unit} ({intervals.num_resamples:,} draws): how much the score "
        "would vary with other test images of the same kind."
    )


def _explore(evaluation: Evaluation, data: dict[str, Any]) -> list[Markup]:
    """Return the curves and the pictures, under one slider."""
    task = evaluation.scores.task
    blocks = []
    if data["classes"]:
        is_threshold = data["mode"] == "threshold"
        numbers = {"coverage": "Decided", "accuracy": "Right where decided"}
        if is_threshold:
            names = ("dice", "iou", "precision", "recall", "specificity")
            numbers = {name: name.capitalize() if name != "iou" else "IoU" for name in names}
        blocks.append(
            threshold_control(
                "Threshold" if is_threshold else "Least confidence",
                task.class_names if is_threshold else (),
                numbers,
                len(data["classes"][0]["levels"]),
                "The model's threshold" if is_threshold else "Decide every pixel",
            )
        )
        blocks.append(
            paragraph(
                "The slider moves these numbers, the marks on the curves and the pictures; away "
                "from the model's threshold they are without post-processing."
                if is_threshold
                else "The slider leaves pixels undecided (grey) whose most probable class is less "
                "probable than that."
            )
        )
    return [
        *blocks,
        *draw_curves(evaluation),
        subheading("The worst, the middle and the best"),
        *draw_examples(evaluation),
    ]


def _iou_label(task: Task) -> str:
    if task.num_classes == 1:
        return "IoU"
    return "mIoU, all classes" if task.background is None else "mIoU without background"


def _meaning(scores: SplitScores) -> str:
    pooled, per_image = scores.pooled, scores.per_image
    sentences = []
    if pooled["precision"] is not None:
        marked = "foreground" if scores.task.kind == "binary" else "a class (mean over classes)"
        share = f"{100 * pooled['precision']:.1f} %"
        sentences.append(f"Of the pixels marked as {marked}, {share} are right (precision)")
    if pooled["recall"] is not None:
        sentences.append(
            f"{100 * pooled['recall']:.1f} % of those that should be are found (recall)"
        )
    text = "; ".join(sentences) + ". " if sentences else ""
    text += "Dice and IoU put both into one number; 1 is perfect."
    empty = per_image["num_true_empty"]
    if empty:
        text += (
            f" {empty} image{' is' if empty == 1 else 's are'} empty in truth and prediction, "
            "which is right, but leaves nothing to score: left out of the means over images."
        )
    return text


def _classes(scores: SplitScores) -> list[Markup]:
    task = scores.task
    headings = ["Class", "Dice", "IoU", "Precision", "Recall", "Specificity"]
    headings += ["Av. precision", "AUROC", "Image Dice"]
    has_thresholds = scores.thresholds is not None and task.num_classes > 1
    if has_thresholds:
        headings.append("Threshold")
    rows: list[list[str | Markup]] = []
    for index, (name, values) in enumerate(scores.classes.items()):
        is_background = name == task.background
        row: list[str | Markup] = [f"{name} (background)" if is_background else name]
        row.append(bar(values["dice"], show(values["dice"])))
        row += [show(values[key]) for key in ("iou", "precision", "recall", "specificity")]
        row += [show(values["average_precision"]), show(values["auroc"])]
        row.append(show(values["per_image"]["dice"]))
        if has_thresholds and scores.thresholds is not None:
            row.append(show(scores.thresholds[index]))
        rows.append(row)
    blocks = [
        table(
            "Scores of each class from pooled counts; image Dice is the mean over images",
            headings,
            rows,
        )
    ]
    if task.kind == "multilabel":
        return blocks
    binary = task.kind == "binary"
    names = ("background", *task.class_names) if binary else task.class_names
    matrix = scores.counts.matrix[0] if binary else scores.counts.matrix
    blocks.append(
        heat_table(
            "What each true class was taken for: share of its pixels, and their number. Each row "
            "is a true class and adds up to 100 %.",
            "Truth \\ prediction",
            names,
            matrix,
        )
    )
    return blocks


def _images(scores: SplitScores) -> Markup:
    rows: list[list[str | Markup]] = []
    ranked = sorted(
        scores.images,
        key=lambda image: (image.scores["dice"] is None, image.scores["dice"] or 0.0, image.name),
    )
    for image in ranked:
        values = image.scores
        dice: str | Markup = bar(values["dice"], show(values["dice"]))
        if values["dice"] is None:
            dice = "true-empty" if image.counts.is_true_empty else "no score"
        row: list[str | Markup] = [image.name, dice]
        row += [show(values[key]) for key in ("iou", "precision", "recall", "pixel_accuracy")]
        rows.append(row)
    shown = rows[:MAX_ROWS]
    left_out = f"; {len(rows) - len(shown)} better ones are in metrics.json"
    block = table(
        f"Scores of each image, the worst first{left_out if len(rows) > len(shown) else ''}",
        ["Image", "Dice", "IoU", "Precision", "Recall", "Pixel accuracy"],
        shown,
    )
    return details(f"All {len(rows)} images", block) if len(rows) > NUM_ROWS_OPEN else block


def _name_network(architecture: dict[str, Any]) -> str:
    number = architecture.get("num_members", 1)
    mean = f"mean of {number} networks, each " if number > 1 else ""
    return f"{mean}{architecture['name']}, {architecture['in_channels']} channels in"


def _making(evaluation: Evaluation) -> list[Markup]:
    how, architecture = evaluation.prediction, evaluation.model["architecture"]
    height, width = how["tile_size"]
    steps = [f"{name.replace('_', ' ')} {n}" for name, n in how["postprocessing"].items() if n]
    facts: list[list[str | Markup]] = [
        ["Network", _name_network(architecture)],
        ["Tiles", f"{height} × {width} pixels, overlap {how['overlap']:g}, {how['blend']} blend"],
        ["Post-processing", ", ".join(steps) or "none"],
        ["Pixel sizes", evaluation.data.get("resampling") or "as they are"],
        ["Model file, SHA-256", evaluation.model["digest"] or "not saved"],
        ["Data of this split, SHA-256", evaluation.data["digest"]],
    ]
    blocks = [table("What was evaluated, and how", ["Fact", "Value"], facts)]
    if evaluation.choices:
        blocks += [subheading("What was chosen on these images"), bullets(evaluation.choices)]
    return blocks
