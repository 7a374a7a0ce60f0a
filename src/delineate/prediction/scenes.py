"""Segment a raster of any size into rasters, so that it can be interrupted and gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import DataError, ShapeError
from delineate.files import check_free_space
from delineate.prediction.journal import (
    journal_header,
    open_journal,
    remove_journal,
    resume_journal,
)
from delineate.prediction.scene_options import (
    NO_OPTIONS,
    SceneOptions,
    finish_scene,
    open_scene,
)
from delineate.prediction.scene_plan import disk_bytes, keeps_probs, plan_scene
from delineate.prediction.scene_products import write_products
from delineate.prediction.scene_quality import DiceTally, tally_labels
from delineate.prediction.streaming import stream_bands
from delineate.prediction.tile_choice import TileChoice
from delineate.prediction.unfinished import Unfinished, file_identity
from delineate.preprocessing import convert_channels
from delineate.raster_windows import open_raster
from delineate.rasters import TIFF_SUFFIXES, read_header
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.prediction.journal import Journal
    from delineate.prediction.outputs import Job
    from delineate.prediction.predictor import Predictor
    from delineate.prediction.scene_options import Scene
    from delineate.prediction.scene_plan import ScenePlan
    from delineate.prediction.scene_resolution import Resampling
    from delineate.prediction.seams import SeamSums
    from delineate.prediction.streaming import Band
    from delineate.preprocessing import Preprocessing
    from delineate.raster_windows import RasterReader

STREAMED_PIXELS = 2**24
"""A TIFF of more pixels than this is computed by bands instead of whole."""

_STATISTICS_SIDES = (512, 8192)


@dataclass(frozen=True)
class SceneSummary:
    """How a raster was computed."""

    image: Path
    """The raster."""
    height: int
    width: int
    num_tiles: int
    """Tiles that cover it once."""
    choice: TileChoice
    """How it was tiled."""
    seams: SeamSums
    """How far neighbouring tiles disagree where one hands over to the next."""
    resampling: Resampling | None = None
    """What was done about the size of its pixels."""
    expected_dice: float | None = None
    """Of the mask before post-processing; see `ImageQuality.expected_dice`."""


def is_streamed(path: Path) -> bool:
    """Return whether a file is so large a TIFF that it is computed by bands."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return False
    try:
        with open_raster(path) as source:
            return source.height * source.width > STREAMED_PIXELS
    except DataError:
        # Stacks of channels are for the reader of whole files, which also tells what is damaged.
        try:
            header = read_header(path)
        except DataError:
            return False
        return header.num_pages == 1 and header.size[0] * header.size[1] > STREAMED_PIXELS


def predict_scene(
    predictor: Predictor,
    job: Job,
    unfinished: Unfinished,
    choose: Callable[[Predictor], TileChoice],
    *,
    options: SceneOptions = NO_OPTIONS,
    on_plan: Callable[[int], None] = lambda _: None,
    on_tiles: Callable[[int], None] = lambda _: None,
) -> tuple[list[Path], SceneSummary]:
    """Segment one raster and write its products, or go on where it was interrupted.

    Args:
        predictor: As the model and the user say.
        job: The raster and what to write.
        unfinished: Keeps a journal until the whole prediction is done.
        choose: Chooses the tiles; called when work begins, not when it goes on.
        options: How the raster is opened, and what is done with its probabilities.
        on_plan: Called once with the number of tiles left to compute.
        on_tiles: Called with the number of tiles done since the last call.

    Returns:
        The files written, and how.

    Raises:
        UnreadableFileError: If the raster is damaged.
        ShapeError: If its channels or type do not fit the model.
        UsageError: If it was changed since the work began.
        ResourceError: If the disk would not hold the results.
    """
    name = hashlib.sha256(str(job.image.resolve()).encode()).hexdigest()[:16]
    folder = unfinished.folder / name
    trained = predictor.preprocessing
    with (
        _named_errors(job.image),
        open_scene(job.image, trained.in_channels, options, trained.pixel_size) as scene,
        _open_work(unfinished, folder, scene, predictor, job, choose, options) as journal,
    ):
        choice = TileChoice.from_dict(journal.header["choice"])
        tiled = choice.apply(predictor)
        plan = plan_scene(tiled, scene.reader)
        first = divmod(len(journal), len(plan.tiles.rows))
        on_plan(_num_left(plan, first))
        for band in stream_bands(
            tiled.tile_probs,
            scene.reader,
            _fixed_preprocessing(predictor, journal),
            plan.tiles,
            plan.strips,
            num_classes=predictor.task.num_classes,
            batch_size=tiled.batch_size,
            num_workers=tiled.num_workers,
            first=first,
            on_tiles=on_tiles,
        ):
            pixels = _stored(band, predictor, journal)
            tallies = () if journal.is_prob else tally_labels(predictor, band, pixels, scene.area)
            journal.add(band.window, pixels, band.seams, tallies)
        computed = finish_scene(journal, scene, predictor, options)
        tally = DiceTally(predictor.estimator, journal.tallies)
        files = write_products(job, predictor, computed, scene.original, folder, options, tally)
        height, width = scene.original.height, scene.original.width
    summary = SceneSummary(
        job.image,
        height,
        width,
        plan.tiles.num_tiles,
        choice,
        journal.seams,
        scene.resampling,
        tally.expected,
    )
    return files, summary


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Name the raster in errors about shapes."""
    try:
        yield
    except ShapeError as error:
        raise ShapeError(f"{path}: {error}") from error


@contextmanager
def _open_work(
    unfinished: Unfinished,
    folder: Path,
    scene: Scene,
    predictor: Predictor,
    job: Job,
    choose: Callable[[Predictor], TileChoice],
    options: SceneOptions,
) -> Iterator[Journal]:
    """Go on with the work in a folder, or begin it."""
    identity = file_identity(job.image)
    if journal_header(folder) is not None:
        with resume_journal(folder, identity) as journal:
            yield journal
        return
    source = scene.reader
    empty = np.zeros((1, 1, source.count), source.dtype)
    convert_channels(empty, predictor.preprocessing.in_channels)
    check_free_space(
        job.path(job.products[0], needs_tiff=True),
        disk_bytes(
            job,
            predictor,
            scene.original.height * scene.original.width,
            scene=scene,
            options=options,
        ),
    )
    preprocessing = predictor.preprocessing.for_windows(source.dtype, _parts(source))
    choice = choose(predictor)
    choice.apply(predictor).plan(source.height, source.width)
    unfinished.make()
    num_bands = predictor.task.num_classes if predictor.task.kind == "multilabel" else 1
    is_prob = keeps_probs(job, scene, options)
    opened = open_journal(
        folder,
        identity,
        "float32" if is_prob else "uint8",
        predictor.task.num_classes if is_prob else num_bands,
        choice=choice.as_dict(),
        normalisation={"mean": preprocessing.mean, "std": preprocessing.std},
    )
    try:
        with opened as journal:
            yield journal
    except DataError:
        # Going on would meet the same damage again.
        remove_journal(folder)
        raise


def _fixed_preprocessing(predictor: Predictor, journal: Journal) -> Preprocessing:
    """Return the preprocessing with the mean and standard deviation that the work began with."""
    fixed = journal.header["normalisation"]
    return replace(
        predictor.preprocessing, kind="dataset", mean=tuple(fixed["mean"]), std=tuple(fixed["std"])
    )


def _parts(source: RasterReader) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Yield the pixels of a raster in parts, and which of them hold data."""
    height, width = _STATISTICS_SIDES
    for col in range(0, source.width, width):
        for row in range(0, source.height, height):
            rows, cols = min(height, source.height - row), min(width, source.width - col)
            yield source.read(Window(row, col, rows, cols))


def _stored(band: Band, predictor: Predictor, journal: Journal) -> NDArray[Any]:
    """Return what the journal keeps of a band: probabilities or labels, none without data."""
    if journal.is_prob:
        return np.where(band.valid, band.probs, np.float32(np.nan))
    labels = predictor.task.mask(band.probs, predictor.thresholds)
    labels = np.where(band.valid, labels, np.uint8(predictor.task.ignore_index))
    return labels if labels.ndim == 3 else labels[None]


def _num_left(plan: ScenePlan, first: tuple[int, int]) -> int:
    rows = len(plan.tiles.rows)
    left = sum(len(strip.cols) for strip in plan.strips[first[0] :]) * rows
    return left - first[1] * len(plan.strips[first[0]].cols) if first[0] < len(plan.strips) else 0
