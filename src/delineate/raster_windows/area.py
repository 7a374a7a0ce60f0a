"""Keep to an area of interest."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import DataError, UnreadableFileError, UsageError
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.raster_windows.reader import RasterReader

CONTEXT = 512
"""Pixels around the area that are read, so that a network sees what surrounds its border."""

_MAX_JSON_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Area:
    """An area of interest on the grid of a raster."""

    shape: Any
    """A shapely geometry in pixels: x is the column, y the row."""
    num_features: int
    """Features that the area was made of."""

    def covers(self, window: Window, margin: int = 0) -> NDArray[np.bool_]:
        """Return the pixels of a window whose middle lies in the area.

        Args:
            window: In the raster.
            margin: Pixels by which the area is taken to be wider.

        Returns:
            (height, width).
        """
        import shapely
        from rasterio.features import rasterize

        shape = self.shape if margin == 0 else self.shape.buffer(margin)
        right, bottom = window.col + window.width, window.row + window.height
        box = shapely.box(window.col, window.row, right, bottom)
        if not shape.intersects(box):
            return np.zeros((window.height, window.width), bool)
        if shape.contains(box):
            return np.ones((window.height, window.width), bool)
        near = shapely.transform(
            shape.intersection(box.buffer(1)), lambda points: points - (window.col, window.row)
        )
        if near.area == 0:
            return np.zeros((window.height, window.width), bool)
        drawn = rasterize([(near, 1)], (window.height, window.width), dtype="uint8")
        return np.asarray(drawn != 0)


def read_area(path: Path, reader: RasterReader) -> Area:
    """Read an area of interest: the polygons of a GeoPackage or of GeoJSON, united.

    Args:
        path: Its first bytes tell the format; the first layer of a GeoPackage is taken.
        reader: The raster; the polygons are brought into its reference system.

    Raises:
        UnreadableFileError: If the file is missing, damaged or of another format.
        UsageError: If the raster lies nowhere, or the extra geo is not installed.
        DataError: If the file holds no polygon, or none that meets the raster.
    """
    try:
        import shapely
    except ImportError as error:
        raise UsageError(
            f"{path} needs the packages of the extra geo; pip install 'delineate[geo]'"
        ) from error
    place = reader.geo
    if place is None or place.crs is None:
        raise UsageError(
            f"{reader.path} does not say where it lies, so {path} cannot be laid over it; write "
            "it with its reference system, or leave the area of interest out"
        )
    shapes, crs = _read_shapes(path)
    polygons = [shape for shape in shapes if shape.geom_type in ("Polygon", "MultiPolygon")]
    if not polygons:
        raise DataError(f"{path} holds {len(shapes)} features and no polygon; draw polygons")
    union = shapely.union_all(shapely.make_valid(np.array(polygons, dtype=object)))
    from rasterio.warp import transform

    def to_pixels(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points.T
        if crs is not None:
            x, y = map(np.array, transform(crs, place.crs, x, y))
        a, b, c, d, e, f = place.transform
        determinant = a * e - b * d
        x, y = x - c, y - f
        return np.column_stack([(e * x - b * y) / determinant, (a * y - d * x) / determinant])

    shape = shapely.transform(union, to_pixels)
    if not shape.intersects(shapely.box(0, 0, reader.width, reader.height)):
        raise DataError(
            f"{path} and {reader.path} do not meet anywhere; check that they show the same place"
        )
    return Area(shape, len(polygons))


def limit_reader(reader: RasterReader, area: Area, context: int = CONTEXT) -> RasterReader:
    """Return a raster that holds data only in an area and around it.

    Args:
        reader: An open raster.
        area: On its grid.
        context: Pixels around the area that keep their data.
    """
    near = Area(area.shape.buffer(context), area.num_features)

    def read(window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        pixels, valid = reader.read(window)
        return pixels, valid & near.covers(window)

    return replace(reader, _read=read)


def _read_shapes(path: Path) -> tuple[list[Any], str | None]:
    """Return the geometries of a file and their reference system."""
    try:
        with path.open("rb") as file:
            head = file.read(72)
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be opened: {error.strerror}") from error
    # The application id, https://www.geopackage.org/spec131/#r2
    if head.startswith(b"SQLite format 3\x00") and head[68:70] == b"GP":
        return _read_geopackage(path)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return _read_geojson(path)
    raise UnreadableFileError(
        f"{path} is neither a GeoPackage nor GeoJSON; convert it, such as with ogr2ogr {path.stem}"
        f".gpkg {path.name}"
    )


def _read_geopackage(path: Path) -> tuple[list[Any], str | None]:
    import shapely

    try:
        from pyogrio.errors import DataLayerError, DataSourceError
        from pyogrio.raw import read
    except ImportError as error:
        raise UsageError(
            f"{path} needs the packages of the extra geo; pip install 'delineate[geo]'"
        ) from error
    try:
        meta, _, shapes, _ = read(path.resolve(), columns=[])
    except (DataSourceError, DataLayerError, RuntimeError, ValueError) as error:
        raise UnreadableFileError(f"{path} is damaged ({error}); write it again") from error
    return [shape for shape in shapely.from_wkb(shapes) if shape is not None], meta["crs"]


def _read_geojson(path: Path) -> tuple[list[Any], str | None]:
    """Read GeoJSON, in degrees of WGS 84 as RFC 7946 has it, or as its old member `crs` says."""
    import shapely
    from shapely.geometry import shape

    if path.stat().st_size > _MAX_JSON_BYTES:
        raise UnreadableFileError(
            f"{path} is larger than {_MAX_JSON_BYTES >> 20} MiB; write it as GeoPackage"
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        kind = document.get("type")
        features = document["features"] if kind == "FeatureCollection" else [document]
        geometries = [item.get("geometry") if "geometry" in item else item for item in features]
        shapes = [shape(geometry) for geometry in geometries if geometry]
        named = document.get("crs") or {}
        crs = named.get("properties", {}).get("name", "OGC:CRS84")
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise UnreadableFileError(f"{path} is no GeoJSON ({error}); write it again") from error
    return shapes, crs
