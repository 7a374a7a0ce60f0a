"""A network whose gradients and statistics are those of several processes together."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

if TYPE_CHECKING:
    from delineate.models.encoder_decoder import EncoderDecoder


class _AllHeads(nn.Module):
    """The heads of a network as what a call returns, which is what DDP can wrap."""

    def __init__(self, network: EncoderDecoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.network.forward_heads(images)


def spread_gradients(network: EncoderDecoder, device: torch.device) -> DistributedDataParallel:
    """Return what computes the heads of a network and averages gradients over all processes.

    All processes begin with the weights of the first.
    """
    synchronise_norms(network, device)
    # Said of weights of one input channel, whose strides say nothing.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    spread = DistributedDataParallel(
        _AllHeads(network), device_ids=None if device.type == "cpu" else [device]
    )
    # The statistics of batch norm are averaged after each step; the argument that leaves them
    # alone until then has changed its name between versions of torch.
    spread.broadcast_buffers = False
    return spread


def synchronise_norms(network: nn.Module, device: torch.device) -> None:
    """Have batch norms normalise by the joint batch, on GPUs; torch has that for no other.

    Elsewhere each process normalises by its own batch. The weights stay the same objects.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
