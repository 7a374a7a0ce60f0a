"""From mask rasters of any size to polygons whose shared borders stay shared."""

from delineate.polygons.vectorise import PolygonSummary, polygonize_raster

__all__ = ["PolygonSummary", "polygonize_raster"]
