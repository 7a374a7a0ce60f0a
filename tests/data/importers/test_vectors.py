from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import rasterio.warp
import shapely

from delineate import import_dataset
from delineate.errors import DataError, DelineateError, UnreadableFileError, UsageError
from delineate.rasters import read_raster

UTM = "EPSG:32616"
TRANSFORM = rasterio.Affine(0.5, 0, 733_600, 0, -0.5, 3_725_100)
SIZE = (120, 160)

CROSS = shapely.Polygon(
    [
        *((733_610.13, 3_725_090.07), (733_660.31, 3_725_080.39)),
        *((733_655.17, 3_725_049.83), (733_620.11, 3_725_055.59)),
    ],
    [shapely.box(733_630.1, 3_725_065.1, 733_640.1, 3_725_075.1).exterior.coords],
)
TWO = shapely.MultiPolygon(
    [
        shapely.box(733_602, 3_725_042, 733_608, 3_725_047),
        shapely.box(733_665, 3_725_090, 733_700, 3_725_095),
    ]
)


def save_raster(path: Path, crs: str | None = UTM) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 4000, (2, *SIZE)).astype(np.uint16)
    profile = {"driver": "GTiff", "count": 2, "dtype": "uint16"}
    profile |= {"height": SIZE[0], "width": SIZE[1]}
    if crs is not None:
        profile |= {"crs": crs, "transform": TRANSFORM}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)


def collection(*features: tuple[Any, dict[str, Any]], crs: str | None = UTM) -> dict[str, Any]:
    document: dict[str, Any] = {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": properties,
                "geometry": shapely.geometry.mapping(shape),
            }
            for shape, properties in features
        ],
    }
    if crs is not None:
        name = f"urn:ogc:def:crs:EPSG::{crs.removeprefix('EPSG:')}"
        document["crs"] = {"type": "name", "properties": {"name": name}}
    return document


def reference(*shapes: Any) -> np.ndarray[Any, Any]:
    return rasterio.features.rasterize(shapes, SIZE, transform=TRANSFORM, dtype="uint8")


def project(shape: Any, crs: str) -> Any:
    def move(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.column_stack(rasterio.warp.transform(UTM, crs, points[:, 0], points[:, 1]))

    return shapely.transform(shapely.segmentize(shape, 2), move)


def save_geopackage(path: Path, shape: Any, crs: str, layer: str = "roofs") -> None:
    pyogrio.raw.write(
        path,
        np.array([shapely.to_wkb(shape)]),
        [np.array(["roof"])],
        ["kind"],
        layer=layer,
        geometry_type=shape.geom_type,
        crs=crs,
        append=path.exists(),
    )


def test_polygons_with_holes_equal_those_of_rasterio(tmp_path: Path, masks_of: Any) -> None:
    src = tmp_path / "src"
    save_raster(src / "scene.tif")
    features = ((CROSS, {}), (TWO, {}))
    (src / "roofs.geojson").write_text(json.dumps(collection(*features)))
    summary = import_dataset(src, out=tmp_path / "out", classes=["roof"])
    assert summary.format == "vectors"
    expected = reference(CROSS, TWO)
    np.testing.assert_array_equal(masks_of(tmp_path / "out")["scene"], expected)
    assert summary.class_pixels["roof"] == expected.sum()
    mask = read_raster(tmp_path / "out" / "masks" / "scene.tif")
    assert mask.geo is not None
    assert mask.geo.transform == TRANSFORM[:6]
    assert rasterio.CRS.from_wkt(mask.geo.crs) == rasterio.CRS.from_string(UTM)
    copied = tmp_path / "out" / "images" / "scene.tif"
    assert copied.read_bytes() == (src / "scene.tif").read_bytes()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32617"])
@pytest.mark.parametrize("ending", ["geojson", "gpkg"])
def test_coordinate_systems_are_brought_together(
    tmp_path: Path, masks_of: Any, crs: str, ending: str
) -> None:
    src = tmp_path / "src"
    save_raster(src / "scene.tif")
    moved = project(CROSS, crs)
    if ending == "gpkg":
        save_geopackage(src / "scene.gpkg", moved, crs)
    else:
        document = collection((moved, {}), crs=None if crs == "EPSG:4326" else crs)
        (src / "scene.geojson").write_text(json.dumps(document))
    import_dataset(src, out=tmp_path / "out")
    found, expected = masks_of(tmp_path / "out")["scene"], reference(CROSS)
    assert (found != expected).sum() <= 2  # centres within rounding of an edge


def test_classes_come_from_a_property(tmp_path: Path, masks_of: Any) -> None:
    src = tmp_path / "src"
    save_raster(src / "scene.tif")
    document = collection(
        (CROSS, {"kind": {"name": "roof"}}),
        (TWO, {"kind": {"name": "hut"}}),
        (shapely.Point(733_620, 3_725_080), {"kind": {"name": "roof"}}),
        (CROSS, {"kind": None}),
    )
    (src / "a.geojson").write_text(json.dumps(document))
    summary = import_dataset(src, out=tmp_path / "out", label_field="kind.name")
    assert list(summary.class_pixels) == ["background", "hut", "roof"]
    expected = reference(*[(CROSS, 2), (TWO, 1)])
    np.testing.assert_array_equal(masks_of(tmp_path / "out")["scene"], expected)
    text = "\n".join(summary.notes)
    assert "points and lines" in text
    assert "without the property 'kind.name'" in text
    with pytest.raises(UsageError, match=r"property 'sort'; choose from kind"):
        import_dataset(src, out=tmp_path / "again", label_field="sort")


def test_files_over_all_rasters_are_classes(tmp_path: Path, masks_of: Any) -> None:
    src = tmp_path / "src"
    for name in ("north", "south"):
        save_raster(src / "images" / f"{name}.tif")
    (src / "roof.geojson").write_text(json.dumps(collection((CROSS, {}))))
    save_geopackage(src / "hut.gpkg", TWO, UTM)
    summary = import_dataset(src, out=tmp_path / "out")
    assert list(summary.class_pixels) == ["background", "roof", "roofs"]
    masks = masks_of(tmp_path / "out")
    assert ((masks["north"] == 1) == reference(CROSS)).all()
    assert ((masks["south"] == 2) == reference(TWO)).all()


def test_without_a_place_polygons_are_pixels(
    tmp_path: Path, masks_of: Any, save_picture: Any
) -> None:
    save_picture(tmp_path / "src" / "slide.png", 20, 30)
    document = collection((shapely.box(3, 2, 9, 6), {}), crs=None)
    (tmp_path / "src" / "slide.geojson").write_text(json.dumps(document))
    summary = import_dataset(tmp_path / "src", out=tmp_path / "out")
    mask = masks_of(tmp_path / "out")["slide"]
    assert mask.sum() == 24
    assert (mask[2:6, 3:9] == 1).all()
    assert any("polygons count as pixels" in note for note in summary.notes)


def polygon(points: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": points},
    }


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (collection((CROSS, {}), crs=None), "longitude and latitude.*3725090; say which by --crs"),
        (collection((CROSS, {}), crs="EPSG:99999"), "which is unknown"),
        ({"type": "Topology"}, "no FeatureCollection"),
        ({"type": "FeatureCollection", "features": [polygon([[[1, float("nan")]] * 4])]}, "NaN"),
        ({"type": "FeatureCollection", "features": [polygon("abc")]}, "feature 1"),
        ({"type": "FeatureCollection", "features": [polygon([[["a", "b"]] * 4])]}, "feature 1"),
        (collection((shapely.box(0, 0, 9, 9), {})), "no pixel of foreground"),
        (collection(), "names no class"),
    ],
)
def test_vectors_that_do_not_fit(tmp_path: Path, document: dict[str, Any], says: str) -> None:
    src = tmp_path / "src"
    save_raster(src / "scene.tif")
    (src / "a.geojson").write_text(json.dumps(document))
    with pytest.raises(DelineateError, match=says):
        import_dataset(src, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_coordinate_system_may_be_named(tmp_path: Path, masks_of: Any) -> None:
    src = tmp_path / "src"
    save_raster(src / "scene.tif")
    (src / "a.geojson").write_text(json.dumps(collection((CROSS, {}), crs=None)))
    import_dataset(src, out=tmp_path / "out", crs=UTM)
    np.testing.assert_array_equal(masks_of(tmp_path / "out")["scene"], reference(CROSS))


def test_other_vector_formats_are_never_opened_by_gdal(tmp_path: Path) -> None:
    src = tmp_path / "src"
    save_raster(src / "scene.tif")
    vrt = '<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>/etc/hosts</SrcDataSource>'
    (src / "a.gpkg").write_text(vrt)
    with pytest.raises(UnreadableFileError, match="no JSON"):
        import_dataset(src, out=tmp_path / "out")
    (src / "a.gpkg").unlink()
    with sqlite3.connect(src / "a.gpkg") as database:
        database.execute("create table t (a)")
    with pytest.raises(UnreadableFileError, match="no GeoPackage"):
        import_dataset(src, out=tmp_path / "out")
    (src / "a.gpkg").unlink()
    with pytest.raises(DataError, match="holds no vector file"):
        import_dataset(src, out=tmp_path / "out", format="vectors")


def test_buildings_of_a_real_scene(data_folder: Path, tmp_path: Path, masks_of: Any) -> None:
    special = data_folder / "special"
    src = tmp_path / "src"
    src.mkdir()
    for name in ("solaris_900_u16_32616.tif", "solaris_buildings.geojson"):
        (src / name).write_bytes((special / name).read_bytes())
    import_dataset(src, out=tmp_path / "out", classes=["building"])
    shapes = json.loads((src / "solaris_buildings.geojson").read_text())["features"]
    with rasterio.open(src / "solaris_900_u16_32616.tif") as dataset:
        expected = rasterio.features.rasterize(
            [feature["geometry"] for feature in shapes], dataset.shape, transform=dataset.transform
        )
    found = masks_of(tmp_path / "out")["solaris_900_u16_32616"]
    np.testing.assert_array_equal(found, expected)
