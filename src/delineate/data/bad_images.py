"""Images that turn out to be bad while a training reads them again.

Every image is read before training starts. One that memory had no room for is read again each
time, and may have been damaged or replaced since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from delineate.data.cache import DecodedSample
from delineate.errors import DataError

BAD_SHARE = 0.01
"""Share of the training images that may be left out."""


class BadImageError(Exception):
    """An image is left out; not for people, who are told by whoever draws another one."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def count_tolerable(num_images: int) -> int:
    """Return how many images may be left out: 1 % of them, and at least one of several."""
    return min(max(1, int(BAD_SHARE * num_images)), num_images - 1)


class TolerantImages(Sequence[DecodedSample]):
    """Images of which a few may be bad: these raise `BadImageError`, each time."""

    def __init__(self, images: Sequence[DecodedSample], bad: Iterable[int] = ()) -> None:
        """Take the images, and the positions of those that are known to be bad."""
        self._images = images
        self._bad = set(bad)
        self.most = count_tolerable(len(images))
        """How many may be bad."""

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> DecodedSample:  # type: ignore[override]
        """Return an image.

        Raises:
            BadImageError: If it is bad.
            DataError: If it is one too many.
        """
        if index in self._bad:
            raise BadImageError(index)
        try:
            return self._images[index]
        except DataError as error:
            self._bad.add(index)
            if len(self._bad) > self.most:
                raise DataError(
                    f"{error}; it is one too many, as at most {self.most} of "
                    f"{len(self)} training images may be left out"
                ) from error
            raise BadImageError(index) from error
