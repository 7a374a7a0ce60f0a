"""Networks and losses: unions of components, told apart by `name`.

The fields and defaults of each are those of the constructor that it configures, which a test
compares.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from delineate.config.values import Config, Fraction


class _NetworkConfig(Config):
    width: PositiveInt = 32
    """Channels at the finest level; each level below has twice as many."""
    depth: Annotated[int, Field(ge=2, le=6)] = 4
    """Number of poolings."""
    stem_stride: Literal[1, 2, 4] = 1
    """Pixels folded into channels before the first level, side by side; the head unfolds them."""
    max_width: PositiveInt = 512
    """No level has more channels than this."""
    downsampling: Literal["max_pool", "strided_conv"] = "max_pool"
    """How the resolution is halved."""
    upsampling: Literal["transposed", "bilinear", "nearest", "pixel_shuffle"] = "transposed"
    """How the resolution is doubled."""
    norm: Literal["batch", "group", "instance", "none"] = "batch"
    """Normalisation; group and instance suit very small batches, batch tiles exactly."""
    activation: Literal["relu", "leaky_relu", "gelu", "silu"] = "relu"
    """Non-linearity after each normalisation."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of channels dropped at the two coarsest levels during training."""
    deep_supervision: NonNegativeInt = 0
    """Number of auxiliary heads on coarser decoder levels, used in training only."""


class UNetConfig(_NetworkConfig):
    """U-Net: plain double convolutions. https://arxiv.org/abs/1505.04597."""

    name: Literal["unet"] = "unet"
    """The architecture."""


class ResUNetConfig(_NetworkConfig):
    """ResUNet: residual blocks. https://arxiv.org/abs/1711.10684."""

    name: Literal["resunet"] = "resunet"
    """The architecture."""
    preactivation: bool = False
    """Norm and activation before each convolution (https://arxiv.org/abs/1603.05027)."""


ModelConfig = Annotated[UNetConfig | ResUNetConfig, Field(discriminator="name")]

Reduction = Literal["image", "batch", "batch_class"]


class _OverlapConfig(Config):
    reduction: Reduction = "batch"
    """Overlap summed per image, over the batch, or over the batch and all classes together."""
    smooth: NonNegativeFloat = 1.0
    """Pixels added to numerator and denominator."""


class DiceLossConfig(_OverlapConfig):
    """1 - soft Dice. https://arxiv.org/abs/1606.04797."""

    name: Literal["dice"] = "dice"
    """The loss."""


class FocalLossConfig(Config):
    """Cross-entropy that dwells on hard pixels. https://arxiv.org/abs/1708.02002."""

    name: Literal["focal"] = "focal"
    """The loss."""
    alpha: Fraction | None = 0.25
    """Weight of the positives (negatives get 1 - alpha); None weighs both alike."""
    gamma: NonNegativeFloat = 2.0
    """Exponent that turns easy pixels down."""


class FocalDiceLossConfig(_OverlapConfig):
    """balance x Dice + (1 - balance) x Focal, for rare positives and small objects."""

    name: Literal["focal_dice"] = "focal_dice"
    """The loss."""
    balance: Fraction = 0.5
    """Share of Dice (the guide's lambda)."""
    alpha: Fraction | None = 0.25
    """Weight of the positives in the focal part."""
    gamma: NonNegativeFloat = 2.0
    """Exponent of the focal part."""


class TverskyLossConfig(_OverlapConfig):
    """1 - Tversky index. https://arxiv.org/abs/1706.05721."""

    name: Literal["tversky"] = "tversky"
    """The loss."""
    alpha: NonNegativeFloat = 0.3
    """Weight of false positives."""
    beta: NonNegativeFloat = 0.7
    """Weight of false negatives."""


class FocalTverskyLossConfig(_OverlapConfig):
    """(1 - Tversky index)^gamma. https://arxiv.org/abs/1810.07842."""

    name: Literal["focal_tversky"] = "focal_tversky"
    """The loss."""
    alpha: NonNegativeFloat = 0.3
    """Weight of false positives."""
    beta: NonNegativeFloat = 0.7
    """Weight of false negatives."""
    gamma: Annotated[float, Field(gt=0)] = 1.33
    """Exponent; above 1 dwells on classes that are segmented badly."""


class CrossEntropyLossConfig(Config):
    """Mean negative log-likelihood of the valid pixels."""

    name: Literal["cross_entropy"] = "cross_entropy"
    """The loss."""
    pos_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of positive pixels (binary and multilabel)."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread evenly over the classes."""


class CrossEntropyDiceLossConfig(_OverlapConfig):
    """balance x Dice + (1 - balance) x cross-entropy: BCE+Dice or CE+Dice, as the task is."""

    name: Literal["ce_dice"] = "ce_dice"
    """The loss."""
    balance: Fraction = 0.5
    """Share of Dice."""
    pos_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of positive pixels in the cross-entropy (binary and multilabel)."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread evenly over the classes, in the cross-entropy."""


class BoundaryLossConfig(Config):
    """Probability mass weighed by signed distance to the boundary. https://arxiv.org/abs/1812.07032."""

    name: Literal["boundary"] = "boundary"
    """The loss."""


class ClDiceLossConfig(Config):
    """1 - soft centreline Dice, for thin structures. https://arxiv.org/abs/2003.07311."""

    name: Literal["cl_dice"] = "cl_dice"
    """The loss."""
    iterations: PositiveInt = 5
    """Rounds of soft thinning; at least half the width of the thickest structure, in pixels."""
    reduction: Reduction = "batch"
    """Sums taken per image, over the batch, or over the batch and all classes together."""
    smooth: NonNegativeFloat = 1.0
    """Pixels added to numerator and denominator."""


_SingleLoss = (
    DiceLossConfig
    | FocalLossConfig
    | FocalDiceLossConfig
    | TverskyLossConfig
    | FocalTverskyLossConfig
    | CrossEntropyLossConfig
    | CrossEntropyDiceLossConfig
    | BoundaryLossConfig
    | ClDiceLossConfig
)
SingleLossConfig = Annotated[_SingleLoss, Field(discriminator="name")]


class LossTerm(Config):
    """One term of a weighted sum."""

    weight: NonNegativeFloat = 1.0
    """Factor of this term."""
    loss: SingleLossConfig
    """The loss of this term."""


class WeightedSumLossConfig(Config):
    """A weighted sum of losses."""

    name: Literal["weighted_sum"] = "weighted_sum"
    """The loss."""
    terms: Annotated[tuple[LossTerm, ...], Field(min_length=1)]
    """The terms and their weights."""


LossConfig = Annotated[_SingleLoss | WeightedSumLossConfig, Field(discriminator="name")]
