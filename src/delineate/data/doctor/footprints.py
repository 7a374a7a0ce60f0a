"""Find georeferenced tiles of different splits that cover the same ground."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from delineate.data.doctor.findings import Evidence, Finding, count, exclude_line, sample
from delineate.data.doctor.records import Examination, PairRecord
from delineate.rasters import GeoReference

MIN_OVERLAP = 0.01
"""Share of the smaller of two tiles that both cover; less is the rounding of coordinates."""

_MAX_SAME_PLACE = 0.5
_NUM_SHOWN = 24

Box = tuple[float, float, float, float]
"""West, south, east, north."""


@dataclass(frozen=True)
class Overlap:
    """Two tiles that share ground."""

    first: PairRecord
    second: PairRecord
    share: float
    """Of the smaller one."""
    box: tuple[int, int, int, int]
    """Top, left, bottom, right of the shared ground in pixels of the first."""


def check_footprints(examination: Examination) -> Iterator[Finding]:
    """Find tiles that overlap on the ground and lie in different splits."""
    overlaps = find_overlaps(examination)
    if not overlaps:
        return
    listed = [
        f"{one.first.image.path} ({one.first.sample.split}) and {one.second.image.path} "
        f"({one.second.sample.split}) by {one.share:.0%}"
        for one in overlaps
    ]
    files = {pair.image.path for one in overlaps for pair in (one.first, one.second)}
    outside = {
        pair.image.path
        for one in overlaps
        for pair in (one.first, one.second)
        if pair.sample.split != "train"
    }
    yield Finding(
        "overlap-across-splits",
        "warning",
        tuple(sorted(files)),
        f"{count(overlaps, 'pair')} of tiles in different splits cover the same ground: "
        f"{sample(listed)}",
        "the score over ground that was trained on flatters",
        "split by region: group the tiles by `data.groups` or by a CSV file with a column `group`; "
        f"or leave out {exclude_line(outside)}",
        evidence=tuple(
            Evidence(pair.image.path, f"{pair.sample.split}, shares {one.share:.0%}", box)
            for one in overlaps[: _NUM_SHOWN // 2]
            for pair, box in ((one.first, one.box), (one.second, None))
        ),
    )


def find_overlaps(examination: Examination) -> list[Overlap]:
    """Return tiles of different splits that overlap, those that share most first.

    Files that all name one place, as some tools write into every tile, are left out.
    """
    placed: list[tuple[Box, PairRecord]] = []
    target = next(
        (pair.image.geo.crs for pair in examination.pairs if pair.image.geo is not None), None
    )
    for pair in examination.pairs:
        geo, size = pair.image.geo, pair.image.size
        if geo is not None and size is not None and (geo.crs is None) == (target is None):
            box = _to_common(_bounds(geo, size), geo.crs, target)
            if box is not None and box[0] < box[2] and box[1] < box[3]:
                placed.append((box, pair))
    uses = Counter(box for box, _ in placed)
    if placed and max(uses.values()) > _MAX_SAME_PLACE * len(placed) and len(placed) > 2:
        return []
    placed.sort(key=lambda item: item[0])
    found: list[Overlap] = []
    open_tiles: list[tuple[Box, PairRecord]] = []
    for box, pair in placed:
        open_tiles = [item for item in open_tiles if item[0][2] > box[0]]
        for other, neighbour in open_tiles:
            if neighbour.sample.split == pair.sample.split or _is_copy(pair, neighbour):
                continue
            share = _shared(box, other)
            if share > MIN_OVERLAP:
                window = _window(other, box, neighbour.image.size or (1, 1))
                found.append(Overlap(neighbour, pair, share, window))
        open_tiles.append((box, pair))
    return sorted(found, key=lambda one: -one.share)


def _is_copy(pair: PairRecord, other: PairRecord) -> bool:
    """Whether two images have the same pixels, which is a finding of its own."""
    return pair.image.pixel_digest == other.image.pixel_digest != ""


def _bounds(geo: GeoReference, size: tuple[int, int]) -> Box:
    a, b, c, d, e, f = geo.transform
    height, width = size
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    xs = [a * col + b * row + c for col, row in corners]
    ys = [d * col + e * row + f for col, row in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _to_common(box: Box, crs: str | None, target: str | None) -> Box | None:
    """Return a box in the coordinates of the first tile; None where they do not reach so far."""
    if crs is None or target is None or crs == target:
        return box
    from rasterio.errors import RasterioError
    from rasterio.warp import transform_bounds

    try:
        west, south, east, north = transform_bounds(crs, target, *box)
    except (RasterioError, ValueError):
        return None
    return west, south, east, north


def _shared(box: Box, other: Box) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    smaller = min(_area(box), _area(other))
    return width * height / smaller


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _window(box: Box, other: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the shared ground in pixels of the first, whose upper edge is north."""
    height, width = size
    columns, rows = width / (box[2] - box[0]), height / (box[3] - box[1])
    top = round((box[3] - min(box[3], other[3])) * rows)
    bottom = round((box[3] - max(box[1], other[1])) * rows)
    left = round((max(box[0], other[0]) - box[0]) * columns)
    right = round((min(box[2], other[2]) - box[0]) * columns)
    return top, left, max(bottom, top + 1), max(right, left + 1)
