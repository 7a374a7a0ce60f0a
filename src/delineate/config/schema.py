"""All settings: frozen models, one docstring per field.

The docstring under a field feeds ``--help``, the documentation and the error messages.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, field_validator

from delineate.config.components import (
    CrossEntropyDiceLossConfig,
    LossConfig,
    ModelConfig,
    UNetConfig,
)
from delineate.config.values import Config, Fraction, Seconds, Size

FORMAT_VERSION: Literal[1] = 1


class TaskConfig(Config):
    """What is to be segmented."""

    kind: Literal["auto", "binary", "multiclass", "multilabel"] = "auto"
    """Binary, multiclass or multilabel; auto reads it from the masks."""
    class_names: tuple[str, ...] = ()
    """Class names in the order of their indices; empty takes them from the legend or the data."""
    background: str | None = None
    """The class that means over classes leave out (multiclass)."""


class DataConfig(Config):
    """Where images and masks are, and what the values in the masks mean."""

    images: tuple[str, ...] = ()
    """Folders or glob patterns of the images, relative to DATA; empty finds them."""
    masks: tuple[str, ...] = ()
    """Folders or glob patterns of the masks, relative to DATA; empty finds them."""
    mask_suffix: str | None = None
    """What a mask's name adds to its image's name, for example _1stHO; None tries the usual."""
    legend: dict[str, str | int | tuple[str | int, ...]] = {}  # noqa: RUF012  (pydantic copies it)
    """Class name to the colour (#RRGGBB) or value, or several, that stand for it in the masks."""
    ignore: tuple[str | int, ...] = ()
    """Colours or values in the masks whose pixels do not count (void, unlabelled)."""
    foreground_value: int | None = None
    """The value of the wanted class where a mask holds two values; 0 wants the dark one."""
    mask_threshold: int | None = None
    """Values from here on are foreground in masks of greys (anti-aliased, JPEG) or of instances."""
    exclude: tuple[str, ...] = ()
    """Glob patterns of files or folders that are left out, relative to DATA."""
    accept: tuple[str, ...] = ()
    """Findings of 'delineate doctor', by their names, that you looked at and that stop nothing."""
    groups: str | None = None
    """Regular expression on an image's relative path; images whose matches agree stay together."""
    split: tuple[Fraction, Fraction, Fraction] = (0.7, 0.15, 0.15)
    """Shares of training, validation and test where the folder has no split of its own."""
    split_seed: int = 0
    """Seed of the split; kept apart from the training seed so that runs share their test set."""
    validation: tuple[str, ...] = ()
    """Images of the validation split (paths without ending); empty takes DATA's or draws some."""
    normalisation: Literal["dataset", "image"] = "dataset"
    """Whose mean and standard deviation images get: the training images', or each its own."""
    clip: bool = False
    """Whether values beyond the training images' 0.5th and 99.5th percentile are set to these."""
    resolution: Annotated[float, Field(gt=0)] | Literal["auto", "native"] = "auto"
    """Metres of a pixel to learn at; auto brings images that differ to their median, native takes
    them as they are."""
    cache_gib: NonNegativeFloat = 4.0
    """Memory for decoded images on one machine, in GiB; what does not fit is decoded again each
    time."""
    num_workers: int | None = None
    """Processes that load data; None sets it from the machine."""
    worker_timeout: Seconds = 600.0
    """Time that a batch of theirs is waited for (10m); 0 waits for ever."""
    on_bad_image: Literal["error", "skip"] = "error"
    """For images that break or change during training: error, or skip (up to 1 % of them)."""


class SpatialConfig(Config):
    """Changes of place, for image and target together, in one resampling."""

    flip_horizontal: Fraction = 0.5
    """Odds of a left-right flip."""
    flip_vertical: Fraction = 0.5
    """Odds of an upside-down flip."""
    quarter_turns: bool = True
    """Whether to turn by 0, 90, 180 or 270 degrees, each as likely."""
    warp: Fraction = 0.5
    """Odds that rotation, scale and shear are drawn at all."""
    rotation: NonNegativeFloat = 15.0
    """Largest rotation, in degrees."""
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.8, 1.25)
    """Smallest and largest magnification, drawn evenly in its logarithm."""
    shear: NonNegativeFloat = 5.0
    """Largest shear, in degrees."""
    elastic: Fraction = 0.0
    """Odds of an elastic deformation."""
    elastic_magnitude: NonNegativeFloat = 8.0
    """Typical displacement of the elastic deformation, in pixels."""
    elastic_spacing: PositiveInt = 64
    """Distance of its control points, in pixels."""


class IntensityConfig(Config):
    """Changes of brightness and sharpness, for the image alone."""

    brightness: NonNegativeFloat = 0.2
    """Largest shift, as a share of the spread: 4 standard deviations of a channel in the patch."""
    contrast: NonNegativeFloat = 0.2
    """Largest change of the contrast factor around 1."""
    gamma: NonNegativeFloat = 0.2
    """Largest change of the exponent's logarithm."""
    channel_jitter: NonNegativeFloat = 0.05
    """Largest shift of a single channel, as a share of its spread."""
    odds: Fraction = 0.5
    """Odds of each of brightness, contrast, gamma and channel jitter."""
    blur: Fraction = 0.1
    """Odds of a Gaussian blur."""
    blur_sigma: NonNegativeFloat = 1.5
    """Largest standard deviation of the blur, in pixels."""
    noise: Fraction = 0.1
    """Odds of Gaussian noise."""
    noise_sigma: NonNegativeFloat = 0.05
    """Largest standard deviation of the noise, as a share of the spread."""
    jpeg: Fraction = 0.0
    """Odds of JPEG artefacts (images of 1 or 3 channels)."""
    jpeg_quality: tuple[PositiveInt, PositiveInt] = (50, 95)
    """Lowest and highest JPEG quality."""


class AugmentationConfig(Config):
    """Random changes of the training patches; validation and test see none."""

    spatial: SpatialConfig = SpatialConfig()
    """Changes of place."""
    intensity: IntensityConfig = IntensityConfig()
    """Changes of values."""


class TrainingConfig(Config):
    """How the weights are learned."""

    epochs: PositiveInt | None = 100
    """Number of epochs; None where `time` sets the length."""
    time: Seconds | None = None
    """Length (90s, 10m, 1h30m), validation included; the steps follow from the measured speed."""
    steps_per_epoch: PositiveInt | None = None
    """Steps between validations; None shows as many pixels as the training split has."""
    patch_size: Size = (256, 256)
    """Height and width of a training patch, in pixels."""
    batch_size: PositiveInt = 4
    """Patches in a batch of one process."""
    accumulation: PositiveInt = 1
    """Batches whose gradients are summed before a step."""
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Memory that a step may take, in GiB, to which the plan keeps; None takes what is free."""
    foreground_odds: Fraction = 0.33
    """Share of the patches that are centred on a foreground pixel, classes drawn evenly."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate of AdamW."""
    weight_decay: NonNegativeFloat = 1e-4
    """Decoupled weight decay of AdamW; biases and norms are spared."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps in which the learning rate rises linearly to its peak."""
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient; None does not clip."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the averaged weights, warmed up; 0 switches averaging off."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the classes in the loss: none, or by inverse square root of their frequency."""
    early_stopping: PositiveInt | None = None
    """Epochs without a better validation score after which training stops; None never stops."""
    amp: Literal["auto", "bfloat16", "float16", "off"] = "auto"
    """Reduced precision; auto takes what the device has in hardware."""
    checkpoint_every: Seconds = 120.0
    """Time between checkpoints (30s, 10m), which is what a killed training loses at most."""
    seed: int = 0
    """Seed of the weights, the patches and the augmentation."""


class PostprocessingConfig(Config):
    """What is done to a mask before it is written."""

    opening_radius: NonNegativeInt = 0
    """Radius of an opening (removes thin specks), in pixels."""
    closing_radius: NonNegativeInt = 0
    """Radius of a closing (bridges thin gaps), in pixels."""
    min_object_area: NonNegativeInt = 0
    """Smaller objects are removed, in pixels."""
    largest_only: bool = False
    """Of each class only the largest object stays."""
    min_hole_area: NonNegativeInt = 0
    """Smaller holes are filled, in pixels."""


class TuningConfig(Config):
    """How threshold and post-processing are chosen on validation images."""

    objective: Literal[
        "dice",
        "dice_per_image",
        "iou",
        "f_beta",
        "recall_at_precision",
        "cost",
        "object_f1",
    ] = "dice"
    """What is to be best, of the pooled pixels unless the name says images or objects."""
    beta: Annotated[float, Field(gt=0)] = 2.0
    """How much recall counts over precision in f_beta."""
    least_precision: Fraction = 0.9
    """Precision to be reached by recall_at_precision."""
    miss_cost: Annotated[float, Field(gt=0)] = 5.0
    """Cost of a missed pixel, that of a falsely found one being 1."""
    opening_radii: tuple[NonNegativeInt, ...] = (0, 1, 2)
    """Radii of the opening that are tried, in pixels."""
    closing_radii: tuple[NonNegativeInt, ...] = (0, 1, 2)
    """Radii of the closing that are tried, in pixels."""
    min_object_areas: tuple[NonNegativeInt, ...] = (0, 16, 64, 256, 1024)
    """Least object areas that are tried, in pixels."""
    min_hole_areas: tuple[NonNegativeInt, ...] = (0, 16, 64, 256, 1024)
    """Least hole areas that are tried, in pixels."""
    largest_only: bool = True
    """Whether keeping the largest object alone is tried."""
    temperature: bool = True
    """Whether a temperature is fitted that calibrates the probabilities."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Parts of the validation images, by group, by which the gain is proved."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """How sure a gain must be, by groups of images that had no say, to be taken."""
    effort: NonNegativeFloat = 40.0
    """Megapixels that the search for post-processing may go through; 0 tunes thresholds alone."""
    memory_mib: NonNegativeInt = 256
    """Memory for predictions of the validation images; the rest goes to a temporary file."""


class EvaluationConfig(Config):
    """How a model is judged."""

    num_bins: Annotated[int, Field(ge=16, le=2**16)] = 4096
    """Bins of the probability histograms behind curves and threshold, a power of two."""
    tuning: TuningConfig = TuningConfig()
    """How threshold and post-processing are chosen."""

    @field_validator("num_bins")
    @classmethod
    def _check_power_of_two(cls, num_bins: int) -> int:
        if num_bins & (num_bins - 1):
            raise ValueError(f"must be a power of two, so that bin edges are exact, got {num_bins}")
        return num_bins


class PredictionConfig(Config):
    """How a model is applied."""

    tile_size: Size = (512, 512)
    """Height and width of a tile, in pixels; smaller images are predicted whole."""
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Share of a tile that it has in common with its neighbour."""
    blend: Literal["gaussian", "average"] = "gaussian"
    """How probabilities of overlapping tiles are weighted."""
    tiling: Literal["auto", "blended", "exact"] = "auto"
    """Mean of overlapping tiles, or the whole image's result; auto: exact where the model can."""
    views: Literal["one", "flips", "all"] = "one"
    """Views of a tile that are averaged: itself, its 4 flips, or all 8 flips and quarter turns."""
    batch_size: PositiveInt = 4
    """Tiles in a batch."""
    postprocessing: PostprocessingConfig = PostprocessingConfig()
    """What is done to the mask."""


class LoggingConfig(Config):
    """Who watches a training; results.csv and TensorBoard's events are written in any case."""

    to: tuple[Literal["mlflow", "wandb"], ...] = ()
    """Trackers that are told of each epoch too, of mlflow and wandb (Weights & Biases)."""
    project: str = "delineate"
    """MLflow's experiment or the W&B project that the run is filed under."""
    pictures: NonNegativeInt = 4
    """Validation images whose prediction is shown epoch by epoch; 0 shows none."""


class Settings(Config):
    """Everything that a run is made from."""

    format_version: Literal[1] = FORMAT_VERSION
    """Version of this file's format."""
    task: TaskConfig = TaskConfig()
    """What is to be segmented."""
    data: DataConfig = DataConfig()
    """Where images and masks are, and what they mean."""
    model: ModelConfig = UNetConfig()
    """The network."""
    loss: LossConfig = CrossEntropyDiceLossConfig()
    """What training minimises."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Random changes of the training patches."""
    training: TrainingConfig = TrainingConfig()
    """How the weights are learned."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How a model is judged."""
    prediction: PredictionConfig = PredictionConfig()
    """How a model is applied."""
    logging: LoggingConfig = LoggingConfig()
    """Who watches a training."""
