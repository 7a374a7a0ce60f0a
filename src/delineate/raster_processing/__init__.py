"""What is done to a raster block by block, with the result of doing it to the whole."""
