"""Rules that turn facts about the data into settings, each with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from delineate.task import Task

PATCH_MULTIPLE = 32
"""Patch sides are multiples of this, so that five poolings need no padding."""
LARGEST_PATCH = 256
IMBALANCE = 10.0
"""Pixels of the most frequent class per pixel of the rarest, from which classes are weighted."""
FOLDED_SIDE = 128
"""Patch side from which pixels are folded into channels; smaller images keep every level."""
UPRIGHT = 0.25
"""Difference in classes between top and bottom halves, from which scenes have an up."""


@dataclass(frozen=True)
class Facts:
    """What is known about the training images when the plan is made."""

    task_kind: str
    num_classes: int
    in_channels: int
    num_images: int
    median_height: int
    median_width: int
    class_shares: tuple[float, ...]
    """Share of the valid pixels of each class; binary: background and foreground."""
    top_bottom_difference: float = 0.0
    """Share of the top half's pixels whose class would have to change to match the bottom half."""
    left_right_difference: float = 0.0
    """The same of the left and the right half."""

    @property
    def imbalance(self) -> float:
        """Pixels of the most frequent class per pixel of the rarest that there is."""
        present = [share for share in self.class_shares if share > 0]
        return max(present) / min(present) if present else 1.0

    @property
    def patch_side(self) -> int:
        """The largest patch side that images of the median size hold without padding."""
        side = min(self.median_height, self.median_width, LARGEST_PATCH)
        return max(PATCH_MULTIPLE, side // PATCH_MULTIPLE * PATCH_MULTIPLE)


@dataclass(frozen=True)
class Rule:
    """One decision: when it is taken, what it sets, and why."""

    name: str
    applies: Callable[[Facts], bool]
    settings: Callable[[Facts], dict[str, Any]]
    reason: str
    """May name facts and settings in braces."""


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
        settings=lambda facts: {"model": {"stem_stride": 2}},
        reason=(
            "blocks of 2 x 2 pixels become channels, which makes about four times as many steps "
            "in the same time; patches of {patch_side} pixels have the room"
        ),
    ),
    Rule(
        name="upright scenes",
        applies=lambda facts: (
            facts.top_bottom_difference >= UPRIGHT
            and facts.top_bottom_difference >= 2 * facts.left_right_difference
        ),
        settings=lambda facts: {
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
        applies=lambda facts: facts.task_kind == "multiclass" and facts.imbalance >= IMBALANCE,
        settings=lambda facts: {"training": {"class_weights": "balanced"}},
        reason="the most frequent class has {imbalance:.0f} times the pixels of the rarest",
    ),
)


@dataclass(frozen=True)
class Decision:
    """A rule that applied."""

    name: str
    settings: dict[str, Any]
    reason: str


def measure_facts(
    task: Task,
    *,
    in_channels: int,
    sizes: Sequence[tuple[int, int]],
    class_counts: Sequence[int],
    side_counts: Sequence[Sequence[int]] = ((0,), (0,), (0,), (0,)),
) -> Facts:
    """Return the facts that the rules look at.

    Args:
        task: What is to be segmented.
        in_channels: Channels of the network's input.
        sizes: (height, width) of each training image.
        class_counts: Valid training pixels of each class; binary: background and foreground.
        side_counts: The same in the top, bottom, left and right half of the images.
    """
    total = max(1, sum(class_counts))
    top, bottom, left, right = side_counts
    return Facts(
        task_kind=task.kind,
        num_classes=task.num_classes,
        in_channels=in_channels,
        num_images=len(sizes),
        median_height=int(median(height for height, _ in sizes)),
        median_width=int(median(width for _, width in sizes)),
        class_shares=tuple(count / total for count in class_counts),
        top_bottom_difference=_difference(top, bottom),
        left_right_difference=_difference(left, right),
    )


def _difference(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the total variation distance of two class distributions, in [0, 1]."""
    totals = max(1, sum(first)), max(1, sum(second))
    pairs = zip(first, second, strict=True)
    return sum(abs(a / totals[0] - b / totals[1]) for a, b in pairs) / 2


def plan(facts: Facts, rules: Sequence[Rule] = RULES) -> list[Decision]:
    """Return the decisions of all rules that apply, in the order of the rules."""
    values = asdict(facts) | {"imbalance": facts.imbalance, "patch_side": facts.patch_side}
    return [
        Decision(rule.name, rule.settings(facts), rule.reason.format(**values))
        for rule in rules
        if rule.applies(facts)
    ]
