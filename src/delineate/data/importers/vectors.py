"""Draw the polygons of vector files over the rasters that they lie on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from delineate.data.importers.annotation import (
    Collection,
    ImportOptions,
    Item,
    Notes,
    Overlaps,
    Patch,
    Piece,
    Region,
)
from delineate.data.importers.objects import choose_classes
from delineate.data.importers.painting import MAX_POINTS, fill_polygons, paint_regions
from delineate.data.importers.sources import ImageFinder, files_ending, stem_of
from delineate.data.importers.vector_files import ENDINGS, Feature, Layer, Polygon, read_layers
from delineate.data.pairing import read_entry
from delineate.errors import DataError, UsageError
from delineate.rasters import GeoReference, Header, read_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_CLASS = "foreground"

_NUM_STEPS = 64
"""Into how many pieces an edge across the raster is cut, so that it bends with the projection."""


def read_vectors(src: Path, options: ImportOptions) -> Collection:
    """Read rasters and the polygons that lie on them.

    A vector file belongs to the raster of its name; one without a namesake lies over all rasters,
    and where there are several of these each is a class. Polygons are brought into the coordinate
    system of the raster; over a raster without one they are taken for pixels. Where classes
    overlap, the later feature lies above.

    Args:
        src: A folder of rasters and vectors, or a vector file beside its raster.
        options: `label_field` names the property that holds the class; without it all polygons are
            of one class. `crs` is used where a file names no coordinate system; GeoJSON that names
            none is in longitude and latitude. `images` is where rasters are.

    Raises:
        DataError: If there are no vectors or no rasters, or they cannot be laid on each other.
        UsageError: If `crs` is unknown, or no feature has `label_field`.
    """
    notes = Notes()
    root = src if src.is_dir() else src.absolute().parent
    default = options.classes[0] if len(options.classes) == 1 else DEFAULT_CLASS
    layers = [
        layer
        for path in ([src] if src.is_file() else files_ending(root, *ENDINGS))
        for layer in read_layers(path, options.label_field, default, notes)
    ]
    finder = ImageFinder([options.images or root])
    rasters = finder.images
    if not layers or not rasters:
        missing = "raster" if layers else "vector file (.geojson or .gpkg)"
        raise DataError(f"{root} holds no {missing}; polygons are drawn over rasters")
    layers = [_with_crs(layer, options.crs) for layer in layers]
    stems = {stem_of(path) for path in rasters}
    common = [layer for layer in layers if stem_of(layer.path) not in stems]
    if len(common) > 1 and options.label_field is None:
        layers = [_relabel(layer) if layer in common else layer for layer in layers]
        common = [layer for layer in layers if stem_of(layer.path) not in stems]
    rule = "later" if options.overlaps == "auto" else options.overlaps
    labels = sorted({feature.label for layer in layers for feature in layer.features})
    table = choose_classes(labels, options, keep=rule == "keep")
    items = []
    for path in rasters:
        over = [layer for layer in layers if stem_of(layer.path) == stem_of(path)] or common
        if not over:
            notes.add("rasters without a vector file; they are left out", path.name)
            continue
        below = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
        split = read_entry(PurePosixPath(below.as_posix())).split
        items.append(
            Item(path.name, _reader(path, finder, over, table.indices, rule, notes), split)
        )
    return Collection(
        table.names, items, notes, background=table.background, is_multilabel=rule == "keep"
    )


def _with_crs(layer: Layer, crs: str | None) -> Layer:
    """Return the layer with the system that the user names, where the file names none."""
    if crs is None or (layer.crs is not None and not layer.is_default_crs):
        return layer
    return replace(layer, crs=crs, is_default_crs=False)


def _relabel(layer: Layer) -> Layer:
    label = layer.name
    return replace(
        layer, features=tuple(Feature(label, feature.polygons) for feature in layer.features)
    )


def _reader(
    path: Path,
    finder: ImageFinder,
    layers: Sequence[Layer],
    indices: Mapping[str, int],
    rule: Overlaps,
    notes: Notes,
) -> Callable[[], Iterator[Piece]]:
    def read() -> Iterator[Piece]:
        header = read_header(finder.check(path))
        if header.geo is None:
            notes.add("rasters without a place on the ground; polygons count as pixels", path.name)
        regions = [region for layer in layers for region in _regions(layer, header, path, notes)]
        if not regions:
            notes.add("rasters on which no polygon lies; they become background", path.name)
        target = paint_regions(
            regions, indices, header.size, overlaps=rule, where=path.name, notes=notes
        )
        yield Piece(stem_of(path), path, target)

    return read


def _regions(layer: Layer, header: Header, path: Path, notes: Notes) -> Iterator[Region]:
    """Yield the features that may touch a raster."""
    to_pixels, (left, bottom, right, top) = _projection(layer, header, path)
    step = max(right - left, top - bottom) / _NUM_STEPS
    for feature in layer.features:
        west, south, east, north = feature.bounds
        if west > right or east < left or south > top or north < bottom:
            continue
        polygons = [
            tuple(to_pixels(_cut_edges(ring, step)) for ring in polygon)
            for polygon in feature.polygons
        ]
        if not all(np.isfinite(ring).all() for polygon in polygons for ring in polygon):
            notes.add("polygons that leave the map projection; they are left out", path.name)
            continue
        yield Region(feature.label, _painter(polygons))


def _painter(polygons: Sequence[Polygon]) -> Callable[[tuple[int, int]], Patch]:
    return lambda size: fill_polygons(polygons, size)


def _projection(
    layer: Layer, header: Header, path: Path
) -> tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], tuple[float, float, float, float]]:
    """Return what turns the layer's coordinates into pixels, and the raster's bounds in them.

    Raises:
        DataError: If one of the two names a coordinate system that the other lacks.
        UsageError: If the coordinate system of the layer is unknown.
    """
    import rasterio.warp
    from rasterio.crs import CRS
    from rasterio.errors import CRSError, RasterioError

    height, width = header.size
    if header.geo is None:
        return (lambda points: points), (0, 0, width, height)
    geo: GeoReference = header.geo
    matrix = np.array([*geo.transform, 0, 0, 1], np.float64).reshape(3, 3)
    if not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
        raise DataError(f"{path} says of its place on the ground what no map can be; write it anew")
    inverse = np.linalg.inv(matrix)
    corners = np.array([(0, 0, 1), (width, 0, 1), (width, height, 1), (0, height, 1)]) @ matrix.T
    (left, bottom), (right, top) = corners[:, :2].min(axis=0), corners[:, :2].max(axis=0)

    def unproject(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(points @ inverse[:2, :2].T + inverse[:2, 2])

    if geo.crs is None or layer.crs is None:
        if (geo.crs is None) != (layer.crs is None) and not layer.is_default_crs:
            lacks, other = (path, layer.path) if geo.crs is None else (layer.path, path)
            raise DataError(
                f"{lacks} names no coordinate system and {other} does; "
                + (
                    "write it into the raster"
                    if geo.crs is None
                    else "say which by --crs, such as EPSG:32616"
                )
            )
        return unproject, (left, bottom, right, top)
    try:
        source, goal = CRS.from_user_input(layer.crs), CRS.from_wkt(geo.crs)
    except CRSError as error:
        raise UsageError(
            f"{layer.path} is in the coordinate system {layer.crs[:80]!r}, which is unknown; name "
            "it by --crs, such as EPSG:32616"
        ) from error
    _check_degrees(layer)
    if source == goal:
        return unproject, (left, bottom, right, top)

    def project(points: NDArray[np.float64]) -> NDArray[np.float64]:
        xs, ys = rasterio.warp.transform(source, goal, points[:, 0], points[:, 1])
        return unproject(np.column_stack([xs, ys]))

    try:
        bounds = rasterio.warp.transform_bounds(goal, source, left, bottom, right, top)
    except RasterioError as error:
        raise DataError(
            f"{path} cannot be brought into the coordinate system of {layer.path}: {error}"
        ) from error
    return project, bounds


def _check_degrees(layer: Layer) -> None:
    """Refuse GeoJSON that names no coordinate system and holds no degrees."""
    if not layer.is_default_crs or not layer.features:
        return
    bounds = np.array([feature.bounds for feature in layer.features])
    if np.abs(bounds[:, ::2]).max() > 360 or np.abs(bounds[:, 1::2]).max() > 90:
        raise DataError(
            f"{layer.path} names no coordinate system, so that it is longitude and latitude, but "
            f"holds values up to {np.abs(bounds).max():.0f}; say which by --crs, such as EPSG:32616"
        )


def _cut_edges(ring: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return the closed ring with points on its edges, at most `step` apart.

    A straight line of one coordinate system is bent in another.
    """
    closed = np.vstack([ring, ring[:1]])
    lengths = np.hypot(*np.diff(closed, axis=0).T)
    if step <= 0 or lengths.max(initial=0) <= step:
        return ring
    pieces = np.maximum(np.ceil(lengths / step), 1)
    if pieces.sum() > MAX_POINTS:
        return ring
    starts = np.concatenate([[0], np.cumsum(pieces)])
    places = np.arange(starts[-1])
    return np.column_stack([np.interp(places, starts, closed[:, axis]) for axis in (0, 1)])
