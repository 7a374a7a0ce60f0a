"""Windows of rasters too large for the memory: read them, write them."""

from delineate.raster_windows.area import Area, limit_reader, read_area
from delineate.raster_windows.mosaic import open_mosaic
from delineate.raster_windows.reader import RasterReader
from delineate.raster_windows.reading import open_raster
from delineate.raster_windows.resampling import Grid, resample_reader
from delineate.raster_windows.writing import RasterWriter, create_raster

__all__ = [
    "Area",
    "Grid",
    "RasterReader",
    "RasterWriter",
    "create_raster",
    "limit_reader",
    "open_mosaic",
    "open_raster",
    "read_area",
    "resample_reader",
]
