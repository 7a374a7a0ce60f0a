from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from delineate.config import DataConfig, TaskConfig
from delineate.data.inventory import Inventory, Sample
from delineate.data.mask_meaning import parse_code
from delineate.data.masks import MaskDecoder, inspect_masks
from delineate.errors import DataError, ShapeError
from delineate.pictures import class_colours
from delineate.rasters import write_image, write_mask
from delineate.task import Task

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
Pixels = NDArray[Any]


def pattern(*values: int, dtype: str = "uint8") -> Pixels:
    """Return every value in at least one row of a small mask."""
    rows = np.array([values[row % len(values)] for row in range(max(6, len(values)))], dtype)
    return np.repeat(rows[:, None], 5, axis=1)


def save(path: Path, pixels: Pixels, palette: Sequence[tuple[int, int, int]] = ()) -> Path:
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="minisblack")
        return path
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette([channel for colour in palette for channel in colour])
    image.save(path, **({"quality": 60} if path.suffix == ".jpg" else {}))
    return path


@pytest.fixture
def inspect(tmp_path: Path) -> Callable[..., MaskDecoder]:
    def inspect(
        *masks: Path | tuple[Path, ...], task: dict[str, Any] | None = None, **data: Any
    ) -> MaskDecoder:
        samples = []
        for number, paths in enumerate(masks):
            paths = paths if isinstance(paths, tuple) else (paths,)
            with Image.open(paths[0]) as mask:
                shape = mask.size[::-1]
            image = tmp_path / f"image{number}.png"
            write_image(image, np.zeros(shape, np.uint8))
            samples.append(Sample(image, paths, "train", str(number), str(number)))
        inventory = Inventory(tmp_path, tuple(samples))
        found, decoder = inspect_masks(inventory, DataConfig(**data), TaskConfig(**(task or {})))
        assert found == decoder.task
        document = json.loads(json.dumps(decoder.as_dict()))
        assert MaskDecoder.from_dict(document) == decoder
        return decoder

    return inspect


@pytest.mark.parametrize("name", ["m.png", "m.tif"])
@pytest.mark.parametrize("values", [(0, 255), (0, 1), (0, 7)])
def test_two_values_are_background_and_foreground(
    tmp_path: Path, inspect: Callable[..., MaskDecoder], name: str, values: tuple[int, int]
) -> None:
    pixels = pattern(*values)
    path = save(tmp_path / name, pixels)
    decoder = inspect(path)
    assert decoder.task == Task("binary", ("foreground",))
    np.testing.assert_array_equal(decoder.decode([path]), pixels != 0)
    inverted = inspect(path, foreground_value=0, task={"class_names": ["membrane"]})
    assert inverted.task == Task("binary", ("membrane",))
    np.testing.assert_array_equal(inverted.decode([path], size=pixels.shape), pixels == 0)


def test_one_bit_sixteen_bits_alpha_and_floats_are_read(
    tmp_path: Path, inspect: Callable[..., MaskDecoder]
) -> None:
    wanted = pattern(0, 1) == 1
    alpha = np.stack([wanted * np.uint8(255)] * 3 + [pattern(9, 200)], axis=-1)
    paths = [
        save(tmp_path / "bits.png", wanted),
        save(tmp_path / "deep.png", wanted * np.uint16(65535)),
        save(tmp_path / "alpha.png", alpha),
        save(tmp_path / "float.tif", wanted.astype(np.float32)),
    ]
    for path in paths:
        np.testing.assert_array_equal(inspect(path).decode([path]), wanted)


def test_consecutive_values_are_classes(
    tmp_path: Path, inspect: Callable[..., MaskDecoder]
) -> None:
    pixels = pattern(0, 1, 2, 3)
    path = save(tmp_path / "m.png", pixels)
    decoder = inspect(path)
    assert decoder.task == Task("multiclass", ("class_0", "class_1", "class_2", "class_3"))
    np.testing.assert_array_equal(decoder.decode([path]), pixels)
    named = inspect(path, ignore=(3,), task={"class_names": ["Background", "a", "b"]})
    assert named.task.background == "Background"
    np.testing.assert_array_equal(named.decode([path]), np.where(pixels == 3, 255, pixels))
    # A class that does not occur is no gap where all are named.
    assert inspect(path, task={"class_names": list("abcde")}).task.num_classes == 5


def test_two_names_make_two_classes_unless_one_is_background(
    tmp_path: Path, inspect: Callable[..., MaskDecoder]
) -> None:
    path = save(tmp_path / "m.png", pattern(0, 1))
    assert inspect(path, task={"class_names": ["land", "sea"]}).task.kind == "multiclass"
    assert inspect(path, task={"class_names": ["background", "sea"]}).task == Task(
        "binary", ("sea",)
    )
    assert inspect(path, task={"kind": "multiclass"}).task.class_names == ("class_0", "class_1")


def test_palettes_are_read_by_colour_when_their_order_changes(
    tmp_path: Path, inspect: Callable[..., MaskDecoder]
) -> None:
    pixels = pattern(0, 1, 2)
    one = save(tmp_path / "one.png", pixels, [RED, GREEN, BLUE])
    two = save(tmp_path / "two.png", pixels, [BLUE, RED, GREEN, (1, 2, 3)])
    three = save(tmp_path / "three.png", np.array([RED, GREEN, BLUE], np.uint8)[pixels])
    legend = {"r": "#FF0000", "g": "00ff00", "b": "#0000FF"}
    decoder = inspect(one, two, three, legend=legend)
    assert decoder.task == Task("multiclass", ("r", "g", "b"))
    np.testing.assert_array_equal(decoder.decode([one]), pixels)
    np.testing.assert_array_equal(decoder.decode([two]), np.array([2, 0, 1])[pixels])
    np.testing.assert_array_equal(decoder.decode([three]), pixels)
    with pytest.raises(DataError, match="nothing says what they mean") as error:
        inspect(one, two)
    assert 'class_1: "#0000FF"' in str(error.value)


def test_palettes_that_agree_are_read_as_indices(
    tmp_path: Path, inspect: Callable[..., MaskDecoder]
) -> None:
    pixels = pattern(0, 1, 2)
    paths = [save(tmp_path / f"{i}.png", pixels, [(0, 0, 0), RED, GREEN]) for i in range(2)]
    np.testing.assert_array_equal(inspect(*paths).decode(paths[:1]), pixels)
    greys = save(tmp_path / "greys.png", pixels, [(0, 0, 0), (90, 90, 90), (180, 180, 180)])
    np.testing.assert_array_equal(inspect(greys).decode([greys]), pixels)
    by_value = inspect(greys, legend={"a": 0, "b": 90, "c": 180})
    np.testing.assert_array_equal(by_value.decode([greys]), pixels)


def test_masks_of_black_and_white_palettes_are_bright_against_dark(
    tmp_path: Path, inspect: Callable[..., MaskDecoder]
) -> None:
    pixels = pattern(1, 2)
    path = save(tmp_path / "m.png", pixels, [(9, 9, 9), (255, 255, 255), (0, 0, 0)])
    np.testing.assert_array_equal(inspect(path).decode([path]), pixels == 1)
    by_index = inspect(path, foreground_value=2)
    np.testing.assert_array_equal(by_index.decode([path]), pixels == 2)


def test_legends_order_the_classes_and_name_the_background(
    tmp_path: Path, inspect: Callable[..., MaskDecoder]
) -> None:
    pixels = pattern(10, 20, 30, 40)
    path = save(tmp_path / "m.png", pixels)
    decoder = inspect(path, legend={"b": (20, "30"), "background": 10}, ignore=(40,))
    assert decoder.task == Task("binary", ("b",))
    expected = np.select([pixels == 10, pixels == 40], [0, 255], 1)
    np.testing.assert_array_equal(decoder.decode([path]), expected)
    several = inspect(path, legend={"b": (20, 30), "a": 10}, ignore=(40,))
    assert several.task == Task("multiclass", ("b", "a"))
    alone = inspect(path, legend={"b": 20})
    assert alone.task == Task("binary", ("b",))
    np.testing.assert_array_equal(alone.decode([path]), pixels == 20)
    ordered = inspect(
        path, legend={"x": 10, "y": 20, "z": (30, 40)}, task={"class_names": ["z", "y", "x"]}
    )
    np.testing.assert_array_equal(
        ordered.decode([path]), np.select([pixels >= 30, pixels == 20], [0, 1], 2)
    )


def test_instances_are_merged(tmp_path: Path, inspect: Callable[..., MaskDecoder]) -> None:
    top, bottom = np.zeros((2, 6, 4), np.uint8)
    top[:3], bottom[2:5] = 255, 255
    files = (save(tmp_path / "1.png", top), save(tmp_path / "2.png", bottom))
    decoder = inspect(files)
    np.testing.assert_array_equal(decoder.decode(files), (top | bottom) > 0)
    more = save(tmp_path / "3.png", pattern(0, 1, 2)[:, :4])
    with pytest.raises(DataError, match="several masks, which are merged for a binary task"):
        inspect((more, more))
    with pytest.raises(ShapeError, match="0 masks were given"):
        decoder.decode([])


def test_bands_are_labels_of_their_own(tmp_path: Path, inspect: Callable[..., MaskDecoder]) -> None:
    labels = np.stack([pattern(0, 1), pattern(1, 0), pattern(0, 0, 1)])
    path = tmp_path / "labels.tif"
    write_mask(path, labels, task=Task("multilabel", ("a", "b", "c")))
    decoder = inspect(path, task={"kind": "multilabel"})
    assert decoder.task == Task("multilabel", ("class_0", "class_1", "class_2"))
    np.testing.assert_array_equal(decoder.decode([path]), labels)
    with pytest.raises(DataError, match=r"3 bands but the task has 2 classes"):
        inspect(path, task={"kind": "multilabel", "class_names": ["a", "b"]})
    values = save(tmp_path / "values.png", pattern(0, 1, 2, 9))
    legend = {"organ": (1, 2), "tumour": 2}
    overlapping = inspect(values, legend=legend, ignore=(9,), task={"kind": "multilabel"})
    found = overlapping.decode([values])
    np.testing.assert_array_equal(found[:, :4, 0], [[0, 1, 1, 255], [0, 0, 1, 255]])
    with pytest.raises(DataError, match="2 has two meanings"):
        inspect(values, legend=legend, ignore=(9,))


def smooth(size: int = 40) -> Pixels:
    pixels = np.zeros((size, size), np.uint8)
    pixels[:, size // 2 :] = 255
    pixels[:3, size // 2] = (64, 128, 200)
    return pixels


@pytest.mark.parametrize(
    ("pixels", "settings", "says"),
    [
        (smooth(), {}, "smooth edges between 0 and 255: write `--data.mask-threshold 128`"),
        (smooth(), {"foreground_value": 0}, "--data.legend.foreground 0.*--data.mask-threshold"),
        (pattern(0, 1, 255), {}, "--data.ignore 255"),
        (pattern(0, 1, 2, 255), {}, "--data.ignore 255"),
        (pattern(3, 8), {}, "--data.foreground-value 8"),
        (pattern(*range(0, 400, 2), dtype="uint16"), {}, "instance numbers.*mask-threshold 1`"),
        (pattern(0, 1, 3, 4), {}, r"\[2\] are missing: name all classes"),
        (pattern(0, 1, 5), {"task": {"class_names": ["a", "b", "c"]}}, r"so \[5\] have no name"),
        (pattern(0, 1, 2), {"task": {"kind": "binary"}}, "task.kind: multiclass"),
        (pattern(0, 255), {"task": {"kind": "multiclass"}}, "background: 0, foreground: 255"),
        (pattern(0), {}, "no mask holds anything but background"),
        (pattern(7), {}, "one value only: 7"),
        (pattern(0, 9), {"ignore": (0, 9)}, "no mask holds anything"),
        (
            pattern(0, 9),
            {"foreground_value": 3},
            r"is 3 but the masks hold 0 \(15 pixels",
        ),
        (pattern(0, 9), {"legend": {"a": 3}}, "no class of `data.legend` occurs"),
        (pattern(0, 9), {"legend": {"a": 0, "b": 1}}, r"does not name: 9 .*`data.ignore`: \[9\]"),
        (pattern(0, 9), {"legend": {"a": 0, "b": 9}, "ignore": (9,)}, "9 has two meanings"),
        (pattern(0, 9), {"legend": {"a": "red"}}, "'red' and should hold colours"),
        (
            pattern(0, 9),
            {"legend": {"a": 0, "b": 9}, "task": {"class_names": ["a", "c"]}},
            "class_names` is a, c but `data.legend` names a, b",
        ),
        (
            pattern(0, 9),
            {"legend": {"a": 0, "b": 9}, "task": {"kind": "binary"}},
            "set `task.background`",
        ),
    ],
)
def test_what_is_open_names_the_setting(
    tmp_path: Path,
    inspect: Callable[..., MaskDecoder],
    pixels: Pixels,
    settings: dict[str, Any],
    says: str,
) -> None:
    path = save(tmp_path / ("m.png" if pixels.dtype == np.uint8 else "m.tif"), pixels)
    with pytest.raises(DataError, match=says):
        inspect(path, **settings)


def test_colours_need_a_legend_that_names_them_all(
    tmp_path: Path, inspect: Callable[..., MaskDecoder]
) -> None:
    colours = np.array([RED, GREEN, (0, 0, 0)], np.uint8)[pattern(0, 1, 2)]
    path = save(tmp_path / "m.png", colours)
    with pytest.raises(DataError, match="put this into data") as error:
        inspect(path)
    assert 'background: "#000000"  # 10 pixels in 1 files' in str(error.value)
    with pytest.raises(DataError, match=r"#000000 \(10 pixels in 1 file, as m.png\).*'#000000'"):
        inspect(path, legend={"a": "#FF0000", "b": "#00FF00"})
    with pytest.raises(DataError, match=r"has the values \[3\]; write colours"):
        inspect(path, legend={"a": 3})
    noisy = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="400 colours, which smooth edges or JPEG make"):
        inspect(save(tmp_path / "noise.png", noisy))


@pytest.mark.parametrize("name", ["m.png", "m.jpg"])
def test_a_threshold_cuts_greys_either_way(
    tmp_path: Path, inspect: Callable[..., MaskDecoder], name: str
) -> None:
    path = save(tmp_path / name, np.stack([smooth()] * 3, axis=-1))
    wanted = np.asarray(Image.open(path))[..., 0] >= 128
    decoder = inspect(path, mask_threshold=128)
    np.testing.assert_array_equal(decoder.decode([path]), wanted)
    dark = inspect(path, mask_threshold=128, foreground_value=0)
    np.testing.assert_array_equal(dark.decode([path]), ~wanted)


def test_all_faults_are_in_one_message(tmp_path: Path, inspect: Callable[..., MaskDecoder]) -> None:
    good = save(tmp_path / "good.png", pattern(0, 1))
    broken = save(tmp_path / "broken.png", smooth(60))
    large = save(tmp_path / "large.png", np.zeros((9, 9), np.uint8))
    fractions = save(tmp_path / "fractions.tif", np.full((4, 4), 0.5, np.float32))
    bands = tmp_path / "bands.tif"
    write_mask(bands, np.zeros((7, 6, 5), np.uint8), task=Task("multilabel", tuple("abcdefg")))
    broken.write_bytes(broken.read_bytes()[:60])
    image = tmp_path / "image.png"
    write_image(image, np.zeros((6, 5), np.uint8))
    masks = (good, broken, large, fractions, bands)
    samples = [Sample(image, (path,), "train", path.name, path.name) for path in masks]
    samples.append(Sample(tmp_path / "none.png", (good,), "train", "none", "none"))
    with pytest.raises(DataError) as error:
        inspect_masks(Inventory(tmp_path, tuple(samples)), DataConfig(), TaskConfig())
    for part in (
        "broken.png is truncated",
        "large.png is 9x9, its image 6x5",
        "fractions between 0.5 and 0.5",
        "has 7 bands",
        "none.png cannot be opened",
    ):
        assert part in str(error.value)


def test_decoding_refuses_what_inspection_has_not_seen(
    tmp_path: Path, inspect: Callable[..., MaskDecoder]
) -> None:
    decoder = inspect(save(tmp_path / "m.png", pattern(0, 1, 2)))
    other = save(tmp_path / "other.png", pattern(0, 1, 9))
    with pytest.raises(DataError, match=r"other.png holds 9 \(10 pixels\) without a meaning"):
        decoder.decode([other])
    with pytest.raises(DataError, match="6x5 pixels but its image is 7x5"):
        decoder.decode([other], size=(7, 5))
    colour = save(tmp_path / "colour.png", np.full((4, 4, 3), RED, np.uint8))
    with pytest.raises(DataError, match="colours but the masks of this data set hold values"):
        decoder.decode([colour])


@pytest.mark.parametrize(
    ("text", "code"),
    [(7, (False, 7)), ("7", (False, 7)), ("#0000ff", (True, 255)), ("00FF00", (True, 0xFF00))],
)
def test_codes_are_colours_or_values(text: str | int, code: tuple[bool, int]) -> None:
    assert parse_code(text, "legend") == code


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    num_classes=st.integers(3, 12),
    shape=st.tuples(st.integers(1, 20), st.integers(12, 20)),
    seed=st.integers(0, 1000),
    form=st.sampled_from(["m.png", "m.tif", "colours.png"]),
)
def test_masks_that_were_written_are_understood(
    tmp_path: Path,
    inspect: Callable[..., MaskDecoder],
    num_classes: int,
    shape: tuple[int, int],
    seed: int,
    form: str,
) -> None:
    mask = np.random.default_rng(seed).integers(0, num_classes, shape, dtype=np.uint8)
    mask[0, :num_classes] = range(num_classes)
    colours = class_colours(num_classes)
    names = tuple(f"class_{index}" for index in range(num_classes))
    path = tmp_path / form
    if form == "colours.png":
        write_image(path, colours[mask])
        legend = {name: bytes(c).hex() for name, c in zip(names, colours, strict=True)}
        decoder = inspect(path, legend={name: f"#{code}" for name, code in legend.items()})
    else:
        write_mask(path, mask, task=Task("multiclass", names), colours=colours)
        decoder = inspect(path)
    assert decoder.task == Task("multiclass", names)
    np.testing.assert_array_equal(decoder.decode([path], size=shape), mask)
