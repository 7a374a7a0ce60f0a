"""One step of the optimizer: forward, backward, and the refusal of what is not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

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


class Stepper:
    """Makes steps of the optimizer on a network.

    A step whose loss or gradient is not finite changes nothing: the weights stay, and the
    statistics of batch norm, which the forward pass has moved, are put back.
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
    ) -> None:
        self._network = network
        self._loss = loss
        self._optimizer = optimizer
        self._device = device
        self._amp_dtype = amp_dtype
        self._clip_norm = clip_norm
        self._scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype == torch.float16)
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._buffers = list(network.buffers())
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
        for batch in batches:
            loss = self._forward(batch)
            value = float(loss.detach())
            if not math.isfinite(value):
                self._refuse()
                return None
            self._scaler.scale(loss / len(batches)).backward()  # type: ignore[no-untyped-call]
            total += value / len(batches)
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clip_norm or float("inf"))
        # The scaler expects infinite gradients now and then, skips the step and scales down.
        if not self._scaler.is_enabled() and not bool(torch.isfinite(norm)):
            self._refuse()
            return None
        self._scaler.step(self._optimizer)
        self._scaler.update()
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
            heads = self._network.forward_heads(images)
        return supervise_heads(self._loss, [head.float() for head in heads], target, valid)

    def _refuse(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._kept_buffers)
