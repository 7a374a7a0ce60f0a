"""The fingerprint of a data set: what the planner decides on, in numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from delineate.errors import DataError
from delineate.files import write_text

FORMAT_VERSION = 3
FILE_NAME = "fingerprint.json"
Quantiles = dict[str, float]
"""Percentile, as "50" or "99.5", to value."""


@dataclass(frozen=True)
class Histogram:
    """Counts between edges; what lies outside is counted in the first and the last."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    """One fewer than the edges."""


@dataclass(frozen=True)
class ChannelStatistics:
    """One input channel over the training images, in the units of the files."""

    mean: float
    std: float
    percentiles: Quantiles
    foreground_mean: float | None
    """None where no image has foreground."""
    foreground_std: float | None
    foreground_percentiles: Quantiles
    background_mean: float | None
    """Of the pixels outside of the foreground; None where there are none."""
    background_std: float | None
    background_percentiles: Quantiles
    histogram: Histogram
    foreground_histogram: Histogram
    """With the same edges."""
    between_images: float
    """Standard deviation of the images' means over that of all pixels: 0 where all images are
    equally bright, towards 1 where an image's brightness says all."""
    clipped_mean: float
    """Mean where values beyond the 0.5th and 99.5th percentile are set to these."""
    clipped_std: float


@dataclass(frozen=True)
class ClassStatistics:
    """One foreground class over the training images."""

    pixel_share: float
    """Of the valid pixels."""
    image_share: float
    """Of the images."""
    num_objects: int
    objects_per_image: Quantiles
    """In the images that show the class."""
    area: Quantiles
    """Of the objects, in pixels."""
    area_histogram: Histogram
    """Of the objects, with edges at the powers of two."""
    width: Quantiles
    """Of the objects, in pixels."""
    extent: Quantiles
    """Longer side of the objects' bounding boxes, in pixels."""
    elongation: float
    """Median length of the objects in widths, by area: about 2 for a disc, more for lines.

    Weighted by area: what most of the class's pixels belong to."""
    thinness: float
    """Length of the skeleton, in pixels, against the area: one over the width of a line."""
    typical_width: float
    """Median width, in pixels, of the object that a pixel of the class belongs to."""
    boundary_share: float
    """Of the class's pixels, those that lie on its boundary."""
    touching_share: float
    """Of the objects, those with another within two pixels."""
    contrast: float | None
    """Median over the images, in standard deviations."""


@dataclass(frozen=True)
class Fingerprint:
    """What was measured of the training images."""

    digest: str
    """Of the files and of what the settings make of them."""
    task_kind: str
    class_names: tuple[str, ...]
    in_channels: int
    dtype: str
    num_images: int
    num_groups: int
    heights: Quantiles
    widths: Quantiles
    spacing: Quantiles
    """Side of a pixel, in metres, of the files that tell it; empty where none does."""
    num_pixels: int
    class_shares: dict[str, float]
    """Share of the valid pixels; binary sets name the background too."""
    channels: tuple[ChannelStatistics, ...]
    classes: dict[str, ClassStatistics]
    empty_share: float
    """Of the images, those without foreground."""
    information: float
    """Bits that a pixel's values tell of its class in other images; see `held_out_information`."""
    information_normalised: float
    """The same of values normalised by their image's own mean and standard deviation."""
    texture: float
    """Median over the images, 0 (smooth) to about 1 (noise)."""
    top_bottom_difference: float
    """Share of the top half's pixels whose class would have to change to match the bottom."""
    left_right_difference: float
    """The same of the left and the right half."""

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description; `Fingerprint.from_dict` is its inverse."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Fingerprint:
        """Build a fingerprint from what `as_dict` returned.

        Raises:
            DataError: If the document is of another version or not a fingerprint.
        """
        fields = dict(document)
        found = fields.pop("format_version", None)
        if found != FORMAT_VERSION:
            raise DataError(
                f"a fingerprint has the format version {found}; this program reads "
                f"{FORMAT_VERSION}: delete the file and measure again"
            )
        try:
            fields["class_names"] = tuple(fields["class_names"])
            fields["channels"] = tuple(
                ChannelStatistics(**_with_histograms(one)) for one in fields["channels"]
            )
            fields["classes"] = {
                name: ClassStatistics(**_with_histograms(one))
                for name, one in fields["classes"].items()
            }
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise DataError(
                f"a fingerprint is incomplete ({error}); delete the file and measure again"
            ) from error


def save_fingerprint(fingerprint: Fingerprint, path: Path) -> None:
    """Write a fingerprint as JSON."""
    text = json.dumps(fingerprint.as_dict(), indent=1, sort_keys=True, allow_nan=False)
    write_text(path, text + "\n")


def load_fingerprint(path: Path) -> Fingerprint:
    """Read a fingerprint.

    Raises:
        DataError: If the file is missing, no JSON, or not a fingerprint of this version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a fingerprint ({error}); delete it and measure again"
        ) from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds no fingerprint; delete it and measure again")
    return Fingerprint.from_dict(document)


def _with_histograms(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of statistics with those that are histograms built."""
    return {
        key: Histogram(tuple(value["edges"]), tuple(value["counts"]))
        if key.endswith("histogram")
        else value
        for key, value in fields.items()
    }
