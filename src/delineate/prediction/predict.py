"""Segment files into files."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from delineate.errors import DataError, PartialResultError, ShapeError
from delineate.memory import keep_freed_memory
from delineate.model_file import SegmentationModel
from delineate.prediction.estimate import PredictionEstimate, estimate_prediction
from delineate.prediction.images import predict_image
from delineate.prediction.quality import ImageQuality
from delineate.prediction.request import Request, merge_flags, prepare_request
from delineate.prediction.scene_options import NO_OPTIONS, SceneOptions
from delineate.prediction.scene_quality import judge_scene
from delineate.prediction.scenes import SceneSummary, predict_scene
from delineate.progress import Bar, progress_bar
from delineate.raster_windows import PixelSize
from delineate.rasters import read_size


@dataclass(frozen=True)
class PredictionSummary:
    """What a prediction did."""

    num_images: int
    """Images segmented."""
    num_pixels: int
    """Pixels of these images."""
    files: tuple[Path, ...]
    """Files written, image by image."""
    seconds: float
    """Time taken, from the loading of the model on."""
    scenes: tuple[SceneSummary, ...] = ()
    """How the images were computed that are too large to be held in memory."""
    estimate: PredictionEstimate | None = None
    """What it would take, where that was asked for and nothing was done."""
    qualities: tuple[tuple[Path, ImageQuality], ...] = ()
    """Of each image, what can be said of its prediction without the truth."""
    trained_at: PixelSize | None = None
    """Pixel size that the model was trained at, in metres, where it knows it."""
    num_unsized: int = 0
    """Images that do not tell theirs and were taken to have this one."""


def predict(
    model: SegmentationModel | Path | str,
    sources: Sequence[Path | str] | Path | str,
    *,
    out: Path | str,
    tile_size: int | tuple[int, int] | None = None,
    overlap: float | None = None,
    tiling: str | None = None,
    threshold: float | Sequence[float] | None = None,
    save: Sequence[str] = ("mask",),
    dry_run: bool = False,
    resume: bool = False,
    exist_ok: bool = False,
    options: SceneOptions = NO_OPTIONS,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
) -> PredictionSummary:
    """Segment images and write their masks, probabilities and overlays.

    What is None is as the model says. A georeferenced image gives georeferenced results. Pixels
    that the file declares as nodata, or that are not finite, in every band, become 255 in the mask
    and NaN in the probabilities. `plan_outputs` tells the names of the results.

    A TIFF of more than `scenes.STREAMED_PIXELS` is computed by bands and never held in memory, nor
    is its result; it becomes a GeoTIFF, and its overlay is thinned out. What was done when a
    prediction is interrupted stays beside the results, and `resume` goes on with it.

    Args:
        model: A model, a model file or a run folder.
        sources: Images, and folders of images.
        out: A folder; where the one source is an image, also a file.
        tile_size: Side, or height and width, of a tile in pixels.
        overlap: Share of a tile that it has in common with its neighbour, in [0, 1).
        tiling: ``auto``, ``blended`` or ``exact``.
        threshold: On probabilities, for all classes or one per class; not for multiclass.
        save: Any of ``mask``, ``prob``, ``overlay``, ``polygons`` and ``lines``.
        dry_run: Write nothing and tell what the prediction would take, as `estimate`.
        resume: Go on with the same prediction where it was interrupted.
        exist_ok: Whether files that are there may be replaced; a source never is.
        options: Bands, resolution, area of interest, refinement: what is wanted of rasters. With
            any of these, and for polygons and lines, every image is computed by bands.
        device: ``auto``, ``cpu``, ``cuda``, ...
        overrides: Settings of the section ``prediction``, as nested dictionaries.

    Raises:
        UsageError: If an argument does not fit the model or the sources, or results exist.
        ModelFileError: If the model file is refused.
        DataError: If no image could be segmented; the message lists each reason.
        PartialResultError: If some could not; the message lists them, the others are written.
        KeyboardInterrupt: After Ctrl-C; the message says where the work lies, if there is some.
    """
    start = time.monotonic()
    request = prepare_request(
        model,
        sources,
        out=Path(out),
        save=save,
        exist_ok=exist_ok,
        resume=resume,
        device=device,
        threshold=threshold,
        settings=merge_flags(overrides, tile_size=tile_size, overlap=overlap, tiling=tiling),
        options=options,
        is_dry=dry_run,
    )
    if dry_run:
        estimate = estimate_prediction(request, Path(out))
        return PredictionSummary(0, 0, (), time.monotonic() - start, estimate=estimate)
    try:
        summary = _predict(request, Path(out))
    except KeyboardInterrupt as interrupt:
        if not request.unfinished.folder.is_dir():
            raise
        raise KeyboardInterrupt(
            f"what is done is kept in {request.unfinished.folder}, and the same command with "
            "--resume goes on with it"
        ) from interrupt
    return replace(summary, seconds=time.monotonic() - start)


def _predict(request: Request, out: Path) -> PredictionSummary:
    start = time.monotonic()
    files: list[Path] = []
    scenes: list[SceneSummary] = []
    qualities: list[tuple[Path, ImageQuality]] = []
    failures: list[DataError | ShapeError] = []
    num_pixels = 0
    jobs = [job for job in request.jobs if not request.unfinished.is_finished(job.image)]
    with progress_bar("tiles", 0) as bar, keep_freed_memory():
        tiles = _TileCount(bar, request)
        for job in jobs:
            try:
                if job.image in request.streamed:
                    written, scene = predict_scene(
                        request.predictor,
                        job,
                        request.unfinished,
                        request.choose_tiles,
                        options=request.options,
                        on_plan=tiles.expect,
                        on_tiles=bar.advance,
                    )
                    scenes.append(scene)
                    size = scene.height * scene.width
                    quality = judge_scene(request.predictor, job.image, request.options)
                    if quality is not None:
                        quality = replace(quality, expected_dice=scene.expected_dice)
                else:
                    written, size, quality = predict_image(
                        request.predictor, job, on_tiles=bar.advance
                    )
            except (DataError, ShapeError) as error:
                failures.append(error)
            else:
                files += written
                num_pixels += size
                if quality is not None:
                    qualities.append((job.image, quality))
                request.unfinished.finish(job.image)
    request.unfinished.end()
    if failures:
        _report(failures, len(request.jobs), out)
    seconds = time.monotonic() - start
    return PredictionSummary(
        len(jobs),
        num_pixels,
        tuple(files),
        seconds,
        tuple(scenes),
        qualities=tuple(qualities),
        trained_at=request.predictor.preprocessing.pixel_size,
        num_unsized=len(request.unsized.intersection(job.image for job in jobs)),
    )


class _TileCount:
    """The number of tiles of a prediction, as far as it is known."""

    def __init__(self, bar: Bar, request: Request) -> None:
        self.bar = bar
        self.total = 0
        predictor = request.predictor
        for job in request.jobs:
            if job.image not in request.streamed:
                try:
                    self.total += predictor.plan(*read_size(job.image)).num_tiles
                except DataError:
                    # The reader will say what is wrong with it.
                    continue
        bar.resize(self.total)

    def expect(self, num_tiles: int) -> None:
        """Count a raster's tiles, which are known when its work begins."""
        self.total += num_tiles
        self.bar.resize(self.total)


def _report(failures: Sequence[DataError | ShapeError], num_images: int, out: Path) -> None:
    if num_images == 1:
        raise failures[0]
    reasons = "".join(f"\n  {failure}" for failure in failures)
    if len(failures) == num_images:
        raise DataError(f"none of the {num_images} images could be segmented:{reasons}")
    raise PartialResultError(
        f"{len(failures)} of {num_images} images could not be segmented, the results of the "
        f"others are in {out}:{reasons}"
    )
