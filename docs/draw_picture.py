"""Draw the picture of the README from a finished demo: python docs/draw_picture.py [DEMO]."""

from __future__ import annotations

import sys
from pathlib import Path

from delineate.pictures import gallery, to_rgb
from delineate.rasters import read_image, write_image

PICTURE = Path(__file__).parent / "images" / "demo.png"
SHOWN = {"aerial": 2, "cells": 2}
"""Kind of sample -> how many of its new images are shown."""


def main(demo: Path) -> None:
    """Show new images above what the models of the demo made of them."""
    images, overlays = [], []
    for kind, count in SHOWN.items():
        folder = demo / kind
        for path in sorted((folder / "new" / "images").iterdir())[:count]:
            overlay = folder / "predictions" / f"{path.stem}_overlay.png"
            images.append(to_rgb(read_image(path)))
            overlays.append(to_rgb(read_image(overlay)))
    write_image(PICTURE, gallery([images, overlays], cell_size=150))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
