"""A VRT is read by its own option, and only if it is a mosaic of TIFFs on this machine."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from delineate.errors import UnreadableFileError
from delineate.raster_windows import create_raster, open_mosaic, open_raster
from delineate.rasters import GeoReference
from delineate.tiling import Window

VRT = """<VRTDataset rasterXSize="60" rasterYSize="20">
  <SRS>EPSG:32616</SRS>
  <GeoTransform>100.0, 0.5, 0.0, 200.0, 0.0, -0.5</GeoTransform>
  <VRTRasterBand dataType="Byte" band="1"{subclass}>
    <NoDataValue>0</NoDataValue>{sources}
  </VRTRasterBand>
</VRTDataset>"""

SOURCE = """
    <SimpleSource>
      <SourceFilename relativeToVRT="{relative}">{name}</SourceFilename>
      <SourceBand>1</SourceBand>
      <SrcRect xOff="0" yOff="0" xSize="30" ySize="20"/>
      <DstRect xOff="{offset}" yOff="0" xSize="30" ySize="20"/>
    </SimpleSource>"""


def scene(path: Path, value: int) -> None:
    geo = GeoReference("EPSG:32616", (0.5, 0.0, 100.0, 0.0, -0.5, 200.0))
    with create_raster(path, 20, 30, geo=geo) as writer:
        writer.write(Window(0, 0, 20, 30), np.full((20, 30), value, np.uint8))


def vrt(folder: Path, *names: str, relative: int = 1, subclass: str = "") -> Path:
    sources = "".join(
        SOURCE.format(name=name, relative=relative, offset=30 * i) for i, name in enumerate(names)
    )
    path = folder / "mosaic.vrt"
    path.write_text(VRT.format(sources=sources, subclass=subclass))
    return path


def test_scenes_side_by_side(tmp_path: Path) -> None:
    scene(tmp_path / "a.tif", 3)
    scene(tmp_path / "b.tif", 7)
    path = vrt(tmp_path, "a.tif", "b.tif")
    with open_mosaic(path) as reader:
        pixels, valid = reader.read(Window(5, 20, 4, 20))
        assert reader.geo.transform == (0.5, 0.0, 100.0, 0.0, -0.5, 200.0)
    assert pixels[0, :, 0].tolist() == [3] * 10 + [7] * 10
    assert valid.all()
    with pytest.raises(UnreadableFileError, match="is a VRT"):
        open_raster(path).__enter__()


def test_missing_and_foreign_sources_are_all_named(tmp_path: Path) -> None:
    scene(tmp_path / "a.tif", 3)
    (tmp_path / "b.tif").write_text("<VRTDataset/>")
    (tmp_path / "c.tif").write_bytes(b"II*\x00 broken")
    with pytest.raises(UnreadableFileError, match=r"2 of them cannot be read: .*b\.tif.*c\.tif"):
        open_mosaic(vrt(tmp_path, "a.tif", "b.tif", "c.tif")).__enter__()
    with pytest.raises(UnreadableFileError, match=r"'d\.tif', which is no file"):
        open_mosaic(vrt(tmp_path, "d.tif")).__enter__()


@pytest.mark.parametrize(
    "name", ["/vsicurl/{url}", "/vsizip/a.zip/b.tif", "{url}", "vrt://a.tif", "/dev/null"]
)
def test_nothing_is_fetched(tmp_path: Path, name: str) -> None:
    hits = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)

        do_HEAD = do_GET  # noqa: N815

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/a.tif"
        for relative in (0, 1):
            path = vrt(tmp_path, name.format(url=url), relative=relative)
            with pytest.raises(UnreadableFileError, match="no file on this machine"):
                open_mosaic(path).__enter__()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not hits


def test_more_than_a_mosaic_is_refused(tmp_path: Path) -> None:
    scene(tmp_path / "a.tif", 3)
    path = vrt(tmp_path, "a.tif", subclass=' subClass="VRTDerivedRasterBand"')
    with pytest.raises(UnreadableFileError, match="subClass VRTDerivedRasterBand"):
        open_mosaic(path).__enter__()
    text = vrt(tmp_path, "a.tif").read_text()
    raw = text.replace("<SimpleSource>", "<SimpleSource><PixelFunctionCode/>")
    path.write_text(raw)
    with pytest.raises(UnreadableFileError, match="PixelFunctionCode"):
        open_mosaic(path).__enter__()
    path.write_text('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]>' + text)
    with pytest.raises(UnreadableFileError, match="declares entities"):
        open_mosaic(path).__enter__()
    path.write_text("<html/>")
    with pytest.raises(UnreadableFileError, match="is no VRT"):
        open_mosaic(path).__enter__()
