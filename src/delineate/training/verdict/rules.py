"""The symptoms that a training may show, one row each: what is seen, why, and what to do.

The order is from what explains most to what explains least, and a row may say which later ones it
explains. `check` names the line of the guide's debugging list (section 12) or decision table
(section 13) that the row answers. Limits were set on synthetic courses and on runs over real data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from delineate.evaluation.advice import ADVICE, Advice
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
OVERLAP_LOSSES = ("dice", "tversky", "focal_tversky", "cl_dice")
"""Losses of overlap alone, which say little where a batch shows nothing."""


@dataclass(frozen=True)
class Symptom:
    """One row: when it is seen, why it is, and what addresses it."""

    name: str
    look: Callable[[Evidence], str | None]
    """What is seen, as a sentence with its numbers; None where it is not."""
    why: str
    advice: Advice
    """Its flags may name `lower_rate`, `higher_rate` and `twice_the_time` in braces."""
    check: str
    explains: tuple[str, ...] = ()
    """Symptoms that are not worth saying where this one is seen."""


def _gone_back(evidence: Evidence) -> str | None:
    if not evidence.num_rollbacks:
        return None
    times = "once" if evidence.num_rollbacks == 1 else f"{evidence.num_rollbacks} times"
    return (
        f"the loss or its gradient stopped being finite, and training went back to good weights "
        f"{times}; plan.md says after which steps"
    )


def _short(evidence: Evidence) -> str | None:
    if evidence.num_steps >= FEW_STEPS or evidence.dice >= GOOD:
        return None
    steps = "1 step was" if evidence.num_steps == 1 else f"{evidence.num_steps} steps were"
    return f"{steps} made, and networks of this kind need some hundreds"


def _unsteady(evidence: Evidence) -> str | None:
    rise = courses.largest_rise(evidence.curve("train_loss"))
    if rise < 0.5:
        return None
    return (
        f"the training loss rose by {rise:.0%} on the way, at a learning rate of up to "
        f"{evidence.settings['training.learning_rate']:g}"
    )


def _plateau(evidence: Evidence) -> str | None:
    loss = evidence.curve("train_loss")
    if len(loss) < courses.FEWEST_EPOCHS or courses.fall(loss) >= 0.1 or evidence.dice >= WEAK:
        return None
    return (
        f"the training loss has hardly moved: {loss[0]:.3g} in the first epoch, "
        f"{courses.late(loss):.3g} in the last ones"
    )


def _paints_everything(evidence: Evidence) -> str | None:
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


def _nothing_found(evidence: Evidence) -> str | None:
    if not evidence.classes or not all(_is_unseen(one) for one in evidence.classes):
        return None
    share = sum(one.true_share for one in evidence.classes)
    return f"background is predicted everywhere, though {share:.2%} of the pixels are not"


def _class_unseen(evidence: Evidence) -> str | None:
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


def _over_fitting(evidence: Evidence) -> str | None:
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


def _stands(evidence: Evidence) -> str | None:
    train, val = evidence.curve("train_loss"), evidence.curve("val_loss")
    half = len(val) // 2
    if not courses.has_stood(val) or courses.fall(train, half) < 0.15 or evidence.dice >= GOOD:
        return None
    return (
        f"the validation loss has not fallen any more since epoch {half}, while the training loss "
        f"fell by another {courses.fall(train, half):.0%}"
    )


def _still_rising(evidence: Evidence) -> str | None:
    gain = courses.late_gain(evidence.curve("dice"))
    if gain < 0.01 or evidence.dice >= GOOD:
        return None
    return f"the last third of the epochs has still added {100 * gain:.1f} points of Dice"


def _empty_batches(evidence: Evidence) -> str | None:
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


def _misses(evidence: Evidence) -> str | None:
    found = _one_sided(evidence, "recall", "precision")
    if found is None:
        return None
    return f"more is missed than invented: {found}"


def _invents(evidence: Evidence) -> str | None:
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


def _ragged(evidence: Evidence) -> str | None:
    if evidence.border_ratio < 1.5 or not evidence.dice >= WEAK:
        return None
    return (
        f"the borders of what is predicted are {evidence.border_ratio:.1f} times as long as the "
        "true ones"
    )


SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(
        name="loss not finite",
        look=_gone_back,
        why="Steps too large for the loss, numbers too large for reduced precision, or damaged "
        "values in images do that.",
        advice=Advice(
            "`delineate doctor DATA` finds damaged values; smaller steps and full precision settle "
            "the rest.",
            flags=("--training.learning-rate {lower_rate:g}", "--training.amp off"),
        ),
        check="empty-mask batches: the loss explodes",
    ),
    Symptom(
        name="too few steps",
        look=_short,
        why="What else could be said of such a run would be said of a network that has hardly "
        "been trained.",
        advice=Advice("Give it more time, or smaller patches if a step takes long: --time 10m."),
        check="training improves, validation stands",
        explains=(
            "plateau",
            "paints everything",
            "nothing found",
            "class never predicted",
            "still rising",
            "misses",
            "false alarms",
            "ragged borders",
        ),
    ),
    Symptom(
        name="learning rate too high",
        look=_unsteady,
        why="A loss that rises between epochs, not only between steps, has been thrown out of "
        "what it had found.",
        advice=Advice(
            "Smaller steps, or a longer rise to them.",
            flags=(
                "--training.learning-rate {lower_rate:g}",
                "--training.warmup-fraction 0.1",
            ),
        ),
        check="training improves, validation stands",
        explains=("plateau",),
    ),
    Symptom(
        name="plateau",
        look=_plateau,
        why="The network sees nothing in the images that tells the classes apart, the masks say "
        "something else than the images show, or the steps are too small.",
        advice=Advice(
            "Look at figures/gallery.png: are the masks what they should be, and not inverted or "
            "of another image? `delineate doctor DATA` examines their values and scale. Then try "
            "larger steps.",
            ("rare positives", "normalisation of each image"),
            ("--training.learning-rate {higher_rate:g}", "--loss.name focal_dice"),
        ),
        check="mask dtype and scale",
        explains=("class never predicted", "empty batches"),
    ),
    Symptom(
        name="empty batches",
        look=_empty_batches,
        why="Overlap is undefined where nothing is to be found; a loss of pixels beside it is not.",
        advice=Advice(
            "Take a loss with cross-entropy in it, and draw patches where there is something.",
            ("patches with foreground", "rare positives"),
            ("--loss.name ce_dice", "--training.foreground-odds 0.5"),
        ),
        check="empty-mask batches",
    ),
    Symptom(
        name="paints everything",
        look=_paints_everything,
        why="That much is reached without looking at the image.",
        advice=Advice(
            "If figures/gallery.png shows the wanted class in the dark of the masks, their meaning "
            "is turned round: --data.foreground-value 0. Otherwise it is as with a plateau: masks "
            "that do not fit their images, or too little training.",
            ("rare positives",),
            ("--loss.name focal_dice",),
        ),
        check="mask dtype and scale",
        explains=("false alarms", "ragged borders"),
    ),
    Symptom(
        name="nothing found",
        look=_nothing_found,
        why="Where positives are rare, calling everything background is nearly right pixel by "
        "pixel; only a loss of overlap, and patches with positives in them, object.",
        advice=Advice(
            "Draw patches around objects, and take a loss that fears misses.",
            ("rare positives", "patches with foreground"),
            ("--training.foreground-odds 0.6", "--loss.name focal_tversky"),
        ),
        check="rare positives (section 13)",
        explains=("misses", "ragged borders"),
    ),
    Symptom(
        name="class never predicted",
        look=_class_unseen,
        why="The other classes outweigh it, or too few examples of it are among the training "
        "images.",
        advice=ADVICE["class", "*"],
        check="many classes (section 13)",
    ),
    Symptom(
        name="over-fitting",
        look=_over_fitting,
        why="The network has begun to learn the training images by heart.",
        advice=Advice(
            "More images help most. Else stronger changes of them, a smaller network, or an end "
            "in time.",
            flags=(
                "--training.early-stopping 5",
                "--augmentation.spatial.elastic 0.3",
                "--augmentation.intensity.contrast 0.4",
                "--model.width 16",
                "--model.dropout 0.2",
                "--training.weight-decay 0.01",
            ),
        ),
        check="training improves, validation stands",
        explains=("validation stands", "still rising"),
    ),
    Symptom(
        name="validation stands",
        look=_stands,
        why="Either the validation images ask for something that the training images do not show, "
        "or their labels follow other rules, or the loss rewards something else than the score.",
        advice=Advice(
            "Look at the worst images in report.html: are their labels right? Then try weaker "
            "changes of the training images if these look unlike any real one, and another weight "
            "of the parts of the loss.",
            ("rare positives", "costly misses"),
            (
                "--augmentation.spatial.warp 0.2",
                "--augmentation.intensity.odds 0.2",
                "--loss.name focal_dice",
            ),
        ),
        check="training improves, validation stands",
        explains=("still rising",),
    ),
    Symptom(
        name="still rising",
        look=_still_rising,
        why="Training ended before the network had found its form.",
        advice=Advice("Train anew with about twice the length{twice_the_time}."),
        check="training improves, validation stands",
    ),
    Symptom(
        name="misses",
        look=_misses,
        why="The loss or the threshold prefers silence to a false alarm.",
        advice=Advice(
            "A Tversky loss with beta above alpha makes misses dearer.",
            ("costly misses",),
            ("--loss.name focal_tversky", "--training.foreground-odds 0.6"),
        ),
        check="misses cost more (section 13)",
    ),
    Symptom(
        name="false alarms",
        look=_invents,
        why="The loss or the patches show more foreground than the images have.",
        advice=Advice(
            "A Tversky loss with alpha above beta makes false alarms dearer; fewer patches around "
            "objects show more of what is none.",
            ("rare positives", "patches with foreground"),
            (
                "--loss.name tversky --loss.alpha 0.7 --loss.beta 0.3",
                "--training.foreground-odds 0.1",
            ),
        ),
        check="misses cost more (section 13), turned round",
    ),
    Symptom(
        name="ragged borders",
        look=_ragged,
        why="Losses of area hardly feel a ragged border, and upsampling by transposed "
        "convolutions leaves a pattern.",
        advice=Advice(
            "A loss that feels borders, another upsampling, or all pixels at the network's "
            "entrance; specks go away by post-processing.",
            ("folded stem",),
            (
                "--loss.name tversky",
                "--model.upsampling bilinear",
                "--model.stem-stride 1",
                "--prediction.postprocessing.min-object-area 64",
            ),
        ),
        check="ragged borders",
    ),
)
