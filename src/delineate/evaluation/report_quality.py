"""The part of a report that says what could be known without the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from delineate.evaluation.expectation import compare_expectation
from delineate.pages import figure, figures, paragraph, plot_lines, table
from delineate.prediction.familiarity import ALARM_RATIO

if TYPE_CHECKING:
    from markupsafe import Markup

    from delineate.evaluation.details import Details
    from delineate.evaluation.scoring import SplitScores


def draw_quality(scores: SplitScores, details: Details) -> list[Markup]:
    """Return expected against true Dice, and what looked unfamiliar, as blocks of a page."""
    blocks = [
        paragraph(
            "What can be said of a prediction when nobody knows the truth: the Dice to be expected "
            "from calibrated probabilities, and how much the image looks like the training images."
        )
    ]
    found = compare_expectation(scores, details)
    if found is not None:
        expected, true = np.asarray(found.pairs).T
        drawing = plot_lines(
            "Expected and true Dice",
            "Expected Dice",
            "True Dice",
            [],
            dots=[(float(x), float(y)) for x, y in zip(expected, true, strict=True)],
            has_diagonal=True,
        )
        blocks.append(figures([figure(drawing, "A dot is an image; on the line both agree.")]))
        text = f"Over {len(expected)} images expected and true Dice differ by "
        text += f"{found.mean_error:.3f} on average"
        if found.correlation is not None and found.rank_correlation is not None:
            text += (
                f"; their correlation is {found.correlation:.2f} "
                f"(of ranks {found.rank_correlation:.2f})"
            )
        blocks.append(paragraph(f"{text}."))
    else:
        blocks.append(
            paragraph(
                "The model file holds no calibration, or too few images have a score: there is no "
                "expected Dice to compare."
            )
        )
    blocks.append(_look(scores, details))
    return blocks


def _look(scores: SplitScores, details: Details) -> Markup:
    rows: list[list[str | Markup]] = [
        [image.name, f"{quality.unfamiliarity:.2f}", quality.alarm]
        for image, quality in zip(scores.images, details.qualities, strict=True)
        if quality.alarm and quality.unfamiliarity is not None
    ]
    if rows:
        return table(
            "Images unlike the training images: distance (1 is what 95 % of the training images "
            "keep within, from those of other groups) and what differs most",
            ["Image", "Distance", "Why"],
            rows[:100],
        )
    known = [q.unfamiliarity for q in details.qualities if q.unfamiliarity is not None]
    if not known:
        return paragraph(
            "The model file remembers too few groups of training images to tell what looks "
            "unfamiliar."
        )
    return paragraph(
        f"No image looks unlike the training images: the largest distance is {max(known):.2f}, "
        "where 1 is what 95 % of the training images keep within, from those of other groups. "
        f"Above {ALARM_RATIO:g} there is an alarm."
    )
