"""The optimizer, the learning rate over the course of training, and the averaged weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


def build_optimizer(
    network: nn.Module, *, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW (https://arxiv.org/abs/1711.05101) over all weights of a network.

    Decay is spared for vectors, that is biases and the scales of norms: pulling those to zero
    changes what the network can express and not how smooth it is.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    has_fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.AdamW(
        groups, lr=learning_rate, fused=has_fused, foreach=None if has_fused else True
    )


def learning_rate_factor(progress: float, warmup_fraction: float) -> float:
    """Return the learning rate as a share of its peak: a linear rise, then half a cosine.

    Args:
        progress: Share of training that is done, in [0, 1].
        warmup_fraction: Share of training in which the rate rises.
    """
    if progress < warmup_fraction:
        return progress / warmup_fraction
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup_fraction) / (1 - warmup_fraction)))


@dataclass
class Schedule:
    """The learning rate of each step, over a number of steps that may still be shortened."""

    num_steps: int
    warmup_fraction: float
    anchor_step: int = 0
    """The step from which the rest of the course was laid anew."""
    anchor_progress: float = 0.0
    """The share of the course that was done there."""

    def progress(self, step: int) -> float:
        """Return the share of training that is done in the middle of a step, counted from 0."""
        share = (step + 0.5 - self.anchor_step) / (self.num_steps - self.anchor_step)
        return self.anchor_progress + (1 - self.anchor_progress) * min(share, 1.0)

    def factor(self, step: int) -> float:
        """Return the learning rate of a step as a share of the peak, always above 0."""
        return learning_rate_factor(self.progress(step), self.warmup_fraction)

    def shorten(self, step: int, num_steps: int) -> None:
        """Lay what is left of the course over the steps from `step` to `num_steps`."""
        done = (step - self.anchor_step) / (self.num_steps - self.anchor_step)
        self.anchor_progress += (1 - self.anchor_progress) * done
        self.anchor_step, self.num_steps = step, num_steps


class WeightAverage:
    """An exponential moving average of a network's weights, ready to be used.

    The decay is warmed up, min(decay, (1 + t) / (10 + t)) after t steps, so that the average is
    worth having after a hundred steps too. Floating-point buffers (the statistics of batch norm)
    are averaged like the weights; counters are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self._decay = decay
        self._num_updates = 0
        self._source = _tensors(network)
        self._average = _tensors(self.network)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self._num_updates += 1
        warmed_up = (1 + self._num_updates) / (10 + self._num_updates)
        share = 1 - min(self._decay, warmed_up)
        floating, others = self._average
        torch._foreach_lerp_(floating, self._source[0], share)
        for average, value in zip(others, self._source[1], strict=True):
            average.copy_(value)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on exactly."""
        return {"weights": self.network.state_dict(), "num_updates": self._num_updates}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self.network.load_state_dict(state["weights"])
        self._num_updates = state["num_updates"]

    def restart(self, weights: Mapping[str, Tensor]) -> None:
        """Begin anew with other weights, which become the average."""
        self.restore({"weights": weights, "num_updates": 0})


def _tensors(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return parameters and buffers, the floating-point ones apart from the others."""
    tensors = [p.detach() for p in network.parameters()] + list(network.buffers())
    return (
        [t for t in tensors if t.is_floating_point()],
        [t for t in tensors if not t.is_floating_point()],
    )
