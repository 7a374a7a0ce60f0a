"""Several views of each tile, flipped and turned, whose probabilities are averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from delineate.errors import UnknownNameError

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.prediction.engines import Engine
    from delineate.task import Task

Views = Literal["one", "flips", "all"]

_SMALLEST_PROB = 1e-7  # so that logarithms of averaged probabilities are finite


class View(NamedTuple):
    """A tile turned by quarters, then perhaps mirrored left to right."""

    quarters: int
    is_mirrored: bool

    def apply(self, tiles: Tensor) -> Tensor:
        """Return (B, C, H, W) seen so; a quarter turn swaps height and width."""
        turned = tiles.rot90(self.quarters, (-2, -1))
        return turned.flip(-1) if self.is_mirrored else turned

    def undo(self, tiles: Tensor) -> Tensor:
        """Return what `apply` was given."""
        turned = tiles.flip(-1) if self.is_mirrored else tiles
        return turned.rot90(-self.quarters, (-2, -1))


VIEWS: dict[str, tuple[View, ...]] = {
    "one": (View(0, False),),
    "flips": tuple(View(quarters, mirrored) for quarters in (0, 2) for mirrored in (False, True)),
    "all": tuple(View(quarters, mirrored) for quarters in range(4) for mirrored in (False, True)),
}
"""Name to the views: the tile alone, its four flips, or all eight flips and quarter turns."""


def average_views(engine: Engine, task: Task, views: str) -> Engine:
    """Return an engine whose logits are those of the mean probabilities over several views.

    Each view costs as much as the tile itself. A flipped tile meets the network's grid of pooled
    pixels from the other side, so the result depends a little on where tiles begin: it is not
    local as the network may be.

    Args:
        engine: Computes logits.
        task: Owns the activation.
        views: A key of `VIEWS`.

    Raises:
        UnknownNameError: If there are no such views.
    """
    if views not in VIEWS:
        raise UnknownNameError("prediction.views", views, list(VIEWS))
    chosen = VIEWS[views]
    if len(chosen) == 1:
        return engine

    def run(images: Tensor) -> Tensor:
        total: Tensor | None = None
        for view in chosen:
            probs = task.probs(view.undo(engine(view.apply(images).contiguous())))
            total = probs if total is None else total + probs
        assert total is not None
        mean = (total / len(chosen)).clamp(_SMALLEST_PROB, 1 - _SMALLEST_PROB)
        return mean.log() if task.kind == "multiclass" else mean.logit()

    return run
