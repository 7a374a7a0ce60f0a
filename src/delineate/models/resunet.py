"""ResUNet: residual blocks in the place of plain convolutions."""

from __future__ import annotations

from torch import nn

from delineate.models.blocks import (
    ActivationName,
    DownsamplingName,
    LayerStyle,
    NormName,
    ResidualBlock,
    UpsamplingName,
)
from delineate.models.encoder_decoder import EncoderDecoder, StemStride


class ResUNet(EncoderDecoder):
    """ResUNet, after https://arxiv.org/abs/1711.10684: a U-Net of residual blocks.

    Two blocks at each level of the encoder, one at the coarsest level and one at each level of
    the decoder. `EncoderDecoder` describes sizes, padding, stride, halo and heads.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width: int = 32,
        depth: int = 4,
        stem_stride: StemStride = 1,
        max_width: int = 512,
        downsampling: DownsamplingName = "max_pool",
        upsampling: UpsamplingName = "transposed",
        norm: NormName = "batch",
        activation: ActivationName = "relu",
        dropout: float = 0.0,
        deep_supervision: int = 0,
        preactivation: bool = False,
    ) -> None:
        """Build the network.

        Args:
            in_channels: Channels of the image.
            num_classes: Channels of the logits.
            width: Channels at the finest level; each level below has twice as many.
            depth: Number of halvings, 2 to 6.
            stem_stride: Pixels folded into channels before the first level, side by side.
            max_width: No level has more channels than this.
            downsampling: How the resolution is halved.
            upsampling: How the resolution is doubled.
            norm: Normalisation beside each convolution.
            activation: Non-linearity beside each normalisation.
            dropout: Share of channels dropped at the two coarsest levels in training, in [0, 1).
            deep_supervision: Number of auxiliary heads on coarser decoder levels.
            preactivation: Norm and activation before each convolution rather than after; the
                first block still begins with a convolution, and the heads with both.

        Raises:
            UsageError: If an argument is out of its range.
            UnknownNameError: If a name is not among the choices.
        """
        style = LayerStyle(norm, activation)

        def encoder_stage(level: int, in_channels: int, out_channels: int) -> nn.Module:
            first = ResidualBlock(
                in_channels,
                out_channels,
                style,
                preactivation=preactivation,
                is_first=level == 0,
            )
            if level == depth:
                return first
            second = ResidualBlock(out_channels, out_channels, style, preactivation=preactivation)
            return nn.Sequential(first, second)

        def decoder_stage(in_channels: int, out_channels: int) -> nn.Module:
            return ResidualBlock(in_channels, out_channels, style, preactivation=preactivation)

        super().__init__(
            in_channels,
            num_classes,
            encoder_stage=encoder_stage,
            decoder_stage=decoder_stage,
            style=style,
            width=width,
            depth=depth,
            stem_stride=stem_stride,
            max_width=max_width,
            downsampling=downsampling,
            upsampling=upsampling,
            dropout=dropout,
            deep_supervision=deep_supervision,
            preactivation=preactivation,
        )
