"""Files that were made to do harm: they are refused, and nothing else happens."""

from __future__ import annotations

import http.server
import io
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from delineate.errors import UnreadableFileError
from delineate.rasters import read_header, read_raster, read_stack

PIXELS = np.random.default_rng(0).integers(0, 255, (16, 12), dtype=np.uint8)


@pytest.fixture
def hits() -> Iterator[list[str]]:
    """Requests to a server on this machine, whose address is the first entry."""
    found: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    found.append(f"http://127.0.0.1:{server.server_port}/x.tif")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


VRT = """<VRTDataset rasterXSize="12" rasterYSize="16"><VRTRasterBand dataType="Byte" band="1">
<SimpleSource><SourceFilename relativeToVRT="0">{}</SourceFilename><SourceBand>1</SourceBand>
</SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize("name", ["x.tif", "x.png", "x.nii.gz", "x.npy", "x.vrt"])
def test_no_file_opens_another_or_a_connection(tmp_path: Path, hits: list[str], name: str) -> None:
    canary = tmp_path / "canary.tif"
    tifffile.imwrite(canary, PIXELS)
    for target in (str(canary), f"/vsicurl/{hits[0]}", hits[0]):
        (tmp_path / name).write_text(VRT.format(target))
        for read in (read_raster, read_header, read_stack):
            with pytest.raises(UnreadableFileError):
                read(tmp_path / name)
    assert len(hits) == 1


@pytest.mark.parametrize(
    "name", ["/vsicurl/{}", "{}", "vrt://{}", "/vsizip/a.zip/x.tif", "GTIFF_DIR:1:{}", "zip:{}"]
)
def test_names_are_files_and_nothing_else(hits: list[str], name: str) -> None:
    with pytest.raises(UnreadableFileError, match="cannot be opened"):
        read_raster(Path(name.format(hits[0])))
    assert len(hits) == 1


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


def tiff(*entries: bytes, following: int = 0) -> bytes:
    body = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", 8) + body + bytes(64)


def plain_tiff(following: int = 0, **changes: int) -> bytes:
    values = {"width": 4, "height": 4, "bits": 8, "samples": 1, "rows": 4, "format": 1} | changes
    return tiff(
        entry(256, 4, 1, values["width"]),
        entry(257, 4, 1, values["height"]),
        entry(258, 3, 1, values["bits"]),
        entry(259, 3, 1, 1),
        entry(262, 3, 1, 1),
        entry(273, 4, 1, 200),
        entry(277, 3, 1, values["samples"]),
        entry(278, 4, 1, values["rows"]),
        entry(279, 4, 1, 16),
        entry(339, 3, 1, values["format"]),
        following=following,
    ) + bytes(64)


def test_the_forged_tiff_is_sound_without_changes(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(plain_tiff())
    assert read_raster(tmp_path / "x.tif").pixels.shape == (4, 4, 1)


READABLE = ({"following": 8},)
"""Forged headers that a sound image stands behind all the same: a directory that follows itself."""


def is_read(path: Path) -> bool:
    """Read a file in each way: what is read is whole and fits its header, and errors name it."""
    answers: dict[str, Any] = {}
    refusals: list[str] = []
    for read in (read_raster, read_header, read_stack):
        try:
            answers[read.__name__] = read(path)
        except UnreadableFileError as error:
            refusals.append(str(error))
    assert all(str(path) in refusal for refusal in refusals)
    raster, stack = answers.get("read_raster"), answers.get("read_stack")
    if raster is not None:
        height, width, channels = raster.pixels.shape
        assert 0 < height * width * channels * raster.pixels.itemsize <= 2**20
        # What the pixels can be had from, the header can be told of, and they agree.
        assert answers["read_header"].size == (height, width)
    if stack is not None:
        assert stack.pixels.ndim == 4
        assert stack.pixels.size > 0
        assert answers["read_header"].size == stack.pixels.shape[1:3]
    return raster is not None or stack is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"following": 8},
        {"width": 2**31 - 1, "height": 2**31 - 1},
        {"width": 60000, "height": 60000, "rows": 60000},
        {"samples": 65535},
        {"samples": 65535, "width": 60000, "height": 6000},
        {"bits": 63},
        {"bits": 0},
        {"format": 77, "bits": 64},
        {"width": 0},
        {"rows": 0},
    ],
)
def test_forged_tiffs_end_in_an_error_or_an_image(tmp_path: Path, changes: dict[str, int]) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(plain_tiff(**changes))
    assert is_read(path) == (changes in READABLE)


def test_headers_are_refused_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(plain_tiff(width=60_000, height=60_000, rows=60_000))
    (tmp_path / "b.npy").write_bytes(
        b"\x93NUMPY\x01\x00\x46\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (90000, 90000), }".ljust(69)
        + b"\n"
    )
    script = (
        "import resource, sys, time; from pathlib import Path\n"
        "import rasterio, tifffile, nibabel\n"
        "from delineate.rasters import read_raster\n"
        "from delineate.errors import UnreadableFileError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for name in sys.argv[1:]:\n"
        "    try: read_raster(Path(name))\n"
        "    except UnreadableFileError: continue\n"
        "    raise SystemExit(f'{name} was read')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    files = [str(tmp_path / name) for name in ("a.tif", "b.npy")]
    done = subprocess.run(
        [sys.executable, "-c", script, *files], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 50_000  # kB


def _sound_files() -> dict[str, bytes]:
    files = {}
    for ending, kind in (("png", "PNG"), ("gif", "GIF"), ("bmp", "BMP"), ("tif", "TIFF")):
        stream = io.BytesIO()
        Image.fromarray(PIXELS).save(stream, kind)
        files[ending] = stream.getvalue()
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.stack([PIXELS] * 3), imagej=True, metadata={"axes": "ZYX"})
    files["stack.tif"] = stream.getvalue()
    stream = io.BytesIO()
    np.save(stream, PIXELS)
    files["npy"] = stream.getvalue()
    files["nii"] = nibabel.Nifti1Image(PIXELS[..., None], np.eye(4)).to_bytes()
    return files


@pytest.mark.filterwarnings("ignore")
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    ending=st.sampled_from(["png", "gif", "bmp", "tif", "stack.tif", "npy", "nii"]),
    changes=st.lists(st.tuples(st.floats(0, 0.6), st.integers(0, 255)), min_size=1, max_size=4),
    share=st.sampled_from([1.0, 1.0, 0.9, 0.4]),
)
def test_changed_bytes_never_end_in_another_error(
    tmp_path: Path, ending: str, changes: list[tuple[float, int]], share: float
) -> None:
    content = bytearray(_sound_files()[ending])
    for place, value in changes:
        # Headers are where harm is done: most changes go there.
        content[int(place**3 * len(content))] = value
    path = tmp_path / f"x.{ending}"
    path.write_bytes(content[: int(share * len(content))])
    is_sound = bytes(content) == _sound_files()[ending] and share == 1
    assert is_read(path) or not is_sound
