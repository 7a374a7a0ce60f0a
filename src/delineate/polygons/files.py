"""Write polygons feature by feature: GeoPackage and GeoJSON, and a style for QGIS beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import numpy as np

from delineate.errors import UsageError
from delineate.files import write_atomically, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.rasters import GeoReference

SUFFIXES = (".gpkg", ".geojson", ".json")
"""Endings of the vector files that are written."""

_BATCH = 5000
_TYPES: dict[str, Any] = {"id": np.int64, "class": object, "class_index": np.int64}
_DEGREE_DIGITS = 7  # about a centimetre, https://www.rfc-editor.org/rfc/rfc7946#section-11.2


@dataclass(frozen=True)
class Feature:
    """A shape with its attributes."""

    shape: Any
    """A shapely geometry in pixels: x is the column, y the row."""
    attributes: dict[str, Any]
    """Name -> value, the same names for all features of a file."""


def check_vector_path(path: Path) -> None:
    """Refuse a path that features cannot be written to.

    Raises:
        UsageError: If the ending is unknown, or the optional packages are missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} is no vector file; name a .gpkg or .geojson file")
    try:
        import shapely  # noqa: F401

        if path.suffix.lower() == ".gpkg":
            import pyogrio  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"{path} needs the packages of the extra geo; pip install 'delineate[geo]'"
        ) from error


def write_features(
    path: Path,
    features: Iterable[Feature],
    fields: Sequence[str],
    geo: GeoReference | None,
    *,
    kind: str = "Polygon",
) -> int:
    """Write features to a GeoPackage or, by the ending of `path`, to GeoJSON.

    GeoPackage keeps the reference system. GeoJSON is in degrees of WGS 84, as RFC 7946 demands
    (https://www.rfc-editor.org/rfc/rfc7946#section-4), whatever the raster is in. Without a
    reference system both hold pixels: x is the column, y minus the row, so that up is up.

    Args:
        path: Ends in .gpkg, .geojson or .json.
        features: Written a few thousand at a time.
        fields: Names of the attributes.
        geo: Place of the pixels on the ground.
        kind: Polygon or LineString.

    Returns:
        Number of features.

    Raises:
        UsageError: If `path` cannot be written to, or the extra geo is missing.
        ResourceError: If the disk is full.
    """
    check_vector_path(path)
    with write_atomically(path) as temporary:
        if path.suffix.lower() == ".gpkg":
            return _write_geopackage(temporary, path.stem, features, fields, geo, kind)
        return _write_geojson(temporary, features, geo)


def _batches(features: Iterable[Feature]) -> Iterator[list[Feature]]:
    stream = iter(features)
    while batch := list(islice(stream, _BATCH)):
        yield batch


def _placed(batch: Sequence[Feature], geo: GeoReference | None, *, to_degrees: bool) -> Any:
    """Return the shapes of a batch on the ground, shells counter-clockwise."""
    import shapely

    shapes = np.array([feature.shape for feature in batch], dtype=object)
    cols, rows = shapely.get_coordinates(shapes).T
    a, b, c, d, e, f = geo.transform if geo is not None else (1, 0, 0, 0, -1, 0)
    x, y = a * cols + b * rows + c, d * cols + e * rows + f
    if to_degrees and geo is not None and geo.crs is not None:
        from rasterio.warp import transform

        x, y = map(np.array, transform(geo.crs, "OGC:CRS84", x, y))
        x, y = np.round(x, _DEGREE_DIGITS), np.round(y, _DEGREE_DIGITS)
    placed = shapely.set_coordinates(shapes, np.column_stack([x, y]))
    return shapely.orient_polygons(placed, exterior_cw=False)


def _write_geopackage(
    temporary: Path,
    layer: str,
    features: Iterable[Feature],
    fields: Sequence[str],
    geo: GeoReference | None,
    kind: str,
) -> int:
    import shapely
    from pyogrio.raw import write

    count = 0
    batches: Iterator[list[Feature]] = _batches(features)
    first: list[Feature] = next(batches, [])
    for batch in (first, *batches) if first else ([],):
        shapes = _placed(batch, geo, to_degrees=False) if batch else np.zeros(0, object)
        columns = [
            np.array([feature.attributes[name] for feature in batch], _TYPES.get(name, np.float64))
            for name in fields
        ]
        write(
            str(temporary),
            geometry=shapely.to_wkb(shapes),
            field_data=columns,
            fields=list(fields),
            layer=layer,
            driver="GPKG",
            geometry_type=kind,
            crs=None if geo is None else geo.crs,
            append=count > 0,
            # What GDAL of 2022 and the QGIS of that time read without a warning.
            dataset_options={"VERSION": "1.3"},
        )
        count += len(batch)
    return count


def _write_geojson(temporary: Path, features: Iterable[Feature], geo: GeoReference | None) -> int:
    import shapely

    count = 0
    with temporary.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for batch in _batches(features):
            shapes = shapely.to_geojson(_placed(batch, geo, to_degrees=True))
            for shape, feature in zip(shapes, batch, strict=True):
                properties = {
                    name: None if isinstance(value, float) and math.isnan(value) else value
                    for name, value in feature.attributes.items()
                }
                file.write(",\n" if count else "\n")
                file.write(
                    f'{{"type": "Feature", "properties": {json.dumps(properties)}, '
                    f'"geometry": {shape}}}'
                )
                count += 1
        file.write("\n]}\n")
    return count


def write_qgis_style(
    path: Path,
    class_names: Sequence[str],
    colours: NDArray[np.uint8],
    *,
    field: str = "class",
    kind: str = "Polygon",
) -> Path:
    """Write the style file that QGIS reads beside a vector file: one colour for each class.

    Args:
        path: The vector file; the style has its name and ends in .qml.
        class_names: Values of the field.
        colours: (num_classes, 3).
        field: The attribute by which features are coloured.
        kind: Polygon or LineString.

    Returns:
        The style file.
    """
    symbol, layer = ("fill", "SimpleFill") if kind == "Polygon" else ("line", "SimpleLine")
    colour_key = "color" if kind == "Polygon" else "line_color"
    categories, symbols = [], []
    for index, (name, colour) in enumerate(zip(class_names, colours, strict=True)):
        rgb = ",".join(str(int(level)) for level in colour)
        alpha = 110 if kind == "Polygon" else 255
        options = {colour_key: f"{rgb},{alpha}"}
        if kind == "Polygon":
            options |= {"outline_color": f"{rgb},255", "outline_width": "0.4", "style": "solid"}
        else:
            options |= {"line_width": "0.6"}
        shown = quoteattr(name)
        categories.append(f'<category render="true" symbol="{index}" value={shown} label={shown}/>')
        listed = "".join(
            f'<Option type="QString" name="{key}" value="{value}"/>'
            for key, value in options.items()
        )
        symbols.append(
            f'<symbol type="{symbol}" name="{index}" alpha="1" clip_to_extent="1">'
            f'<layer class="{layer}" enabled="1" pass="0" locked="0">'
            f'<Option type="Map">{listed}</Option></layer></symbol>'
        )
    style = path.with_suffix(".qml")
    write_text(
        style,
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.28" styleCategories="Symbology">\n'
        f'<renderer-v2 type="categorizedSymbol" attr={quoteattr(field)} symbollevels="0" '
        'forceraster="0" enableorderby="0">\n'
        f"<categories>{''.join(categories)}</categories>\n"
        f"<symbols>{''.join(symbols)}</symbols>\n"
        "</renderer-v2>\n</qgis>\n",
    )
    return style
