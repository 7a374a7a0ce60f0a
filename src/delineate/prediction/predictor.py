"""From the pixels of one image to probabilities and a mask: the one way, for all callers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.distributed import ran_out_of_memory
from delineate.errors import ResourceError, ShapeError, UsageError
from delineate.memory import release_freed_memory
from delineate.prediction.tile_workers import choose_workers, count_cores, side_by_side
from delineate.tiling import Blend, Span, TilePlan, Tiling, plan_tiles

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from delineate.distributed import Precision
    from delineate.model_file import SegmentationModel
    from delineate.prediction.engines import Engine
    from delineate.prediction.quality import QualityEstimator
    from delineate.preprocessing import Preprocessing
    from delineate.raster_windows import Grid
    from delineate.task import Task


@dataclass(frozen=True)
class Predictor:
    """Segments images, tile by tile; image and result are held in memory.

    Tiles overlap, and each pixel's probabilities are the weighted mean over the tiles that hold
    it (blended) or those of the one tile that sees all that the network would see of the whole
    image (exact). An image that fits into one tile is predicted whole. The order of the tiles is
    fixed, so the same image gives the same result.
    """

    engine: Engine
    """Images (B, C, h, w) float32 in, logits (B, num_classes, h, w) out, on any device."""
    task: Task
    """Turns logits into probabilities and these into masks."""
    preprocessing: Preprocessing
    """Turns pixels into what the engine takes."""
    tile_size: tuple[int, int] = field(default=(512, 512), kw_only=True)
    """Height and width of a tile, in pixels."""
    overlap: float = field(default=0.25, kw_only=True)
    """Share of a tile that it has in common with its neighbour, in [0, 1)."""
    blend: Blend = field(default="gaussian", kw_only=True)
    """How probabilities of overlapping tiles are weighted."""
    batch_size: int = field(default=4, kw_only=True)
    """Tiles given to the engine at once."""
    tiling: Tiling = field(default="blended", kw_only=True)
    """How tiles become one result; exact needs a network that is local."""
    stride: int = field(default=1, kw_only=True)
    """The network's stride in pixels; tiles start at multiples of it where they can."""
    halo: int | None = field(default=None, kw_only=True)
    """How far the network sees, in pixels; None where all of a tile bears on each pixel."""
    thresholds: Sequence[float] | None = field(default=None, kw_only=True)
    """One per class, on probabilities; None is 0.5. Multiclass takes the argmax and none."""
    postprocessing: dict[str, Any] = field(default_factory=dict, kw_only=True)
    """Keyword arguments of `postprocess_mask`."""
    num_workers: int = field(default=1, kw_only=True)
    """Batches computed at once, on threads that share the cores."""
    device_type: str | None = field(default=None, kw_only=True)
    """What the engine computes on, such as ``cpu`` or ``cuda``, where that is known."""
    estimator: QualityEstimator | None = field(default=None, kw_only=True)
    """What can be said of a prediction without the truth, where the model remembers enough."""

    def plan(self, height: int, width: int) -> TilePlan:
        """Return the tiles of an image of `height` x `width` pixels.

        Raises:
            UsageError: If exact tiling is asked for and the network or the tiles do not allow it.
        """
        if self.tiling == "exact" and self.halo is None:
            raise UsageError(
                "exact tiling takes a network whose layers are local, and this one normalises over "
                "whole tiles (group or instance norm); give --tiling blended, which reports its "
                "seam error"
            )
        return plan_tiles(
            height,
            width,
            self.tile_size,
            self.tiling,
            overlap=self.overlap,
            blend=self.blend,
            stride=self.stride,
            halo=self.halo or 0,
        )

    def predict_probs(
        self,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        grid: Grid | None = None,
        *,
        on_tiles: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Return the probabilities of one image.

        Args:
            pixels: The image as read, (H, W, C).
            valid: Pixels that hold a measurement, (H, W); None counts all. The others, and pixels
                that are not finite, are the mean to the network, so that they do not spoil their
                neighbours.
            grid: From the image's pixels to those that the network reads, where they differ; the
                probabilities come back bilinearly, 0 where too few pixels around hold data.
            on_tiles: Called with the number of tiles done since the last call.

        Returns:
            (num_classes, H, W) float32 in [0, 1].

        Raises:
            ShapeError: If `pixels` is not (H, W, C).
            DataError: If the channels do not fit the model.
            ResourceError: If a single tile does not fit into the device's memory.
        """
        if pixels.ndim != 3:
            raise ShapeError(f"pixels are {pixels.shape}; they must be (height, width, channels)")
        if grid is not None:
            pixels, valid = grid.resample_image(pixels, valid)
        preprocessing = self.preprocessing.for_image(pixels, valid)
        height, width, _ = pixels.shape
        sums = np.zeros((self.task.num_classes, height, width), dtype=np.float32)
        plan = self.plan(height, width)
        # A few tiles are faster one after the other, each on all cores; so is what would be left
        # over of as many rounds as there are.
        num_workers = self.num_workers if plan.num_tiles >= 4 * self.num_workers else 1
        batches = list(_batches(plan, self.batch_size if num_workers == 1 else 1))
        num_alone = len(batches) % num_workers

        def compute(
            batch: list[tuple[Span, Span]],
        ) -> tuple[list[tuple[Span, Span]], NDArray[np.float32]]:
            windows = [np.s_[row.start : row.stop, col.start : col.stop] for row, col in batch]
            tiles = [
                preprocessing.network_input(
                    pixels[window], None if valid is None else valid[window]
                )
                for window in windows
            ]
            return batch, self.tile_probs(as_batch(tiles))

        together = side_by_side(compute, batches[num_alone:], num_workers, depth=1)
        for batch, tile_probs in chain(map(compute, batches[:num_alone]), together):
            for (row, col), probs in zip(batch, tile_probs, strict=True):
                add_tile(sums, probs, row, col)
            if on_tiles is not None:
                on_tiles(len(batch))
        # A weighted mean of probabilities may leave [0, 1] by a rounding.
        np.minimum(sums, 1, out=sums)
        if grid is None:
            return sums
        found, _ = grid.back.resample_image(np.moveaxis(sums, 0, -1), valid)
        return np.ascontiguousarray(np.moveaxis(found, -1, 0))

    def predict_mask(
        self, pixels: NDArray[Any], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """Return the post-processed hard labels of one image.

        Args and errors are those of `predict_probs`.

        Returns:
            (H, W) uint8, class indices; multilabel (num_classes, H, W) of 0 and 1. The task's
            `ignore_index` where `valid` is false.
        """
        return self.mask(self.predict_probs(pixels, valid), valid)

    def mask(
        self, probs: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """Return the post-processed hard labels for probabilities, (num_classes, H, W).

        Pixels that are not valid are background to the post-processing, and `ignore_index` after.
        """
        from delineate.postprocess import postprocess_mask

        labels = self.task.mask(probs, self.thresholds)
        if valid is None:
            return postprocess_mask(labels, self.task, **self.postprocessing)
        names, background = self.task.class_names, self.task.background
        nothing = np.uint8(0 if background is None else names.index(background))
        labels = np.where(valid, labels, nothing)
        labels = postprocess_mask(labels, self.task, **self.postprocessing)
        return np.where(valid, labels, np.uint8(self.task.ignore_index))

    def tile_probs(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities of a batch of tiles.

        Where the device's memory does not hold the batch, parts of it are computed one by one.

        Args:
            tiles: Normalised, (B, in_channels, h, w).

        Returns:
            (B, num_classes, h, w) float32.

        Raises:
            ResourceError: If a single tile does not fit into the device's memory.
        """
        probs = self._try_tiles(tiles)
        if probs is None:
            release_freed_memory()
            probs = self._try_tiles(tiles) if len(tiles) == 1 else None
        if probs is not None:
            return probs
        if len(tiles) == 1:
            height, width = tiles.shape[2:]
            raise ResourceError(
                f"a tile of {height}x{width} pixels does not fit into the device's memory; "
                "choose a smaller tile size"
            )
        middle = len(tiles) // 2
        return np.concatenate([self.tile_probs(tiles[:middle]), self.tile_probs(tiles[middle:])])

    def _try_tiles(self, tiles: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the probabilities of a batch; None where memory does not hold it."""
        import torch

        try:
            with torch.inference_mode():
                logits: Tensor = self.engine(torch.from_numpy(tiles))
                probs: NDArray[np.float32] = self.task.probs(logits).float().cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            return None
        return probs


def as_batch(tiles: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return tiles (C, h, w) as one array (B, C, h, w), a single one without a copy."""
    return tiles[0][None] if len(tiles) == 1 else np.stack(tiles)


def add_tile(
    sums: NDArray[np.float32],
    probs: NDArray[np.float32],
    row: Span,
    col: Span,
    origin: tuple[int, int] = (0, 0),
) -> None:
    """Add a tile's share to the probabilities of an image or of a part of it.

    Args:
        sums: Probabilities so far, (C, H, W); changed in place. The kept pixels of the tile that
            lie left or right of it are left out.
        probs: Those of the tile, (C, h, w).
        row: The tile's rows.
        col: The tile's columns.
        origin: Row and column of the image that `sums` begins at; no kept row lies above it.
    """
    left = max(col.kept_start, origin[1])
    right = min(col.kept_stop, origin[1] + sums.shape[2])
    part = probs[
        :,
        row.kept_start - row.start : row.kept_stop - row.start,
        left - col.start : right - col.start,
    ]
    if row.shares is not None and col.shares is not None:
        shares = col.shares[left - col.kept_start : right - col.kept_start]
        part = part * (row.shares[:, None] * shares)
    sums[
        :,
        row.kept_start - origin[0] : row.kept_stop - origin[0],
        left - origin[1] : right - origin[1],
    ] += part


def _batches(plan: TilePlan, batch_size: int) -> Iterator[list[tuple[Span, Span]]]:
    """Yield tiles of one shape, up to `batch_size` of them, in row order."""
    batch: list[tuple[Span, Span]] = []
    shape = None
    for row in plan.rows:
        for col in plan.cols:
            last_shape, shape = shape, (row.stop - row.start, col.stop - col.start)
            if batch and (len(batch) == batch_size or shape != last_shape):
                yield batch
                batch = []
            batch.append((row, col))
    yield batch


def load_predictor(
    model: SegmentationModel | Path | str,
    *,
    device: str = "auto",
    threshold: float | Sequence[float] | None = None,
    amp: Precision = "auto",
    **settings: Any,
) -> Predictor:
    """Return a predictor for a model; what is not given is as the model says.

    Args:
        model: A model, a model file or a run folder.
        device: ``auto``, ``cpu``, ``cuda``, ...
        threshold: On probabilities, for all classes or one per class; not for multiclass.
        amp: Reduced precision; auto takes what the device has in hardware.
        **settings: Fields of `PredictionConfig`; None leaves a field as it is. ``tile_size`` may
            be one number for both sides, ``postprocessing`` a part of its fields. The batch size
            that a model remembers is for GPUs.

    Raises:
        ModelFileError: If the model file is refused.
        UsageError: If the device is not there or a setting does not fit the model.
    """
    from delineate.config import build_settings, merge_settings
    from delineate.distributed import amp_dtype, choose_device
    from delineate.model_file import SegmentationModel, load_model
    from delineate.models.folding import fold_norms
    from delineate.prediction.engines import torch_engine
    from delineate.prediction.quality import QualityEstimator
    from delineate.prediction.tile_choice import choose_tiling, network_halo, wanted_tiling
    from delineate.prediction.views import average_views

    given = {name: value for name, value in settings.items() if value is not None}
    if isinstance(given.get("tile_size"), int):
        given["tile_size"] = (given["tile_size"],) * 2
    chosen = choose_device(device)
    if not isinstance(model, SegmentationModel):
        model = load_model(Path(model), chosen)
    stored = {"tile_size": model.tile_size, **model.prediction}
    merged = merge_settings({"prediction": stored}, {"prediction": given})
    prediction = build_settings(merged).prediction
    halo = network_halo(model.network) if prediction.views == "one" else None
    engine = torch_engine(fold_norms(model.network), chosen, amp_dtype(chosen, amp))
    stride = int(getattr(model.network, "stride", 1))
    return Predictor(
        average_views(engine, model.task, prediction.views),
        model.task,
        model.preprocessing,
        tile_size=prediction.tile_size,
        overlap=prediction.overlap,
        blend=prediction.blend,
        # A batch gains nothing on a CPU and takes its memory.
        batch_size=1
        if chosen.type == "cpu" and "batch_size" not in given
        else prediction.batch_size,
        tiling=choose_tiling(
            wanted_tiling(model.prediction, given), prediction.tile_size, halo, stride
        ),
        stride=stride,
        halo=halo,
        thresholds=choose_thresholds(model.task, model.thresholds, threshold),
        postprocessing=prediction.postprocessing.model_dump(),
        num_workers=choose_workers(count_cores()) if chosen.type == "cpu" else 1,
        device_type=chosen.type,
        estimator=QualityEstimator.from_reference(model.task, model.preprocessing, model.reference),
    )


def choose_thresholds(
    task: Task, stored: tuple[float, ...] | None, given: float | Sequence[float] | None
) -> tuple[float, ...] | None:
    """Return one threshold per class: the given ones, else the stored ones, else None.

    Raises:
        UsageError: If the task takes no thresholds, or the given ones do not fit it.
    """
    if given is None:
        return stored
    if not task.has_threshold:
        raise UsageError("a multiclass model takes the most probable class and no threshold")
    levels = (given,) * task.num_classes if isinstance(given, int | float) else tuple(given)
    if len(levels) != task.num_classes:
        raise UsageError(f"{len(levels)} thresholds for {task.num_classes} classes; give one each")
    if not all(0 <= level <= 1 for level in levels):
        raise UsageError(f"thresholds are on probabilities, from 0 to 1, got {levels}")
    return levels
