"""What is seen of each symptom: a sentence with its numbers, or None where it is not there.

Limits were set on synthetic courses and on runs over real data.
"""

from __future__ import annotations

import math

from delineate.training.verdict import courses
from delineate.training.verdict.evidence import ClassEvidence, Evidence

FEW_STEPS = 200
"""Steps below which a network of this kind has rarely found its form."""
GOOD = 0.9
"""Dice from which no more is asked of a course."""
WEAK = 0.5
"""Dice below which a course counts as not having got anywhere."""
UNSEEN = 0.01
"""Share of a class's true pixels; one that is predicted less is as good as never predicted."""
RARE_CLASS = 0.05
"""Share of the training pixels below which a class that is found badly may be too rare for a loss
of pixels."""
PIXEL_LOSSES = ("cross_entropy", "focal")
"""Losses that count pixels alone, of which rare positives are few."""
OVERLAP_LOSSES = ("dice", "tversky", "focal_tversky", "cl_dice")
"""Losses of overlap alone, which say little where a batch shows nothing."""


def gone_back(evidence: Evidence) -> str | None:
    """The loss was not finite, and training went back to good weights."""
    if not evidence.num_rollbacks:
        return None
    times = "once" if evidence.num_rollbacks == 1 else f"{evidence.num_rollbacks} times"
    return (
        f"the loss or its gradient stopped being finite, and training went back to good weights "
        f"{times}; plan.md says after which steps"
    )


def too_short(evidence: Evidence) -> str | None:
    """Hardly any steps were made."""
    if evidence.num_steps >= FEW_STEPS or evidence.dice >= GOOD:
        return None
    steps = "1 step was" if evidence.num_steps == 1 else f"{evidence.num_steps} steps were"
    return f"{steps} made, and networks of this kind need some hundreds"


def unsteady(evidence: Evidence) -> str | None:
    """The training loss rose between epochs."""
    rise = courses.largest_rise(evidence.curve("train_loss"))
    if rise < 0.5:
        return None
    return (
        f"the training loss rose by {rise:.0%} on the way, at a learning rate of up to "
        f"{evidence.settings['training.learning_rate']:g}"
    )


def plateau(evidence: Evidence) -> str | None:
    """The training loss hardly moved."""
    loss = evidence.curve("train_loss")
    if len(loss) < courses.FEWEST_EPOCHS or courses.fall(loss) >= 0.1 or evidence.dice >= WEAK:
        return None
    return (
        f"the training loss has hardly moved: {loss[0]:.3g} in the first epoch, "
        f"{courses.late(loss):.3g} in the last ones"
    )


def paints_everything(evidence: Evidence) -> str | None:
    """The score is that of painting every pixel."""
    if evidence.task_kind != "binary" or not evidence.classes:
        return None
    (one,) = evidence.classes
    trivial = 2 * one.true_share / (1 + one.true_share)
    if one.dice is None or one.dice == 0 or one.dice > trivial + 0.01:
        return None
    return (
        f"Dice is {one.dice:.3f} where painting every pixel would give {trivial:.3f}: "
        f"{one.predicted_share:.0%} of the validation pixels are predicted {one.name}, "
        f"{one.true_share:.0%} are it"
    )


def nothing_found(evidence: Evidence) -> str | None:
    """No foreground is predicted."""
    if not evidence.classes or not all(_is_unseen(one) for one in evidence.classes):
        return None
    share = sum(one.true_share for one in evidence.classes)
    return f"background is predicted everywhere, though {share:.2%} of the pixels are not"


def class_unseen(evidence: Evidence) -> str | None:
    """Some classes are never predicted, and some are."""
    unseen = [one for one in evidence.classes if _is_unseen(one)]
    if not unseen or len(unseen) == len(evidence.classes):
        return None
    named = ", ".join(
        one.name
        if math.isnan(one.training_share)
        else f"{one.name} ({one.training_share:.2%} of the training pixels)"
        for one in unseen
    )
    return f"never predicted, or as good as: {named}"


def _is_unseen(one: ClassEvidence) -> bool:
    return one.predicted_share < UNSEEN * one.true_share or one.recall == 0


def over_fitting(evidence: Evidence) -> str | None:
    """The validation loss rises while the training loss falls."""
    train, val = evidence.curve("train_loss"), evidence.curve("val_loss")
    rise = courses.rise_after_minimum(val)
    if rise < 0.15 or courses.fall(train, int(courses.smooth(val).argmin())) < 0.1:
        return None
    lowest = int(courses.smooth(val).argmin()) + 1
    return (
        f"since about epoch {lowest} the validation loss has risen by {rise:.0%}, to "
        f"{courses.late(val):.3g}, while the training loss fell to {courses.late(train):.3g}; the "
        "best epoch was kept"
    )


def stands(evidence: Evidence) -> str | None:
    """The validation loss stands while the training loss falls."""
    train, val = evidence.curve("train_loss"), evidence.curve("val_loss")
    half = len(val) // 2
    if not courses.has_stood(val) or courses.fall(train, half) < 0.15 or evidence.dice >= GOOD:
        return None
    return (
        f"the validation loss has not fallen any more since epoch {half}, while the training loss "
        f"fell by another {courses.fall(train, half):.0%}"
    )


def still_rising(evidence: Evidence) -> str | None:
    """The score was still rising at the end."""
    gain = courses.late_gain(evidence.curve("dice"))
    if gain < 0.01 or evidence.dice >= GOOD:
        return None
    return f"the last third of the epochs has still added {100 * gain:.1f} points of Dice"


def score_stands(evidence: Evidence) -> str | None:
    """The training loss falls, and a low score does not rise."""
    train, score = evidence.curve("train_loss"), evidence.curve("dice")
    fallen = courses.fall(train)
    if fallen < 0.1 or not evidence.dice < WEAK or courses.late_gain(score) >= 0.01:
        return None
    return (
        f"the training loss fell by {fallen:.0%}, but Dice has come to {evidence.dice:.2f} only "
        "and rises no more"
    )


def empty_batches(evidence: Evidence) -> str | None:
    """Many batches show nothing to a loss of overlap."""
    settings = evidence.settings
    if settings["loss.name"] not in OVERLAP_LOSSES or evidence.dice >= WEAK:
        return None
    empty_patch = evidence.empty_share * (1 - settings["training.foreground_odds"])
    empty_batch = empty_patch ** settings["training.batch_size"]
    if empty_batch < 0.1:
        return None
    return (
        f"{evidence.empty_share:.0%} of the training images show no foreground, so at least "
        f"{empty_batch:.0%} of the batches do not either, and {settings['loss.name']} alone has "
        "nothing to say of them"
    )


def rare_positives(evidence: Evidence) -> str | None:
    """Positives are rare, badly found, and neither loss nor patches turn to them."""
    settings = evidence.settings
    rare = [
        one
        for one in evidence.classes
        if one.training_share < RARE_CLASS and (one.dice or 0) < WEAK
    ]
    is_turned = settings["loss.name"] not in PIXEL_LOSSES
    if evidence.task_kind != "binary" or not rare:
        return None
    if is_turned and settings["training.foreground_odds"] >= 0.3:
        return None
    return (
        f"{rare[0].name} is {rare[0].training_share:.2%} of the training pixels, and the loss "
        f"({settings['loss.name']}) or the patches (foreground odds "
        f"{settings['training.foreground_odds']:g}) do not turn to it"
    )


def misses(evidence: Evidence) -> str | None:
    """Recall is far below precision."""
    found = _one_sided(evidence, "recall", "precision")
    if found is None:
        return None
    return f"more is missed than invented: {found}"


def invents(evidence: Evidence) -> str | None:
    """Precision is far below recall."""
    found = _one_sided(evidence, "precision", "recall")
    if found is None:
        return None
    return f"more is invented than missed: {found}"


def _one_sided(evidence: Evidence, low: str, high: str) -> str | None:
    """Return the classes, of those somewhat found, of which one score is far below the other."""
    found = [
        f"{one.name} has {low} {getattr(one, low):.2f} and {high} {getattr(one, high):.2f}"
        for one in evidence.classes
        if one.dice and not _is_unseen(one) and getattr(one, high) - getattr(one, low) >= 0.25
    ]
    return ", ".join(found) if found else None


def ragged(evidence: Evidence) -> str | None:
    """Predicted borders are longer than the true ones."""
    if evidence.border_ratio < 1.5 or not evidence.dice >= WEAK:
        return None
    return (
        f"the borders of what is predicted are {evidence.border_ratio:.1f} times as long as the "
        "true ones"
    )
