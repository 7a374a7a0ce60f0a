"""The command that applies a model to images and rasters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from delineate.cli.flags import Overrides, split_names
from delineate.cli.prediction_display import print_estimate, print_prediction
from delineate.errors import UsageError


def predict(
    model: Path,
    /,
    *sources: Path,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    tile_size: int | None = None,
    overlap: float | None = None,
    tiling: Literal["auto", "blended", "exact"] | None = None,
    threshold: float | None = None,
    save: str = "mask",
    aoi: Path | None = None,
    bands: str | None = None,
    resolution: float | Literal["native"] | None = None,
    vrt: Annotated[bool, Parameter(negative=())] = False,
    refine: Literal["none", "guided", "crf"] = "none",
    simplify: float | None = None,
    lines_of: str | None = None,
    cog: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    resume: Annotated[bool, Parameter(negative=())] = False,
    exist_ok: Annotated[bool, Parameter(negative=())] = False,
    device: str = "auto",
    overrides: Overrides = None,
) -> None:
    """Segment images and rasters of any size and write their masks.

    Args:
        model: A model file or a run folder.
        sources: Images, or folders of images.
        out: Folder for the results; a file where SOURCE is one image.
        tile_size: Height and width of a tile, in pixels.
        overlap: Share of a tile that it has in common with its neighbour, 0 to below 1.
        tiling: blended averages overlapping tiles; exact gives what the whole image would give,
            where the network is local; auto takes exact where it can.
        threshold: Probability from which a pixel is foreground; the tuned one unless given.
        save: What to write, of mask, prob, overlay, polygons and lines, separated by commas.
            Polygons and centre lines are GeoPackages with a style for QGIS; name --out FILE.geojson
            for GeoJSON.
        aoi: GeoPackage or GeoJSON of polygons; nothing is computed outside of them.
        bands: Bands that the model takes, in its order, by name or number: red,green,blue or 3,2,1.
        resolution: Metres of a pixel that rasters are read at, with the probabilities resampled
            back; that of the training images unless given, native takes rasters as they are.
        vrt: Take SOURCE for a VRT that puts GeoTIFFs together.
        refine: Correct probabilities along the image's edges: guided filter, or dense CRF (of
            classes that exclude each other; window by window, whose borders may show).
        simplify: Farthest that polygons and lines may leave the pixels' outline, in pixels; 0 keeps
            the outline.
        lines_of: Class of which centre lines are traced, where there are several.
        cog: Write rasters as cloud-optimised GeoTIFF.
        dry_run: Print tiles, memory, disk and time that it would take, and write nothing.
        resume: Go on with the same command where it was interrupted.
        exist_ok: Write over results that are there.
        device: auto, cpu, cuda, cuda:1, mps.
        overrides: The settings that flags named.
    """
    from delineate.prediction.predict import predict as run_prediction
    from delineate.prediction.scene_options import SceneOptions

    if not sources:
        raise UsageError("predict needs at least one image or folder after MODEL")
    summary = run_prediction(
        model,
        sources,
        out=out,
        tile_size=tile_size,
        overlap=overlap,
        tiling=tiling,
        threshold=threshold,
        save=split_names(save),
        options=SceneOptions(
            bands=split_names(bands or ""),
            resolution=resolution,
            aoi=aoi,
            vrt=vrt,
            refine=refine,
            cog=cog,
            simplify=simplify,
            lines_of=lines_of,
        ),
        dry_run=dry_run,
        resume=resume,
        exist_ok=exist_ok,
        device=device,
        overrides=overrides,
    )
    if summary.estimate is None:
        print_prediction(summary, out)
    else:
        print_estimate(summary.estimate)
