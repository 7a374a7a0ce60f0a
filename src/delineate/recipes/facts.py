"""What the rules look at: the data's fingerprint, the user's wishes, and the machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from delineate.data.fingerprint.fingerprint import ClassStatistics, Fingerprint

PATCH_MULTIPLE = 32
"""Patch sides are multiples of this, so that five poolings need no padding."""
LARGEST_PATCH = 256
LARGEST_TILE = 1024
"""Images up to this side are predicted whole."""
USUAL_TILE = 512
USUAL_OVERLAP = 0.25
LARGEST_OVERLAP = 0.5
"""Shares of a tile: what it has in common with its neighbour by default, and at most."""
OPENED_WIDTH = 4.0
"""Width of lines, in pixels, that an opening of radius 1 leaves whole."""
ENOUGH_OBJECTS = 50
"""Objects of a class from which the percentiles of their areas say something."""
LEAST_AREA = 4
"""Pixels; where objects are as small as this, no area tells them from specks."""

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
    depth: int = 4
    """Poolings of the network, likewise."""


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
    def longest(self) -> tuple[str, ClassStatistics | None]:
        """The class that is longest in its own widths; a dash where no class has objects."""
        there = [(name, one) for name, one in self.fingerprint.classes.items() if one.num_objects]
        return max(there, key=lambda entry: entry[1].elongation, default=("–", None))

    @property
    def closing_radii(self) -> tuple[int, ...]:
        """Radii of closings that bridge gaps in the thinnest class, up to those of its width."""
        width = self.thinnest[1].typical_width if self.thinnest else 0.0
        largest = max(1, math.floor(width / 2 + 0.5))
        return tuple(sorted({0, 1, *(math.ceil(largest * share) for share in (0.5, 1.0))}))

    @property
    def opening_radii(self) -> tuple[int, ...]:
        """Radii of openings that leave the thinnest class whole."""
        width = self.thinnest[1].typical_width if self.thinnest else 0.0
        return (0, 1) if width >= OPENED_WIDTH else (0,)

    @property
    def object_areas(self) -> tuple[int, ...]:
        """Areas below which parts may be specks, from the smallest objects that are real.

        From a quarter of the 5th percentile to the 25th, of the class with the smallest objects;
        empty where there are too few to say or they are as small as specks.
        """
        quantiles = [
            (one.area["5"], one.area["25"])
            for one in self.fingerprint.classes.values()
            if one.num_objects >= ENOUGH_OBJECTS and "5" in one.area and "25" in one.area
        ]
        if not quantiles:
            return ()
        small, usual = min(quantiles)
        if small < LEAST_AREA:
            return ()
        ladder = np.geomspace(small / 4, usual, 4)
        return tuple(sorted({0, *(round(area) for area in ladder)}))

    @property
    def largest_side(self) -> int:
        """Longer side that 95 % of the training images keep to, in pixels."""
        sides = (self.fingerprint.heights, self.fingerprint.widths)
        return int(max(side.get("95", side["50"]) for side in sides))

    @property
    def tile_side(self) -> int:
        """Tile that holds a whole image, where one does; else the usual one."""
        if not USUAL_TILE < self.largest_side <= LARGEST_TILE:
            return USUAL_TILE
        return -(-self.largest_side // PATCH_MULTIPLE) * PATCH_MULTIPLE

    @property
    def num_usual_tiles(self) -> int:
        """Tiles of the usual size and overlap that a large image of the set takes."""
        stride = USUAL_TILE * (1 - USUAL_OVERLAP)
        return math.ceil(max(1.0, (self.largest_side - USUAL_TILE) / stride + 1)) ** 2

    @property
    def object_extent(self) -> int:
        """Longer side that three quarters of the objects keep to, in pixels.

        Of the class with the largest objects that an overlap can hold; 0 where there is none.
        """
        extents = [
            one.extent.get("75", 0.0)
            for one in self.fingerprint.classes.values()
            if one.num_objects >= ENOUGH_OBJECTS
        ]
        held = [extent for extent in extents if extent <= LARGEST_OVERLAP * USUAL_TILE]
        return int(max(held, default=0.0))

    @property
    def overlap(self) -> float:
        """Overlap of tiles that holds an object whole, in steps of a twentieth."""
        wanted = math.ceil(20 * self.object_extent / USUAL_TILE) / 20
        return min(max(wanted, USUAL_OVERLAP), LARGEST_OVERLAP)

    @property
    def tail_share(self) -> float:
        """Share of the standard deviation that the outermost hundredth of the values makes up.

        In the channel with most.
        """
        shares = (1 - one.clipped_std / one.std for one in self.fingerprint.channels if one.std > 0)
        return max(shares, default=0.0)

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
            "information_lost",
            "tail_share",
            "largest_side",
            "tile_side",
            "num_usual_tiles",
            "object_extent",
            "overlap",
        ):
            yield name, getattr(self, name)
        for name in (
            "num_images",
            "dtype",
            "task_kind",
            "empty_share",
            "information",
            "information_normalised",
            "top_bottom_difference",
            "left_right_difference",
        ):
            yield name, getattr(self.fingerprint, name)
        for name in ("recipe", "device", "batch_size", "depth"):
            yield name, getattr(self.wishes, name)
        yield "misses", "more than" if self.wishes.misses_cost_more else "as much as"
        yield "object_areas", _enumerate(self.object_areas)
        yield "closing_radii", _enumerate(self.closing_radii)
        longest, shape = self.longest
        yield "long_name", longest
        yield "long_width", shape.typical_width if shape else 0.0
        yield "long_elongation", shape.elongation if shape else 0.0
        if self.thinnest is not None:
            name, one = self.thinnest
            yield "thin_name", name
            yield "thin_width", one.typical_width
            yield "thin_elongation", one.elongation


def _enumerate(values: Iterable[object]) -> str:
    return ", ".join(map(str, values)) or "none"
