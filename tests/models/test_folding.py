from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from delineate.models import build_model
from delineate.models.folding import fold_norms


def trained_network(name: str, **settings: Any) -> nn.Module:
    """Return a network whose batch norms have statistics, scales and shifts of their own."""
    torch.manual_seed(0)
    network = build_model(name, 3, 2, width=4, depth=2, **settings).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            network(torch.randn(2, 3, 32, 32, dtype=torch.float64) * 3 + 1)
    return network.eval()


def num_batch_norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("name", "settings", "num_left"),
    [
        ("unet", {}, 0),
        ("unet", {"downsampling": "strided_conv", "stem_stride": 2}, 0),
        ("unet", {"norm": "none"}, 0),
        ("unet", {"norm": "group"}, 0),
        ("resunet", {}, 0),
        # The norms that begin a block, all but the first, or the head stand before a convolution.
        ("resunet", {"preactivation": True}, 7),
    ],
)
def test_a_folded_network_computes_the_same(
    name: str, settings: dict[str, Any], num_left: int
) -> None:
    network = trained_network(name, **settings)
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    folded = fold_norms(network)
    assert num_batch_norms(folded) == num_left
    image = torch.randn(2, 3, 40, 56, dtype=torch.float64)
    torch.testing.assert_close(folded(image), network(image), rtol=1e-10, atol=1e-10)
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[key])


def test_a_network_in_training_is_folded_as_it_would_evaluate() -> None:
    network = trained_network("unet")
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    expected = network(image)
    torch.testing.assert_close(fold_norms(network.train())(image), expected)
    assert network.training
