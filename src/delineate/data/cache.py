"""Decoded images and targets, kept in memory up to a limit."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from delineate.data.image_digest import digest_pixels
from delineate.data.sampling import ClassPixels, find_class_pixels
from delineate.errors import DataError, UnreadableFileError
from delineate.progress import progress_bar
from delineate.randomness import generator_for
from delineate.rasters import apply_palette, read_raster
from delineate.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    from delineate.data.inventory import Sample
    from delineate.data.masks import MaskDecoder
    from delineate.data.memory import ImageFacts

_CACHED_DTYPES = ("uint8", "uint16", "int16", "float32")


class DecodedSample(NamedTuple):
    """A decoded image and its target."""

    pixels: NDArray[Any]
    """(H, W, C), uint8, uint16, int16 or float32."""
    target: NDArray[np.uint8]
    """(H, W), multilabel (K, H, W); the ignore index where `valid` is False."""
    valid: NDArray[np.bool_] | None
    """(H, W), False for nodata; None where every pixel has data."""


def load_sample(sample: Sample, decoder: MaskDecoder) -> DecodedSample:
    """Decode an image and its masks.

    Pixels whose channels all hold the raster's nodata value, or of which one is not finite, are
    not valid; those that are not finite get their channel's mean, so that they cannot spread.

    Raises:
        DataError: If a file is unreadable or image and mask do not fit each other.
    """
    raster = read_raster(sample.image)
    pixels = raster.pixels if raster.palette is None else apply_palette(raster, sample.image)
    if pixels.dtype.name not in _CACHED_DTYPES:
        pixels = pixels.astype(np.float32)
    target = decoder.decode(sample.masks, size=pixels.shape[:2])
    valid: NDArray[np.bool_] | None = None
    if raster.nodata is not None:
        valid = np.asarray((raster.pixels != raster.nodata).any(axis=2))
    if pixels.dtype == np.float32:
        finite = np.isfinite(pixels)
        if not finite.all():
            has_value = np.asarray(finite.all(axis=2))
            valid = has_value if valid is None else valid & has_value
            sums = pixels.sum(axis=(0, 1), where=finite, dtype=np.float64)
            means = sums / np.maximum(finite.sum(axis=(0, 1)), 1)
            pixels = np.where(finite, pixels, means.astype(np.float32))
    if valid is not None and valid.all():
        valid = None
    if valid is not None:
        target = np.where(valid, target, np.uint8(decoder.task.ignore_index))
    return DecodedSample(np.ascontiguousarray(pixels), np.ascontiguousarray(target), valid)


class ImageCache(Sequence[DecodedSample]):
    """The labelled images of a split, decoded once where memory allows.

    Every sample is decoded when the cache is made, so that a bad file is found before training
    starts; those past the limit are decoded again whenever they are asked for, and refused where
    they are no longer what they were.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        decoder: MaskDecoder,
        *,
        limit_gib: float = 4.0,
        resample: Callable[[int, DecodedSample], DecodedSample] | None = None,
        facts: ImageFacts | None = None,
        description: str = "reading images",
    ) -> None:
        """Decode all samples.

        Args:
            samples: Images and their masks.
            decoder: Turns the masks into targets.
            limit_gib: Memory for decoded images and targets, in GiB (2^30 bytes).
            resample: Given the position of a sample and the sample as decoded, returns what is
                kept of it: the same on another grid. None keeps it as it is.
            facts: What an earlier cache has found out. If it was of the same samples, that stands,
                and those which are no longer what they were are `lost` instead of refused.
            description: What the progress display says.

        Raises:
            UnreadableFileError: If files cannot be decoded; names all of them.
            DataError: If images and masks, or the types or channels of the images, do not fit
                each other; names all of them.
        """
        self.samples = tuple(samples)
        self.task: Task = decoder.task
        self.sizes: list[tuple[int, int]] = []
        """(height, width) of each image."""
        self.class_pixels: list[ClassPixels] = []
        """Pixels of each image's foreground classes, for `PatchSampler`."""
        num_values = 2 if self.task.kind == "binary" else self.task.num_classes
        self.class_counts = np.zeros(num_values, dtype=np.int64)
        """Pixels of each class (binary: background, foreground; multilabel: positives)."""
        self.side_counts = np.zeros((4, num_values), dtype=np.int64)
        """The same in the top, bottom, left and right half of the images."""
        self.digests: list[str | None] = []
        """What `digest_pixels` says of each image as decoded."""
        self.contents: list[str] = []
        """Digest of each image and its target, of every byte."""
        self.num_valid_pixels = 0
        """Pixels that count, over all images."""
        self.lost: dict[int, str] = {}
        """Images that are no longer what they were, and why; asked for, they raise that."""
        self._decoder = decoder
        self._resample = resample
        self._limit = limit_gib * 2**30
        self._num_bytes = 0
        self._kept: dict[int, DecodedSample] = {}
        self._fill(description, facts)

    @property
    def num_cached(self) -> int:
        """How many images are kept in memory."""
        return len(self._kept)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> DecodedSample:  # type: ignore[override]
        if index < 0 or index >= len(self.samples):
            raise IndexError(index)
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        if index in self.lost:
            raise DataError(self.lost[index])
        image = self._brought(index, self._load(index))
        if _digest_content(image) != self.contents[index]:
            raise DataError(self._say_changed(index))
        return image

    def _say_changed(self, index: int) -> str:
        return (
            f"image {self.samples[index].image} or its mask is another than when training began; "
            "put the file back"
        )

    def _load(self, index: int) -> DecodedSample:
        return load_sample(self.samples[index], self._decoder)

    def _brought(self, index: int, image: DecodedSample) -> DecodedSample:
        return image if self._resample is None else self._resample(index, image)

    def images(self) -> Iterator[NDArray[Any]]:
        """Yield the pixels of each image, for `measure_preprocessing`."""
        for image in self:
            yield image.pixels

    def _fill(self, description: str, facts: ImageFacts | None) -> None:
        problems: list[DataError] = []
        kinds: dict[str, list[Path]] = defaultdict(list)
        with progress_bar(description, total=len(self.samples)) as bar:
            for index, sample in enumerate(self.samples):
                try:
                    image = self._load(index)
                except DataError as error:
                    problems.append(error)
                    self.lost[index] = str(error)
                else:
                    self._add(index, image)
                    kinds[_describe(image.pixels)].append(sample.image)
                bar.advance()
        if facts is not None and facts.names == [sample.name for sample in self.samples]:
            self._recall(facts)
            return
        if problems:
            _raise_all(problems)
        if len(kinds) > 1:
            _raise_mixed(kinds)

    def _recall(self, facts: ImageFacts) -> None:
        """Take what was found out earlier, and lose the images that it does not fit."""
        found = iter(self.contents)
        for index, content in enumerate(facts.contents):
            if index not in self.lost and next(found) != content:
                self.lost[index] = self._say_changed(index)
                self._kept.pop(index, None)
        self.sizes, self.class_pixels = facts.sizes, facts.class_pixels
        self.class_counts, self.side_counts = facts.class_counts, facts.side_counts
        self.digests, self.contents = facts.digests, facts.contents
        self.num_valid_pixels = facts.num_valid_pixels

    def _add(self, index: int, image: DecodedSample) -> None:
        self.digests.append(digest_pixels(image.pixels))
        image = self._brought(index, image)
        height, width = image.pixels.shape[:2]
        self.sizes.append((height, width))
        # The split of the pixels does not depend on the run's seed: it is part of the data.
        rng = generator_for(0, index)
        self.class_pixels.append(find_class_pixels(image.target, self.task, rng))
        self._count(image.target)
        self.contents.append(_digest_content(image))
        num_bytes = image.pixels.nbytes + image.target.nbytes
        if self._num_bytes + num_bytes <= self._limit:
            self._num_bytes += num_bytes
            self._kept[index] = image

    def _count(self, target: NDArray[np.uint8]) -> None:
        height, width = target.shape[-2:]
        top, bottom, left, right = (
            self._count_classes(half)
            for half in (
                target[..., : height // 2, :],
                target[..., height - height // 2 :, :],
                target[..., : width // 2],
                target[..., width - width // 2 :],
            )
        )
        self.side_counts += np.stack([top, bottom, left, right])
        middle = target[..., height // 2 : height - height // 2, :]
        self.class_counts += top + bottom + self._count_classes(middle)
        labelled = target != self.task.ignore_index
        self.num_valid_pixels += int(
            labelled.any(axis=0).sum() if target.ndim == 3 else labelled.sum()
        )

    def _count_classes(self, target: NDArray[np.uint8]) -> NDArray[np.int64]:
        if self.task.kind == "multilabel":
            return np.asarray((target == 1).sum(axis=(1, 2)), dtype=np.int64)
        return np.bincount(target.ravel(), minlength=256)[: self.class_counts.size]


def _digest_content(image: DecodedSample) -> str:
    digest = hashlib.sha256(f"{image.pixels.shape} {image.pixels.dtype}".encode())
    digest.update(image.pixels.data)
    digest.update(image.target.data)
    return digest.hexdigest()[:16]


def _describe(pixels: NDArray[Any]) -> str:
    """Say what all images of a split must have in common."""
    channels = pixels.shape[2]
    # Grey, RGB and either with alpha convert to each other.
    return f"{'1 to 4' if channels <= 4 else channels} channels of {pixels.dtype}"


def _raise_mixed(kinds: dict[str, list[Path]]) -> None:
    usual, *others = sorted(kinds, key=lambda kind: -len(kinds[kind]))
    lines = "".join(f"\n  {path}: {kind}" for kind in others for path in kinds[kind])
    raise DataError(f"most images have {usual}, but others do not; convert or remove these:{lines}")


def _raise_all(problems: list[DataError]) -> None:
    if len(problems) == 1:
        raise problems[0]
    is_unreadable = all(isinstance(problem, UnreadableFileError) for problem in problems)
    kind = UnreadableFileError if is_unreadable else DataError
    lines = "".join(f"\n  {problem}" for problem in problems)
    raise kind(f"{len(problems)} samples cannot be used; repair or remove them:{lines}")
