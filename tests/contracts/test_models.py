"""One contract for every network of the table, over pairwise combinations of its settings."""

from __future__ import annotations

import copy
from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch import Tensor

from delineate.models import MODELS, build_model
from delineate.models.blocks import ResidualBlock
from delineate.models.encoder_decoder import EncoderDecoder

Combination = dict[str, Any]

FACTORS: dict[str, list[Any]] = {
    "name": list(MODELS),
    "upsampling": ["transposed", "bilinear", "nearest", "pixel_shuffle"],
    "norm": ["batch", "group", "instance", "none"],
    "activation": ["relu", "leaky_relu", "gelu", "silu"],
    "stem_stride": [1, 2, 4],
    "downsampling": ["max_pool", "strided_conv"],
    "depth": [2, 3],
    "max_width": [6, 512],
    "dropout": [0.0, 0.3],
    "deep_supervision": [0, 1],
    "preactivation": [False, True],
    "in_channels": [1, 3, 5],
    "num_classes": [1, 3],
}


def all_pairs(factors: dict[str, list[Any]]) -> list[Combination]:
    """Return combinations in which every two values of two factors meet at least once."""
    missing = {
        ((first, a), (second, b))
        for first, second in combinations(factors, 2)
        for a, b in product(factors[first], factors[second])
    }
    rows = []
    while missing:
        row = dict(min(missing, key=str))
        for factor in factors:
            if factor not in row:
                row[factor] = max(
                    factors[factor],
                    key=lambda value: len(missing & pairs_of({**row, factor: value})),
                )
        missing -= pairs_of(row)
        rows.append({factor: row[factor] for factor in factors})
    return rows


def pairs_of(row: Combination) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    ordered = [(factor, row[factor]) for factor in FACTORS if factor in row]
    return set(combinations(ordered, 2))


COMBINATIONS = all_pairs(FACTORS)


def build(combination: Combination, **changes: Any) -> EncoderDecoder:
    settings = {"width": 4, **combination, **changes}
    if settings["name"] == "unet":
        settings.pop("preactivation", None)
    return build_model(**settings)


def describe(combination: Combination) -> str:
    return "-".join(str(value) for value in combination.values())


@pytest.fixture(params=COMBINATIONS, ids=describe)
def combination(request: pytest.FixtureRequest) -> Combination:
    torch.manual_seed(0)
    return dict(request.param)


def images(combination: Combination, height: int, width: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, combination["in_channels"], height, width)


def test_all_pairs_covers_every_pair_with_few_rows() -> None:
    covered = set().union(*(pairs_of(row) for row in COMBINATIONS))
    wanted = {
        ((first, a), (second, b))
        for first, second in combinations(FACTORS, 2)
        for a, b in product(FACTORS[first], FACTORS[second])
    }
    assert covered == wanted
    assert len(COMBINATIONS) < 40


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (23, 9), (32, 64)])
def test_any_size_comes_out_unchanged(combination: Combination, size: tuple[int, int]) -> None:
    network = build(combination).train()

    logits = network(images(combination, *size))

    assert logits.shape == (2, combination["num_classes"], *size)
    assert logits.isfinite().all()


def test_heads_are_finest_first_and_every_parameter_learns(combination: Combination) -> None:
    network = build(combination).train()
    height, width = 41, 64

    heads = network.forward_heads(images(combination, height, width))
    sum(head.square().mean() for head in heads).backward()

    assert len(heads) == 1 + combination["deep_supervision"]
    for level, head in enumerate(heads):
        cell = combination["stem_stride"] * 2**level if level else 1
        assert head.shape[2:] == (-(-height // cell), -(-width // cell))
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_forward_is_the_first_head(combination: Combination) -> None:
    network = build(combination).eval()
    image = images(combination, 20, 33)

    assert torch.equal(network(image), network.forward_heads(image)[0])


def test_saved_weights_give_the_same_logits(combination: Combination) -> None:
    network = build(combination)
    with torch.no_grad():
        for _ in range(2):
            network.train()(images(combination, 16, 16))
    network.eval()
    image = images(combination, 24, 17)
    twin = build(combination).eval()
    twin.load_state_dict(network.state_dict())

    assert torch.equal(twin(image), network(image))
    assert torch.equal(copy.deepcopy(network)(image), network(image))


def test_the_seed_decides_the_weights(combination: Combination) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build(combination).state_dict())

    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_residual_branches_start_at_zero(combination: Combination) -> None:
    network = build(combination).eval()
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]

    assert bool(blocks) == (combination["name"] == "resunet")
    for block in blocks:
        first = next(m for m in block.branch if isinstance(m, torch.nn.Conv2d))
        branch = block.branch(torch.randn(1, first.in_channels, 5, 6))
        assert not branch.any()


def test_autocast_trains_in_channels_last(combination: Combination) -> None:
    network = build(combination).to(memory_format=torch.channels_last).train()
    image = images(combination, 32, 32).contiguous(memory_format=torch.channels_last)

    with torch.autocast("cpu", torch.bfloat16):
        heads = network.forward_heads(image)
    sum(head.float().square().mean() for head in heads).backward()

    assert heads[0].isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_influence_reaches_the_halo_and_no_further(combination: Combination) -> None:
    """NaN probes: gradients vanish behind rectifiers and maxima, NaN passes everything."""
    local = {"norm": "batch" if combination["norm"] in ("group", "instance") else "none"}
    network = build(combination, width=2, max_width=3, **local).double().eval()
    stride, halo = network.stride, network.halo
    assert build(combination).is_local == (combination["norm"] in ("batch", "none"))
    assert build(combination).halo == halo
    assert stride == combination["stem_stride"] * 2 ** combination["depth"]

    margin = -(-(halo + 1) // stride) * stride
    image = images(combination, 2 * stride, 2 * margin + stride, batch=1).double()
    reaches = []
    for phase in range(stride):
        probe = image.clone()
        probe[:, :, stride, margin + phase] = torch.nan
        with torch.no_grad():
            columns = network(probe).isnan().any(dim=(0, 1, 2)).nonzero().flatten()
        reaches.append((columns - (margin + phase)).abs().max().item())

    assert max(reaches) == halo
