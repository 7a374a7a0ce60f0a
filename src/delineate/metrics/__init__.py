"""Counts, curves and scores; which there are, and what they mean.

Import from the modules. Over a data set, in constant memory: `confusion` (Dice, IoU and their
like), `curves` (precision-recall, ROC, thresholds), `calibration` and `objects`; `reduction` adds
their counts up over processes. Of one image: `boundary`, `objects`, `topology`, and all of them at
once by `images.image_scores`.
"""

from __future__ import annotations

from delineate.metrics.meaning import Metric

__all__ = ["METRICS", "Metric"]

METRICS = {
    "dice": Metric(
        "pixels", "higher", "share", "Twice the overlap, by the pixels of both areas together."
    ),
    "iou": Metric("pixels", "higher", "share", "The overlap, by the pixels of either area."),
    "precision": Metric("pixels", "higher", "share", "How much of what is predicted is right."),
    "recall": Metric("pixels", "higher", "share", "How much of what is there is predicted."),
    "specificity": Metric(
        "pixels", "higher", "share", "How much of what is not there is left alone."
    ),
    "balanced_accuracy": Metric("pixels", "higher", "share", "The mean of recall and specificity."),
    "pixel_accuracy": Metric("pixels", "higher", "share", "The pixels whose label is right."),
    "average_precision": Metric(
        "curves", "higher", "share", "Precision averaged over recall, over all thresholds."
    ),
    "auroc": Metric(
        "curves",
        "higher",
        "share",
        "How often a positive pixel has a higher probability than a negative one.",
    ),
    "expected_calibration_error": Metric(
        "calibration", "lower", "share", "How far probabilities are from how often they come true."
    ),
    "brier_error": Metric(
        "calibration", "lower", "share", "The squared difference of probability and truth."
    ),
    "hausdorff_distance": Metric(
        "boundary", "lower", "distance", "The boundary's largest distance from the true one."
    ),
    "hd95": Metric(
        "boundary", "lower", "distance", "The distance that 95 % of the boundary keeps within."
    ),
    "average_surface_distance": Metric(
        "boundary", "lower", "distance", "The boundary's mean distance from the true one."
    ),
    "surface_dice": Metric(
        "boundary", "higher", "share", "How much of both boundaries lies within a tolerance."
    ),
    "boundary_iou": Metric(
        "boundary", "higher", "share", "IoU of narrow bands inside both boundaries."
    ),
    "object_precision": Metric(
        "objects", "higher", "share", "Predicted objects that match a true one (IoU above 0.5)."
    ),
    "object_recall": Metric(
        "objects", "higher", "share", "True objects that match a predicted one (IoU above 0.5)."
    ),
    "object_f1": Metric("objects", "higher", "share", "Harmonic mean of the two."),
    "panoptic_quality": Metric(
        "objects", "higher", "share", "Segmentation quality times recognition quality."
    ),
    "segmentation_quality": Metric("objects", "higher", "share", "Mean IoU of matched objects."),
    "recognition_quality": Metric(
        "objects", "higher", "share", "F1 of objects, as panoptic quality names it."
    ),
    "count_error": Metric(
        "objects", "lower", "count", "By how many objects the count of an image is wrong."
    ),
    "count_bias": Metric(
        "objects", "zero", "count", "Objects predicted too many (below zero: too few) per image."
    ),
    "num_missed": Metric("objects", "lower", "count", "True objects without a predicted pixel."),
    "num_spurious": Metric("objects", "lower", "count", "Predicted objects without a true pixel."),
    "cl_dice": Metric(
        "topology", "higher", "share", "How much of each centreline lies inside the other mask."
    ),
    "parts_error": Metric("topology", "lower", "count", "Parts too many or too few (Betti 0)."),
    "holes_error": Metric("topology", "lower", "count", "Holes too many or too few (Betti 1)."),
}
"""Name of each number to what it means."""
