"""Sums over the batches of all processes, so that a loss is that of the batch they form together.

A mean of the processes' losses is not the loss of the joint batch: neither for a ratio of sums
such as Dice nor for a mean over valid pixels, which are not equally many everywhere. So numerators
and denominators are added up before they are divided.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch import Tensor

_is_joint = ContextVar("is_joint", default=False)


@contextmanager
def joint_batch() -> Iterator[None]:
    """Have the losses computed in the block be those of the batches of all processes together.

    Every process of torch's default group calls the same losses in the same order, and each gets
    the same value. The gradients are made for `DistributedDataParallel`, which averages them over
    the processes: each is the process's share of the joint gradient times the number of processes.
    """
    token = _is_joint.set(True)
    try:
        yield
    finally:
        _is_joint.reset(token)


def add_up(*sums: Tensor) -> tuple[Tensor, ...]:
    """Return sums of this process's batch added up over all processes; outside `joint_batch` as is.

    Args:
        sums: Tensors of one floating-point type, each of the same shape on every process; they
            travel together.
    """
    if not _is_joint.get():
        return sums
    flat = torch.cat([part.reshape(-1) for part in sums])
    total = cast("Tensor", _AddUp.apply(flat))  # type: ignore[no-untyped-call]
    parts = torch.split(total, [part.numel() for part in sums])
    return tuple(part.view(like.shape) for part, like in zip(parts, sums, strict=True))


class _AddUp(torch.autograd.Function):
    """An all-reduce whose result every process goes on with in the same way.

    All processes then have the same gradient to the result, so adding it up over them is a
    multiplication, without another all-reduce.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.num_processes = torch.distributed.get_world_size()
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        gradient: Tensor = grads[0] * ctx.num_processes
        return gradient
