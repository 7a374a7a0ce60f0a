"""The images that a report shows: some of the worst, of the middle and of the best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

from delineate.evaluation.report_examples import picture_size, shrink_probs
from delineate.evaluation.result import Example, Rank

if TYPE_CHECKING:
    from delineate.data.cache import ImageCache
    from delineate.evaluation.scoring import SplitScores
    from delineate.prediction.predictor import Predictor
    from delineate.raster_windows import Grid

NUM_EXAMPLES = 3
"""Images shown of the best, of the middle and of the worst."""


def choose_examples(
    scores: Sequence[float | None], count: int = NUM_EXAMPLES
) -> list[tuple[Rank, int]]:
    """Return (rank, index) of the images to show, `count` of a kind, the worst first.

    Images without a score are left out. Of few images, none is shown twice.
    """
    order = sorted(
        (index for index, score in enumerate(scores) if score is not None),
        key=lambda index: (cast(float, scores[index]), index),
    )
    # Of few images each kind gets its share, the worst first.
    worst = order[: min(count, -(-len(order) // 3))]
    best = order[len(worst) :][::-1][: min(count, -(-(len(order) - len(worst)) // 2))]
    between = order[len(worst) : len(order) - len(best)]
    start = max(0, (len(between) - count) // 2)
    return [
        *(("worst", index) for index in worst),
        *(("median", index) for index in between[start : start + count]),
        *(("best", index) for index in best[::-1]),
    ]


def predict_examples(
    scores: SplitScores, images: ImageCache, grids: Sequence[Grid | None], predictor: Predictor
) -> Iterator[Example]:
    """Predict the images to show once more, so that no other had to be kept."""
    dices = [image.scores["dice"] for image in scores.images]
    chosen = choose_examples(dices)
    size = picture_size(predictor.task, len(chosen))
    for rank, index in chosen:
        pixels, target, valid = images[index]
        probs = predictor.predict_probs(pixels, valid, grids[index])
        name, mask = scores.images[index].name, predictor.mask(probs)
        small = shrink_probs(probs, size)
        yield Example(rank, name, dices[index], pixels, target, mask, small)
