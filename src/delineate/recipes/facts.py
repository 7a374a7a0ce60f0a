"""What the rules look at: the data's fingerprint, the user's wishes, and the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from delineate.data.fingerprint.fingerprint import ClassStatistics, Fingerprint

PATCH_MULTIPLE = 32
"""Patch sides are multiples of this, so that five poolings need no padding."""
LARGEST_PATCH = 256

THIN_WIDTH = 10.0
"""Pixels; wider structures are not lost by a pixel of error."""
THIN_ELONGATION = 50.0
"""Lengths of a network of lines in its own widths; a disc has about 2, a letter about 20."""


@dataclass(frozen=True)
class Wishes:
    """What the user said beside the data."""

    recipe: str = "generic"
    misses_cost_more: bool = False
    """Whether a missed pixel is worse than a false alarm."""
    device: str = "cpu"
    """Kind of device: cpu, cuda, mps."""
    batch_size: int = 4
    """Patches of a step, as the settings say before the plan."""


@dataclass(frozen=True)
class Facts:
    """Everything that a plan rests on."""

    fingerprint: Fingerprint
    wishes: Wishes = field(default_factory=Wishes)

    @property
    def median_height(self) -> int:
        """Of the training images, in pixels."""
        return int(self.fingerprint.heights["50"])

    @property
    def median_width(self) -> int:
        """Of the training images, in pixels."""
        return int(self.fingerprint.widths["50"])

    @property
    def patch_side(self) -> int:
        """The largest patch side that images of the median size hold without padding."""
        side = min(self.median_height, self.median_width, LARGEST_PATCH)
        return max(PATCH_MULTIPLE, side // PATCH_MULTIPLE * PATCH_MULTIPLE)

    @property
    def imbalance(self) -> float:
        """Pixels of the most frequent class per pixel of the rarest that there is."""
        present = [share for share in self.fingerprint.class_shares.values() if share > 0]
        return max(present) / min(present) if present else 1.0

    @property
    def foreground_share(self) -> float:
        """Share of the pixels that belong to a foreground class, in a binary task."""
        return sum(one.pixel_share for one in self.fingerprint.classes.values())

    @property
    def foreground_images(self) -> float:
        """Share of the images that show foreground."""
        return 1 - self.fingerprint.empty_share

    @property
    def thinnest(self) -> tuple[str, ClassStatistics] | None:
        """The class that is most of all a network of thin lines, if one is."""
        thin = [
            (name, one)
            for name, one in self.fingerprint.classes.items()
            if 0 < one.typical_width <= THIN_WIDTH and one.elongation >= THIN_ELONGATION
        ]
        return max(thin, key=lambda entry: entry[1].elongation, default=None)

    @property
    def between_images(self) -> float:
        """How much of the spread of brightness lies between images, in the channel with most."""
        return max((one.between_images for one in self.fingerprint.channels), default=0.0)

    @property
    def information_lost(self) -> float:
        """Bits about a pixel's class that normalising each image by itself takes away."""
        return self.fingerprint.information - self.fingerprint.information_normalised

    def values(self) -> Iterator[tuple[str, object]]:
        """Yield the names and values that a reason may show."""
        for name in (
            "median_height",
            "median_width",
            "patch_side",
            "imbalance",
            "foreground_share",
            "foreground_images",
            "between_images",
        ):
            yield name, getattr(self, name)
        for name in (
            "num_images",
            "empty_share",
            "information",
            "information_normalised",
            "top_bottom_difference",
            "left_right_difference",
        ):
            yield name, getattr(self.fingerprint, name)
        yield "batch_size", self.wishes.batch_size
        if self.thinnest is not None:
            name, one = self.thinnest
            yield "thin_name", name
            yield "thin_width", one.typical_width
            yield "thin_elongation", one.elongation
