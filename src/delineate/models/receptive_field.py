"""Which input pixels an output pixel can see: interval arithmetic over the layers of a network.

Every layer used here treats rows and columns alike, so one axis suffices. `source_interval` maps
the interval of output positions of a layer to the interval of its input positions that they read.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

Interval = tuple[int, int]
"""First and last position along one axis, both included."""

_POINTWISE = (
    nn.Identity,
    nn.BatchNorm2d,
    nn.GroupNorm,
    nn.Dropout2d,
    nn.ReLU,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
)


@runtime_checkable
class Composite(Protocol):
    """A module of branches that knows how they join."""

    def source_interval(self, interval: Interval) -> Interval:
        """Return the input positions that the output positions `interval` read."""
        ...


def hull(first: Interval, second: Interval) -> Interval:
    """Return the smallest interval that holds both."""
    return min(first[0], second[0]), max(first[1], second[1])


def source_interval(module: nn.Module, interval: Interval) -> Interval:
    """Return the input positions that the output positions `interval` of a layer read.

    Group and instance normalisation, which read whole images, count as pointwise: the interval is
    that of the convolutions. Padding at the border of an image is not part of the interval.

    Raises:
        TypeError: If there is no rule for the module.
    """
    low, high = interval
    if isinstance(module, nn.Sequential):
        for child in reversed(module):
            interval = source_interval(child, interval)
        return interval
    if isinstance(module, _POINTWISE):
        return interval
    if isinstance(module, nn.PixelShuffle):
        return low // module.upscale_factor, high // module.upscale_factor
    if isinstance(module, nn.PixelUnshuffle):
        factor = module.downscale_factor
        return low * factor, high * factor + factor - 1
    if isinstance(module, nn.Upsample):
        return _upsample_source(module, interval)
    if isinstance(module, nn.ConvTranspose2d):
        step, padding = module.stride[0], int(module.padding[0])
        reach = module.dilation[0] * (module.kernel_size[0] - 1)
        return -((reach - low - padding) // step), (high + padding) // step
    if isinstance(module, nn.Conv2d | nn.MaxPool2d):
        size, step, padding, dilation = (
            int(value[0] if isinstance(value, tuple) else value)
            for value in (module.kernel_size, module.stride, module.padding, module.dilation)
        )
        return low * step - padding, high * step - padding + dilation * (size - 1)
    if isinstance(module, Composite):  # last: looking a protocol up takes the longest
        return module.source_interval(interval)
    raise TypeError(f"no receptive field rule for {type(module).__name__}")


def halo(module: nn.Module, stride: int) -> int:
    """Return how many pixels away an input pixel can still change an output pixel.

    The reach differs with an output pixel's phase, its place in the cell of `stride` pixels that
    the coarsest level sees as one; the halo is the largest over all phases and both directions.
    """
    reaches = []
    for phase in range(stride):
        low, high = source_interval(module, (phase, phase))
        reaches.append(max(phase - low, high - phase))
    return max(reaches)


def _upsample_source(module: nn.Upsample, interval: Interval) -> Interval:
    low, high = interval
    # torch declares the factor as float or tuple; this package doubles and nothing else.
    if module.scale_factor != 2:
        raise TypeError(f"no receptive field rule for upsampling by {module.scale_factor}")
    if module.mode == "nearest":
        return low // 2, high // 2
    if module.mode == "bilinear" and not module.align_corners:
        return (low - 1) // 2, (high + 1) // 2
    raise TypeError(f"no receptive field rule for {module.mode} upsampling")
