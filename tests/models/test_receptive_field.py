from __future__ import annotations

import pytest
import torch
from torch import nn

from delineate.models import build_model
from delineate.models.receptive_field import halo, hull, source_interval


@pytest.mark.parametrize(
    ("layer", "stride"),
    [
        (nn.Conv2d(1, 1, 3, padding=1), 1),
        (nn.Conv2d(1, 1, 3, padding=2, dilation=2), 1),
        (nn.Conv2d(1, 1, 3, stride=2, padding=1), 2),
        (nn.Conv2d(1, 1, 2, stride=2), 2),
        (nn.MaxPool2d(2), 2),
        (nn.MaxPool2d(3, stride=2, padding=1), 2),
        (nn.ConvTranspose2d(1, 1, 2, stride=2), 0.5),
        (nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1), 0.5),
        (nn.Upsample(scale_factor=2, mode="nearest"), 0.5),
        (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), 0.5),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.PixelShuffle(2)), 0.5),
        (nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(16, 1, 1)), 4),
        (nn.Sequential(nn.GELU(), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1)), 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_each_rule_matches_what_the_layer_reads(layer: nn.Module, stride: float) -> None:
    layer.double().eval()
    size, origin = 32, int(16 // stride)
    for position in range(origin, origin + 4):
        read = []
        for source in range(size):
            image = torch.ones(1, 1, 8, size, dtype=torch.float64)
            image[..., source] = torch.nan
            with torch.no_grad():
                if layer(image)[0, 0, 2 if stride < 4 else 1, position].isnan():
                    read.append(source)
        assert source_interval(layer, (position, position)) == (read[0], read[-1])


@pytest.mark.parametrize(
    ("name", "settings", "pixels"),
    [
        ("unet", {"depth": 4}, 107),
        ("resunet", {"depth": 4}, 137),
        ("unet", {"depth": 6, "max_width": 8}, 443),
    ],
)
def test_halo_of_the_guides_networks(name: str, settings: dict[str, int], pixels: int) -> None:
    assert build_model(name, 3, 1, width=2, **settings).halo == pixels


def test_halo_covers_all_phases() -> None:
    # The right pixel of a cell reads one pixel further left than the left one does.
    pool = nn.Sequential(
        nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1), nn.ConvTranspose2d(1, 1, 2, stride=2)
    )
    assert source_interval(pool, (0, 0)) == (-2, 3)
    assert source_interval(pool, (1, 1)) == (-2, 3)
    assert halo(pool, stride=2) == 3


def test_hull_holds_both() -> None:
    assert hull((-3, 2), (-1, 5)) == (-3, 5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.AdaptiveAvgPool2d(1),
        nn.Upsample(scale_factor=3),
        nn.Upsample(scale_factor=2, mode="bicubic"),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    ],
)
def test_a_layer_without_a_rule_is_refused(layer: nn.Module) -> None:
    with pytest.raises(TypeError, match="no receptive field rule"):
        source_interval(layer, (0, 0))


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear", "nearest", "pixel_shuffle"])
@pytest.mark.parametrize("axis", [2, 3])
def test_influence_stays_within_the_halo_at_borders(upsampling: str, axis: int) -> None:
    network = build_model("unet", 1, 1, width=2, depth=2, upsampling=upsampling).double().eval()
    length = 2 * network.halo + 3
    size = (length, 5) if axis == 2 else (5, length)
    for position in [*range(network.stride + 1), *range(length - network.stride - 1, length)]:
        image = torch.zeros(1, 1, *size, dtype=torch.float64)
        image.select(axis, position)[..., 0] = torch.nan
        with torch.no_grad():
            touched = network(image).isnan().any(dim=5 - axis).flatten().nonzero()
        assert (touched - position).abs().max() <= network.halo


@pytest.mark.parametrize("name", ["unet", "resunet"])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_an_aligned_window_with_its_halo_sees_what_the_image_sees(
    name: str, stem_stride: int
) -> None:
    torch.manual_seed(0)
    network = build_model(name, 2, 2, width=3, depth=2, stem_stride=stem_stride).double()
    image = torch.randn(1, 2, 2 * network.stride, 4 * network.halo, dtype=torch.float64)
    network.train()(image)
    network.eval()
    start = 2 * network.stride
    stop = start + 2 * network.halo + 2 * network.stride
    with torch.no_grad():
        whole, window = network(image), network(image[..., start:stop])
    inner = slice(network.halo, stop - start - network.halo)

    torch.testing.assert_close(
        window[..., inner], whole[..., start:stop][..., inner], rtol=0, atol=1e-12
    )
