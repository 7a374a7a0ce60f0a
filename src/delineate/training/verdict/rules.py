"""The symptoms that a training may show, one row each: what is seen, why, and what to do.

The order is from what explains most to what explains least, and a row may say which later ones it
explains. `check` names the line of the guide's debugging list (section 12) or decision table
(section 13) that the row answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from delineate.evaluation.advice import ADVICE, Advice
from delineate.training.verdict import signs
from delineate.training.verdict.evidence import Evidence


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


SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(
        name="loss not finite",
        look=signs.gone_back,
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
        look=signs.too_short,
        why="What else could be said of such a run would be said of a network that has hardly "
        "been trained.",
        advice=Advice("Give it more time, or smaller patches if a step takes long: --time 10m."),
        check="training improves, validation stands",
        explains=(
            "plateau",
            "paints everything",
            "nothing found",
            "class never predicted",
            "score stands",
            "still rising",
            "rare positives",
            "misses",
            "false alarms",
            "ragged borders",
        ),
    ),
    Symptom(
        name="learning rate too high",
        look=signs.unsteady,
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
        look=signs.plateau,
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
        explains=(
            "nothing found",
            "class never predicted",
            "score stands",
            "still rising",
            "misses",
            "false alarms",
            "ragged borders",
        ),
    ),
    Symptom(
        name="empty batches",
        look=signs.empty_batches,
        why="Overlap is undefined where nothing is to be found; a loss of pixels beside it is not.",
        advice=Advice(
            "Take a loss with cross-entropy in it, and draw patches where there is something.",
            ("patches with foreground", "rare positives"),
            ("--loss.name ce_dice", "--training.foreground-odds 0.5"),
        ),
        check="empty-mask batches",
        explains=("score stands",),
    ),
    Symptom(
        name="paints everything",
        look=signs.paints_everything,
        why="That much is reached without looking at the image.",
        advice=Advice(
            "If figures/gallery.png shows the wanted class in the dark of the masks, their meaning "
            "is turned round: --data.foreground-value 0. Otherwise it is as with a plateau: masks "
            "that do not fit their images, or too little training.",
            ("rare positives",),
            ("--loss.name focal_dice",),
        ),
        check="mask dtype and scale",
        explains=("score stands", "misses", "false alarms", "ragged borders"),
    ),
    Symptom(
        name="rare positives",
        look=signs.rare_positives,
        why="Nearly every pixel is background, so a loss of pixels is nearly as low without them, "
        "and most patches show none.",
        advice=Advice(
            "A loss of overlap that dwells on hard pixels, and patches around objects.",
            ("rare positives",),
            ("--loss.name focal_dice", "--training.foreground-odds 0.5"),
        ),
        check="rare positives (section 13)",
        explains=("nothing found", "score stands", "misses", "false alarms", "ragged borders"),
    ),
    Symptom(
        name="nothing found",
        look=signs.nothing_found,
        why="Where positives are rare, calling everything background is nearly right pixel by "
        "pixel; only a loss of overlap, and patches with positives in them, object.",
        advice=Advice(
            "Draw patches around objects, and take a loss that fears misses.",
            ("rare positives", "patches with foreground"),
            ("--training.foreground-odds 0.6", "--loss.name focal_tversky"),
        ),
        check="rare positives (section 13)",
        explains=("score stands", "misses", "ragged borders"),
    ),
    Symptom(
        name="class never predicted",
        look=signs.class_unseen,
        why="The other classes outweigh it, or too few examples of it are among the training "
        "images.",
        advice=ADVICE["class", "*"],
        check="many classes (section 13)",
    ),
    Symptom(
        name="over-fitting",
        look=signs.over_fitting,
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
        explains=("validation stands", "score stands", "still rising"),
    ),
    Symptom(
        name="validation stands",
        look=signs.stands,
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
        explains=("score stands", "still rising"),
    ),
    Symptom(
        name="score stands",
        look=signs.score_stands,
        why="The loss is content with something else than the score: pixels that are easy, or a "
        "class that fills the images. Or the masks do not follow what the images show.",
        advice=Advice(
            "Look at figures/gallery.png for what is wrong in common. Then a loss of overlap, "
            "patches around objects, and all pixels at the network's entrance.",
            ("rare positives", "patches with foreground", "folded stem"),
            (
                "--loss.name focal_dice",
                "--training.foreground-odds 0.5",
                "--model.stem-stride 1",
            ),
        ),
        check="training improves, validation stands",
        explains=("misses", "false alarms"),
    ),
    Symptom(
        name="still rising",
        look=signs.still_rising,
        why="Training ended before the network had found its form.",
        advice=Advice("Train anew with about twice the length{twice_the_time}."),
        check="training improves, validation stands",
    ),
    Symptom(
        name="misses",
        look=signs.misses,
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
        look=signs.invents,
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
        look=signs.ragged,
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
