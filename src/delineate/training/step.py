"""One step of the optimizer: forward, backward, and the refusal of what is not finite."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from delineate.losses.joint import joint_batch
from delineate.processes import ALONE, Team
from delineate.training.objective import Loss, supervise_heads

if TYPE_CHECKING:
    from delineate.models.encoder_decoder import EncoderDecoder

Batch = dict[str, Tensor]


def choose_memory_format(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Return channels-last where convolutions gain more by it than norms lose."""
    norms_over_images = (nn.GroupNorm, nn.InstanceNorm2d)
    has_slow_norm = any(isinstance(module, norms_over_images) for module in network.modules())
    if device.type == "cuda" or (device.type == "cpu" and not has_slow_norm):
        return torch.channels_last
    return torch.contiguous_format


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


class Stepper:
    """Makes steps of the optimizer on a network.

    A step whose loss or gradient is not finite changes nothing: the weights stay, and the
    statistics of batch norm, which the forward pass has moved, are put back.

    Several processes make one step together, that of one process with all their batches in one:
    the loss is that of the joint batch, and all refuse a step that one of them cannot make.
    """

    def __init__(
        self,
        network: EncoderDecoder,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        amp_dtype: torch.dtype | None = None,
        clip_norm: float | None = None,
        team: Team = ALONE,
    ) -> None:
        self._network = network
        self._team = team
        self._spread = None if team.is_alone else spread_gradients(network, device)
        self._loss = loss
        self._optimizer = optimizer
        self._device = device
        self._amp_dtype = amp_dtype
        self._clip_norm = clip_norm
        self._scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype == torch.float16)
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._buffers = list(network.buffers())
        self._statistics = [buffer for buffer in self._buffers if buffer.is_floating_point()]
        self._kept_buffers = [buffer.clone() for buffer in self._buffers]
        self._memory_format = choose_memory_format(network, device)

    def step(self, batches: Sequence[Batch], learning_rate: float) -> float | None:
        """Make one step on the mean gradient of the batches.

        Args:
            batches: Each with image (B, C, H, W), target and valid.
            learning_rate: Of this step.

        Returns:
            The mean loss, or None where it or the gradient was not finite and nothing was done.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        self._network.train()
        total = 0.0
        for number, batch in enumerate(batches, start=1):
            with self._collecting_gradients(is_last=number == len(batches)):
                loss = self._forward(batch)
                value = float(loss.detach())
                if not self._team.agree(math.isfinite(value)):
                    self._refuse()
                    return None
                scaled = self._scaler.scale(loss / len(batches))
                scaled.backward()  # type: ignore[no-untyped-call]
            total += value / len(batches)
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clip_norm or float("inf"))
        # The scaler expects infinite gradients now and then, skips the step and scales down.
        is_finite = self._scaler.is_enabled() or bool(torch.isfinite(norm))
        if not self._team.agree(is_finite):
            self._refuse()
            return None
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._average_statistics()
        if self._buffers:
            torch._foreach_copy_(self._kept_buffers, self._buffers)
        return total

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on exactly: network, optimizer and scaler."""
        return {
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._buffers:
            torch._foreach_copy_(self._kept_buffers, self._buffers)

    def _forward(self, batch: Batch) -> Tensor:
        images = batch["image"].to(
            self._device, memory_format=self._memory_format, non_blocking=True
        )
        target = batch["target"].to(self._device, non_blocking=True)
        valid = batch["valid"].to(self._device, non_blocking=True)
        is_reduced = self._amp_dtype is not None
        with torch.autocast(self._device.type, dtype=self._amp_dtype, enabled=is_reduced):
            heads = (self._spread or self._network.forward_heads)(images)
        # the loss is float32, or float64 where the network is
        heads = [head if head.dtype == torch.float64 else head.float() for head in heads]
        with nullcontext() if self._team.is_alone else joint_batch():
            return supervise_heads(self._loss, heads, target, valid)

    def _collecting_gradients(self, is_last: bool) -> AbstractContextManager[None]:
        """Have the processes' gradients averaged by the backward pass of the last batch only."""
        if self._spread is None or is_last:
            return nullcontext()
        return self._spread.no_sync()

    def _average_statistics(self) -> None:
        """Give all processes the same statistics of batch norm, where each has taken its own."""
        if self._team.is_alone or not self._statistics:
            return
        flat = torch.cat([buffer.reshape(-1) for buffer in self._statistics])
        torch.distributed.all_reduce(flat)
        flat /= self._team.size
        parts = torch.split(flat, [buffer.numel() for buffer in self._statistics])
        for buffer, part in zip(self._statistics, parts, strict=True):
            buffer.copy_(part.view_as(buffer))

    def _refuse(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._kept_buffers)
