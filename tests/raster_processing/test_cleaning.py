"""Post-processing by blocks is post-processing of the whole array."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from delineate.errors import UsageError
from delineate.postprocess import postprocess_mask
from delineate.raster_processing.cleaning import postprocess_raster
from delineate.raster_windows import create_raster, open_raster
from delineate.task import Task
from delineate.tiling import Window

BINARY = Task("binary", ("road",))
CLASSES = Task("multiclass", ("land", "water", "road"), background="land")
COVER = Task("multiclass", ("land", "water", "road"))
LABELS = Task("multilabel", ("a", "b"))


def blobs(rng: np.random.Generator, shape: tuple[int, ...], levels: int) -> np.ndarray:
    """Draw smooth noise cut at quantiles, so that parts cross several blocks."""
    noise = ndimage.gaussian_filter(rng.random(shape), (0,) * (len(shape) - 2) + (1.2, 1.2))
    return np.digitize(noise, np.quantile(noise, np.arange(1, levels) / levels)).astype(np.uint8)


def clean(mask: np.ndarray, task: Task, side: int, **operations: int) -> np.ndarray:
    bands = mask[None] if mask.ndim == 2 else mask
    with TemporaryDirectory() as name:
        folder = Path(name)
        count, height, width = bands.shape
        with create_raster(folder / "a.tif", height, width, bands=count, nodata=255) as writer:
            writer.write(Window(0, 0, height, width), bands)
        source, out = folder / "a.tif", folder / "b.tif"
        postprocess_raster(source, out, task, block_side=side, **operations)
        assert sorted(file.name for file in folder.iterdir()) == ["a.tif", "b.tif"]
        with open_raster(out) as reader:
            assert reader.nodata == 255
            found = np.moveaxis(reader.read(reader.window)[0], -1, 0)
    return found[0] if mask.ndim == 2 else found


operations = st.fixed_dictionaries(
    {
        "opening_radius": st.integers(0, 2),
        "closing_radius": st.integers(0, 3),
        "min_object_area": st.integers(0, 40),
        "largest_only": st.booleans(),
        "min_hole_area": st.integers(0, 40),
    }
)


@pytest.mark.parametrize("task", [BINARY, CLASSES, COVER, LABELS], ids=lambda task: task.kind)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    side=st.integers(9, 40),
    seed=st.integers(0, 2**32),
    chosen=operations,
)
@settings(deadline=None, max_examples=20)
def test_equals_the_whole_array(
    task: Task, size: tuple[int, int], side: int, seed: int, chosen: dict[str, int]
) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, *size) if task.kind == "multilabel" else size
    mask = blobs(rng, shape, 3 if task.kind == "multiclass" else 2)
    ignored = np.broadcast_to(blobs(rng, size, 8) == 0, shape)
    if task is COVER:
        chosen = chosen | {"closing_radius": 0, "min_hole_area": 0}
    found = clean(np.where(ignored, 255, mask).astype(np.uint8), task, side, **chosen)
    whole = postprocess_mask(np.where(ignored, 0, mask).astype(np.uint8), task, **chosen)
    assert np.array_equal(found, np.where(ignored, 255, whole))


def test_class_is_found_far_beyond_the_first_reach() -> None:
    mask = np.zeros((40, 400), np.uint8)
    mask[:, :300] = 1
    mask[:, 300:] = 2
    found = clean(mask, COVER, 32, largest_only=False, min_object_area=5000)
    assert (found == 1).all()


def test_nothing_is_freed_where_everything_would_be() -> None:
    mask = np.ones((30, 30), np.uint8)
    assert np.array_equal(clean(mask, COVER, 8, min_object_area=10_000), mask)


def test_growing_needs_a_background(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no background class"):
        postprocess_raster(tmp_path / "a.tif", tmp_path / "b.tif", COVER, closing_radius=1)
