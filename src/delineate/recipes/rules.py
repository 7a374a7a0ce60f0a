"""The rules of the plan, one row each: when, what, and the number it rests on.

The order is that in which decisions are written down; a later rule goes over an earlier one.
Sources: the guide's recipes (section 9) and decision table (section 13), and what
`benchmarks/planner.py` showed.
"""

from __future__ import annotations

from delineate.recipes.facts import LARGEST_PATCH, Facts
from delineate.recipes.planner import Rule

IMBALANCE = 10.0
"""Pixels of the most frequent class per pixel of the rarest, from which classes are weighted."""
FOLDED_SIDE = 128
"""Patch side from which pixels are folded into channels; smaller images keep every level."""
UPRIGHT = 0.25
"""Difference in classes between top and bottom halves, from which scenes have an up."""
RARE = 0.02
"""Share of foreground pixels below which positives count as rare."""
OFTEN_EMPTY = 0.25
"""Share of images without foreground, from which patches are steered to it more often."""
UNEVEN = 0.3
"""Share of the spread of brightness that lies between images, from which each image gets its own
normalisation."""
TELLING = 0.1
"""Bits about a pixel's class; where normalising each image loses more, brightness is a feature."""
SMALL_BATCH = 2
"""Patches at once, up to which statistics of a batch say little."""


def _is_binary(facts: Facts) -> bool:
    return facts.fingerprint.task_kind == "binary"


RULES: tuple[Rule, ...] = (
    Rule(
        name="patch size",
        applies=lambda facts: facts.patch_side < LARGEST_PATCH,
        settings=lambda facts: {"training": {"patch_size": [facts.patch_side, facts.patch_side]}},
        reason="images of {median_height} x {median_width} pixels hold no larger patch",
    ),
    Rule(
        name="folded stem",
        applies=lambda facts: facts.patch_side >= FOLDED_SIDE,
        settings=lambda _: {"model": {"stem_stride": 2}},
        reason=(
            "blocks of 2 x 2 pixels become channels, which makes about four times as many steps "
            "in the same time; patches of {patch_side} pixels have the room"
        ),
    ),
    Rule(
        name="normalisation of small batches",
        applies=lambda facts: facts.wishes.batch_size <= SMALL_BATCH,
        settings=lambda _: {"model": {"norm": "group"}},
        reason=(
            "{batch_size} patches at once are too few for the statistics of batch norm; the price "
            "is that tiles are no longer exact"
        ),
    ),
    Rule(
        name="normalisation of each image",
        applies=lambda facts: facts.between_images >= UNEVEN and facts.information_lost <= TELLING,
        settings=lambda _: {"data": {"normalisation": "image"}},
        reason=(
            "the images' own brightness has {between_images:.0%} of the spread of all pixels, and "
            "without it a pixel tells {information_normalised:.2f} bits of its class instead of "
            "{information:.2f}: each image is normalised by its own mean and standard deviation"
        ),
    ),
    Rule(
        name="upright scenes",
        applies=lambda facts: (
            facts.fingerprint.top_bottom_difference >= UPRIGHT
            and facts.fingerprint.top_bottom_difference
            >= 2 * facts.fingerprint.left_right_difference
        ),
        settings=lambda _: {
            "augmentation": {"spatial": {"flip_vertical": 0.0, "quarter_turns": False}}
        },
        reason=(
            "top and bottom halves differ in {top_bottom_difference:.0%} of their classes, left "
            "and right in {left_right_difference:.0%}: the scenes have an up, which turning and "
            "upside-down flips would hide"
        ),
    ),
    Rule(
        name="class weights",
        applies=lambda facts: (
            facts.fingerprint.task_kind == "multiclass" and facts.imbalance >= IMBALANCE
        ),
        settings=lambda _: {"training": {"class_weights": "balanced"}},
        reason="the most frequent class has {imbalance:.0f} times the pixels of the rarest",
    ),
    Rule(
        name="rare positives",
        applies=lambda facts: _is_binary(facts) and 0 < facts.foreground_share < RARE,
        settings=lambda _: {
            "loss": {"name": "focal_dice", "gamma": 2.0, "alpha": 0.25, "balance": 0.5},
            "training": {"foreground_odds": 0.5},
        },
        reason=(
            "positives are {foreground_share:.2%} of the pixels, in {foreground_images:.0%} of "
            "the images: Focal-Dice turns the loss to what is hard, and half of the patches are "
            "drawn for the foreground"
        ),
    ),
    Rule(
        name="patches with foreground",
        applies=lambda facts: facts.fingerprint.empty_share >= OFTEN_EMPTY,
        settings=lambda _: {"training": {"foreground_odds": 0.5}},
        reason=(
            "{empty_share:.0%} of the images show no foreground; half of the patches are drawn "
            "where there is some"
        ),
    ),
    Rule(
        name="costly misses",
        applies=lambda facts: facts.wishes.misses_cost_more,
        settings=lambda _: {
            "loss": {"name": "focal_tversky", "alpha": 0.3, "beta": 0.7},
            "evaluation": {"tuning": {"objective": "f_beta", "beta": 2.0}},
        },
        reason=(
            "misses cost more than false alarms, as you said: Focal-Tversky weighs them by 0.7 "
            "and false alarms by 0.3, and the threshold is tuned for recall twice as important "
            "as precision (F2)"
        ),
    ),
)
