"""From an image's pixels to a network's input: channels, value range, normalisation.

The same object is used on training patches (after augmentation), in prediction and in exported
models, and is stored in the model file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from delineate.errors import DataError, ShapeError, UsageError
from delineate.pixel_statistics import SMALLEST_STD, PixelStatistics

Pixels = NDArray[Any]

# Luma weights of ITU-R BT.601, https://www.itu.int/rec/R-REC-BT.601
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def convert_channels(pixels: Pixels, in_channels: int) -> Pixels:
    """Return an image with the wanted number of channels.

    Grey (1), grey with alpha (2), RGB (3) and RGBA (4) convert as follows: alpha is dropped, grey
    is repeated for RGB, RGB becomes its BT.601 luma for grey (a grey image stored as RGB gets its
    own values back). Every other pair is refused: nothing is invented.

    Args:
        pixels: (H, W, C), any type.
        in_channels: Wanted number of channels.

    Raises:
        ShapeError: If there is no rule from C to `in_channels`.
    """
    if pixels.ndim != 3:
        raise ShapeError(f"an image has the shape {pixels.shape}; it should be (H, W, C)")
    channels = pixels.shape[2]
    if channels == in_channels:
        return pixels
    if in_channels == 3 and channels == 4:
        return pixels[..., :3]
    if in_channels == 3 and channels in (1, 2):
        return np.repeat(pixels[..., :1], 3, axis=2)
    if in_channels == 1 and channels == 2:
        return pixels[..., :1]
    if in_channels == 1 and channels in (3, 4):
        # About the first channel, so that equal channels give exactly their value.
        first = pixels[..., :1]
        delta = pixels[..., :3].astype(np.float32) - first
        luma = first + (delta @ _LUMA)[..., None]
        if np.issubdtype(pixels.dtype, np.integer):
            luma = np.rint(luma)
        return np.asarray(luma, dtype=pixels.dtype)
    raise ShapeError(
        f"an image has {channels} channels but the model takes {in_channels}; "
        "give images with the channels of the training images"
    )


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a network's input.

    `value_range` maps to 0..1 (values outside are kept, unless `clip` says otherwise); then `mean`
    is subtracted and the result divided by `std`, channel by channel. With `kind` "image" each
    image's own mean and standard deviation take the place of the stored ones. Values that are not
    finite become 0, the mean.
    """

    in_channels: int
    value_range: tuple[float, float] = (0.0, 255.0)
    """The two values that map to 0 and 1."""
    mean: tuple[float, ...] = ()
    """Per channel, in shares of the value range; empty stands for 0.5."""
    std: tuple[float, ...] = ()
    """Per channel, in shares of the value range; empty stands for 0.5."""
    kind: Literal["dataset", "image"] = "dataset"
    """Whose mean and standard deviation: the training images', or each image's own."""
    dtype: str | None = None
    """NumPy name of the pixels' type; images of another type are refused. None takes any."""
    clip: tuple[tuple[float, float], ...] = ()
    """Lowest and highest value per channel, in shares of the value range, beyond which values are
    set to these; empty clips nothing."""
    pixel_size: tuple[float, float] | None = None
    """Height and width of the training images' pixels, in metres, to which images are brought; None
    where it is not known, or differs between images that were taken as they are."""

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            if not getattr(self, name):
                object.__setattr__(self, name, (0.5,) * self.in_channels)
        low, high = self.value_range
        if not (np.isfinite([low, high]).all() and low < high):
            raise UsageError(f"value_range is {self.value_range}; it should be two rising numbers")
        if not len(self.mean) == len(self.std) == self.in_channels:
            raise UsageError(
                f"mean and std have {len(self.mean)} and {len(self.std)} values; "
                f"they should have one for each of the {self.in_channels} channels"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all()) or min(self.std) <= 0:
            raise UsageError(
                f"mean {self.mean} and std {self.std} should be finite, and std above 0"
            )
        if self.pixel_size is not None and not (
            np.isfinite(self.pixel_size).all() and min(self.pixel_size) > 0
        ):
            raise UsageError(f"pixel_size is {self.pixel_size}; it should be above 0")
        is_rising = all(np.isfinite(pair).all() and pair[0] < pair[1] for pair in self.clip)
        if self.clip and not (len(self.clip) == self.in_channels and is_rising):
            raise UsageError(
                f"clip is {self.clip}; it should be two rising numbers for each of the "
                f"{self.in_channels} channels"
            )
        if self.kind not in ("dataset", "image"):
            raise UsageError(f"normalisation kind is {self.kind!r}; choose dataset or image")

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return the network's input for a whole image.

        Args:
            pixels: (H, W, C) of the type and range of the training images.

        Returns:
            (in_channels, H, W), normalised; a copy.

        Raises:
            ShapeError: If the channels or the type do not fit.
        """
        return self.for_image(pixels).normalise_raw(convert_channels(pixels, self.in_channels))

    def for_image(self, pixels: Pixels, valid: NDArray[np.bool_] | None = None) -> Preprocessing:
        """Return the preprocessing of all windows of one image.

        With kind "image" its `mean` and `std` are measured here; else it is this object.

        Args:
            pixels: (H, W, C) of the type and range of the training images.
            valid: Pixels that count, (H, W); None counts all.

        Raises:
            ShapeError: If the channels or the type do not fit.
        """
        return self.for_windows(pixels.dtype, [(pixels, valid)])

    def for_windows(
        self,
        dtype: np.dtype[Any],
        windows: Iterable[tuple[Pixels, NDArray[np.bool_] | None]],
    ) -> Preprocessing:
        """Return the preprocessing of one image that is given in parts.

        Args:
            dtype: Type of the image's pixels.
            windows: Pixels (H, W, C) and which of them count, (H, W), that make up the image; read
                through only where its mean and standard deviation are needed.

        Raises:
            ShapeError: If the channels or the type do not fit.
        """
        if self.dtype is not None and dtype != self.dtype:
            raise ShapeError(
                f"an image has {dtype} pixels but the model was trained on {self.dtype}; "
                f"convert the image to {self.dtype} with the values of the training images"
            )
        if self.kind == "dataset":
            return self
        statistics = PixelStatistics()
        for pixels, valid in windows:
            converted = self._clip_raw(convert_channels(pixels, self.in_channels))
            statistics.update(converted if valid is None else converted[valid][:, None])
        mean, std = statistics.normalisation(self.value_range)
        return replace(self, mean=mean, std=std, kind="dataset")

    def network_input(
        self, pixels: Pixels, valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Return a window (in_channels, H, W) by the stored mean and std; what is not valid is 0.

        Zero is the mean: pixels without data are the same whatever window they are read in, and do
        not stand out to the network from their neighbours.

        Raises:
            ShapeError: If the channels do not fit.
        """
        image = self.normalise_raw(convert_channels(pixels, self.in_channels))
        if valid is not None:
            image[:, ~valid] = 0
        return image

    def scale(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return pixels (H, W, in_channels) with the value range mapped to 0..1."""
        low, high = self.value_range
        scaled = pixels.astype(np.float32)
        if low:
            scaled -= np.float32(low)
        scaled *= np.float32(1 / (high - low))
        if self.clip:
            np.clip(scaled, *np.array(self.clip, np.float32).T, out=scaled)
        return scaled

    def normalise(self, scaled: Pixels) -> NDArray[np.float32]:
        """Return (in_channels, H, W) from what `scale` returned, by the stored mean and std."""
        return _normalise(scaled, np.array(self.mean), np.array(self.std))

    def normalise_raw(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return (in_channels, H, W) from unscaled (H, W, in_channels), by stored mean and std."""
        low, high = self.value_range
        return _normalise(
            self._clip_raw(pixels),
            low + np.array(self.mean) * (high - low),
            np.array(self.std) * (high - low),
        )

    def with_clip(
        self,
        bounds: Sequence[tuple[float, float]],
        means: Sequence[float],
        stds: Sequence[float],
    ) -> Preprocessing:
        """Return the preprocessing that clips values first.

        Args:
            bounds: Lowest and highest value of each channel, in the units of the files; where the
                two are equal, the value range takes their place.
            means: Means of the clipped values, in the same units.
            stds: Their standard deviations.
        """
        low, width = self.value_range[0], self.value_range[1] - self.value_range[0]
        shares = [((a - low) / width, (b - low) / width) for a, b in bounds]
        scaled = [std / width for std in stds]
        return replace(
            self,
            clip=tuple(pair if pair[0] < pair[1] else (0.0, 1.0) for pair in shares),
            mean=tuple((mean - low) / width for mean in means),
            std=tuple(1.0 if std < SMALLEST_STD else std for std in scaled),
        )

    def _clip_raw(self, pixels: Pixels) -> Pixels:
        """Return unscaled pixels (..., in_channels) within the bounds."""
        if not self.clip:
            return pixels
        low, high = self.value_range
        lows, highs = low + np.array(self.clip).T * (high - low)
        values = pixels.astype(np.float32)
        return np.clip(values, lows.astype(np.float32), highs.astype(np.float32), out=values)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description; `Preprocessing.from_dict` is its inverse."""
        document = asdict(self)
        for name in ("value_range", "mean", "std"):
            document[name] = list(document[name])
        document["clip"] = [list(pair) for pair in self.clip]
        if self.pixel_size is not None:
            document["pixel_size"] = list(self.pixel_size)
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Preprocessing:
        """Build a preprocessing from what `as_dict` returned."""
        low, high = document["value_range"]
        pixel_size = None
        if document.get("pixel_size") is not None:
            height, width = document["pixel_size"]
            pixel_size = (float(height), float(width))
        return cls(
            in_channels=document["in_channels"],
            value_range=(float(low), float(high)),
            mean=tuple(document["mean"]),
            std=tuple(document["std"]),
            kind=document.get("kind", "dataset"),
            dtype=document.get("dtype"),
            clip=tuple((float(low), float(high)) for low, high in document.get("clip", ())),
            pixel_size=pixel_size,
        )


def measure_preprocessing(
    images: Iterable[Pixels], *, kind: Literal["dataset", "image"] = "dataset"
) -> Preprocessing:
    """Measure the preprocessing of training images, one at a time.

    Channels: an alpha channel that is the same everywhere is dropped, and colour images whose
    channels are equal everywhere count as grey; where grey, RGB and RGBA images are mixed, the
    network gets RGB. Value range: 0..255 for 8 bits; else from the lowest 0.5th to the highest
    99.5th percentile of any image. Mean and standard deviation are over all pixels, summed in
    float64; values that are not finite are left out.

    Args:
        images: Each (H, W, C), all of one type.
        kind: Whether prediction normalises by these numbers or by each image's own.

    Raises:
        DataError: If there is no image, or types or channels do not go together.
    """
    groups: dict[int, PixelStatistics] = {}
    dtypes: set[str] = set()
    for pixels in images:
        dtypes.add(str(pixels.dtype))
        groups.setdefault(pixels.shape[2], PixelStatistics()).update(pixels)
    if not groups:
        raise DataError("there is no training image to measure; give at least one")
    if len(dtypes) > 1:
        raise DataError(
            f"training images have pixels of several types ({', '.join(sorted(dtypes))}), whose "
            "values cannot be compared; convert all images to one of them"
        )
    in_channels = _choose_channels(groups)
    total = PixelStatistics()
    for statistics in groups.values():
        total.merge(statistics.converted(in_channels))
    dtype = dtypes.pop()
    value_range = (0.0, 255.0) if dtype == "uint8" else total.value_range()
    mean, std = total.normalisation(value_range)
    return Preprocessing(in_channels, value_range, mean, std, kind, dtype)


def _choose_channels(groups: Mapping[int, PixelStatistics]) -> int:
    counts = set(groups)
    if counts <= {1, 2} and (1 in counts or groups[2].is_constant(1)):
        return 1
    if counts <= {1, 2, 3, 4}:
        if counts == {4} and not groups[4].is_constant(3):
            return 4
        if counts == {2}:
            return 2
        is_grey = all(groups[count].has_equal_colours for count in counts if count >= 3)
        return 1 if is_grey else 3
    if len(counts) == 1:
        return counts.pop()
    raise DataError(
        f"training images have {', '.join(map(str, sorted(counts)))} channels; "
        "all should have the same number, so convert or leave out the others"
    )


def _normalise(
    pixels: Pixels, offset: NDArray[np.float64], divisor: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return (pixels - offset) / divisor as float32 (C, H, W)."""
    height, width, channels = pixels.shape
    out = np.empty((channels, height, width), np.float32)
    for channel in range(channels):
        np.subtract(
            pixels[..., channel],
            np.float32(offset[channel]),
            out=out[channel],
            dtype=np.float32,
            casting="unsafe",
        )
        out[channel] *= np.float32(1 / divisor[channel])
    if np.issubdtype(pixels.dtype, np.floating):
        np.nan_to_num(out, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return out
