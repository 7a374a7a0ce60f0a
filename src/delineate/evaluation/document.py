"""The form of `metrics.json`, as pydantic models: published as docs/metrics.schema.json.

A number that is undefined is null. Everything that an evaluation writes is described here, and a
test holds what is written to it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
MaybeShare = Share | None
MaybeNumber = float | None
Count = Annotated[int, Field(ge=0)]
SCHEMA_ID = "delineate-metrics-1"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ClassScores(_Part):
    """Scores from counts of pixels; undefined where a denominator is zero."""

    dice: MaybeShare
    """2 tp / (2 tp + fp + fn)."""
    iou: MaybeShare
    """tp / (tp + fp + fn)."""
    precision: MaybeShare
    """tp / (tp + fp)."""
    recall: MaybeShare
    """tp / (tp + fn)."""
    specificity: MaybeShare
    """tn / (tn + fp)."""
    balanced_accuracy: MaybeShare
    """Mean of recall and specificity."""


class MeanScores(ClassScores):
    """Macro means over the classes without the declared background."""

    pixel_accuracy: MaybeShare
    """Share of the counted pixels whose label is right."""
    dice_with_background: MaybeShare = None
    """Where the task declares a background: the mean with it."""
    iou_with_background: MaybeShare = None
    """Where the task declares a background: the mean with it."""


class ImageMeans(MeanScores):
    """Means over the images where the score is defined."""

    num_images: Count
    num_scored: Count
    """Images with a Dice."""
    num_true_empty: Count
    """Images without foreground in target and prediction, left out."""


class PooledClass(ClassScores):
    """One class over the whole split."""

    average_precision: MaybeShare
    auroc: MaybeShare
    tp: Count
    fp: Count
    fn: Count
    tn: Count
    per_image: ClassScores
    """Means over the images where the score is defined."""
    num_images_defined: Count
    """Images with a Dice of this class."""


class Averages(_Part):
    """Ways to make one number of the classes."""

    macro: ClassScores
    """Every class counts alike."""
    weighted: ClassScores
    """By the pixels of the class in the target."""
    micro: ClassScores
    """From the counts summed over the classes."""


class AllAverages(_Part):
    """Averages without and with the declared background."""

    without_background: Averages
    with_background: Averages


class IntervalPart(_Part):
    """A number and its bootstrap interval."""

    estimate: MaybeNumber
    low: MaybeNumber
    high: MaybeNumber
    standard_error: MaybeNumber


class IntervalsPart(_Part):
    """How sure the scores are: bootstrap over groups of images."""

    pooled: dict[str, IntervalPart]
    per_image: dict[str, IntervalPart]
    classes: dict[str, dict[str, IntervalPart]]
    num_images: Count
    num_groups: Count
    confidence: Share
    method: Literal["bca", "percentile"]
    num_resamples: Count
    seed: int
    warning: str | None


class CalibrationScores(_Part):
    """Probabilities against what came true."""

    expected_calibration_error: MaybeShare
    brier_error: MaybeNumber


class CalibrationPart(CalibrationScores):
    """Of the task as a whole, and of each class against the rest."""

    classes: dict[str, CalibrationScores]


class ShapeSummary(_Part):
    """Boundaries, objects and topology of one class over the split."""

    boundary: dict[str, MaybeNumber] | None
    """Means over images; distances in pixels."""
    boundary_in_units: dict[str, MaybeNumber] | None
    """The same in `data.unit`."""
    num_images: Count
    num_true_empty: Count
    num_without_distance: Count
    """Images in which the class is all missed or all spurious."""
    objects: dict[str, MaybeNumber]
    topology: dict[str, MaybeNumber] | None


class ImageShapes(_Part):
    """Boundaries, objects and topology of one class in one image."""

    boundary: dict[str, MaybeNumber]
    boundary_in_units: dict[str, MaybeNumber] | None
    objects: dict[str, MaybeNumber]
    topology: dict[str, MaybeNumber] | None


class Difference(_Part):
    """A 95 % bootstrap interval."""

    low: MaybeNumber
    high: MaybeNumber


class SlicePart(_Part):
    """A part of the data and its score, against the rest."""

    property: str
    label: str
    unit: Literal["objects", "images", "pixels"]
    count: Count
    score_name: Literal["dice", "recall", "share"]
    score: MaybeShare
    rest: MaybeShare
    difference: Difference
    is_weak: bool
    rules: list[str]
    """Rules of the planner that decide on what is weak."""
    settings: list[str]
    """Flags of `delineate train` to try."""


class ExpectationPart(_Part):
    """How well the Dice expected without the truth agrees with the true one, over images."""

    num_images: Count
    mean_error: Share
    correlation: MaybeNumber
    rank_correlation: MaybeNumber


class ImageQualityPart(_Part):
    """What could be said of one prediction without the truth."""

    expected_dice: MaybeShare
    unfamiliarity: MaybeNumber
    """Distance from the training images; 95 % of them keep within 1 of those of other groups."""
    alarm: str | None
    in_training: bool
    """Whether the image is a training image of the model, pixel by pixel."""


class ImagePart(MeanScores):
    """One image."""

    name: str
    is_true_empty: bool
    classes: dict[str, ClassScores]
    quality: ImageQualityPart | None = None
    shapes: dict[str, ImageShapes] | None = None


class TaskPart(_Part):
    """What is segmented."""

    kind: Literal["binary", "multiclass", "multilabel"]
    class_names: list[str]
    background: str | None
    ignore_index: int


class DataPart(_Part):
    """What was scored."""

    name: str
    digest: str
    """SHA-256 over the names and contents of the images and masks of the split."""
    unit: str | None = None
    """Of distances, where all files tell the size of a pixel."""
    is_own: bool = True
    """Whether the model was made of this data set, of its other splits."""
    resampling: str | None = None
    """What was done about images whose pixels are not of the size that the model was trained at."""


class ModelPart(_Part):
    """What was judged."""

    name: str | None
    digest: str | None
    """SHA-256 of the model file."""
    architecture: dict[str, Any]


class MetricsDocument(_Part):
    """What `delineate evaluate` writes to metrics.json."""

    format_version: Literal[2]
    convention: str
    """The rules behind the numbers, in words."""
    split: Literal["train", "val", "test"]
    alerts: list[str]
    """What a reader of the numbers must not miss."""
    task: TaskPart
    data: DataPart
    model: ModelPart
    prediction: dict[str, Any]
    """How the model was applied."""
    num_images: Count
    threshold: float | list[float] | None
    """One, or one per class; null for a multiclass task."""
    pooled: MeanScores
    per_image: ImageMeans
    averages: AllAverages
    classes: dict[str, PooledClass]
    confusion: list[Any]
    """Counts, rows true and columns predicted: (K, K), or (K, 2, 2) of classes counted apart."""
    intervals: IntervalsPart | None
    calibration: CalibrationPart | None
    shapes: dict[str, ShapeSummary] | None
    """By class."""
    slices: list[SlicePart]
    expectation: ExpectationPart | None
    images: list[ImagePart]


def metrics_schema() -> dict[str, Any]:
    """Return the JSON schema of `metrics.json` (draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **MetricsDocument.model_json_schema(),
    }
