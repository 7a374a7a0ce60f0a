"""A single network that learns from the out-of-fold predictions too, and how it compares.

It is the network of the first fold once more, alike in all but its targets: the same images, the
same beginning, the same number of epochs or the same time. So what it gains is what its teachers
are worth, and the images that the fold has held out, which neither has learned from, can tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.evaluation.image_counts import FILE_NAME as COUNTS
from delineate.evaluation.image_counts import load_image_counts
from delineate.evaluation.intervals import difference_intervals
from delineate.recipes.plan_folder import NOTES
from delineate.training.folds.fold import fold_folder, train_part

if TYPE_CHECKING:
    from delineate.config import Settings
    from delineate.evaluation.bootstrap import Interval
    from delineate.training.folds.ledger import Ledger

FOLDER = "student"
"""Its run folder, in that of the cross-validation."""
SHARE = 0.5
"""Of the loss, that the teachers' part has."""
FOLD = 1
"""Whose images it holds out."""
MOST_APART = 0.1
"""Share by which the numbers of steps may differ in a fair comparison."""


@dataclass(frozen=True)
class StudentResult:
    """A network that was taught by others."""

    run: Path
    num_images: int
    """Images that it was judged by."""
    dice: float | None
    plain_dice: float | None
    """Of the network of the fold, which learned labels alone."""
    difference: Interval
    """Dice of the student less that of the other, with a bootstrap interval over groups."""
    num_steps: int | None
    """Steps of its training; None where its plan.md does not tell."""
    plain_steps: int | None
    """Those of the other, which a clock may have given more or fewer."""

    def describe(self) -> list[str]:
        """Return what is known of it, in sentences."""
        if self.dice is None or self.plain_dice is None or self.difference.low is None:
            return ["The images of its fold cannot tell how good the student is."]
        low, high = 100 * self.difference.low, 100 * (self.difference.high or 0.0)
        points = 100 * (self.dice - self.plain_dice)
        verdict = "no difference is shown"
        if self.difference.excludes_zero:
            verdict = "teaching helps" if points > 0 else "teaching harms"
        steps, plain = self.num_steps or 0, self.plain_steps or 0
        if abs(steps - plain) > MOST_APART * max(steps, plain):
            verdict = (
                f"which says nothing of teaching: the student has made {steps} steps in its time "
                f"and the other {plain}"
            )
        return [
            f"Student: Dice {self.dice:.4f} on the {self.num_images} images that fold {FOLD} holds "
            f"out; the network of the fold, alike but for its targets, {self.plain_dice:.4f}: "
            f"{points:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}, {verdict}.",
            "It has not learned from these images, but its teachers have from their labels; the "
            "ensemble cannot be judged by them. Only test images tell whether one network is as "
            f"good: evaluate this run and {FOLDER} in it, then compare both with --split test.",
        ]


def train_student(
    run: Path, ledger: Ledger, settings: Settings, wishes: Mapping[str, Any], device: str
) -> StudentResult:
    """Train what is left of the student, and compare it.

    Args:
        run: The folder of the cross-validation, whose folds have all been trained.
        ledger: What is settled for all folds.
        settings: Of all folds.
        wishes: Settings that were given to go on with.
        device: auto, cpu, cuda, ...
    """
    folder = run / FOLDER
    train_part(
        run,
        folder,
        ledger,
        settings,
        wishes,
        FOLD,
        device,
        title="student: one network learns from the labels and the out-of-fold predictions",
        teaching_share=SHARE,
    )
    mine, plain = (load_image_counts(path / COUNTS) for path in (folder, fold_folder(run, FOLD)))
    difference = difference_intervals(mine.counts, plain.counts, mine.groups).pooled["dice"]
    return StudentResult(
        run=folder,
        num_images=len(mine.names),
        dice=mine.total.scores()["dice"],
        plain_dice=plain.total.scores()["dice"],
        difference=difference,
        num_steps=_count_steps(folder),
        plain_steps=_count_steps(fold_folder(run, FOLD)),
    )


def _count_steps(run: Path) -> int | None:
    """Return the number of steps that plan.md says a training has made."""
    path = run / NOTES
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.findall(r"^- Ended after (\d+) steps?:", text, re.MULTILINE)
    return int(found[-1]) if found else None
