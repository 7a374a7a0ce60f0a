"""Read polygons and their properties from GeoJSON and GeoPackage.

GeoJSON is read as JSON (https://www.rfc-editor.org/rfc/rfc7946). GeoPackage is read through GDAL,
after the first bytes said that it is one: GDAL's other vector formats may name files and addresses
that it would open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate.data.importers.annotation import Notes
from delineate.data.importers.painting import MAX_POINTS
from delineate.data.importers.sources import needs_extra, read_json
from delineate.errors import DataError, UnreadableFileError, UsageError

ENDINGS = (".geojson", ".gpkg")

LONGITUDE_LATITUDE = "OGC:CRS84"
"""The coordinate system of GeoJSON that names none."""

_SQLITE = b"SQLite format 3\x00"
_GEOPACKAGE = (b"GPKG", b"GP10", b"GP11")
_MAX_DEPTH = 8

Polygon = tuple[NDArray[np.float64], ...]
"""An outline and its holes, (N, 2) of (x, y)."""


@dataclass(frozen=True)
class Feature:
    """A polygon, or several, and its class."""

    label: str
    polygons: tuple[Polygon, ...]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top."""
        corners = np.vstack([polygon[0] for polygon in self.polygons])
        (left, bottom), (right, top) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        return left, bottom, right, top


@dataclass(frozen=True)
class Layer:
    """The features of one file, or of one layer of it."""

    path: Path
    name: str
    features: tuple[Feature, ...]
    crs: str | None
    """Coordinate system, as rasterio reads it; None where the file names none."""
    is_default_crs: bool = False
    """Whether the file names no system and the one of its format was taken."""


def read_layers(path: Path, label_field: str | None, default: str, notes: Notes) -> list[Layer]:
    """Return the polygons of a file.

    Args:
        path: A .geojson or .gpkg file.
        label_field: The property that holds the class; dots lead into nested ones.
        default: The class without `label_field`.
        notes: Takes features that are no polygons or have no class.

    Raises:
        UnreadableFileError: If the file is damaged or of another format.
        UsageError: If no feature has the property `label_field`.
    """
    try:
        with path.open("rb") as file:
            head = file.read(72)
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be opened: {error.strerror}") from error

    seen: set[str] = set()

    def label_of(properties: Mapping[str, Any]) -> str | None:
        if label_field is None:
            return default
        value: Any = properties
        for key in label_field.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        seen.update(str(key) for key in properties)
        if value is None or value == "" or isinstance(value, list | Mapping):
            notes.add(
                f"features without the property {label_field!r}; they are left out", path.name
            )
            return None
        return str(value)

    if head.startswith(_SQLITE):
        if head[68:72] not in _GEOPACKAGE:
            raise UnreadableFileError(f"{path} is an SQLite file but no GeoPackage; convert it")
        layers = _read_geopackage(path, label_of, notes)
    else:
        layers = [_read_geojson(path, label_of, notes)]
    if label_field is not None and not any(layer.features for layer in layers):
        raise UsageError(
            f"no polygon of {path} has the property {label_field!r}; choose from "
            f"{', '.join(sorted(seen)[:20]) or 'none'}"
        )
    return layers


def _read_geojson(
    path: Path, label_of: Callable[[Mapping[str, Any]], str | None], notes: Notes
) -> Layer:
    document = read_json(path)
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection" and isinstance(document.get("features"), list):
        entries = document["features"]
    elif kind == "Feature":
        entries = [document]
    else:
        raise UnreadableFileError(f"{path} is no FeatureCollection of GeoJSON; convert it")
    features = []
    for number, entry in enumerate(entries, start=1):
        geometry = entry.get("geometry") if isinstance(entry, dict) else None
        if not isinstance(geometry, dict):
            notes.add("features without a geometry; they are left out", path.name)
            continue
        try:
            polygons = tuple(_polygons(geometry, notes, path.name))
        except (DataError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise UnreadableFileError(f"{path}, feature {number}: {error}") from error
        label = label_of(entry.get("properties") or {}) if polygons else None
        if label is not None:
            features.append(Feature(label, polygons))
    crs = document.get("crs")
    named = crs.get("properties", {}).get("name") if isinstance(crs, dict) else None
    is_default = not isinstance(named, str)
    return Layer(
        path,
        path.stem,
        tuple(features),
        LONGITUDE_LATITUDE if is_default else str(named),
        is_default_crs=is_default,
    )


def _polygons(
    geometry: Mapping[str, Any], notes: Notes, where: str, depth: int = 0
) -> Iterator[Polygon]:
    kind = geometry.get("type")
    if kind == "GeometryCollection" and depth < _MAX_DEPTH:
        for part in geometry["geometries"]:
            yield from _polygons(part, notes, where, depth + 1)
        return
    if kind not in ("Polygon", "MultiPolygon"):
        notes.add("points and lines, which have no area; they are left out", where)
        return
    parts = geometry["coordinates"] if kind == "MultiPolygon" else [geometry["coordinates"]]
    for rings in parts:
        polygon = tuple(ring for ring in map(_ring, rings) if len(ring) >= 3)
        if polygon:
            yield polygon


def _ring(points: Any) -> NDArray[np.float64]:
    """Return a ring, (N, 2); heights are left out."""
    if not isinstance(points, list) or len(points) > MAX_POINTS:
        raise DataError(f"a ring is no list of up to {MAX_POINTS} points")
    ring = np.asarray([point[:2] for point in points], np.float64).reshape(-1, 2)
    if not np.isfinite(ring).all():
        raise DataError("a ring holds coordinates that are NaN or infinite")
    return ring


def _read_geopackage(
    path: Path, label_of: Callable[[Mapping[str, Any]], str | None], notes: Notes
) -> list[Layer]:
    with needs_extra("geo"):
        import pyogrio
        import shapely
    layers = []
    try:
        names = [
            str(name) for name, kind in pyogrio.list_layers(path.resolve()) if kind is not None
        ]
        for name in names:
            meta, _, shapes, columns = pyogrio.raw.read(path.resolve(), layer=name)
            geometries = shapely.force_2d(shapely.from_wkb(shapes))
            features = []
            for index, geometry in enumerate(geometries):
                polygons = tuple(_shapely_polygons(geometry, notes, path.name))
                if not polygons:
                    continue
                fields = zip(meta["fields"], columns, strict=True)
                label = label_of({str(key): _plain(column[index]) for key, column in fields})
                if label is not None:
                    features.append(Feature(label, polygons))
            layers.append(Layer(path, name, tuple(features), meta["crs"]))
    except (pyogrio.errors.DataSourceError, shapely.errors.ShapelyError, ValueError) as error:
        raise UnreadableFileError(f"{path} is no GeoPackage that can be read: {error}") from error
    return layers


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if value != value else value


def _shapely_polygons(geometry: Any, notes: Notes, where: str) -> Iterator[Polygon]:
    import shapely

    if geometry is None:
        notes.add("features without a geometry; they are left out", where)
        return
    for part in shapely.get_parts(geometry):
        if part.geom_type == "GeometryCollection":
            yield from _shapely_polygons(part, notes, where)
        elif part.geom_type != "Polygon":
            notes.add("points and lines, which have no area; they are left out", where)
        elif not part.is_empty:
            rings = [part.exterior, *part.interiors]
            polygon = tuple(shapely.get_coordinates(ring) for ring in rings)
            if not all(np.isfinite(ring).all() for ring in polygon):
                raise DataError(f"{where} holds coordinates that are NaN or infinite")
            yield polygon
