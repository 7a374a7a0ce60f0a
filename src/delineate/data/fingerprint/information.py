"""What a pixel's values alone tell of its class, in images that were not looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_LEVELS = 12
"""Quantiles that a channel's values are divided into."""
USED_CHANNELS = 3
"""Of more channels, those with the largest spread are looked at."""
NUM_FOLDS = 5
PRIOR_PIXELS = 20
"""How many pixels the shares of the classes count for where a cell has few of its own."""
SMALLEST_STD = 1e-6


def normalise_images(values: NDArray[np.float64], images: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return values less their image's mean, over its standard deviation, channel by channel.

    Args:
        values: (N, C).
        images: The image of each pixel, (N,), counted from 0.
    """
    counts = np.maximum(np.bincount(images), 1)
    out = np.empty_like(values)
    for channel in range(values.shape[1]):
        column = values[:, channel]
        means = np.bincount(images, column) / counts
        centred = column - means[images]
        stds = np.sqrt(np.bincount(images, centred**2) / counts)
        out[:, channel] = centred / np.maximum(stds, SMALLEST_STD)[images]
    return out


def held_out_information(
    values: NDArray[np.float64], labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> float:
    """Return how many bits a pixel's values tell of its class, beyond the classes' shares.

    Values are divided into cells by their channels' quantiles; each cell's shares of the classes
    come from four fifths of the groups and are tried on the rest. So it can be negative: what is
    learned of some images may mislead on others.

    Args:
        values: (N, C).
        labels: Class of each pixel, (N,), from 0.
        groups: Group of each pixel, (N,), from 0; groups are never divided.
    """
    if not len(values) or groups.max() == 0:
        return 0.0
    chosen = np.argsort(-values.std(axis=0), kind="stable")[:USED_CHANNELS]
    cells = np.zeros(len(values), dtype=np.int64)
    for channel in sorted(chosen):
        column = values[:, channel]
        edges = np.quantile(column, np.linspace(0, 1, NUM_LEVELS + 1)[1:-1])
        cells = cells * NUM_LEVELS + np.searchsorted(edges, column)
    num_cells, num_classes = NUM_LEVELS ** len(chosen), int(labels.max()) + 1
    pairs = cells * num_classes + labels
    bits = 0.0
    for fold in range(min(NUM_FOLDS, int(groups.max()) + 1)):
        is_tried = groups % NUM_FOLDS == fold
        seen = np.bincount(pairs[~is_tried], minlength=num_cells * num_classes)
        table = seen.reshape(num_cells, num_classes).astype(np.float64)
        prior = table.sum(axis=0) + 1
        prior /= prior.sum()
        shares = (table + PRIOR_PIXELS * prior) / (table.sum(axis=1, keepdims=True) + PRIOR_PIXELS)
        tried = labels[is_tried]
        bits += float(np.log2(shares[cells[is_tried], tried] / prior[tried]).sum())
    return bits / len(values)
