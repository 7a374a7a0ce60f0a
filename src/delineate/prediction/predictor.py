"""From the pixels of one image to probabilities and a mask: the one way, for all callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ResourceError, ShapeError, UsageError
from delineate.tiling import Blend, Window, blend_weights, tile_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from delineate.distributed import Precision
    from delineate.model_file import SegmentationModel
    from delineate.prediction.engines import Engine
    from delineate.preprocessing import Preprocessing
    from delineate.task import Task


@dataclass(frozen=True)
class Predictor:
    """Segments images of any size, tile by tile.

    Tiles overlap, and each pixel's probabilities are the weighted mean over the tiles that hold
    it. An image that fits into one tile is predicted whole. The order of the tiles is fixed, so
    the same image gives the same result.
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
    stride: int = field(default=1, kw_only=True)
    """The network's stride in pixels; tiles start at multiples of it where they can."""
    thresholds: Sequence[float] | None = field(default=None, kw_only=True)
    """One per class, on probabilities; None is 0.5. Multiclass takes the argmax and none."""
    postprocessing: dict[str, int] = field(default_factory=dict, kw_only=True)
    """Keyword arguments of `postprocess_mask`."""

    def predict_probs(
        self, pixels: NDArray[Any], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Return the probabilities of one image.

        Args:
            pixels: The image as read, (H, W, C).
            valid: Pixels that hold a measurement, (H, W); None counts all. The others, and pixels
                that are not finite, are replaced by the mean of the rest before the network sees
                them, so that they do not spoil their neighbours.

        Returns:
            (num_classes, H, W) float32 in [0, 1].

        Raises:
            ShapeError: If `pixels` is not (H, W, C).
            DataError: If the channels do not fit the model.
            ResourceError: If a single tile does not fit into the device's memory.
        """
        if pixels.ndim != 3:
            raise ShapeError(f"pixels are {pixels.shape}; they must be (height, width, channels)")
        image = self.preprocessing(_fill_invalid(pixels, valid))
        _, height, width = image.shape
        windows = tile_windows(height, width, self.tile_size, self.overlap, multiple=self.stride)
        if len(windows) == 1:
            return np.asarray(self._tile_probs(image, windows)[0])
        return self._blend(image, windows)

    def predict_mask(
        self, pixels: NDArray[Any], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """Return the post-processed hard labels of one image.

        Args and errors are those of `predict_probs`.

        Returns:
            (H, W) uint8, class indices; multilabel (num_classes, H, W) of 0 and 1.
        """
        return self.mask(self.predict_probs(pixels, valid))

    def mask(self, probs: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the post-processed hard labels for probabilities, (num_classes, H, W)."""
        from delineate.postprocess import postprocess_mask

        labels = self.task.mask(probs, self.thresholds)
        return postprocess_mask(labels, self.task, **self.postprocessing)

    def _blend(self, image: NDArray[np.float32], windows: list[Window]) -> NDArray[np.float32]:
        weights = blend_weights((windows[0].height, windows[0].width), self.blend)
        sums = np.zeros((self.task.num_classes, *image.shape[1:]), dtype=np.float32)
        totals = np.zeros(image.shape[1:], dtype=np.float32)
        for start in range(0, len(windows), self.batch_size):
            batch = windows[start : start + self.batch_size]
            for window, probs in zip(batch, self._tile_probs(image, batch), strict=True):
                sums[:, *window.slices] += probs * weights
                totals[window.slices] += weights
        sums /= totals
        # A weighted mean of probabilities may leave [0, 1] by a rounding.
        return np.minimum(sums, 1, out=sums)

    def _tile_probs(
        self, image: NDArray[np.float32], windows: Sequence[Window]
    ) -> NDArray[np.float32]:
        import torch

        tiles = np.stack([image[:, *window.slices] for window in windows])
        try:
            with torch.inference_mode():
                logits: Tensor = self.engine(torch.from_numpy(tiles))
                probs: NDArray[np.float32] = self.task.probs(logits).float().cpu().numpy()
        except torch.OutOfMemoryError as error:
            if len(windows) == 1:
                height, width = tiles.shape[2:]
                raise ResourceError(
                    f"a tile of {height}x{width} pixels does not fit into the device's memory; "
                    "choose a smaller tile size"
                ) from error
            middle = len(windows) // 2
        else:
            return probs
        return np.concatenate(
            [self._tile_probs(image, windows[:middle]), self._tile_probs(image, windows[middle:])]
        )


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
            be one number for both sides, ``postprocessing`` a part of its fields.

    Raises:
        ModelFileError: If the model file is refused.
        UsageError: If the device is not there or a setting does not fit the model.
    """
    from delineate.config import build_settings, merge_settings
    from delineate.distributed import amp_dtype, choose_device
    from delineate.model_file import SegmentationModel, load_model
    from delineate.prediction.engines import torch_engine

    given = {name: value for name, value in settings.items() if value is not None}
    if isinstance(given.get("tile_size"), int):
        given["tile_size"] = (given["tile_size"],) * 2
    chosen = choose_device(device)
    if not isinstance(model, SegmentationModel):
        model = load_model(Path(model), chosen)
    stored = {"tile_size": model.tile_size, **model.prediction}
    merged = merge_settings({"prediction": stored}, {"prediction": given})
    prediction = build_settings(merged).prediction
    return Predictor(
        torch_engine(model.network, chosen, amp_dtype(chosen, amp)),
        model.task,
        model.preprocessing,
        tile_size=prediction.tile_size,
        overlap=prediction.overlap,
        blend=prediction.blend,
        batch_size=prediction.batch_size,
        stride=int(getattr(model.network, "stride", 1)),
        thresholds=choose_thresholds(model.task, model.thresholds, threshold),
        postprocessing=prediction.postprocessing.model_dump(),
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


def _fill_invalid(pixels: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Replace what holds no measurement by its channel's mean over what does."""
    is_missing = np.zeros(pixels.shape, dtype=bool)
    if np.issubdtype(pixels.dtype, np.floating):
        np.logical_not(np.isfinite(pixels), out=is_missing)
    if valid is not None:
        is_missing |= ~valid[:, :, None]
    if not is_missing.any():
        return pixels
    filled = pixels.copy()
    for channel in range(pixels.shape[2]):
        missing = is_missing[:, :, channel]
        known = pixels[:, :, channel][~missing]
        mean = known.mean(dtype=np.float64) if known.size else 0
        filled[:, :, channel][missing] = pixels.dtype.type(mean)
    return filled
