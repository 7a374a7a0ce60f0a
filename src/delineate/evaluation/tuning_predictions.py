"""Predictions of validation images, kept small enough to be searched through.

A probability is kept as the number of the bin it falls into, one byte: 256 bins, about even in
logits (`bin_edges`), so a rare class keeps resolution where its threshold may be. Every bin edge
is a float32 and ``code >= k`` is exactly ``prob >= edges[k]``, so what is found on the codes holds
for the probabilities. Of a multiclass task the most probable class is kept.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from delineate.errors import ResourceError
from delineate.metrics.curves import ProbabilityHistogram, bin_edges
from delineate.randomness import generator_for

if TYPE_CHECKING:
    from typing import IO

    from numpy.typing import NDArray

    from delineate.task import Task

NUM_LEVELS = 256
"""Values that a code can take; thresholds are at the levels from 1 on."""
MIDDLE_LEVEL = NUM_LEVELS // 2
"""The level whose threshold is 0.5."""
SAMPLED_PIXELS = 4096
"""Pixels of an image, at most, whose probabilities are kept as they are, for the temperature."""
_SMALLEST_PROB = 1e-7  # of the sampled probabilities, so that their logarithm is finite


class KeptPrediction(NamedTuple):
    """One image's prediction and truth."""

    name: str
    output: NDArray[np.uint8]
    """Codes, (C, H, W); of a multiclass task class indices, (H, W)."""
    target: NDArray[np.uint8]
    """Labels, (H, W) or multilabel (C, H, W); pixels that do not count are `ignore_index`."""


class SampledProbs(NamedTuple):
    """Probabilities of some pixels of one image."""

    probs: NDArray[np.float32]
    """(n, C)."""
    target: NDArray[np.uint8]
    """(n,), multilabel (n, C); all of them count, or are `ignore_index` in some class only."""
    num_pixels: int
    """Pixels that they stand for."""


@dataclass(frozen=True)
class _Place:
    name: str
    output_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    start: int | None
    """Byte in the temporary file; None where the image is in memory."""


class PredictionStore:
    """Predictions of a split, in memory up to a limit and then in a temporary file."""

    def __init__(self, task: Task, *, memory_bytes: int = 256 * 2**20, seed: int = 0) -> None:
        """Start empty.

        Args:
            task: What the channels of the predictions mean.
            memory_bytes: Limit of what is kept in memory, targets included. An image takes a byte
                per pixel for its target and one for its prediction, of a multilabel task both
                once per class.
            seed: Of the pixels that are sampled for the temperature.
        """
        self.task = task
        self.samples: list[SampledProbs] = []
        self._seed = seed
        self._room = memory_bytes
        self._places: list[_Place] = []
        self._kept: dict[int, KeptPrediction] = {}
        self._file: IO[bytes] | None = None
        self._binning = ProbabilityHistogram(task, NUM_LEVELS, layout="logit")

    def add(
        self,
        name: str,
        probs: NDArray[np.float32],
        target: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        *,
        number: int | None = None,
    ) -> None:
        """Keep one image.

        Args:
            name: Of the image.
            probs: Probabilities, (C, H, W) float32.
            target: Labels, (H, W); multilabel (C, H, W).
            valid: Pixels that count, (H, W); None counts all.
            number: Position of the image in the split, which seeds the pixels that are sampled;
                None counts the images that were added.
        """
        if self.task.kind == "multiclass":
            output = probs.argmax(axis=0).astype(np.uint8)
        else:
            output = np.stack([self._encode(channel) for channel in probs])
        labels = target.astype(np.uint8)
        if valid is not None:
            labels[..., ~valid] = self.task.ignore_index
        self._sample(probs, labels, len(self) if number is None else number)
        self._keep(KeptPrediction(name, output, labels))

    def adopt(self, prediction: KeptPrediction, sampled: SampledProbs) -> None:
        """Keep what another store has kept of an image."""
        self.samples.append(sampled)
        self._keep(prediction)

    def _keep(self, prediction: KeptPrediction) -> None:
        name, output, labels = prediction
        num_bytes = output.nbytes + labels.nbytes
        start = None
        if num_bytes <= self._room:
            self._room -= num_bytes
            self._kept[len(self._places)] = prediction
        else:
            start = self._spill(output, labels)
        self._places.append(_Place(name, output.shape, labels.shape, start))

    def _encode(self, channel: NDArray[np.float32]) -> NDArray[np.uint8]:
        # p = 1 has a bin of its own, which would be the 257th; no threshold of use tells it apart.
        return np.minimum(self._binning.bins_of(channel), NUM_LEVELS - 1).astype(np.uint8)

    def _sample(self, probs: NDArray[np.float32], labels: NDArray[np.uint8], number: int) -> None:
        is_counted = labels != self.task.ignore_index
        if labels.ndim == 3:
            is_counted = is_counted.any(axis=0)
        counted = np.flatnonzero(is_counted)
        rng = generator_for(self._seed, number)
        chosen = rng.choice(counted, min(SAMPLED_PIXELS, len(counted)), replace=False)
        picked = labels.reshape(*labels.shape[:-2], -1)[..., chosen].T
        values = np.maximum(probs.reshape(len(probs), -1)[:, chosen].T, np.float32(_SMALLEST_PROB))
        self.samples.append(SampledProbs(values, picked, len(counted)))

    def _spill(self, output: NDArray[np.uint8], labels: NDArray[np.uint8]) -> int:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the store)
            weakref.finalize(self, self._file.close)
        try:
            start = self._file.seek(0, 2)
            self._file.write(output.tobytes())
            self._file.write(labels.tobytes())
        except OSError as error:
            raise ResourceError(
                f"predictions of the validation images do not fit into {tempfile.gettempdir()} "
                f"({error.strerror}); make room there, set TMPDIR to another folder, or raise "
                "evaluation.tuning.memory_mib"
            ) from error
        return start

    @property
    def names(self) -> list[str]:
        """Names of the images, in the order they were added."""
        return [place.name for place in self._places]

    @property
    def num_pixels(self) -> int:
        """Pixels of all images, each once."""
        return sum(int(np.prod(place.target_shape[-2:])) for place in self._places)

    @property
    def num_spilled_bytes(self) -> int:
        """Size of the temporary file."""
        return 0 if self._file is None else self._file.seek(0, 2)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[KeptPrediction]:
        for index in range(len(self._places)):
            yield self[index]

    def __getitem__(self, index: int) -> KeptPrediction:
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        place = self._places[index]
        assert self._file is not None
        assert place.start is not None
        self._file.seek(place.start)
        output, labels = (
            np.frombuffer(self._file.read(int(np.prod(shape))), np.uint8).reshape(shape)
            for shape in (place.output_shape, place.target_shape)
        )
        return KeptPrediction(place.name, output, labels)

    def mask(self, output: NDArray[np.uint8], levels: Sequence[int]) -> NDArray[np.uint8]:
        """Return the labels of a kept output at one level per class, as `Task.mask` would."""
        if self.task.kind == "multiclass":
            return output
        labels = (output >= np.asarray(levels, np.uint8)[:, None, None]).astype(np.uint8)
        return labels[0] if self.task.kind == "binary" else labels


def thresholds_of(levels: Sequence[int]) -> tuple[float, ...]:
    """Return the probabilities from which codes reach the levels."""
    edges = bin_edges(NUM_LEVELS, "logit")
    return tuple(float(edges[level]) for level in levels)
