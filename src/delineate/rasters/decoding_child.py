"""What runs in the child of `untrusted`: read the files that it is told of, one after the other.

Standard input brings a line of JSON with the limits and then one per file; standard output takes a
line of JSON per file and, if it was read, its pixels and its palette as they lie in memory.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np

from delineate.errors import DelineateError
from delineate.rasters.raster import Raster
from delineate.rasters.reading import read_raster


def main() -> None:
    """Answer until standard input ends."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    limits = json.loads(questions.readline())
    _load_decoders()
    _limit_resources(limits["memory_bytes"])
    while line := questions.readline():
        path = Path(json.loads(line)["path"])
        try:
            raster = read_raster(path)
        except DelineateError as error:
            _say(answers, {"error": str(error)})
        except MemoryError:
            limit = limits["memory_bytes"] / 2**20
            _say(answers, {"error": f"{path} takes more than {limit:.0f} MiB to be read"})
        else:
            _give(answers, raster)


def _load_decoders() -> None:
    """Import what reading needs, so that the limit is for the file and not for the program."""
    import PIL.Image
    import rasterio
    import tifffile  # noqa: F401

    PIL.Image.init()
    with rasterio.Env():
        pass


def _limit_resources(memory_bytes: int) -> None:
    """Allow so much more memory than there is now, no file to be written, and no core dump."""
    try:
        import resource
    except ImportError:
        return
    # A pipe is no file to this limit.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return
    limit = pages * os.sysconf("SC_PAGE_SIZE") + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _give(answers: IO[bytes], raster: Raster) -> None:
    pixels = np.ascontiguousarray(raster.pixels)
    palette, geo = raster.palette, raster.geo
    _say(
        answers,
        {
            "shape": pixels.shape,
            "dtype": pixels.dtype.str,
            "palette": None if palette is None else palette.shape,
            "geo": None if geo is None else {"crs": geo.crs, "transform": geo.transform},
            "nodata": raster.nodata,
            "spacing": raster.spacing,
        },
    )
    answers.write(pixels.data)
    if palette is not None:
        answers.write(np.ascontiguousarray(palette).data)
    answers.flush()


def _say(answers: IO[bytes], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
