"""Time and memory of post-processing, polygons and centre lines of a large mask.

Run: python benchmarks/raster_geometry.py [SIDE] [--work FOLDER]

A mask of SIDE x SIDE pixels is drawn block by block (smooth noise: about 1.2 regions in 1,000
pixels, some across many blocks). Each step runs in a process of its own; peak memory is that of the
process, its start being printed first.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from delineate.polygons import polygonize_raster
from delineate.polygons.centrelines import trace_centrelines
from delineate.raster_processing.cleaning import postprocess_raster
from delineate.raster_processing.components import grid
from delineate.raster_windows import create_raster
from delineate.rasters import GeoReference
from delineate.task import Task

PLACE = GeoReference("EPSG:32616", (0.5, 0.0, 500000.0, 0.0, -0.5, 4000000.0))
TASK = Task("binary", ("road",))
STEPS = ("start", "clean", "polygons", "lines")


def draw(path: Path, side: int) -> None:
    """Write noise that is smooth within blocks, joined by streets across them."""
    rng = np.random.default_rng(0)
    with create_raster(path, side, side, geo=PLACE, nodata=255) as writer:
        for window in grid(side, side, 1024):
            noise = ndimage.gaussian_filter(rng.random((window.height, window.width)), 6)
            mask = noise > np.quantile(noise, 0.7)
            mask[::300] = mask[:, ::300] = True
            writer.write(window, mask.astype(np.uint8))


def run(step: str, mask: Path, folder: Path) -> None:
    start = time.perf_counter()
    found = ""
    if step == "clean":
        options = {"opening_radius": 2, "closing_radius": 2, "min_object_area": 64}
        postprocess_raster(mask, folder / "clean.tif", TASK, min_hole_area=64, **options)
    elif step == "polygons":
        summary = polygonize_raster(mask, folder / "a.gpkg", TASK, exist_ok=True)
        found = f"{summary.num_polygons} polygons"
    elif step == "lines":
        lines = trace_centrelines(mask, folder / "b.gpkg", TASK, exist_ok=True)
        found = f"{lines.num_lines} lines"
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{step:9} {seconds:7.1f} s  {peak:6.0f} MiB  {found}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", type=int, nargs="?", default=4096)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--step", choices=STEPS)
    arguments = parser.parse_args()
    if arguments.step:
        run(arguments.step, arguments.work / "mask.tif", arguments.work)
        return
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        draw(Path(folder) / "mask.tif", arguments.side)
        for step in STEPS:
            command = [sys.executable, __file__, "--step", step, "--work", folder]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
