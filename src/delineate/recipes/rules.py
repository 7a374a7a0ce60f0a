"""The rules of the plan, one row each: when, what, and the number it rests on.

The order is that in which decisions are written down; a later rule goes over an earlier one.
Sources: the guide's recipes (section 9) and decision table (section 13), and what
`benchmarks/planner.py` showed.
"""

from __future__ import annotations

from delineate.recipes.facts import (
    ENOUGH_OBJECTS,
    LARGEST_OVERLAP,
    LARGEST_PATCH,
    LARGEST_TILE,
    LEAST_AREA,
    THIN_ELONGATION,
    THIN_WIDTH,
    USUAL_OVERLAP,
    USUAL_TILE,
    Facts,
)
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
UNEVEN = 0.6
"""Share of the spread of brightness that lies between images, from which each image gets its own
normalisation."""
TELLING = 0.1
"""Bits about a pixel's class; where normalising each image loses more, brightness is a feature."""
SMALL_BATCH = 2
"""Patches at once, up to which statistics of a batch say little."""
DEEP = 5
"""Poolings from which the coarsest levels are far from the loss."""
SMALL_PATCH = 64
"""Patch side below which four poolings leave fewer than 4 x 4 cells."""
MEDICAL_WIDTH = 64
"""Channels at the top level of the guide's own networks."""
HEAVY_TAILS = 0.2
"""Share of the standard deviation that is the outermost hundredth's; of a normal one 2 %."""


def _is_binary(facts: Facts) -> bool:
    return facts.fingerprint.task_kind == "binary"


def _has_rare_positives(facts: Facts) -> bool:
    return _is_binary(facts) and 0 < facts.foreground_share < RARE


RULES: tuple[Rule, ...] = (
    Rule(
        name="patch size",
        applies=lambda facts: facts.patch_side < LARGEST_PATCH,
        settings=lambda facts: {"training": {"patch_size": [facts.patch_side, facts.patch_side]}},
        reason="images of {median_height} x {median_width} pixels hold no larger patch",
        finding="images of {median_height} x {median_width} pixels",
        bound=f"a median side below {LARGEST_PATCH} pixels",
    ),
    Rule(
        name="folded stem",
        applies=lambda facts: facts.patch_side >= FOLDED_SIDE,
        settings=lambda _: {"model": {"stem_stride": 2}},
        reason=(
            "blocks of 2 x 2 pixels become channels, which makes about four times as many steps "
            "in the same time; patches of {patch_side} pixels have the room"
        ),
        finding="patches of {patch_side} pixels",
        bound=f"patches from {FOLDED_SIDE} pixels",
    ),
    Rule(
        name="shallower network",
        applies=lambda facts: facts.patch_side < SMALL_PATCH,
        settings=lambda _: {"model": {"depth": 3}},
        reason="patches of {patch_side} pixels: after 3 poolings 4 x 4 cells are left",
        finding="patches of {patch_side} pixels",
        bound=f"below {SMALL_PATCH} pixels",
    ),
    Rule(
        name="wider network",
        applies=lambda facts: facts.wishes.recipe == "medical" and facts.wishes.device == "cuda",
        settings=lambda _: {"model": {"width": MEDICAL_WIDTH}},
        reason=f"medical images ask for more channels, and a GPU has the time for {MEDICAL_WIDTH}",
        finding="recipe {recipe} on {device}",
        bound="medical on a GPU",
    ),
    Rule(
        name="deep supervision",
        applies=lambda facts: facts.wishes.depth >= DEEP,
        settings=lambda _: {"model": {"deep_supervision": 2}},
        reason=(
            "{depth} poolings put the coarsest levels far from the loss: two of them get a loss of "
            "their own"
        ),
        finding="{depth} poolings",
        bound=f"from {DEEP} poolings, and in the recipe medical",
    ),
    Rule(
        name="normalisation of small batches",
        applies=lambda facts: facts.wishes.batch_size <= SMALL_BATCH,
        settings=lambda _: {"model": {"norm": "group"}},
        reason=(
            "batches of {batch_size} are too small for the statistics of batch norm; the price is "
            "that tiles are no longer exact"
        ),
        finding="batches of {batch_size} patches",
        bound=f"up to {SMALL_BATCH} patches",
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
        finding=(
            "{between_images:.0%} of the spread of brightness lies between images, "
            "normalising it away would take {information_lost:.2f} bits of a pixel's class"
        ),
        bound=f"from {UNEVEN:.0%}, where no more than {TELLING} bits are lost",
    ),
    Rule(
        name="clipped values",
        applies=lambda facts: (
            facts.fingerprint.dtype != "uint8" and facts.tail_share >= HEAVY_TAILS
        ),
        settings=lambda _: {"data": {"clip": True}},
        reason=(
            "the outermost hundredth of the values makes up {tail_share:.0%} of their standard "
            "deviation: {dtype} values are clipped to the 0.5th and 99.5th percentile before they "
            "are normalised"
        ),
        finding=(
            "{dtype} values, {tail_share:.0%} of whose standard deviation the outermost hundredth "
            "makes up"
        ),
        bound=f"other than uint8, from {HEAVY_TAILS:.0%}",
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
        finding=(
            "top and bottom differ in {top_bottom_difference:.0%} of their classes, left and right "
            "in {left_right_difference:.0%}"
        ),
        bound=f"from {UPRIGHT:.0%}, and twice left and right",
    ),
    Rule(
        name="class weights",
        applies=lambda facts: not _is_binary(facts) and facts.imbalance >= IMBALANCE,
        settings=lambda _: {"training": {"class_weights": "balanced"}},
        reason="the most frequent class has {imbalance:.0f} times the pixels of the rarest",
        finding=(
            "a {task_kind} task, the most frequent class has {imbalance:.1f} times the pixels of "
            "the rarest"
        ),
        bound=f"several classes, from {IMBALANCE:.0f} times",
    ),
    Rule(
        name="rare positives",
        applies=_has_rare_positives,
        settings=lambda _: {
            "loss": {"name": "focal_dice", "gamma": 2.0, "alpha": 0.25, "balance": 0.5},
            "training": {"foreground_odds": 0.5},
        },
        reason=(
            "positives are {foreground_share:.2%} of the pixels, in {foreground_images:.0%} of "
            "the images: Focal-Dice turns the loss to what is hard, and half of the patches are "
            "drawn for the foreground"
        ),
        finding="a {task_kind} task, {foreground_share:.1%} of the pixels are foreground",
        bound=f"binary, below {RARE:.0%}",
    ),
    Rule(
        name="patches with foreground",
        applies=lambda facts: facts.fingerprint.empty_share >= OFTEN_EMPTY,
        settings=lambda _: {"training": {"foreground_odds": 0.5}},
        reason=(
            "{empty_share:.0%} of the images show no foreground; half of the patches are drawn "
            "where there is some"
        ),
        finding="{empty_share:.0%} of the images show no foreground",
        bound=f"from {OFTEN_EMPTY:.0%}",
    ),
    Rule(
        name="thin lines",
        applies=lambda facts: (
            _is_binary(facts) and facts.thinnest is not None and facts.wishes.recipe != "thin"
        ),
        settings=lambda _: {},
        reason=(
            "{thin_name} is a network of lines {thin_width:.1f} pixels wide and "
            "{thin_elongation:.0f} widths long; where a gap of a pixel costs more than a point of "
            "Dice, take --recipe thin, whose clDice looks at their middles"
        ),
        finding="no thin lines, or the recipe thin, which has clDice",
        bound=f"up to {THIN_WIDTH:.0f} pixels wide, from {THIN_ELONGATION:.0f} widths long, binary",
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
        finding="a miss costs {misses} a false alarm",
        bound="where you say so, by --misses-cost-more",
    ),
    Rule(
        name="whole images",
        applies=lambda facts: facts.tile_side > USUAL_TILE,
        settings=lambda facts: {"prediction": {"tile_size": [facts.tile_side, facts.tile_side]}},
        reason=(
            "a tile of {tile_side} pixels holds images of up to {largest_side} whole, without "
            f"seams; of {USUAL_TILE} pixels it would take {{num_usual_tiles}}"
        ),
        finding="95 % of the images are no larger than {largest_side} pixels",
        bound=f"from {USUAL_TILE + 1} to {LARGEST_TILE} pixels",
    ),
    Rule(
        name="overlap of tiles",
        applies=lambda facts: facts.largest_side > LARGEST_TILE and facts.overlap > USUAL_OVERLAP,
        settings=lambda facts: {"prediction": {"overlap": facts.overlap}},
        reason=(
            "three quarters of the objects have up to {object_extent} pixels, and are whole in one "
            f"tile or another where tiles of {USUAL_TILE} have {{overlap:.0%}} in common"
        ),
        finding=(
            "images of up to {largest_side} pixels, and three quarters of the objects of up to "
            "{object_extent}"
        ),
        bound=(
            f"images above {LARGEST_TILE}, objects from {USUAL_OVERLAP * USUAL_TILE:.0f} to "
            f"{LARGEST_OVERLAP * USUAL_TILE:.0f} pixels"
        ),
    ),
    Rule(
        name="least areas",
        applies=lambda facts: bool(facts.object_areas),
        settings=lambda facts: {
            "evaluation": {"tuning": {"min_object_areas": list(facts.object_areas)}}
        },
        reason=(
            "least areas of {object_areas} pixels are tried on validation images, up to that of "
            "the smallest quarter of the objects"
        ),
        finding="too few objects, or some as small as specks",
        bound=f"{ENOUGH_OBJECTS} objects of a class, 95 % of them from {LEAST_AREA} pixels",
    ),
    Rule(
        name="gaps in lines",
        applies=lambda facts: facts.thinnest is not None,
        settings=lambda facts: {
            "evaluation": {
                "tuning": {
                    "closing_radii": list(facts.closing_radii),
                    "opening_radii": list(facts.opening_radii),
                }
            }
        },
        reason=(
            "{thin_name} is {thin_width:.1f} pixels wide: closings of radius {closing_radii} are "
            "tried on validation images, which bridge gaps up to that width, and no opening that "
            "would erase the lines"
        ),
        finding="{long_name} is {long_width:.1f} pixels wide and {long_elongation:.0f} widths long",
        bound=f"up to {THIN_WIDTH:.0f} pixels wide, from {THIN_ELONGATION:.0f} widths long",
    ),
)
