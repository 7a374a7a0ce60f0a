"""Centre lines lie in the middle of roads, know their width, and do not depend on blocks."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyogrio.raw import read
from scipy import ndimage

from delineate.errors import UnknownNameError, UsageError
from delineate.morphology import skeleton
from delineate.polygons.centrelines import trace_centrelines
from delineate.raster_windows import create_raster
from delineate.rasters import GeoReference
from delineate.task import Task
from delineate.tiling import Window

PLACE = GeoReference("EPSG:32616", (0.5, 0.0, 733601.0, 0.0, -0.5, 3725139.0))
ROAD = Task("binary", ("road",))


def write(path: Path, mask: np.ndarray, geo: GeoReference | None = PLACE) -> Path:
    with create_raster(path, *mask.shape, geo=geo, nodata=255) as writer:
        writer.write(Window(0, 0, *mask.shape), mask.astype(np.uint8))
    return path


def lines_of(path: Path) -> tuple[np.ndarray, list[dict[str, float]]]:
    features = json.loads(path.read_text())["features"]
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    return np.array(shapes, object), [feature["properties"] for feature in features]


def cross(width: int = 9) -> np.ndarray:
    mask = np.zeros((200, 240), np.uint8)
    mask[100 - width // 2 : 101 + width // 2, 10:230] = 1
    mask[10:190, 118:123] = 1
    return mask


@pytest.mark.parametrize("side", [37, 64, 500])
def test_a_crossing_is_four_lines_of_known_width(tmp_path: Path, side: int) -> None:
    path = write(tmp_path / "mask.tif", cross())
    out = tmp_path / "a.gpkg"
    summary = trace_centrelines(
        path, out, ROAD, block_side=side, colours=np.array([[9, 8, 7]], np.uint8)
    )
    meta, _, shapes, columns = read(out)
    fields = dict(zip(meta["fields"], columns, strict=True))
    found = shapely.from_wkb(shapes)
    assert meta["geometry_type"] == "LineString"
    assert summary.num_lines == 4
    assert summary.num_thick == 0
    assert summary.style.exists()
    # Two pixels are a metre: the long road is 4.5 m wide, the other 2.5 m.
    order = np.argsort(fields["width_m"])
    assert fields["width_m"][order[:2]] == pytest.approx([2.5, 2.5], abs=0.3)
    assert fields["width_m"][order[2:]] == pytest.approx([4.5, 4.5], abs=0.4)
    assert summary.length == pytest.approx(shapely.length(found).sum(), abs=0.01)
    assert summary.length == pytest.approx((220 + 180) / 2, rel=0.05)
    for shape in found[order[2:]]:
        y = shapely.get_coordinates(shape)[:, 1]
        assert y == pytest.approx(np.full(y.shape, 3725139 - 100.5 / 2), abs=0.51)


@given(
    size=st.tuples(st.integers(2, 70), st.integers(2, 70)),
    seed=st.integers(0, 2**32),
    side=st.integers(3, 40),
)
@settings(deadline=None, max_examples=20)
def test_blocks_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], seed: int, side: int
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(size), 1.2)
    mask = noise > np.quantile(noise, 0.6)
    path = write(folder / "mask.tif", mask, None)
    found = {}
    for name, chosen in (("a.geojson", side), ("b.geojson", 500)):
        options = {"tolerance": 0.0, "max_thickness": 30, "keep_spurs": True}
        trace_centrelines(path, folder / name, ROAD, block_side=chosen, **options)
        shapes, _ = lines_of(folder / name)
        found[name] = sorted(shape.normalize().wkt for shape in shapes)
    assert found["a.geojson"] == found["b.geojson"]
    # Every pixel of the skeleton that has a neighbour lies on a line, and nothing else does.
    lines = skeleton(mask)
    wanted = lines & (ndimage.convolve(lines.astype(int), np.ones((3, 3)), mode="constant") > 1)
    drawn = np.zeros(mask.shape, bool)
    for shape in shapes:
        points = shapely.get_coordinates(shapely.segmentize(shape, 0.4))
        drawn[np.floor(-points[:, 1]).astype(int), np.floor(points[:, 0]).astype(int)] = True
    missing = wanted & ~drawn
    assert not missing.any()


def test_spurs_go_unless_they_are_kept(tmp_path: Path) -> None:
    mask = np.zeros((60, 200), np.uint8)
    mask[20:35, 5:195] = 1
    mask[15:20, 92:94] = 1
    path = write(tmp_path / "mask.tif", mask)
    kept = trace_centrelines(path, tmp_path / "a.gpkg", ROAD, keep_spurs=True)
    pruned = trace_centrelines(path, tmp_path / "b.gpkg", ROAD)
    assert pruned.num_lines < kept.num_lines


def test_wide_parts_are_counted_and_nothing_is_a_file(tmp_path: Path) -> None:
    mask = np.zeros((90, 90), np.uint8)
    path = write(tmp_path / "empty.tif", mask)
    assert trace_centrelines(path, tmp_path / "a.gpkg", ROAD).num_lines == 0
    mask[5:85, 5:85] = 1
    path = write(tmp_path / "mask.tif", mask)
    assert trace_centrelines(path, tmp_path / "b.gpkg", ROAD, max_thickness=20).num_thick > 0


def test_the_class_is_named(tmp_path: Path) -> None:
    task = Task("multiclass", ("land", "river", "road"), background="land")
    path = write(tmp_path / "mask.tif", cross() * 2)
    with pytest.raises(UsageError, match="one of river, road"):
        trace_centrelines(path, tmp_path / "a.gpkg", task)
    with pytest.raises(UnknownNameError, match="Did you mean 'road'"):
        trace_centrelines(path, tmp_path / "a.gpkg", task, class_name="raod")
    assert trace_centrelines(path, tmp_path / "a.gpkg", task, class_name="road").num_lines == 4
    assert trace_centrelines(path, tmp_path / "b.gpkg", task, class_name="river").num_lines == 0
