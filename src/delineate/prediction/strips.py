"""Cut a raster into strips of columns, a row of tiles across which takes bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

from delineate.tiling import Span, TilePlan

BAND_BYTES = 256 * 2**20
"""Memory of a row of tiles across a strip: pixels, probabilities and what blending them takes."""

MAX_STRIP_WIDTH = 16384
"""Widest strip, in pixels, however little memory a column takes."""


@dataclass(frozen=True, eq=False)
class Strip:
    """Columns of a raster that are computed from top to bottom before the next strip is."""

    start: int
    stop: int
    """First column of the strip and of the next."""
    cols: tuple[Span, ...]
    """Columns of tiles that the strip needs; a blended one at its border is the next one's too."""

    @property
    def left(self) -> int:
        """First column that is read."""
        return self.cols[0].start

    @property
    def right(self) -> int:
        """Column after the last that is read."""
        return self.cols[-1].stop


def plan_strips(plan: TilePlan, bytes_per_pixel: int) -> tuple[Strip, ...]:
    """Cut the columns of a plan into strips, each as wide as fits into `BAND_BYTES`.

    A strip begins where a column of tiles begins to be kept, so that few are computed twice.

    Args:
        plan: The tiles of the raster.
        bytes_per_pixel: Memory of a pixel of a row of tiles, pixels and probabilities together.
    """
    rows = max(span.stop - span.start for span in plan.rows)
    width = min(MAX_STRIP_WIDTH, BAND_BYTES // (rows * bytes_per_pixel))
    total = plan.cols[-1].kept_stop
    strips = []
    start = 0
    while start < total:
        cuts = [c.kept_start for c in plan.cols if start < c.kept_start <= start + width]
        if start + width >= total:
            cuts = [total]
        if not cuts:
            # Not even one tile fits: a strip of one column of tiles is the least there can be.
            cuts = [min([c.kept_start for c in plan.cols if c.kept_start > start] + [total])]
        cols = tuple(c for c in plan.cols if c.kept_start < cuts[-1] and c.kept_stop > start)
        strips.append(Strip(start, cuts[-1], cols))
        start = cuts[-1]
    return tuple(strips)


def memory_per_pixel(source_bytes: int, num_classes: int) -> int:
    """Return the bytes that `stream_bands` takes for each pixel of a row of tiles.

    Args:
        source_bytes: Bytes of a pixel as it is read, all bands.
        num_classes: Channels of the probabilities.
    """
    # Pixels and validity twice while rows move up; sums in float32 and the caller's copy of them.
    return 2 * (source_bytes + 1) + 2 * 4 * num_classes
