"""Read a virtual raster (VRT) that the user names as such, if it is a plain mosaic of TIFFs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from delineate.errors import UnreadableFileError
from delineate.raster_windows.environment import MAX_BLOCK_BYTES, is_tiff
from delineate.raster_windows.reading import open_dataset, reader_of

if TYPE_CHECKING:
    from delineate.raster_windows.reader import RasterReader

_MAX_XML_BYTES = 64 * 2**20

_ELEMENTS = frozenset(
    [
        *("VRTDataset", "SRS", "GeoTransform", "Metadata", "MDI", "OverviewList"),
        *("VRTRasterBand", "Description", "NoDataValue", "HideNoDataValue", "ColorInterp"),
        *("ColorTable", "Entry", "Offset", "Scale", "UnitType", "CategoryNames", "Category"),
        *("MaskBand", "SimpleSource", "ComplexSource", "SourceFilename", "SourceBand"),
        *("SourceProperties", "SrcRect", "DstRect", "NODATA", "UseMaskBand"),
        *("BlockXSize", "BlockYSize"),
    ]
)
"""What a mosaic is made of; computed pixels, raw files, warps and connections are not."""


@contextmanager
def open_mosaic(
    path: Path | str,
    *,
    bands: Sequence[int | str] | None = None,
    max_block_bytes: int = MAX_BLOCK_BYTES,
) -> Iterator[RasterReader]:
    """Open a VRT mosaic for reading by windows.

    A VRT makes the program read other files. So it is read only where the user says that the file
    is one, only if it puts together rasters as they are, and only if each of these is a TIFF on
    this machine.

    Args:
        path: The VRT.
        bands: As in `open_raster`.
        max_block_bytes: Sources stored in larger blocks are refused before any is read.

    Raises:
        UnreadableFileError: If the file is damaged, holds more than a mosaic of TIFFs, or if a
            source is missing, damaged or no TIFF; the message lists all such sources.
        UsageError: If a band is not there.
    """
    path = Path(path)
    sources = list_sources(path)
    problems = []
    for source in sources:
        try:
            if not is_tiff(source):
                problems.append(f"{source} is no TIFF")
                continue
            with open_dataset(source, "GTiff", max_block_bytes):
                pass
        except UnreadableFileError as error:
            problems.append(str(error))
    if problems:
        shown = "; ".join(problems[:5])
        raise UnreadableFileError(
            f"{path} puts together {len(sources)} files and {len(problems)} of them cannot be "
            f"read: {shown}"
        )
    with open_dataset(path, "VRT", max_block_bytes) as dataset:
        yield reader_of(dataset, path, bands, as_indices=False)


def list_sources(path: Path) -> list[Path]:
    """Return the files that a VRT puts together, each once.

    Raises:
        UnreadableFileError: If the file is no VRT or holds more than a mosaic.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_XML_BYTES + 1)
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be opened: {error.strerror}") from error
    if not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<VRTDataset", b"<?xml")):
        raise UnreadableFileError(f"{path} is no VRT; give it as an ordinary image")
    if len(text) > _MAX_XML_BYTES or b"<!" in text.replace(b"<!--", b""):
        raise UnreadableFileError(
            f"{path} is larger than {_MAX_XML_BYTES >> 20} MiB or declares entities; write it "
            "again with gdalbuildvrt"
        )
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise UnreadableFileError(f"{path} is damaged ({error}); write it again") from error
    foreign = sorted(
        {str(node.tag) for node in root.iter() if node.tag not in _ELEMENTS}
        | {f"subClass {name}" for node in root.iter() if (name := node.get("subClass"))}
    )
    if foreign:
        raise UnreadableFileError(
            f"{path} does more than put rasters together ({', '.join(foreign)}), which is not "
            "carried out; write its result to a TIFF with gdal_translate"
        )
    found: dict[Path, None] = {}
    for node in root.iter("SourceFilename"):
        name = node.text or ""
        is_relative = node.get("relativeToVRT") == "1"
        source = path.resolve().parent / name if is_relative else Path(name)
        if not source.is_absolute() or not source.is_file() or name.startswith("/vsi"):
            raise UnreadableFileError(
                f"{path} names {name!r}, which is no file on this machine; write the mosaic "
                "again with the paths of its files"
            )
        found[source] = None
    return list(found)
