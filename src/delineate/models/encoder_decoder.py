"""The hourglass that all networks share: encoder, skip connections, decoder, heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from delineate.errors import ShapeError, UsageError
from delineate.models.blocks import (
    DownsamplingName,
    LayerStyle,
    UpsamplingName,
    make_conv,
    make_downsampling,
    make_subpixel_conv,
    make_upsampling,
)
from delineate.models.receptive_field import Interval, halo, hull, source_interval

StemStride = Literal[1, 2, 4]

EncoderStage = Callable[[int, int, int], nn.Module]
"""Makes the blocks of an encoder level from (level, in_channels, out_channels)."""
DecoderStage = Callable[[int, int], nn.Module]
"""Makes the blocks of a decoder level from (in_channels, out_channels)."""


class EncoderDecoder(nn.Module):
    """Encoder, decoder and skip connections after U-Net, https://arxiv.org/abs/1505.04597.

    Abstract: a subclass passes the blocks of its levels to `__init__` and overrides nothing.

    Level 0 is the finest, level `depth` the coarsest. With `stem_stride` s above 1 the image is
    folded into s x s times as many channels before level 0 (space to depth,
    https://arxiv.org/abs/2003.13630) and the head unfolds its logits again (sub-pixel
    convolution, https://arxiv.org/abs/1609.05158): s^2 times less work, the full resolution out.

    Images of any size from 1x1 go in and come out unchanged in size: they are padded at the bottom
    and right to a multiple of `stride`, at least twice the stride so that instance normalisation
    has a spatial extent at the coarsest level, by repeating their edges; logits are cropped.
    Up-sampling by interpolation has `align_corners=False`: the grids of all levels stay aligned.

    Attributes:
        in_channels: Channels of the image.
        num_classes: Channels of the logits.
        depth: Number of halvings.
        stride: Pixels that the coarsest level sees as one, stem_stride * 2^depth. Only windows
            whose origins are multiples of it see the image as the whole image is seen.
        halo: Pixels beyond a pixel that can change its logits, the largest over all phases of the
            stride; computed from the layers.
        is_local: Whether the halo bounds all influence in evaluation. Group and instance
            normalisation read the whole input: there the halo is that of the convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        encoder_stage: EncoderStage,
        decoder_stage: DecoderStage,
        style: LayerStyle,
        width: int,
        depth: int,
        stem_stride: StemStride,
        max_width: int,
        downsampling: DownsamplingName,
        upsampling: UpsamplingName,
        dropout: float,
        deep_supervision: int,
        preactivation: bool = False,
    ) -> None:
        """Build the network.

        Args:
            in_channels: Channels of the image.
            num_classes: Channels of the logits.
            encoder_stage: Makes the blocks of levels 0 to `depth`.
            decoder_stage: Makes the blocks of levels `depth` - 1 to 0; their input is the
                upsampled features and the skip connection, one after the other.
            style: Normalisation and activation.
            width: Channels at level 0; each level below has twice as many.
            depth: Number of halvings, 2 to 6.
            stem_stride: Pixels folded into channels before level 0, side by side.
            max_width: No level has more channels than this.
            downsampling: How the resolution is halved.
            upsampling: How the resolution is doubled.
            dropout: Share of channels dropped at the end of the two coarsest levels of the
                encoder in training.
            deep_supervision: Number of auxiliary heads, on decoder levels 1, 2, ...
            preactivation: Whether stages return sums that are still to be normalised and activated.

        Raises:
            UsageError: If an argument is out of its range.
            UnknownNameError: If there is no such downsampling or upsampling.
        """
        super().__init__()
        _check_settings(in_channels, num_classes, width, depth, stem_stride, max_width)
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout is {dropout}; it must be at least 0 and below 1")
        if not 0 <= deep_supervision < depth:
            raise UsageError(
                f"deep_supervision is {deep_supervision}; a network of depth {depth} has room for "
                f"0 to {depth - 1} auxiliary heads"
            )
        channels = [min(width * 2**level, max_width) for level in range(depth + 1)]
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.depth = depth
        self.stride: int = stem_stride * 2**depth
        self.is_local = style.is_local

        self.stem = nn.PixelUnshuffle(stem_stride) if stem_stride > 1 else nn.Identity()
        inputs = [in_channels * stem_stride**2, *channels]
        stages = [
            encoder_stage(level, inputs[level], channels[level]) for level in range(depth + 1)
        ]
        if dropout > 0:
            stages[-2:] = [nn.Sequential(stage, nn.Dropout2d(dropout)) for stage in stages[-2:]]
        self.encoder = nn.ModuleList(stages)
        self.downsamplings = nn.ModuleList(
            make_downsampling(downsampling, channels[level], style, preactivation=preactivation)
            for level in range(depth)
        )
        self.upsamplings = nn.ModuleList(
            make_upsampling(upsampling, channels[level + 1], channels[level])
            for level in range(depth)
        )
        self.decoder = nn.ModuleList(
            decoder_stage(2 * channels[level], channels[level]) for level in range(depth)
        )
        self.heads = nn.ModuleList(
            _make_head(
                channels[level],
                num_classes,
                style,
                factor=stem_stride if level == 0 else 1,
                preactivation=preactivation,
            )
            for level in range(deep_supervision + 1)
        )
        self.halo: int = halo(self, self.stride)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (B, num_classes, H, W) of images (B, in_channels, H, W).

        Raises:
            ShapeError: If the images do not have four axes, `in_channels` channels or any pixels.
        """
        return self._head(0, self._decode(image, coarsest=0)[0], image)

    def forward_heads(self, image: Tensor) -> list[Tensor]:
        """Return the logits of all heads, the finest first; without deep supervision one.

        The first is what `forward` returns. Head k of the others sees r = stem_stride * 2^k pixels
        as one: (B, num_classes, ceil(H / r), ceil(W / r)), cell (i, j) standing for the pixels
        from row i * r and column j * r on. Deep supervision: https://arxiv.org/abs/1409.5185.

        Raises:
            ShapeError: As `forward`.
        """
        coarsest = len(self.heads) - 1
        features = self._decode(image, coarsest=coarsest)
        return [self._head(level, features[level], image) for level in range(coarsest + 1)]

    def source_interval(self, interval: Interval) -> Interval:
        """Return the pixels that the logits at the positions `interval` read, along one axis."""
        return self._decoder_source(0, source_interval(self.heads[0], interval))

    def _decode(self, image: Tensor, *, coarsest: int) -> list[Tensor]:
        """Return the decoder's features of levels 0 to `coarsest`."""
        x = self.stem(self._pad(image))
        skips = []
        for level in range(self.depth):
            x = self.encoder[level](x)
            skips.append(x)
            x = self.downsamplings[level](x)
        x = self.encoder[self.depth](x)
        features = []
        for level in reversed(range(self.depth)):
            # Popped, so that prediction frees the skip connections as it goes.
            x = torch.cat([self.upsamplings[level](x), skips.pop()], dim=1)
            x = self.decoder[level](x)
            if level <= coarsest:
                features.append(x)
        return features[::-1]

    def _pad(self, image: Tensor) -> Tensor:
        if image.ndim != 4 or image.shape[1] != self.in_channels or 0 in image.shape[2:]:
            raise ShapeError(
                f"the network was given images of shape {tuple(image.shape)}; it takes "
                f"(batch, {self.in_channels}, height, width) with at least one pixel"
            )
        height, width = image.shape[2:]
        bottom = max(-(-height // self.stride), 2) * self.stride - height
        right = max(-(-width // self.stride), 2) * self.stride - width
        if bottom or right:
            return F.pad(image, (0, right, 0, bottom), mode="replicate")
        return image

    def _head(self, level: int, features: Tensor, image: Tensor) -> Tensor:
        """Return the logits of a head, without the cells that hold padding only."""
        logits: Tensor = self.heads[level](features)
        height, width = image.shape[2:]
        if level > 0:
            cell = (self.stride >> self.depth) << level
            height, width = -(-height // cell), -(-width // cell)
        if logits.shape[2:] == (height, width):
            return logits
        return logits[:, :, :height, :width]

    def _encoder_source(self, level: int, interval: Interval) -> Interval:
        interval = source_interval(self.encoder[level], interval)
        if level == 0:
            return source_interval(self.stem, interval)
        return self._encoder_source(
            level - 1, source_interval(self.downsamplings[level - 1], interval)
        )

    def _decoder_source(self, level: int, interval: Interval) -> Interval:
        if level == self.depth:
            return self._encoder_source(level, interval)
        interval = source_interval(self.decoder[level], interval)
        coarser = source_interval(self.upsamplings[level], interval)
        return hull(self._encoder_source(level, interval), self._decoder_source(level + 1, coarser))


def _make_head(
    channels: int, num_classes: int, style: LayerStyle, *, factor: int, preactivation: bool
) -> nn.Sequential:
    layers: list[nn.Module] = []
    if preactivation:
        # The sums of a coarser level also feed the level above it: not to be changed in place.
        layers += [style.make_norm(channels), style.make_activation(inplace=style.has_norm)]
    if factor == 1:
        layers.append(make_conv(channels, num_classes, 1))
    else:
        layers.append(make_subpixel_conv(channels, num_classes, 1, factor=factor))
    return nn.Sequential(*layers)


def _check_settings(
    in_channels: int, num_classes: int, width: int, depth: int, stem_stride: int, max_width: int
) -> None:
    counts = {
        "in_channels": in_channels,
        "num_classes": num_classes,
        "width": width,
        "max_width": max_width,
    }
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"{name} is {count}; it must be at least 1")
    if not 2 <= depth <= 6:
        raise UsageError(f"depth is {depth}; a network halves the resolution 2 to 6 times")
    if stem_stride not in (1, 2, 4):
        raise UsageError(f"stem_stride is {stem_stride}; it must be 1, 2 or 4")
