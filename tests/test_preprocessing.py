from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.errors import DataError, ShapeError, UsageError
from delineate.preprocessing import (
    Preprocessing,
    convert_channels,
    measure_preprocessing,
)


def noise(
    shape: tuple[int, ...], dtype: type = np.uint8, high: int = 256, seed: int = 0
) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def with_alpha(pixels: np.ndarray, alpha: int | np.ndarray = 255) -> np.ndarray:
    plane = np.broadcast_to(np.asarray(alpha, pixels.dtype), pixels.shape[:2])
    return np.concatenate([pixels, plane[..., None]], axis=2)


class TestChannels:
    def test_grey_is_repeated_and_alpha_dropped(self) -> None:
        grey, colour = noise((4, 5, 1)), noise((4, 5, 3))
        np.testing.assert_array_equal(convert_channels(grey, 3), np.repeat(grey, 3, axis=2))
        two = with_alpha(grey)
        np.testing.assert_array_equal(convert_channels(two, 1), grey)
        np.testing.assert_array_equal(convert_channels(two, 3), np.repeat(grey, 3, axis=2))
        np.testing.assert_array_equal(convert_channels(with_alpha(colour), 3), colour)
        assert convert_channels(colour, 3) is colour

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    def test_colour_becomes_luma_and_grey_as_colour_gets_its_values_back(self, dtype: type) -> None:
        grey = noise((6, 7, 1), dtype)
        back = convert_channels(np.repeat(grey, 3, axis=2), 1)
        np.testing.assert_array_equal(back, grey)
        assert back.dtype == dtype
        colour = noise((6, 7, 3), dtype)
        expected = colour.astype(float) @ [0.299, 0.587, 0.114]
        np.testing.assert_allclose(convert_channels(colour, 1)[..., 0], expected, atol=0.51)

    @pytest.mark.parametrize(("channels", "wanted"), [(3, 4), (5, 3), (1, 4), (8, 1), (3, 2)])
    def test_other_pairs_are_refused(self, channels: int, wanted: int) -> None:
        with pytest.raises(ShapeError, match=f"{channels} channels .* takes {wanted}"):
            convert_channels(noise((4, 4, channels)), wanted)

    def test_images_without_a_channel_axis_are_refused(self) -> None:
        with pytest.raises(ShapeError, match=r"\(H, W, C\)"):
            convert_channels(noise((4, 4)), 1)


class TestClipping:
    def clipped(self, dtype: type = np.uint16) -> Preprocessing:
        images = [noise((32, 32, 2), dtype, high=250, seed=seed) for seed in range(3)]
        return measure_preprocessing(images).with_clip(
            [(50.0, 200.0), (20.0, 120.0)], [125.0, 70.0], [40.0, 30.0]
        )

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    def test_values_beyond_the_bounds_count_as_the_bounds(self, dtype: type) -> None:
        pixels = noise((16, 16, 2), dtype, high=250, seed=9)
        out = self.clipped(dtype)(pixels)
        bounded = np.clip(pixels.astype(np.float64), [50, 20], [200, 120])
        expected = (bounded - [125, 70]) / [40, 30]
        np.testing.assert_allclose(out, expected.transpose(2, 0, 1), atol=2e-6)

    def test_scaling_first_is_the_same(self) -> None:
        pixels = noise((16, 16, 2), np.uint16, high=250, seed=9)
        made = self.clipped()
        two_steps = made.normalise(made.scale(pixels))
        np.testing.assert_allclose(two_steps, made.normalise_raw(pixels), atol=1e-5)

    def test_an_image_normalised_by_itself_is_clipped_first(self) -> None:
        pixels = noise((16, 16, 2), np.uint16, high=250, seed=9)
        made = replace(self.clipped(), kind="image")
        bounded = np.clip(pixels.astype(np.float64), [50, 20], [200, 120])
        expected = (bounded - bounded.mean(axis=(0, 1))) / bounded.std(axis=(0, 1))
        np.testing.assert_allclose(made(pixels), expected.transpose(2, 0, 1), atol=1e-4)

    def test_it_is_stored_and_older_files_clip_nothing(self) -> None:
        made = self.clipped()
        document = json.loads(json.dumps(made.as_dict()))
        assert Preprocessing.from_dict(document) == made
        del document["clip"]
        assert Preprocessing.from_dict(document).clip == ()

    def test_a_constant_channel_keeps_its_value_range(self) -> None:
        made = Preprocessing(1).with_clip([(7.0, 7.0)], [7.0], [0.0])
        assert made.clip == ((0.0, 1.0),)
        assert made.std == (1.0,)

    @pytest.mark.parametrize("clip", [((1.0, 0.0),), ((0.0, 1.0), (0.0, 1.0)), ((0.0, np.nan),)])
    def test_bounds_that_do_not_fit_are_refused(
        self, clip: tuple[tuple[float, float], ...]
    ) -> None:
        with pytest.raises(UsageError, match="two rising numbers"):
            Preprocessing(1, clip=clip)


class TestApplication:
    def test_values_follow_the_formula(self) -> None:
        pixels = noise((5, 7, 3), np.uint16, 4096)
        prep = Preprocessing(3, (100.0, 4000.0), (0.1, 0.5, 0.9), (0.2, 0.3, 0.4))
        out = prep(pixels)
        expected = ((pixels.astype(float) - 100) / 3900 - prep.mean) / prep.std
        assert out.dtype == np.float32
        assert out.flags.c_contiguous
        np.testing.assert_allclose(out, expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
    def test_two_steps_equal_one(self, dtype: type) -> None:
        pixels = noise((5, 7, 2), dtype)
        prep = Preprocessing(2, (3.0, 250.0), (0.4, 0.6), (0.1, 0.2))
        np.testing.assert_allclose(
            prep.normalise(prep.scale(pixels)), prep(pixels), rtol=1e-4, atol=1e-5
        )

    def test_an_image_can_be_normalised_by_itself(self) -> None:
        prep = Preprocessing(3, (0.0, 255.0), (0.0,) * 3, (1.0,) * 3, kind="image")
        pixels = noise((40, 30, 3))
        out = prep(pixels)
        np.testing.assert_allclose(out.mean(axis=(1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(out.std(axis=(1, 2)), 1, atol=1e-4)
        window = prep.for_image(pixels)(pixels[5:20, 3:9])
        np.testing.assert_array_equal(window, out[:, 5:20, 3:9])

    def test_what_is_not_finite_becomes_the_mean(self) -> None:
        pixels = np.ones((3, 3, 1), np.float32)
        pixels[0, 0], pixels[1, 1], pixels[2, 2] = np.nan, np.inf, -np.inf
        out = Preprocessing(1, (0.0, 1.0))(pixels)
        assert np.isfinite(out).all()
        assert [out[0, i, i] for i in range(3)] == [0, 0, 0]

    def test_another_type_is_refused(self) -> None:
        with pytest.raises(ShapeError, match=r"uint16 pixels .* trained on uint8"):
            Preprocessing(1, dtype="uint8")(noise((3, 3, 1), np.uint16))

    @settings(deadline=None, max_examples=20)
    @given(
        mean=st.floats(0, 1),
        std=st.floats(0.01, 1),
        low=st.floats(-100, 100),
        kind=st.sampled_from(["dataset", "image"]),
        dtype=st.sampled_from([None, "uint8"]),
    )
    def test_json_keeps_it(
        self, mean: float, std: float, low: float, kind: str, dtype: str | None
    ) -> None:
        prep = Preprocessing(1, (low, low + 1), (mean,), (std,), kind, dtype)  # type: ignore[arg-type]
        assert Preprocessing.from_dict(json.loads(json.dumps(prep.as_dict()))) == prep

    @pytest.mark.parametrize(
        "fields",
        [
            {"value_range": (1.0, 1.0)},
            {"value_range": (0.0, float("nan"))},
            {"mean": (0.0, 0.0)},
            {"std": (0.0,)},
            {"mean": (float("nan"),)},
            {"kind": "batch"},
        ],
    )
    def test_impossible_fields_are_refused(self, fields: dict[str, object]) -> None:
        with pytest.raises(UsageError):
            Preprocessing(1, **fields)  # type: ignore[arg-type]


class TestMeasurement:
    def test_moments_are_those_of_all_pixels(self) -> None:
        images = [noise((9, 8, 3), seed=1), noise((20, 5, 3), high=90, seed=2)]
        prep = measure_preprocessing(images)
        stacked = np.concatenate([i.reshape(-1, 3) for i in images]) / 255
        assert prep.in_channels == 3
        assert prep.value_range == (0, 255)
        assert prep.dtype == "uint8"
        np.testing.assert_allclose(prep.mean, stacked.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(prep.std, stacked.std(axis=0), rtol=1e-12)

    def test_large_images_are_summed_in_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        image = noise((50, 11, 3), np.uint16, 60_000)
        whole = measure_preprocessing([image])
        monkeypatch.setattr("delineate.pixel_statistics._BLOCK_VALUES", 70)
        blocks = measure_preprocessing([image])
        np.testing.assert_allclose(blocks.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(blocks.std, whole.std, rtol=1e-12)

    @pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
    def test_the_value_range_is_measured_past_outliers(self, dtype: type) -> None:
        image = noise((100, 100, 1), dtype, 4096)
        image[0, 0] = 30_000
        low, high = measure_preprocessing([image]).value_range
        assert 0 <= low < 60
        assert 4000 < high < 4096

    def test_what_is_not_finite_does_not_count(self) -> None:
        image = noise((10, 10, 2), np.float32, 50)
        clean = image.reshape(-1, 2)[1:]
        image[0, 0] = np.nan, np.inf
        prep = measure_preprocessing([image])
        low, high = prep.value_range
        np.testing.assert_allclose(prep.mean, (clean.mean(axis=0) - low) / (high - low), rtol=1e-6)

    @pytest.mark.parametrize("value", [0, 7])
    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    def test_constant_images_are_not_stretched(self, dtype: type, value: int) -> None:
        image = np.full((5, 5, 1), value, dtype)
        prep = measure_preprocessing([image])
        assert prep.std == (1.0,)
        np.testing.assert_allclose(prep(image), 0, atol=1e-6)

    def test_images_of_nothing_but_nan_are_survived(self) -> None:
        prep = measure_preprocessing([np.full((4, 4, 1), np.nan, np.float32)])
        assert prep.value_range == (0.0, 1.0)

    @pytest.mark.parametrize(
        ("images", "expected"),
        [
            ([noise((4, 4, 1))], 1),
            ([noise((4, 4, 3))], 3),
            ([noise((4, 4, 7))], 7),
            ([with_alpha(noise((4, 4, 3)))], 3),
            ([with_alpha(noise((4, 4, 3)), noise((4, 4)))], 4),
            ([with_alpha(noise((4, 4, 3)), 255), with_alpha(noise((4, 4, 3)), 254)], 4),
            ([with_alpha(noise((4, 4, 1)))], 1),
            ([with_alpha(noise((4, 4, 1)), noise((4, 4), seed=3))], 2),
            ([noise((4, 4, 1)), noise((4, 4, 3))], 3),
            ([noise((4, 4, 3)), with_alpha(noise((4, 4, 3)), noise((4, 4)))], 3),
            ([noise((4, 4, 1)), with_alpha(noise((4, 4, 1)))], 1),
            ([np.repeat(noise((4, 4, 1)), 3, axis=2)], 1),
            ([with_alpha(np.repeat(noise((4, 4, 1)), 3, axis=2))], 1),
            ([np.repeat(noise((4, 4, 1)), 3, axis=2), noise((4, 4, 3))], 3),
        ],
    )
    def test_channels_are_chosen(self, images: list[np.ndarray], expected: int) -> None:
        prep = measure_preprocessing(images)
        assert prep.in_channels == expected
        converted = np.concatenate([prep(image).reshape(expected, -1) for image in images], axis=1)
        np.testing.assert_allclose(converted.mean(axis=1), 0, atol=1e-5)
        np.testing.assert_allclose(converted.std(axis=1), 1, atol=1e-4)

    def test_images_that_do_not_go_together_are_refused(self) -> None:
        with pytest.raises(DataError, match="at least one"):
            measure_preprocessing([])
        with pytest.raises(DataError, match="uint16, uint8"):
            measure_preprocessing([noise((2, 2, 1)), noise((2, 2, 1), np.uint16)])
        with pytest.raises(DataError, match="3, 8 channels"):
            measure_preprocessing([noise((2, 2, 3)), noise((2, 2, 8))])
