"""What one look at a file keeps of it: small, and all that the checks need.

Records are made in worker processes by `examination.py` and never hold pixels, except for a
thumbnail of `THUMBNAIL` pixels a side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from delineate.data.doctor.content import Content
from delineate.data.mask_tally import Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.config import DataConfig, TaskConfig
    from delineate.data.doctor.findings import Finding
    from delineate.data.inventory import Listing, Sample
    from delineate.data.mask_decoder import MaskDecoder
    from delineate.rasters import GeoReference

Depth = Literal["headers", "bytes", "pixels"]
"""How deep images are looked into: their headers; their bytes too, for digests; all pixels. Masks
are decoded whatever it is."""

THUMBNAIL = 64
"""Side of a thumbnail, in pixels; images are squeezed to a square."""


@dataclass(frozen=True)
class FileRecord:
    """What is true of any file that was looked at."""

    path: str
    """Relative to the data folder, with forward slashes."""
    num_bytes: int = 0
    modified: int = 0
    """Time of the last change, in nanoseconds since 1970."""
    digest: str = ""
    """SHA-256 of the bytes; empty where they could not be read."""
    error: str | None = None
    """Why the file cannot be used, as a sentence; None where it can."""
    size: tuple[int, int] | None = None
    """(height, width) after the orientation of EXIF."""
    orientation: int = 1
    """What EXIF or the TIFF tag says, 1 to 8; 0 where the tag holds no such number."""
    num_channels: int = 0
    dtype: str = ""
    """NumPy's name of the type of the samples."""
    has_palette: bool = False


@dataclass(frozen=True)
class ChannelRecord:
    """The values of one channel, not counting nodata and what is not finite."""

    low: float
    high: float
    mean: float
    deviation: float
    share_at_low: float
    """Share of the pixels that hold exactly `low`."""
    share_at_high: float
    """Share of the pixels that hold exactly `high`."""


@dataclass(frozen=True)
class ImageRecord(FileRecord):
    """An image, decoded in full."""

    pixel_digest: str = ""
    """SHA-256 of shape, type and decoded pixels: equal for copies in another lossless format."""
    channels: tuple[ChannelRecord, ...] = ()
    num_nan: int = 0
    """Pixels of which a channel is NaN or infinite."""
    num_nodata: int = 0
    """Pixels that hold the file's nodata value in all channels."""
    nodata: float | None = None
    geo: GeoReference | None = None
    thumbnail: NDArray[Any] | None = field(default=None, compare=False, repr=False)
    """Grey, (THUMBNAIL, THUMBNAIL) uint8, averaged over areas, stretched to the full range."""


@dataclass(frozen=True)
class MaskRecord(FileRecord):
    """A mask file, decoded in full."""

    tally: Tally | None = None
    """How many pixels have each code; None where the file is unusable."""
    geo: GeoReference | None = None


@dataclass(frozen=True)
class PairRecord:
    """An image with its masks, and what the pixels of both say about each other."""

    sample: Sample
    image: ImageRecord
    masks: tuple[MaskRecord, ...]
    content: Content | None = None
    """None where the image or a mask is unusable, or nothing tells what the masks mean."""

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of the image and of its masks."""
        return (self.image.path, *(mask.path for mask in self.masks))


@dataclass(frozen=True)
class Examination:
    """All that a look at a data set found out; what the checks read."""

    listing: Listing
    data: DataConfig
    task: TaskConfig
    pairs: tuple[PairRecord, ...]
    """One per sample of the listing, in its order."""
    others: tuple[MaskRecord, ...] = ()
    """Files of no sample: masks without an image, masks of which several fit one image."""
    decoder: MaskDecoder | None = None
    """What the masks mean; if they leave it open, by the setting that a finding proposes."""
    meaning: tuple[Finding, ...] = ()
    """Why the masks mean nothing yet, or contradict the settings."""
    depth: Depth = "pixels"

    def with_partners(self, files: Iterable[str]) -> set[str]:
        """Return files with the images and masks that would be left alone without them."""
        found = set(files)
        return found.union(*(pair.files for pair in self.pairs if found & set(pair.files)))
