"""The curves of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from delineate.evaluation.slider import confidence_levels
from delineate.pages import Line, Mark, figure, figures, legend, paragraph, plot_lines
from delineate.pictures import class_colours

if TYPE_CHECKING:
    from markupsafe import Markup

    from delineate.evaluation.confidence import ConfidenceTally
    from delineate.evaluation.result import Evaluation
    from delineate.evaluation.scoring import SplitScores
    from delineate.metrics.calibration import CalibrationCounts


def draw_curves(evaluation: Evaluation) -> list[Markup]:
    """Return the figures of a split and what they mean, as blocks of a page."""
    scores = evaluation.scores
    task, histogram = scores.task, scores.histogram
    colours = class_colours(task.num_classes).tolist()
    precision_recall, roc, roc_marks, dice, dice_marks, points = [], [], [], [], [], []
    for index in range(task.num_classes):
        curve = histogram.precision_recall(index)
        if curve is not None:
            precision_recall.append(Line(curve.recall, curve.precision, colours[index]))
        rates = histogram.roc(index)
        if rates is not None:
            roc.append(Line(rates.false_positive_rate, rates.true_positive_rate, colours[index]))
        if scores.thresholds is None:
            continue
        threshold = scores.thresholds[index]
        at = histogram.scores_at(index, threshold)
        if at["recall"] is not None and at["precision"] is not None:
            points.append(Mark(at["recall"], at["precision"], f"{threshold:.3f}", f"pr-{index}"))
        if at["recall"] is not None and at["specificity"] is not None:
            roc_marks.append(
                Mark(1 - at["specificity"], at["recall"], f"{threshold:.3f}", f"roc-{index}")
            )
        values = histogram.dice_curve(index)
        if values is not None:
            dice.append(Line(histogram.thresholds, values, colours[index]))
            dice_marks.append(
                Mark(threshold, at["dice"] or 0.0, f"{threshold:.3f}", f"dice-{index}")
            )
    against = "" if task.kind == "binary" else ", each class against the rest"
    drawn = [
        figure(
            plot_lines(
                "Precision and recall",
                "Recall",
                "Precision",
                precision_recall,
                marks=points,
            ),
            f"Every threshold is a point{against}. The upper right corner is perfect.",
        ),
        figure(
            plot_lines(
                "ROC",
                "False positive rate",
                "True positive rate",
                roc,
                marks=roc_marks,
                has_diagonal=True,
            ),
            f"The broken line is chance{against}. The upper left corner is perfect.",
        ),
    ]
    if dice:
        drawn.append(
            figure(
                plot_lines(
                    "Dice by threshold",
                    "Threshold",
                    "Dice",
                    dice,
                    marks=dice_marks,
                ),
                "The mark is the model's threshold. A broad hill means that the threshold matters "
                "little.",
            )
        )
    if evaluation.details is not None and evaluation.details.confidence is not None:
        drawn.append(_coverage(evaluation.details.confidence))
    if evaluation.details is not None:
        drawn.append(_reliability(evaluation.details.calibration))
    drawn.append(_sorted_dice(scores))
    blocks = [figures(drawn)]
    if task.num_classes > 1:
        blocks.insert(0, legend(dict(zip(task.class_names, colours, strict=True))))
    blocks.append(
        paragraph(
            "Curves are of the probabilities before post-processing, exact at each of "
            f"{histogram.num_bins:,} thresholds."
        )
    )
    return blocks


def _coverage(tally: ConfidenceTally) -> Markup:
    levels = confidence_levels(tally)
    total, right = tally.reached(levels)
    is_any = total > 0
    coverage, accuracy = total[is_any] / max(1, total[0]), right[is_any] / total[is_any]
    return figure(
        plot_lines(
            "Accuracy by share decided",
            "Share of the pixels decided",
            "Accuracy of the decided",
            [Line(coverage, accuracy, class_colours(1)[0].tolist())],
            marks=[Mark(1.0, float(accuracy[0]), "all", "coverage")] if is_any.any() else (),
        ),
        "What is gained by leaving the least confident pixels to a person.",
    )


def _reliability(calibration: CalibrationCounts) -> Markup:
    task = calibration.task
    colours = class_colours(task.num_classes).tolist()
    lines = []
    for index in range(task.num_classes):
        diagram = calibration.reliability(index)
        lines.append(Line(diagram.mean_probs, diagram.shares, colours[index]))
    error = calibration.scores()["expected_calibration_error"]
    return figure(
        plot_lines(
            "Calibration",
            "Probability that the model gives",
            "Share of these pixels that are so",
            lines,
            has_diagonal=True,
        ),
        "On the broken line a probability means what it says; below it the model is too sure"
        f"{'' if error is None else f'. Expected calibration error {error:.3f}'}.",
    )


def _sorted_dice(scores: SplitScores) -> Markup:
    dices = sorted(d for image in scores.images if (d := image.scores["dice"]) is not None)
    share = (np.arange(len(dices)) + 0.5) / max(1, len(dices))
    colour = class_colours(1)[0].tolist()
    values = np.asarray(dices)
    if len(dices) == 1:
        share, values = np.asarray([0.0, 1.0]), np.repeat(values, 2)
    return figure(
        plot_lines(
            "Images from worst to best",
            "Share of the images",
            "Dice",
            [Line(share, values, colour)],
        ),
        "A steep start means that few images are bad; their names are in the table below.",
    )
