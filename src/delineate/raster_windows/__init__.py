"""Windows of rasters too large for the memory: read them, write them."""

from delineate.raster_windows.area import Area, limit_reader, read_area
from delineate.raster_windows.mosaic import open_mosaic
from delineate.raster_windows.pixel_size import (
    PixelSize,
    find_pixel_size,
    format_pixel_size,
    is_alike,
    plan_grid,
    read_pixel_size,
)
from delineate.raster_windows.reader import RasterReader
from delineate.raster_windows.reading import open_raster
from delineate.raster_windows.resampling import Grid, resample_reader
from delineate.raster_windows.writing import RasterWriter, create_raster

__all__ = [
    "Area",
    "Grid",
    "PixelSize",
    "RasterReader",
    "RasterWriter",
    "create_raster",
    "find_pixel_size",
    "format_pixel_size",
    "is_alike",
    "limit_reader",
    "open_mosaic",
    "open_raster",
    "plan_grid",
    "read_area",
    "read_pixel_size",
    "resample_reader",
]
