from __future__ import annotations

import inspect
import subprocess
import sys
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import nn

import delineate.models
from delineate.config import ResUNetConfig, UNetConfig
from delineate.errors import ShapeError, UnknownNameError, UsageError
from delineate.models import MODELS, ResUNet, UNet, build_model


@pytest.mark.parametrize(("config", "network"), [(UNetConfig, UNet), (ResUNetConfig, ResUNet)])
def test_settings_are_those_of_the_constructor(config: Any, network: Any) -> None:
    fields = {k: f.default for k, f in config.model_fields.items() if k != "name"}
    parameters = list(inspect.signature(network).parameters.values())[2:]

    assert fields == {parameter.name: parameter.default for parameter in parameters}
    hints = get_type_hints(network.__init__)
    for name in fields:
        expected = config.model_fields[name].annotation
        if get_origin(expected) is Literal:
            assert set(get_args(expected)) == set(get_args(hints[name])), name
    assert config.model_fields["name"].default in MODELS


def test_a_unet_has_the_weights_of_the_guides() -> None:
    def block(in_channels: int, out_channels: int) -> int:
        return 9 * (in_channels + out_channels) * out_channels + 4 * out_channels

    widths = [64, 128, 256, 512, 1024]
    expected = block(3, 64) + 64 + 1
    for fine, coarse in pairwise(widths):
        expected += block(fine, coarse) + (4 * coarse * fine + fine) + block(2 * fine, fine)

    with torch.device("meta"):
        network = build_model("unet", 3, 1, width=64, max_width=1024)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("name", list(MODELS))
def test_levels_double_up_to_the_cap(name: str) -> None:
    network = build_model(name, 3, 2, width=4, depth=4, max_width=10)
    convs = [m for m in network.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert sorted({conv.out_channels for conv in convs}) == [4, 8, 10]


def test_dropout_sits_at_the_two_coarsest_levels() -> None:
    network = build_model("unet", 1, 1, width=2, depth=3, dropout=0.4)
    dropped = [
        level
        for level, stage in enumerate(network.encoder)
        if any(isinstance(module, nn.Dropout2d) and module.p == 0.4 for module in stage.modules())
    ]
    assert dropped == [2, 3]


def test_padding_repeats_edges_and_is_cropped() -> None:
    torch.manual_seed(0)
    network = build_model("unet", 1, 1, width=2, depth=2).eval()
    image = torch.randn(1, 1, 9, 3)
    padded = nn.functional.pad(image, (0, 5, 0, 3), mode="replicate")
    with torch.no_grad():
        assert torch.equal(network(image), network(padded)[..., :9, :3])


def test_a_stem_starts_with_even_logits_in_each_cell() -> None:
    network = build_model("unet", 3, 2, width=4, depth=2, stem_stride=4).eval()
    with torch.no_grad():
        logits = network(torch.randn(1, 3, 32, 32))
    cells = logits.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert torch.equal(cells, cells[..., :1].expand_as(cells))


@pytest.mark.parametrize("name", list(MODELS))
def test_exports_with_a_free_size(name: str) -> None:
    settings = {"preactivation": True} if name == "resunet" else {"stem_stride": 2}
    network = build_model(name, 1, 2, width=2, depth=2, **settings).eval()
    cells = {2: torch.export.Dim("rows", min=2, max=64), 3: torch.export.Dim("cols", min=2, max=64)}
    free = {axis: network.stride * dim for axis, dim in cells.items()}
    example = torch.randn(1, 1, 3 * network.stride, 4 * network.stride)

    program = torch.export.export(network, (example,), dynamic_shapes=(free,))

    image = torch.randn(1, 1, 5 * network.stride, 2 * network.stride)
    torch.testing.assert_close(program.module()(image), network(image))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"max_width": 0}, "max_width is 0"),
        ({"depth": 1}, "depth is 1; a network halves the resolution 2 to 6 times"),
        ({"depth": 7}, "depth is 7"),
        ({"stem_stride": 3}, "stem_stride is 3; it must be 1, 2 or 4"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
        ({"dropout": -0.1}, r"dropout is -0\.1"),
        ({"depth": 2, "deep_supervision": 2}, "room for 0 to 1 auxiliary heads"),
        ({"deep_supervision": -1}, "deep_supervision is -1"),
        ({"norm": "layer"}, "unknown norm 'layer'"),
        ({"upsampling": "deconv"}, "unknown upsampling 'deconv'"),
        ({"dept": 3}, "unknown setting of unet 'dept'.*Did you mean 'depth'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_model("unet", 3, 1, **settings)


def test_counts_of_channels_and_classes_are_checked() -> None:
    with pytest.raises(UsageError, match="in_channels is 0"):
        build_model("unet", 0, 1)
    with pytest.raises(UsageError, match="num_classes is -1"):
        build_model("resunet", 3, -1)


def test_an_unknown_network_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="choose one of unet, resunet"):
        build_model("segnet", 3, 1)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 3, 0, 8), (1, 3, 8, 0)])
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    network = build_model("unet", 3, 1, width=2, depth=2)
    with pytest.raises(ShapeError, match=r"it takes \(batch, 3, height, width\)"):
        network(torch.zeros(shape))


def test_the_table_names_classes_and_loads_them_late() -> None:
    assert [getattr(delineate.models, path.rpartition(".")[2]) for path in MODELS.values()] == [
        UNet,
        ResUNet,
    ]
    with pytest.raises(AttributeError, match="SegNet"):
        delineate.models.SegNet  # noqa: B018
    probe = "import sys, delineate.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
