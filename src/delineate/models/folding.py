"""Make a trained network cheaper to run without changing what it computes."""

from __future__ import annotations

from copy import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_norms(network: nn.Module) -> nn.Module:
    """Return a copy for prediction whose batch norms are part of the convolutions before them.

    A trained batch norm multiplies and shifts channels by fixed numbers, which the weights before
    it can do (https://arxiv.org/abs/1712.05877, section 3.2): a pass over each feature map less.
    Other normalisations, and batch norms that no convolution precedes, stay. The copy evaluates,
    and shares all other weights with the network.
    """
    folded = _twin(network).eval()
    for sequence in folded.modules():
        if not isinstance(sequence, nn.Sequential):
            continue
        for index in range(len(sequence) - 1):
            conv, norm = sequence[index], sequence[index + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[index] = fuse_conv_bn_eval(conv, norm)
                sequence[index + 1] = nn.Identity()
    return folded


def _twin(module: nn.Module) -> nn.Module:
    """Return a copy whose layers can be replaced and whose weights are the module's own."""
    twin = copy(module)
    twin._modules = {
        name: None if child is None else _twin(child) for name, child in module._modules.items()
    }
    return twin
