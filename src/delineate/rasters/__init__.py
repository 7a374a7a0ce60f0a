"""Read and write images, masks and probabilities: the only place that decodes files.

The format is told by a file's first bytes, never by its name. PNG, JPEG, BMP, GIF, WebP and PNM go
through Pillow, which refuses truncated files; TIFF goes through GDAL with its GTiff driver alone,
so that no file makes the program read another one or open a connection; NIfTI goes through nibabel,
and NumPy's files are read without pickle. What a header announces is weighed before it is decoded.
"""

from delineate.rasters.formats import SUFFIXES, TIFF_SUFFIXES, image_suffix, sniff
from delineate.rasters.nifti import PLANES
from delineate.rasters.orientation import drop_jpeg_orientation
from delineate.rasters.raster import (
    GeoReference,
    Header,
    Raster,
    apply_palette,
    upright,
    upright_size,
)
from delineate.rasters.reading import (
    read_embedded,
    read_header,
    read_image,
    read_raster,
    read_size,
    read_stack,
)
from delineate.rasters.refusals import MAX_BLOCK_BYTES, MAX_PIXELS, MAX_RASTER_BYTES
from delineate.rasters.stack import Stack
from delineate.rasters.untrusted import UntrustedReader, read_untrusted
from delineate.rasters.writing import write_image, write_mask, write_probs, write_raster

__all__ = [
    "MAX_BLOCK_BYTES",
    "MAX_PIXELS",
    "MAX_RASTER_BYTES",
    "PLANES",
    "SUFFIXES",
    "TIFF_SUFFIXES",
    "GeoReference",
    "Header",
    "Raster",
    "Stack",
    "UntrustedReader",
    "apply_palette",
    "drop_jpeg_orientation",
    "image_suffix",
    "read_embedded",
    "read_header",
    "read_image",
    "read_raster",
    "read_size",
    "read_stack",
    "read_untrusted",
    "sniff",
    "upright",
    "upright_size",
    "write_image",
    "write_mask",
    "write_probs",
    "write_raster",
]
