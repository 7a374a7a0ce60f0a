"""Let the edges of the image correct the edges of the probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from delineate.errors import ShapeError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def guided_filter(
    image: NDArray[Any],
    probs: NDArray[np.floating[Any]],
    *,
    radius: int = 8,
    edge: float = 0.05,
    subsampling: int = 1,
    value_range: tuple[float, float] = (0.0, 255.0),
) -> NDArray[np.float32]:
    """Return probabilities smoothed within the regions of an image and not across its edges.

    In every box the probability is taken for a linear function of the image's channels, and a pixel
    gets the mean of the functions of all boxes that hold it (guided filter,
    https://doi.org/10.1109/TPAMI.2012.213; with `subsampling` the functions are found on a smaller
    image: fast guided filter, https://arxiv.org/abs/1505.00996). At the border the boxes are cut
    off. A pixel depends on no other farther than 2 `radius` (and, subsampled, not quite alike from
    crop to crop).

    Args:
        image: (H, W, C), C of 1 or more; up to the first three channels guide.
        probs: (K, H, W); each class by itself. Multiclass probabilities still sum to 1.
        radius: Half the side of a box, in pixels.
        edge: Contrast, as a share of the value range, that is kept as an edge; smaller contrasts
            are smoothed over. Its square is the paper's epsilon.
        subsampling: How many times smaller the image is on which the functions are found.
        value_range: The image values that count as 0 and 1.

    Returns:
        (K, H, W) float32 in [0, 1].

    Raises:
        ShapeError: If the sizes do not fit.
        UsageError: If a number is out of range.
    """
    if image.ndim != 3 or probs.ndim != 3 or image.shape[:2] != probs.shape[1:]:
        raise ShapeError(
            f"an image of shape {image.shape} does not fit probabilities of shape {probs.shape}; "
            "they should be (H, W, C) and (K, H, W)"
        )
    if radius < 1 or edge <= 0 or not 1 <= subsampling <= radius:
        raise UsageError(
            f"radius {radius}, edge {edge} and subsampling {subsampling} should be at least 1, "
            "above 0, and from 1 to the radius"
        )
    low, high = value_range
    guide = (image[..., :3].astype(np.float64) - low) / (high - low)
    guide = np.nan_to_num(guide, nan=0.0, posinf=1.0, neginf=0.0)
    targets = np.moveaxis(probs, 0, -1).astype(np.float64)
    small_guide, small_targets, small_radius = guide, targets, radius
    if subsampling > 1:
        size = -(-guide.shape[1] // subsampling), -(-guide.shape[0] // subsampling)
        small_guide = _resize(guide, size, cv2.INTER_AREA)
        small_targets = _resize(targets, size, cv2.INTER_AREA)
        small_radius = max(1, round(radius / subsampling))
    slopes, offsets = _linear_models(small_guide, small_targets, small_radius, edge**2)
    if subsampling > 1:
        # The models vary slowly: enlarge them, not the result.
        size = guide.shape[1], guide.shape[0]
        flat = _resize(slopes.reshape(*slopes.shape[:2], -1), size, cv2.INTER_LINEAR)
        slopes = flat.reshape(*guide.shape[:2], *slopes.shape[2:])
        offsets = _resize(offsets, size, cv2.INTER_LINEAR)
    refined = np.einsum("hwc,hwck->khw", guide, slopes) + np.moveaxis(offsets, -1, 0)
    return np.asarray(np.clip(refined, 0, 1), dtype=np.float32)


def _linear_models(
    guide: NDArray[np.float64], targets: NDArray[np.float64], radius: int, epsilon: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean slopes (H, W, C, K) and offsets (H, W, K) of the boxes around each pixel."""
    channels, classes = guide.shape[2], targets.shape[2]
    means = _box_means(guide, radius)
    target_means = _box_means(targets, radius)
    products: NDArray[np.float64] = guide[..., :, None] * guide[..., None, :]
    variances = _box_means(products.reshape(*guide.shape[:2], -1), radius)
    variances = variances.reshape(*guide.shape[:2], channels, channels)
    variances -= means[..., :, None] * means[..., None, :]
    crossed: NDArray[np.float64] = guide[..., :, None] * targets[..., None, :]
    covariances = _box_means(crossed.reshape(*guide.shape[:2], -1), radius)
    covariances = covariances.reshape(*guide.shape[:2], channels, classes)
    covariances -= means[..., :, None] * target_means[..., None, :]
    ridge = epsilon * np.eye(channels)
    slopes = np.asarray(np.linalg.solve(variances + ridge, covariances), dtype=np.float64)
    offsets = target_means - np.einsum("hwc,hwck->hwk", means, slopes)
    flat = _box_means(slopes.reshape(*guide.shape[:2], -1), radius)
    return flat.reshape(slopes.shape), _box_means(offsets, radius)


def _box_means(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Return the mean of the box around each pixel, cut off at the border, channel by channel."""
    size = (2 * radius + 1, 2 * radius + 1)

    def sums(layer: NDArray[np.float64]) -> NDArray[np.float64]:
        found = cv2.boxFilter(layer, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
        return cast("NDArray[np.float64]", found)

    counts = sums(np.ones(values.shape[:2]))
    layers = [sums(np.ascontiguousarray(layer)) / counts for layer in np.moveaxis(values, -1, 0)]
    return np.stack(layers, axis=-1)


def _resize(
    values: NDArray[np.float64], size: tuple[int, int], interpolation: int
) -> NDArray[np.float64]:
    """Resize (H, W, C) to a width and height."""
    layers = [
        cv2.resize(np.ascontiguousarray(layer), size, interpolation=interpolation)
        for layer in np.moveaxis(values, -1, 0)
    ]
    return np.stack(layers, axis=-1).astype(np.float64)


def dense_crf(
    image: NDArray[np.uint8],
    probs: NDArray[np.floating[Any]],
    *,
    iterations: int = 5,
    smoothness: float = 3.0,
    appearance_distance: float = 60.0,
    appearance_contrast: float = 10.0,
) -> NDArray[np.float32]:
    """Return multiclass probabilities after a fully connected conditional random field.

    Pixels that are near, and more so pixels that are near and alike, are drawn to one class
    (https://arxiv.org/abs/1210.5644). Every pixel depends on every other of the image, so a raster
    that is refined tile by tile may show the tiles' borders.

    Args:
        image: (H, W, 3), 8 bits.
        probs: (K, H, W), K of 2 or more, summing to 1.
        iterations: Steps of the mean field.
        smoothness: Distance in pixels over which neighbours agree, whatever they look like.
        appearance_distance: Distance in pixels over which alike pixels agree.
        appearance_contrast: Difference in value at which pixels stop being alike.

    Returns:
        (K, H, W) float32 summing to 1.

    Raises:
        ShapeError: If the shapes do not fit.
        UsageError: If the extra crf is not installed.
    """
    fits = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
    if not fits or probs.ndim != 3 or len(probs) < 2 or image.shape[:2] != probs.shape[1:]:
        raise ShapeError(
            f"an image of shape {image.shape} and {image.dtype} does not fit probabilities of "
            f"shape {probs.shape}; they should be 8-bit (H, W, 3) and (K, H, W) of 2 classes or "
            "more"
        )
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise UsageError(
            "the dense CRF needs the package of the extra crf; pip install 'delineate[crf]'"
        ) from error
    classes, height, width = probs.shape
    field = DenseCRF2D(width, height, classes)
    unary = -np.log(np.clip(probs, 1e-6, 1)).reshape(classes, -1)
    field.setUnaryEnergy(np.ascontiguousarray(unary, dtype=np.float32))
    field.addPairwiseGaussian(sxy=smoothness, compat=3)
    field.addPairwiseBilateral(
        sxy=appearance_distance,
        srgb=appearance_contrast,
        rgbim=np.array(image, order="C"),
        compat=10,
    )
    found = np.array(field.inference(iterations), dtype=np.float32)
    return found.reshape(classes, height, width)
