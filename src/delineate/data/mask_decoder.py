"""Turn the pixels of mask files into class indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from delineate.errors import DataError, ShapeError
from delineate.rasters import Raster, read_raster
from delineate.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

Reading = Literal["grey", "index", "colour", "bands"]
"""What the code of a pixel is: its grey value; its palette index (grey value where there is no
palette); its colour as 0xRRGGBB; or each band by itself (multilabel)."""

_UNKNOWN = -1


@dataclass(frozen=True)
class MaskDecoder:
    """What the codes in the masks of a data set mean."""

    task: Task
    reading: Reading
    classes: tuple[tuple[int, ...], ...]
    """The codes of each target value: binary (background, foreground); multiclass one entry per
    class; multilabel one per class, where a code may stand in several."""
    ignored: tuple[int, ...] = ()
    """Codes of pixels that do not count."""
    rest: int | None = None
    """Target value of all other codes; None refuses them."""
    threshold: int | None = None
    """If given, the code is 1 where the grey value is at least this, else 0."""

    def decode(
        self, masks: Sequence[Path], size: tuple[int, int] | None = None
    ) -> NDArray[np.uint8]:
        """Read the mask of an image.

        Args:
            masks: The file, or the files of the instances of a binary task, of which the union is
                taken.
            size: Expected (height, width).

        Returns:
            Class indices, (H, W); multilabel 0 and 1, (C, H, W). `task.ignore_index` marks pixels
            that do not count.

        Raises:
            UnreadableFileError: If a file is unreadable.
            DataError: If a file has another size or holds codes without a meaning.
            ShapeError: If there is no mask, or several for a task that is not binary.
        """
        if not masks or (len(masks) > 1 and self.task.kind != "binary"):
            raise ShapeError(
                f"{len(masks)} masks were given for one image of a {self.task.kind} task"
            )
        merged = self._decode_file(masks[0], size)
        if len(masks) > 1:
            is_foreground = merged == 1
            is_ignored = merged == self.task.ignore_index
            for path in masks[1:]:
                target = self._decode_file(path, merged.shape)
                is_foreground |= target == 1
                is_ignored |= target == self.task.ignore_index
            merged = is_foreground.astype(np.uint8)
            merged[is_ignored & ~is_foreground] = self.task.ignore_index
        return merged

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description; `MaskDecoder.from_dict` is its inverse."""
        return {
            "task": self.task.as_dict(),
            "reading": self.reading,
            "classes": [list(codes) for codes in self.classes],
            "ignored": list(self.ignored),
            "rest": self.rest,
            "threshold": self.threshold,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> MaskDecoder:
        """Build a decoder from what `as_dict` returned."""
        return cls(
            task=Task.from_dict(document["task"]),
            reading=document["reading"],
            classes=tuple(tuple(codes) for codes in document["classes"]),
            ignored=tuple(document["ignored"]),
            rest=document["rest"],
            threshold=document["threshold"],
        )

    def _decode_file(self, path: Path, size: tuple[int, ...] | None) -> NDArray[np.uint8]:
        raster = read_raster(path)
        found = raster.pixels.shape[:2]
        if size is not None and found != tuple(size[-2:]):
            raise DataError(
                f"mask {path} is {found[0]}x{found[1]} pixels but its image is "
                f"{size[-2]}x{size[-1]}; replace one of them or leave them out by `exclude`"
            )
        return self.decode_raster(raster, path)

    def decode_raster(self, raster: Raster, path: Path) -> NDArray[np.uint8]:
        """Return what a decoded file means; `path` is its name, for messages.

        Raises:
            DataError: If it holds codes without a meaning, or has another number of bands.
        """
        if self.reading == "bands":
            return self._decode_bands(raster, path)
        codes = read_codes(raster, path, self.reading, mean=self.threshold is not None)
        if self.threshold is not None:
            codes = (codes >= self.threshold).astype(np.uint8)
        if self.task.kind == "multilabel":
            return self._decode_labels(codes, path)
        return self._translate(codes, path, self.classes, self.rest)

    def _decode_bands(self, raster: Raster, path: Path) -> NDArray[np.uint8]:
        bands = np.moveaxis(as_integers(raster.pixels, path), -1, 0)
        if len(bands) != self.task.num_classes:
            raise DataError(
                f"mask {path} has {len(bands)} bands but the task has {self.task.num_classes} "
                "classes, a band each; write the missing bands"
            )
        return np.stack(
            [
                self._translate(band, path, ((0,), codes), self.rest)
                for band, codes in zip(bands, self.classes, strict=True)
            ]
        )

    def _decode_labels(self, codes: NDArray[Any], path: Path) -> NDArray[np.uint8]:
        known = tuple({0, *(code for group in self.classes for code in group)})
        every = self._translate(codes, path, (known,), self.rest)
        labels = np.array([np.isin(codes, group) for group in self.classes], dtype=np.uint8)
        labels[:, every == self.task.ignore_index] = self.task.ignore_index
        return labels

    def _translate(
        self,
        codes: NDArray[Any],
        path: Path,
        classes: Sequence[Sequence[int]],
        rest: int | None,
    ) -> NDArray[np.uint8]:
        """Return the target value of each code."""
        target_of = {code: value for value, group in enumerate(classes) for code in group}
        target_of |= dict.fromkeys(self.ignored, self.task.ignore_index)
        other = _UNKNOWN if rest is None else rest
        if codes.dtype == np.uint8:
            table = np.array([target_of.get(code, other) for code in range(256)], np.int16)
            targets = np.take(table, codes)
        else:
            keys = np.array(sorted(target_of), np.int64)
            values = np.array([target_of[key] for key in keys.tolist()], np.int16)
            # Positions are looked up per run of equal pixels, of which masks have few.
            starts, lengths = find_runs(codes)
            firsts = codes.ravel()[starts].astype(np.int64)
            places = np.minimum(np.searchsorted(keys, firsts), len(keys) - 1)
            found = np.where(keys[places] == firsts, values[places], other)
            targets = np.repeat(found, lengths).reshape(codes.shape)
        if rest is None and targets.min(initial=0) == _UNKNOWN:
            counts = count_codes(codes[targets == _UNKNOWN])
            listed = ", ".join(
                f"{format_code(code, self.reading)} ({pixels} pixels)"
                for code, pixels in sorted(counts.items(), key=lambda item: -item[1])[:8]
            )
            raise DataError(
                f"mask {path} holds {listed} without a meaning; add them to `data.legend` or to "
                "`data.ignore`"
            )
        return targets.astype(np.uint8)


def read_codes(raster: Raster, path: Path, reading: Reading, *, mean: bool = False) -> NDArray[Any]:
    """Return the code of each pixel, (H, W); alpha is left out.

    Args:
        raster: The decoded file.
        path: Its name, for messages.
        reading: What the codes are; not `bands`.
        mean: Whether the mean of a colour may stand for its grey value.

    Raises:
        DataError: If the file has another number of bands than a mask has, or colours or fractions
            where the reading has no place for them.
    """
    pixels = raster.pixels
    if raster.palette is not None:
        if reading == "index":
            return pixels[..., 0]
        colours = raster.palette[: int(pixels.max(initial=0)) + 1]
        check_palette(raster, path)
        used = np.bincount(pixels.ravel(), minlength=len(colours)) > 0
        codes: NDArray[Any] = (
            _grey_values(colours, used, path, mean=mean)
            if reading == "grey"
            else pack_colours(colours)
        )
        return np.take(codes, pixels[..., 0])
    if pixels.shape[2] > 4:
        raise DataError(
            f"mask {path} has {pixels.shape[2]} bands and a mask has 1 (or the 3 of a colour); set "
            "`task.kind: multilabel` if each band is a class"
        )
    if pixels.shape[2] <= 2:
        values = as_integers(pixels[..., 0], path)
        return values.astype(np.int64) * 0x010101 if reading == "colour" else values
    if pixels.dtype != np.uint8:
        raise DataError(f"mask {path} has colours of {pixels.dtype}; write them with 8 bits")
    if reading == "colour":
        return pack_colours(pixels[..., :3])
    return _grey_values(pixels[..., :3], np.True_, path, mean=mean)


def check_palette(raster: Raster, path: Path) -> None:
    """Refuse indices beyond the palette.

    Raises:
        DataError: If there are some.
    """
    size = 0 if raster.palette is None else len(raster.palette)
    if raster.pixels.max(initial=0) >= size:
        raise DataError(
            f"mask {path} holds the palette index {raster.pixels.max()} but its palette has {size} "
            "colours; write it again"
        )


def _grey_values(
    colours: NDArray[np.uint8], used: NDArray[np.bool_] | np.bool_, path: Path, *, mean: bool
) -> NDArray[np.uint8]:
    if mean:
        return np.asarray(np.round(colours.mean(axis=-1)), dtype=np.uint8)
    is_grey = (colours == colours[..., :1]).all(axis=-1)
    if not (is_grey | ~used).all():
        raise DataError(
            f"mask {path} holds colours but the masks of this data set hold values; give all masks "
            "in one form"
        )
    values: NDArray[np.uint8] = colours[..., 0]
    return values


def pack_colours(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return (..., 3) colours as 0xRRGGBB, (...)."""
    packed = colours[..., 0].astype(np.int32)
    for channel in (1, 2):
        packed <<= 8
        packed |= colours[..., channel]
    return packed


def as_integers(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return whole numbers as an integer type.

    Raises:
        DataError: If `pixels` holds fractions, infinities or NaN.
    """
    if pixels.dtype.kind in "iu":
        return pixels
    if pixels.dtype.kind == "b":
        return np.asarray(pixels, dtype=np.uint8)
    whole = np.nan_to_num(pixels, nan=0.5, posinf=0.5, neginf=0.5)
    if (whole != np.round(whole)).any():
        raise DataError(
            f"mask {path} holds fractions between {pixels.min()} and {pixels.max()} and a mask "
            "holds whole numbers; write it as 8-bit classes"
        )
    return np.asarray(whole, dtype=np.int64)


def find_runs(codes: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where runs of equal codes start in the flattened array, and how long they are."""
    flat = codes.ravel()
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([np.zeros(min(1, flat.size), np.int64), starts])
    return starts, np.diff(starts, append=flat.size)


def count_codes(codes: NDArray[Any]) -> dict[int, int]:
    """Return how many pixels have each code."""
    starts, lengths = find_runs(codes)
    values, which = np.unique(codes.ravel()[starts], return_inverse=True)
    counts = np.bincount(which, weights=lengths, minlength=len(values))
    return dict(zip(values.tolist(), counts.astype(np.int64).tolist(), strict=True))


def format_code(code: int, reading: Reading) -> str:
    """Return a code as it is written in settings: `#3C1098`, or a number."""
    return f"#{code:06X}" if reading == "colour" else str(code)
