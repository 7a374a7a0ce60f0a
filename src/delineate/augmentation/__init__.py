"""Random changes of training patches: of place (image and target) and of values (image alone)."""

from __future__ import annotations

from delineate.augmentation.intensity import IntensityAugmentation
from delineate.augmentation.resampling import cut_patch, resize_target
from delineate.augmentation.spatial import SpatialAugmentation, SpatialDraw

__all__ = [
    "IntensityAugmentation",
    "SpatialAugmentation",
    "SpatialDraw",
    "cut_patch",
    "resize_target",
]
