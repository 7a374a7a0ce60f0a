"""Windows of rasters too large for the memory: read them, write them."""

from delineate.raster_windows.reading import RasterReader, open_raster
from delineate.raster_windows.writing import RasterWriter, create_raster

__all__ = ["RasterReader", "RasterWriter", "create_raster", "open_raster"]
