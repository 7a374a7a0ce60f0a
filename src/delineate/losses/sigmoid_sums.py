"""Pixel sums of channels that are each on their own (binary and multilabel tasks)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

from delineate.losses.blocks import cut_blocks, sums_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.losses.blocks import PixelTerm

BLOCK_ELEMENTS = 1 << 17
"""Logits in a block on a CPU, so that the values made of them stay in the cache."""


class SigmoidSums(torch.autograd.Function):
    """False positives (or the penalty of an absent class), false negatives, pixelwise loss.

    All is written in the margin m of the error, which is z where the label is 0 and -z where it is
    1: the error is sigmoid(m) and its derivative error (1 - error); the cross-entropy is
    softplus(m) and its derivative the error.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        positives: Tensor,
        valid: Tensor | None,
        absent: Tensor | None,
        term: PixelTerm | None,
        has_overlap: bool,
    ) -> Tensor:
        """Return the sums, (3, B, C), over the pixels of (B, C, N) logits."""
        ctx.save_for_backward(logits, positives, valid, absent)
        ctx.term, ctx.has_overlap = term, has_overlap
        batch_size, num_classes, _ = logits.shape
        is_absent = None if absent is None else absent.reshape(-1)
        sums = logits.new_zeros(3, batch_size * num_classes, dtype=sums_dtype(logits))
        for rows, _, part in _read_parts(logits, positives, valid):
            error, entropy, work = part.error, part.entropy, part.work
            part.count(error)
            false_positive: Tensor | None = None
            if has_overlap:
                missed = torch.mul(error, part.label, out=work)
                sums[1, rows] += missed.sum(dim=1)
                false_positive = torch.sub(error, missed, out=work).sum(dim=1)
            if term is not None or is_absent is not None:
                part.count(part.write_entropy())
            if is_absent is not None:
                rest = 0.0 if false_positive is None else false_positive
                false_positive = torch.where(is_absent[rows], entropy.sum(dim=1), rest)
            if false_positive is not None:
                sums[0, rows] += false_positive
            if term is not None:
                losses = term.focus(error, entropy, out=work)
                if term.label_smoothing:
                    # z_true - mean_k z_k is -m / 2 for the two labels with logits 0 and z.
                    losses.sub_(part.count(part.margin), alpha=term.label_smoothing / 2)
                rise = term.positive_weight - term.negative_weight
                sums[2, rows] += losses.sum(dim=1).mul_(term.negative_weight)
                if rise:
                    sums[2, rows] += losses.mul_(part.label).sum(dim=1).mul_(rise)
        return sums.reshape(3, batch_size, num_classes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient to the logits, (B, C, N), in their type."""
        logits, positives, valid, absent = ctx.saved_tensors
        term: PixelTerm | None = ctx.term
        is_absent = None if absent is None else absent.reshape(-1, 1)
        false_positive, false_negative, pixelwise = grads[0].reshape(3, -1, 1)
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        planes = gradient.flatten(0, 1)
        is_wide = planes.dtype == pixelwise.dtype
        for rows, columns, part in _read_parts(logits, positives, valid):
            error, slope, work = part.error, part.entropy, part.work
            if term is None:
                slope.zero_()
            else:
                if term.gamma != 0:
                    part.write_entropy()
                term.differentiate(error, slope, work)
                if term.label_smoothing:
                    slope.sub_(term.label_smoothing / 2)
                negative = pixelwise[rows] * term.negative_weight
                positive = pixelwise[rows] * term.positive_weight
                slope.mul_(part.choose(negative, -positive))
            if ctx.has_overlap or is_absent is not None:
                share = torch.addcmul(error, error, error, value=-1.0, out=part.margin)
                if is_absent is not None:
                    share = torch.where(is_absent[rows], error, share)
                slope.addcmul_(share, part.choose(false_positive[rows], -false_negative[rows]))
            if is_wide and part.counts is not None:
                torch.mul(slope, part.counts, out=planes[rows, columns])
            else:
                planes[rows, columns] = part.count(slope)
        return gradient, None, None, None, None, None


@dataclass(frozen=True)
class _Part:
    """The values of one block, in buffers that each block writes over."""

    label: Tensor
    """1 where the channel's class is, else 0."""
    margin: Tensor
    error: Tensor
    entropy: Tensor
    """Unset before `write_entropy`."""
    work: Tensor
    counts: Tensor | None
    """1 where the pixel counts, else 0; None where all do."""

    def count(self, values: Tensor) -> Tensor:
        """Set the values of pixels that do not count to 0."""
        return values if self.counts is None else values.mul_(self.counts)

    def write_entropy(self) -> Tensor:
        """Write softplus(margin) into `entropy`; overwrites `work`."""
        excess = torch.clamp(self.margin, min=0.0, out=self.work)
        torch.sub(self.margin, excess, alpha=2.0, out=self.entropy).exp_().log1p_()
        return self.entropy.add_(excess)

    def choose(self, negative: Tensor, positive: Tensor) -> Tensor:
        """Write the one or the other, (rows, 1), into `work` by the label."""
        return torch.mul(self.label, positive - negative, out=self.work).add_(negative)


def _read_parts(
    logits: Tensor, positives: Tensor, valid: Tensor | None
) -> Iterator[tuple[slice, slice, _Part]]:
    logits, positives = logits.flatten(0, 1), positives.flatten(0, 1)
    valid = None if valid is None else valid.flatten(0, 1)
    num_rows, num_columns, blocks = cut_blocks(
        len(logits), logits.shape[1], 1, BLOCK_ELEMENTS, logits.device
    )
    num_buffers = 5 if valid is None else 6
    buffers = logits.new_empty(num_buffers, num_rows, num_columns, dtype=sums_dtype(logits))
    for block in blocks:
        rows, columns = block.rows, block.columns
        label, margin, error, entropy, work, *rest = (block.view(buffer) for buffer in buffers)
        label.copy_(positives[rows, columns])
        values = logits[rows, columns].to(buffers.dtype)
        torch.sub(values, torch.mul(values, label, out=margin), alpha=2.0, out=margin)
        torch.sigmoid(margin, out=error)
        counts = None if valid is None else rest[0].copy_(valid[rows, columns])
        yield rows, columns, _Part(label, margin, error, entropy, work, counts)
