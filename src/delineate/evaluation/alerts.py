"""What a reader of an evaluation must not miss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from delineate.evaluation.details import Details
    from delineate.evaluation.intervals import Intervals
    from delineate.evaluation.result import SplitName
    from delineate.evaluation.scoring import SplitScores

_NUM_NAMED = 5


def find_alerts(
    split: SplitName, scores: SplitScores, details: Details, intervals: Intervals
) -> Iterator[str]:
    """Yield a sentence for each reason not to take the numbers at their word."""
    names = [image.name for image in scores.images]
    known = [name for name, is_known in zip(names, details.in_training, strict=True) if is_known]
    if known and split != "train":
        yield (
            f"{len(known)} of the {len(names)} images scored here are training images of this "
            f"model, pixel by pixel ({_name(known)}): these numbers say how well it remembers, not "
            "how good it is. Take the copies out of the training split and train again."
        )
    if split != "test":
        yield (
            f"The {split} split took part in making this model, so these numbers flatter it. Judge "
            "it by the test split."
        )
    strange = [
        name for name, quality in zip(names, details.qualities, strict=True) if quality.alarm
    ]
    if strange:
        yield (
            f"{len(strange)} of the {len(names)} images look unlike the training images "
            f"({_name(strange)}); see “Without the truth”."
        )
    if intervals.warning:
        yield f"{intervals.warning[0].upper()}{intervals.warning[1:]}."


def _name(names: Sequence[str]) -> str:
    more = len(names) - _NUM_NAMED
    return ", ".join(names[:_NUM_NAMED]) + (f" and {more} more" if more > 0 else "")
