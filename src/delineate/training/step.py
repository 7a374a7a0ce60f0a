"""One step of the optimizer: forward, backward, and the refusal of what is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from delineate.distributed import ran_out_of_memory
from delineate.errors import ResourceError
from delineate.losses.joint import joint_batch
from delineate.memory import release_freed_memory
from delineate.processes import ALONE, Team
from delineate.training.objective import Loss, supervise_heads
from delineate.training.spreading import spread_gradients

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

    Several processes make one step together, that of one process with all their batches in one:
    the loss is that of the joint batch, and all refuse a step that one of them cannot make.

    Where memory does not hold a batch, it is computed in parts from then on, each half as large
    as before: first the logits of all parts, then the loss of the whole batch and its gradient to
    them, then part by part the rest of the way (https://arxiv.org/abs/2101.06983). So every loss,
    a batch-wise Dice too, and its gradient are those of the whole batch; a step takes half as
    long again. Batch norm alone normalises by the part.
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
        report: Callable[[str], None] | None = None,
    ) -> None:
        """Take what a step needs.

        Args:
            network: Whose weights are changed.
            loss: Of logits, target and valid.
            optimizer: Over the network's parameters.
            device: Where the network is.
            amp_dtype: Reduced precision; None computes in float32.
            clip_norm: Largest norm of the gradient; None does not clip.
            team: Processes that make each step together.
            report: Told, in a sentence, that memory ran out and batches are computed in parts.
        """
        self._network = network
        self._team = team
        self._report = report
        self._part_size: int | None = None
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
        former = self._part_size
        while True:
            try:
                loss = self._try_step(batches)
                break
            except (RuntimeError, MemoryError) as error:
                if not ran_out_of_memory(error):
                    raise
                # What the traceback holds is freed where this block ends; then there is room.
                reason = str(error).partition("\n")[0]
            self._refuse()
            self._halve(batches, reason)
        if self._part_size != former:
            self._tell_of_parts(max(len(batch["image"]) for batch in batches))
        return loss

    def _try_step(self, batches: Sequence[Batch]) -> float | None:
        self._optimizer.zero_grad(set_to_none=True)
        self._network.train()
        total = 0.0
        for number, batch in enumerate(batches, start=1):
            with self._collecting_gradients(is_last=number == len(batches)):
                value = self._add_gradient(batch, 1 / len(batches))
            if value is None:
                self._refuse()
                return None
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
        self._keep_statistics()
        return total

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on exactly: network, optimizer and scaler."""
        return {
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "part_size": self._part_size,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._part_size = state["part_size"]
        self._keep_statistics()

    def restart(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from other weights, with an optimizer that remembers nothing."""
        self._network.load_state_dict(weights)
        self._optimizer.zero_grad(set_to_none=True)
        self._optimizer.state.clear()
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._scaler.is_enabled())
        self._keep_statistics()

    def is_sound(self) -> bool:
        """Return whether all weights and statistics are finite."""
        tensors = [*self._parameters, *self._statistics]
        return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())

    def _add_gradient(self, batch: Batch, share: float) -> float | None:
        """Add a batch's share to the gradient and return its loss; None where it is not finite."""
        size = self._part_size
        if size is not None and len(batch["image"]) > size:
            return self._add_gradient_by_parts(batch, share, size)
        loss = self._judge(self._compute_heads(batch["image"]), batch)
        value = float(loss.detach())
        if not self._team.agree(math.isfinite(value)):
            return None
        self._scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        return value

    def _add_gradient_by_parts(self, batch: Batch, share: float, size: int) -> float | None:
        images = torch.split(batch["image"], size)
        statistics = [buffer.clone() for buffer in self._buffers]
        generators, outputs = [], []
        for part in images:
            generators.append(self._save_generators())
            with torch.no_grad():
                outputs.append(self._compute_heads(part))
        heads = [torch.cat(level).requires_grad_() for level in zip(*outputs, strict=True)]
        loss = self._judge(heads, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            return None
        gradients = torch.autograd.grad(self._scaler.scale(loss * share), heads)
        if self._buffers:
            torch._foreach_copy_(self._buffers, statistics)
        pieces = zip(*(torch.split(gradient, size) for gradient in gradients), strict=True)
        for part, generator, piece in zip(images, generators, pieces, strict=True):
            self._restore_generators(generator)  # dropout drops the same again
            torch.autograd.backward(self._compute_heads(part), piece)
        return value

    def _compute_heads(self, images: Tensor) -> list[Tensor]:
        images = images.to(self._device, memory_format=self._memory_format, non_blocking=True)
        is_reduced = self._amp_dtype is not None
        with torch.autocast(self._device.type, dtype=self._amp_dtype, enabled=is_reduced):
            heads = (self._spread or self._network.forward_heads)(images)
        # the loss is float32, or float64 where the network is
        return [head if head.dtype == torch.float64 else head.float() for head in heads]

    def _judge(self, heads: Sequence[Tensor], batch: Batch) -> Tensor:
        target = batch["target"].to(self._device, non_blocking=True)
        valid = batch["valid"].to(self._device, non_blocking=True)
        with nullcontext() if self._team.is_alone else joint_batch():
            return supervise_heads(self._loss, heads, target, valid)

    def _save_generators(self) -> tuple[Tensor, Tensor | None]:
        is_on_gpu = self._device.type == "cuda"
        return (
            torch.get_rng_state(),
            torch.cuda.get_rng_state(self._device) if is_on_gpu else None,
        )

    def _restore_generators(self, state: tuple[Tensor, Tensor | None]) -> None:
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], self._device)

    def _halve(self, batches: Sequence[Batch], reason: str) -> None:
        """Have batches computed in parts half as large as what memory did not hold."""
        batch_size = max(len(batch["image"]) for batch in batches)
        size = min(self._part_size or batch_size, batch_size)
        height, width = batches[0]["image"].shape[-2:]
        if not self._team.is_alone:
            raise ResourceError(
                f"a batch of {batch_size} patches of {height}x{width} pixels does not fit into "
                f"the memory of process {self._team.rank} ({reason}); give fewer at a time and "
                "sum more: lower training.batch_size, raise training.accumulation"
            )
        if size == 1:
            raise ResourceError(
                f"a single patch of {height}x{width} pixels does not fit into memory ({reason}); "
                "lower training.patch_size or model.width, or training.batch_size, as a batch "
                "that was too large may have left memory in pieces"
            )
        self._part_size = (size + 1) // 2
        # What is kept for the next step of the same size is of no use now.
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        release_freed_memory()

    def _tell_of_parts(self, batch_size: int) -> None:
        if self._report is not None:
            caveat = (
                "; batch norm sees a part at a time, group norm would see no difference"
                if any(
                    isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self._network.modules()
                )
                else ""
            )
            self._report(
                f"memory does not hold a batch of {batch_size} patches: from now on "
                f"{self._part_size} at a time are computed, and a step takes half as long again; "
                f"loss and gradient stay those of the whole batch{caveat}"
            )

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

    def _keep_statistics(self) -> None:
        if self._buffers:
            torch._foreach_copy_(self._kept_buffers, self._buffers)

    def _refuse(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._kept_buffers)
