"""What a training must know of its images, also when some of them can no longer be read.

A training that tolerates bad images keeps this with its checkpoints: resumed after a file was
damaged, it could not measure all images again, and would draw other patches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.data.mask_decoder import MaskDecoder
from delineate.files import write_atomically
from delineate.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from delineate.data.cache import ImageCache
    from delineate.data.sampling import ClassPixels


@dataclass(frozen=True)
class ImageFacts:
    """What an `ImageCache` found out about the training images; see its attributes."""

    names: list[str]
    """Of the samples."""
    sizes: list[tuple[int, int]]
    class_pixels: list[ClassPixels]
    class_counts: NDArray[np.int64]
    side_counts: NDArray[np.int64]
    digests: list[str | None]
    contents: list[str]
    num_valid_pixels: int

    @classmethod
    def of(cls, images: ImageCache) -> ImageFacts:
        """Return what a cache has found out."""
        return cls(
            names=[sample.name for sample in images.samples],
            sizes=images.sizes,
            class_pixels=images.class_pixels,
            class_counts=images.class_counts,
            side_counts=images.side_counts,
            digests=images.digests,
            contents=images.contents,
            num_valid_pixels=images.num_valid_pixels,
        )


@dataclass(frozen=True)
class DataMemory:
    """All that was measured before the first step."""

    images: ImageFacts
    decoder: MaskDecoder
    preprocessing: Preprocessing
    """As measured."""
    reference: Mapping[str, Any]
    """What the model remembers of the training images."""

    def save(self, path: Path) -> None:
        """Write it; `load_memory` reads it.

        Raises:
            ResourceError: If the disk is full.
        """
        import torch

        images = self.images
        state = {
            **vars(images),
            "class_pixels": [
                {index: torch.from_numpy(pixels) for index, pixels in found.items()}
                for found in images.class_pixels
            ],
            "class_counts": torch.from_numpy(images.class_counts),
            "side_counts": torch.from_numpy(images.side_counts),
            "documents": json.dumps(
                [self.decoder.as_dict(), self.preprocessing.as_dict(), self.reference]
            ),
        }
        with write_atomically(path) as temporary:
            torch.save(state, temporary)


def load_memory(path: Path) -> DataMemory:
    """Read what `DataMemory.save` wrote; runs no code from the file."""
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    decoder, preprocessing, reference = json.loads(state.pop("documents"))
    state["class_pixels"] = [
        {index: pixels.numpy() for index, pixels in found.items()}
        for found in state["class_pixels"]
    ]
    for name in ("class_counts", "side_counts"):
        state[name] = state[name].numpy()
    return DataMemory(
        images=ImageFacts(**state),
        decoder=MaskDecoder.from_dict(decoder),
        preprocessing=Preprocessing.from_dict(preprocessing),
        reference=reference,
    )
