"""U-Net: plain double convolutions."""

from __future__ import annotations

from torch import nn

from delineate.models.blocks import (
    ActivationName,
    DownsamplingName,
    LayerStyle,
    NormName,
    UpsamplingName,
    make_double_conv,
)
from delineate.models.encoder_decoder import EncoderDecoder, StemStride


class UNet(EncoderDecoder):
    """U-Net, https://arxiv.org/abs/1505.04597: two 3x3 convolutions at every level.

    `EncoderDecoder` describes sizes, padding, stride, halo and heads.
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
            norm: Normalisation after each convolution.
            activation: Non-linearity after each normalisation.
            dropout: Share of channels dropped at the two coarsest levels in training, in [0, 1).
            deep_supervision: Number of auxiliary heads on coarser decoder levels.

        Raises:
            UsageError: If an argument is out of its range.
            UnknownNameError: If a name is not among the choices.
        """
        style = LayerStyle(norm, activation)

        def encoder_stage(level: int, in_channels: int, out_channels: int) -> nn.Module:
            return make_double_conv(in_channels, out_channels, style)

        def decoder_stage(in_channels: int, out_channels: int) -> nn.Module:
            return make_double_conv(in_channels, out_channels, style)

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
        )
