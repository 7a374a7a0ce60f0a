from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from delineate.errors import UnknownNameError
from delineate.models.blocks import (
    LayerStyle,
    ResidualBlock,
    make_conv,
    make_downsampling,
    make_subpixel_conv,
    make_upsampling,
    num_groups,
)


@given(st.integers(1, 600))
@settings(deadline=None, max_examples=100)
def test_groups_divide_any_width(channels: int) -> None:
    groups = num_groups(channels)
    assert 1 <= groups <= 8
    assert channels % groups == 0
    assert groups == 1 or channels // groups >= 2


def test_groups_of_common_widths() -> None:
    assert [num_groups(n) for n in (1, 2, 4, 7, 8, 12, 16, 32, 48)] == [1, 1, 2, 1, 4, 6, 8, 8, 8]


def test_instance_norm_is_that_of_torch() -> None:
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    ours = LayerStyle("instance", "relu").make_norm(6).double()
    torch.testing.assert_close(ours(x), nn.InstanceNorm2d(6)(x))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu"])
def test_kaiming_keeps_the_scale_through_many_layers(activation: str) -> None:
    torch.manual_seed(0)
    style = LayerStyle("none", activation)
    layers = [
        layer for _ in range(12) for layer in (style.make_conv(32, 32), style.make_activation())
    ]
    with torch.no_grad():
        x = nn.Sequential(*layers)(torch.randn(2, 32, 48, 48))[..., 14:-14, 14:-14]
    assert 0.1 < x.square().mean() < 10


def test_conv_weights_have_the_stated_deviation() -> None:
    torch.manual_seed(0)
    conv = make_conv(32, 64, 3, gain=math.sqrt(2))
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.05)
    assert conv.bias is not None
    assert not conv.bias.any()


@pytest.mark.parametrize("factor", [2, 4])
def test_subpixel_convolution_starts_without_a_checkerboard(factor: int) -> None:
    out = make_subpixel_conv(3, 2, 3, factor=factor)(torch.randn(1, 3, 4, 5))
    cells = out.unfold(2, factor, factor).unfold(3, factor, factor).flatten(4)
    assert out.shape == (1, 2, 4 * factor, 5 * factor)
    assert torch.equal(cells, cells[..., :1].expand_as(cells))
    assert cells[..., 0].std() > 0


@pytest.mark.parametrize("name", ["transposed", "nearest", "pixel_shuffle"])
def test_upsampling_starts_by_repeating_pixels(name: str) -> None:
    out = make_upsampling(name, 6, 3)(torch.randn(1, 6, 4, 5))
    assert out.shape == (1, 3, 8, 10)
    repeated = out[..., ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(out, repeated, rtol=0, atol=1e-6)


def test_bilinear_upsampling_commutes_with_its_convolution() -> None:
    layer = make_upsampling("bilinear", 6, 3).double()
    conv = layer[0]
    nn.init.normal_(conv.bias)
    x = torch.randn(1, 6, 5, 4, dtype=torch.float64)
    after = conv(nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
    torch.testing.assert_close(layer(x), after)


@pytest.mark.parametrize("norm", ["batch", "group", "instance", "none"])
@pytest.mark.parametrize("preactivation", [False, True])
def test_a_residual_block_starts_as_its_shortcut_and_wakes_up(
    norm: str, preactivation: bool
) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(4, 4, LayerStyle(norm, "relu"), preactivation=preactivation)
    x = torch.randn(2, 4, 8, 8)
    kept = x.clone()
    out = block(x)
    assert torch.equal(out, x if preactivation else x.relu())
    assert torch.equal(x, kept)

    # All parameters get a gradient within two steps, so the zeros do not last.
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    target = torch.randn(2, 4, 8, 8)
    seen = set()
    for _ in range(3):
        optimizer.zero_grad()
        (block(x) - target).square().mean().backward()
        seen |= {n for n, p in block.named_parameters() if p.grad is not None and p.grad.any()}
        optimizer.step()
    assert seen == {name for name, _ in block.named_parameters()}


def test_the_first_preactivated_block_does_not_rectify_the_image() -> None:
    block = ResidualBlock(1, 4, LayerStyle("batch", "relu"), preactivation=True, is_first=True)
    assert isinstance(block.branch[0], nn.Conv2d)


@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_strided_downsampling_leaves_its_input_alone(norm: str, preactivation: bool) -> None:
    style = LayerStyle(norm, "relu")
    layer = make_downsampling("strided_conv", 3, style, preactivation=preactivation)
    x = torch.randn(1, 3, 8, 6)
    kept = x.clone()
    assert layer(x).shape == (1, 3, 4, 3)
    assert torch.equal(x, kept)


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(UnknownNameError, match="batch, group, instance, none"):
        LayerStyle("layer", "relu")
    with pytest.raises(UnknownNameError, match="Did you mean 'relu'"):
        LayerStyle("batch", "relu6")
    with pytest.raises(UnknownNameError, match="max_pool, strided_conv"):
        make_downsampling("avg_pool", 3, LayerStyle("none", "relu"))
    with pytest.raises(UnknownNameError, match="pixel_shuffle"):
        make_upsampling("bicubic", 4, 2)
