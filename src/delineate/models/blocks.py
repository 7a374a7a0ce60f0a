"""Layers and blocks that the networks are made of, with their initial weights.

Convolutions start as Kaiming normal over their fan-in (https://arxiv.org/abs/1502.01852), biases
at zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from delineate.errors import UnknownNameError
from delineate.models.receptive_field import Interval, hull, source_interval

NormName = Literal["batch", "group", "instance", "none"]
ActivationName = Literal["relu", "leaky_relu", "gelu", "silu"]
DownsamplingName = Literal["max_pool", "strided_conv"]
UpsamplingName = Literal["transposed", "bilinear", "nearest", "pixel_shuffle"]

_MAX_GROUPS = 8

# In place only where autograd keeps the output rather than the input.
_ACTIVATIONS: dict[str, Callable[[bool], nn.Module]] = {
    "relu": lambda inplace: nn.ReLU(inplace=inplace),
    "leaky_relu": lambda inplace: nn.LeakyReLU(0.01, inplace=inplace),
    "gelu": lambda _: nn.GELU(),
    "silu": lambda _: nn.SiLU(),
}

# 1 / sqrt(E[f(z)^2]) for a standard normal z: what keeps the scale from layer to layer.
_GAINS = {
    "relu": math.sqrt(2.0),
    "leaky_relu": math.sqrt(2.0 / (1.0 + 0.01**2)),
    "gelu": 1.5335,
    "silu": 1.6765,
}

_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(num_groups(channels), channels),
    # Groups of one channel: torch's own InstanceNorm2d leaves channels-last memory at every layer.
    "instance": lambda channels: nn.GroupNorm(channels, channels),
    "none": lambda _: nn.Identity(),
}


def num_groups(channels: int) -> int:
    """Return the most groups, 8 at most, that divide `channels` and hold two channels each.

    Group normalisation: https://arxiv.org/abs/1803.08494. A prime number of channels makes one
    group; groups of a single channel would be instance normalisation.
    """
    most = min(_MAX_GROUPS, channels // 2)
    return next((count for count in range(most, 1, -1) if channels % count == 0), 1)


@dataclass(frozen=True)
class LayerStyle:
    """The normalisation and the activation that all blocks of a network share.

    Raises:
        UnknownNameError: If there is no such normalisation or activation.
    """

    norm: NormName
    activation: ActivationName

    def __post_init__(self) -> None:
        if self.norm not in _NORMS:
            raise UnknownNameError("norm", self.norm, list(_NORMS))
        if self.activation not in _ACTIVATIONS:
            raise UnknownNameError("activation", self.activation, list(_ACTIVATIONS))

    @property
    def has_norm(self) -> bool:
        """Whether there is a normalisation at all."""
        return self.norm != "none"

    @property
    def is_local(self) -> bool:
        """Whether in evaluation a normalised pixel depends on that pixel alone."""
        return self.norm in ("batch", "none")

    def make_norm(self, channels: int, *, starts_at_zero: bool = False) -> nn.Module:
        """Return a normalisation of `channels` channels, its scale at 1 or at 0."""
        norm = _NORMS[self.norm](channels)
        if starts_at_zero and self.has_norm:
            nn.init.zeros_(cast(Tensor, norm.weight))
        return norm

    def make_activation(self, *, inplace: bool = True) -> nn.Module:
        """Return the activation; in place where that is asked for and saves memory."""
        return _ACTIVATIONS[self.activation](inplace)

    def make_conv(
        self, in_channels: int, out_channels: int, *, stride: int = 1, starts_at_zero: bool = False
    ) -> nn.Conv2d:
        """Return a 3x3 convolution; it has a bias only where no normalisation makes it void."""
        gain = 0.0 if starts_at_zero else _GAINS[self.activation]
        return make_conv(
            in_channels, out_channels, 3, stride=stride, bias=not self.has_norm, gain=gain
        )

    def make_shortcut(self, in_channels: int, out_channels: int, *, is_linear: bool) -> nn.Module:
        """Return the way round a residual branch: a 1x1 convolution where the channels change.

        `is_linear` says that no activation follows, so that no gain has to make up for it.
        """
        if in_channels == out_channels:
            return nn.Identity()
        gain = 1.0 if is_linear else _GAINS[self.activation]
        return make_conv(in_channels, out_channels, 1, bias=False, gain=gain)


def make_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    bias: bool = True,
    gain: float = 1.0,
) -> nn.Conv2d:
    """Return a zero-padded convolution whose weights have deviation gain / sqrt(fan-in)."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=bias
    )
    nn.init.normal_(conv.weight, std=gain / math.sqrt(in_channels * kernel_size**2))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def make_subpixel_conv(
    in_channels: int, out_channels: int, kernel_size: int, *, factor: int
) -> nn.Sequential:
    """Return a convolution and pixel shuffle that magnify `factor` times.

    Sub-pixel convolution: https://arxiv.org/abs/1609.05158. The sub-pixels of a cell start with
    equal weights, so that the output starts without a checkerboard: https://arxiv.org/abs/1707.02937.
    """
    conv = make_conv(in_channels, out_channels * factor**2, kernel_size)
    with torch.no_grad():
        conv.weight.copy_(conv.weight[:: factor**2].repeat_interleave(factor**2, dim=0))
    return nn.Sequential(conv, nn.PixelShuffle(factor))


def make_double_conv(in_channels: int, out_channels: int, style: LayerStyle) -> nn.Sequential:
    """Return twice: 3x3 convolution, normalisation, activation; (B, C, H, W) keeps H and W."""
    return nn.Sequential(
        style.make_conv(in_channels, out_channels),
        style.make_norm(out_channels),
        style.make_activation(),
        style.make_conv(out_channels, out_channels),
        style.make_norm(out_channels),
        style.make_activation(),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; (B, C, H, W) keeps H and W.

    Post-activation (https://arxiv.org/abs/1512.03385) activates the sum; pre-activation
    (https://arxiv.org/abs/1603.05027) puts normalisation and activation before each convolution
    and leaves the sum as it is. The branch starts at zero: by the scale of its last normalisation
    in post-activation blocks (https://arxiv.org/abs/1706.02677), by its last convolution in
    pre-activation and norm-free ones, where a zero before an activation would never learn.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style: LayerStyle,
        *,
        preactivation: bool = False,
        is_first: bool = False,
    ) -> None:
        """Build the block.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            style: Normalisation and activation.
            preactivation: Whether normalisation and activation come before each convolution.
            is_first: Whether the input is the image, which pre-activation must not rectify.
        """
        super().__init__()
        layers: list[nn.Module] = []
        if preactivation and not is_first:
            layers += [
                style.make_norm(in_channels),
                # Without a normalisation this would change the input that the shortcut reads.
                style.make_activation(inplace=style.has_norm),
            ]
        layers += [
            style.make_conv(in_channels, out_channels),
            style.make_norm(out_channels),
            style.make_activation(),
        ]
        zero_norm = style.has_norm and not preactivation
        layers.append(style.make_conv(out_channels, out_channels, starts_at_zero=not zero_norm))
        if not preactivation:
            layers.append(style.make_norm(out_channels, starts_at_zero=zero_norm))
        self.branch = nn.Sequential(*layers)
        self.shortcut = style.make_shortcut(in_channels, out_channels, is_linear=preactivation)
        self.activation = nn.Identity() if preactivation else style.make_activation()

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum of branch and shortcut."""
        # Neither convolutions nor normalisations keep their output for the backward pass.
        return cast(Tensor, self.activation(self.branch(x).add_(self.shortcut(x))))

    def source_interval(self, interval: Interval) -> Interval:
        """Return the input positions that the output positions `interval` read."""
        return hull(
            source_interval(self.branch, interval), source_interval(self.shortcut, interval)
        )


def make_downsampling(
    name: DownsamplingName, channels: int, style: LayerStyle, *, preactivation: bool = False
) -> nn.Module:
    """Return what halves height and width: 2x2 maxima, or a 3x3 convolution of stride 2.

    Raises:
        UnknownNameError: If there is no such downsampling.
    """
    if name == "max_pool":
        return nn.MaxPool2d(2)
    if name != "strided_conv":
        raise UnknownNameError("downsampling", name, ["max_pool", "strided_conv"])
    conv = style.make_conv(channels, channels, stride=2)
    norm = style.make_norm(channels)
    if preactivation:
        # The raw sum is also the skip connection, so it must not be activated in place.
        return nn.Sequential(norm, style.make_activation(inplace=style.has_norm), conv)
    return nn.Sequential(conv, norm, style.make_activation())


def make_upsampling(name: UpsamplingName, in_channels: int, out_channels: int) -> nn.Module:
    """Return what doubles height and width, (B, C, H, W) to (B, out_channels, 2H, 2W).

    Interpolation (`align_corners=False`) comes after its 1x1 convolution: the two commute, and
    this order does a quarter of the work. All four start without a checkerboard.

    Raises:
        UnknownNameError: If there is no such upsampling.
    """
    if name == "transposed":
        conv = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        # Each output pixel has one tap per input channel; equal taps magnify by repetition.
        taps = torch.empty_like(conv.weight[..., :1, :1]).normal_(std=in_channels**-0.5)
        with torch.no_grad():
            conv.weight.copy_(taps.expand_as(conv.weight))
        nn.init.zeros_(cast(Tensor, conv.bias))
        return conv
    if name == "pixel_shuffle":
        return make_subpixel_conv(in_channels, out_channels, 3, factor=2)
    if name == "bilinear":
        upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    elif name == "nearest":
        upsample = nn.Upsample(scale_factor=2, mode="nearest")
    else:
        choices = ["transposed", "bilinear", "nearest", "pixel_shuffle"]
        raise UnknownNameError("upsampling", name, choices)
    return nn.Sequential(make_conv(in_channels, out_channels, 1), upsample)
