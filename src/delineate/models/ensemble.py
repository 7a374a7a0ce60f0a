"""Several networks as one: the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from delineate.errors import UsageError

if TYPE_CHECKING:
    from delineate.models.encoder_decoder import EncoderDecoder
    from delineate.task import TaskKind


class Ensemble(nn.Module):
    """The mean probability of its members, as logits.

    Binary and multilabel: the logit of the mean sigmoid, class by class; multiclass: the logarithm
    of the mean softmax. Both are summed up in the logarithmic domain, member by member: nothing
    saturates where a probability rounds to 0 or 1, and no more than one member's features are in
    memory. https://arxiv.org/abs/1612.01474.

    Attributes:
        in_channels: Channels of the image.
        num_classes: Channels of the logits.
        stride: Least common multiple of the members' strides, in pixels.
        halo: Largest of the members' halos, in pixels.
        is_local: Whether every member is local.
    """

    def __init__(self, members: Sequence[EncoderDecoder], kind: TaskKind) -> None:
        """Join networks.

        Args:
            members: One or more, of the same channels and classes.
            kind: What their logits mean.

        Raises:
            UsageError: If there is no member, or they take or give different channels.
        """
        super().__init__()
        channels = {(member.in_channels, member.num_classes) for member in members}
        if len(channels) != 1:
            raise UsageError(
                f"the members of an ensemble have (in_channels, num_classes) {sorted(channels)}; "
                "they must be one or more, and all agree"
            )
        self.members = nn.ModuleList(members)
        self.in_channels, self.num_classes = channels.pop()
        self.stride: int = math.lcm(*(member.stride for member in members))
        self.halo: int = max(member.halo for member in members)
        self.is_local: bool = all(member.is_local for member in members)
        self._is_multiclass = kind == "multiclass"

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (B, num_classes, H, W) of images (B, in_channels, H, W).

        In float32 or wider, whatever the members compute in.

        Raises:
            ShapeError: As the members.
        """
        ours: Tensor | None = None
        rest: Tensor | None = None
        for member in self.members:
            logits: Tensor = member(image)
            if logits.dtype.itemsize < 4:
                logits = logits.float()
            if self._is_multiclass:
                ours = _add(ours, F.log_softmax(logits, dim=1))
            else:
                ours = _add(ours, F.logsigmoid(logits))
                rest = _add(rest, F.logsigmoid(-logits))
        assert ours is not None  # there is a member
        # The number of members cancels out of a ratio.
        return ours - math.log(len(self.members)) if rest is None else ours - rest


def _add(logs: Tensor | None, more: Tensor) -> Tensor:
    """Return the logarithm of a sum, from logarithms."""
    return more if logs is None else torch.logaddexp(logs, more)
