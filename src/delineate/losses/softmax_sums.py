"""Pixel sums of classes that exclude each other (multiclass tasks)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

from delineate.losses.blocks import complement, cut_blocks, sums_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.losses.blocks import PixelTerm

BLOCK_ELEMENTS = 1 << 19
"""Logits in a block on a CPU: most operations are on a class's share of them, which must pay."""


class SoftmaxSums(torch.autograd.Function):
    """False positives (or the penalty of the absent classes), false negatives, pixelwise loss.

    The error of a pixel is 1 minus the probability of its class, taken from the cross-entropy as
    -expm1(-entropy), since 1 - p has no digits left near p = 1. Absent classes share one penalty,
    -log(1 - P) with P their summed probability: it pushes each of them down by its own
    probability, where a penalty for each would push one up to lower another.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        classes: Tensor,
        valid: Tensor | None,
        absent: Tensor | None,
        term: PixelTerm | None,
        has_overlap: bool,
    ) -> Tensor:
        """Return the sums, (3, B, C), over the pixels of (B, C, N) logits."""
        ctx.term = term
        batch_size, num_classes, num_pixels = logits.shape
        sums = logits.new_zeros(3, batch_size, num_classes, dtype=sums_dtype(logits))
        # One value after the other is added to these, which float32 would not bear.
        by_class = torch.zeros_like(sums[1:], dtype=torch.float64)
        # What the backward pass needs of each pixel: the logarithm of the summed exponentials,
        # infinite where the pixel does not count, so that all probabilities are 0 there, and the
        # cross-entropy.
        pixels = sums.new_empty(2, batch_size, 1, num_pixels)
        for rows, columns, part in _read_parts(logits, classes, valid):
            values, label, others = part.values, part.label, part.others
            work, true, scale, error, *_ = part.buffers
            normaliser, entropy = (saved[rows, :, columns] for saved in pixels)
            top = torch.amax(values, dim=1, keepdim=True, out=work)
            torch.gather(values, 1, label, out=true)
            torch.sub(values, top, out=others).exp_()
            torch.sum(others, dim=1, keepdim=True, out=scale)
            torch.log(scale, out=normaliser)
            torch.sub(top, true, out=entropy).add_(normaliser)
            normaliser.add_(top)
            if part.counts is not None:
                normaliser.masked_fill_(part.counts == 0, torch.inf)
            part.count(torch.neg(entropy, out=error).expm1_().neg_())
            if term is not None:
                losses = term.focus(error, entropy, out=work)
                if term.label_smoothing:
                    true.sub_(values.mean(dim=1, keepdim=True))
                    losses.add_(true, alpha=term.label_smoothing)
                part.add_by_class(by_class[1, rows], part.count(losses))
            if has_overlap:
                part.add_by_class(by_class[0, rows], error)
            if has_overlap or absent is not None:
                others.scatter_(1, label, true.zero_()).mul_(part.count(scale.reciprocal_()))
                false_positive = others.sum(dim=2)
                if absent is not None:
                    complement(error, out=true)
                    _, rest = _split(others, true, absent[rows])
                    penalty = part.count(rest.log_().neg_()).sum(dim=2)
                    false_positive = torch.where(absent[rows], penalty, false_positive)
                sums[0, rows] += false_positive
        sums[1:] = by_class
        ctx.save_for_backward(logits, classes, valid, absent, pixels)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient to the logits, (B, C, N), in their type."""
        logits, classes, valid, absent, pixels = ctx.saved_tensors
        term: PixelTerm | None = ctx.term
        num_classes = logits.shape[1]
        false_positive, false_negative, pixelwise = grads[0].unbind()
        if absent is not None:
            penalty = torch.where(absent, false_positive, 0.0).sum(dim=1).view(-1, 1, 1)
            false_positive = torch.where(absent, 0.0, false_positive)
        tiny = torch.finfo(pixels.dtype).tiny
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        is_wide = gradient.dtype == pixels.dtype
        for rows, columns, part in _read_parts(logits, classes, valid):
            label, others = part.label, part.others
            error, right, wrong, own, shift, slope, work, *_ = part.buffers
            normaliser, entropy = (saved[rows, :, columns] for saved in pixels)
            torch.sub(part.values, normaliser, out=others).exp_()
            others.scatter_(1, label, work.zero_())
            torch.neg(entropy, out=error).expm1_().neg_()
            complement(error, out=right)
            # The derivative to a logit is that to its probability through the softmax,
            # p_k (a_k - sum_j a_j p_j), where a is false_positive, but -false_negative at the
            # true class.
            change = torch.mul(
                others,
                false_positive[rows].unsqueeze(2),
                out=gradient[rows, :, columns] if is_wide else torch.empty_like(others),
            )
            torch.sum(change, dim=1, keepdim=True, out=wrong)
            part.look_up(false_negative[rows], out=work)
            torch.mul(work, right, out=shift).sub_(wrong)
            torch.mul(work, error, out=own).add_(wrong).mul_(right).neg_()
            if term is not None:
                part.look_up(pixelwise[rows], out=right)
                term.differentiate(error, slope.copy_(entropy), work).mul_(right)
                own.sub_(slope)
                shift.add_(slope.div_(torch.clamp(error, min=tiny, out=work)))
            change.addcmul_(others, shift)
            if absent is not None:
                gone, rest = _split(others, complement(error, out=work), absent[rows])
                odds = gone.div_(rest).mul_(penalty[rows])
                push = torch.where(absent[rows].unsqueeze(2), penalty[rows], -odds)
                change.addcmul_(others, push)
                own.addcmul_(work, odds, value=-1.0)
            if term is not None and term.label_smoothing:
                pull = part.count(right.mul_(term.label_smoothing / num_classes))
                change.sub_(pull)
                own.add_(pull, alpha=num_classes - 1)
            change.scatter_(1, label, part.count(own))
            if not is_wide:
                gradient[rows, :, columns] = change
        return gradient, None, None, None, None, None


@dataclass(frozen=True)
class _Part:
    """The values of one block; (B, 1, N) except where said."""

    values: Tensor
    """The logits, (B, C, N)."""
    label: Tensor
    counts: Tensor | None
    """1 where the pixel counts, else 0; None where all do."""
    others: Tensor
    """For the probabilities of the classes that are not the label, (B, C, N)."""
    buffers: Tensor
    """Space that each block writes over."""
    wide: Tensor
    """Space in float64."""

    def count(self, values: Tensor) -> Tensor:
        """Set the values of pixels that do not count to 0."""
        return values if self.counts is None else values.mul_(self.counts)

    def look_up(self, table: Tensor, out: Tensor) -> Tensor:
        """Write each pixel's entry of a table by class, (B, C), into `out`."""
        return torch.gather(table.unsqueeze(1), 2, self.label, out=out)

    def add_by_class(self, sums: Tensor, values: Tensor) -> None:
        """Add each pixel's value to the sum of its class, float64 (B, C)."""
        sums.unsqueeze(1).scatter_add_(2, self.label, self.wide.copy_(values))


def _read_parts(
    logits: Tensor, classes: Tensor, valid: Tensor | None
) -> Iterator[tuple[slice, slice, _Part]]:
    batch_size, num_classes, num_pixels = logits.shape
    num_rows, num_columns, blocks = cut_blocks(
        batch_size, num_pixels, num_classes, BLOCK_ELEMENTS, logits.device
    )
    dtype = sums_dtype(logits)
    others = logits.new_empty(num_rows, num_classes, num_columns, dtype=dtype)
    buffers = logits.new_empty(8, num_rows, 1, num_columns, dtype=dtype)
    wide = logits.new_empty(num_rows, 1, num_columns, dtype=torch.float64)
    for block in blocks:
        rows, columns = block.rows, block.columns
        spare = buffers[:, : block.num_rows, :, : block.num_columns]
        yield (
            rows,
            columns,
            _Part(
                logits[rows, :, columns].to(dtype),
                classes[rows, columns].unsqueeze(1),
                None if valid is None else spare[7].copy_(valid[rows, columns].unsqueeze(1)),
                block.view(others),
                spare,
                block.view(wide),
            ),
        )


def _split(others: Tensor, right: Tensor, absent: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of the absent and of the present classes, each (B, 1, N).

    Each is summed by itself: 1 minus the other would round to 0. Even so the second is 0 in
    float32 where logits are 100 apart, and held above.
    """
    is_gone = absent.unsqueeze(2).to(others.dtype)
    gone = (others * is_gone).sum(dim=1, keepdim=True)
    rest = (others * (1 - is_gone)).sum(dim=1, keepdim=True).add_(right)
    return gone, rest.clamp_(min=torch.finfo(others.dtype).tiny)
