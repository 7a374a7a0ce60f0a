"""Pixel sums of classes that exclude each other (multiclass tasks)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from delineate.losses.blocks import iterate_blocks, sums_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.losses.blocks import PixelTerm


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
        ctx.term, ctx.has_overlap = term, has_overlap
        batch_size, num_classes, num_pixels = logits.shape
        sums = torch.zeros(
            3, batch_size, num_classes, dtype=sums_dtype(logits), device=logits.device
        )
        # What the backward pass needs of each pixel: the largest logit, the sum of the
        # exponentials above it, and the cross-entropy.
        pixels = sums.new_empty(3, batch_size, 1, num_pixels)
        for rows, columns in iterate_blocks(batch_size, num_pixels, num_classes, logits.device):
            values = logits[rows, :, columns].to(sums.dtype)
            label = classes[rows, columns].unsqueeze(1)
            counts = None if valid is None else valid[rows, columns].unsqueeze(1).to(sums.dtype)
            top = values.amax(dim=1, keepdim=True)
            true = values.gather(1, label)
            others = (values - top).exp_()
            total = others.sum(dim=1, keepdim=True)
            entropy = (top - true).add_(total.log())
            pixels[0, rows, :, columns] = top
            pixels[1, rows, :, columns] = total
            pixels[2, rows, :, columns] = entropy
            error = _mask(entropy.neg().expm1_().neg_(), counts)
            if term is not None:
                loss = term.focus(error, entropy)
                if term.label_smoothing:
                    excess = true - values.mean(dim=1, keepdim=True)
                    loss = torch.add(loss, excess, alpha=term.label_smoothing)
                loss = loss if counts is None else loss * counts
                sums[2, rows] += _sum_by_class(loss, label, num_classes)
            if not has_overlap and absent is None:
                continue
            others.scatter_(1, label, 0.0).mul_(_mask(total.reciprocal(), counts))
            false_positive = others.sum(dim=2) if has_overlap else torch.zeros_like(sums[0, rows])
            if absent is not None:
                shares = _Shares.of(others, entropy, absent[rows])
                penalty = _mask(shares.present.log().neg_(), counts).sum(dim=2)
                false_positive = torch.where(absent[rows], penalty, false_positive)
            sums[0, rows] += false_positive
            if has_overlap:
                sums[1, rows] += _sum_by_class(error, label, num_classes)
        ctx.save_for_backward(logits, classes, valid, absent, pixels)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient to the logits, (B, C, N), in their type."""
        logits, classes, valid, absent, pixels = ctx.saved_tensors
        term: PixelTerm | None = ctx.term
        false_positive, false_negative, pixelwise = grads[0].unbind()
        penalty = torch.zeros_like(false_positive[:, :1])
        if absent is not None:
            penalty = torch.where(absent, false_positive, 0.0).sum(dim=1, keepdim=True)
            false_positive = torch.where(absent, 0.0, false_positive)
        has_overlap = ctx.has_overlap
        batch_size, num_classes, num_pixels = logits.shape
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        for rows, columns in iterate_blocks(batch_size, num_pixels, num_classes, logits.device):
            values = logits[rows, :, columns].to(pixels.dtype)
            label = classes[rows, columns].unsqueeze(1)
            counts = None if valid is None else valid[rows, columns].unsqueeze(1).to(pixels.dtype)
            top, total, entropy = (part[rows, :, columns] for part in pixels)
            others = (values - top).exp_().scatter_(1, label, 0.0)
            others.mul_(_mask(total.reciprocal(), counts))
            error = entropy.neg().expm1_().neg_()
            own = torch.zeros_like(error)
            shift = torch.zeros_like(error)
            change: Tensor | None = None
            if has_overlap:
                # p_k (a_k - sum_j a_j p_j) is the derivative through the softmax, where a is
                # that of the loss to the probabilities: -false_negative at the true class.
                change = others * false_positive[rows].unsqueeze(2)
                wrong = change.sum(dim=1, keepdim=True)
                missing = _look_up(false_negative[rows], label)
                right = 1 - error
                shift += (missing * right).sub_(wrong)
                own -= (missing * error).add_(wrong).mul_(right)
            if term is not None:
                weight = _look_up(pixelwise[rows], label)
                slope = term.derivative(error, entropy).mul(weight)
                own -= slope
                shift += slope.div_(error.clamp_min(torch.finfo(error.dtype).tiny))
            if change is None:
                change = others * shift
            else:
                change.addcmul_(others, shift)
            if absent is not None:
                shares = _Shares.of(others, entropy, absent[rows])
                scale = penalty[rows].unsqueeze(2)
                odds = (shares.absent / shares.present).mul_(scale)
                change += others * torch.where(absent[rows].unsqueeze(2), scale, -odds)
                own -= (-entropy).exp_().mul_(odds)
            if term is not None and term.label_smoothing:
                pull = _mask(weight * term.label_smoothing, counts)
                change -= pull / num_classes
                own += pull * (1 - 1 / num_classes)
            change.scatter_(1, label, _mask(own, counts))
            gradient[rows, :, columns] = change
        return gradient, None, None, None, None, None


class _Shares(NamedTuple):
    """Probability of the absent and of the present classes, each summed by itself, (B, 1, N)."""

    absent: Tensor
    present: Tensor

    @classmethod
    def of(cls, others: Tensor, entropy: Tensor, is_absent: Tensor) -> _Shares:
        gone = is_absent.unsqueeze(2).to(others.dtype)
        present = (others * (1 - gone)).sum(dim=1, keepdim=True).add_((-entropy).exp_())
        # Their complement rounds to 0 at logits that are 88 apart (float32).
        present.clamp_(min=torch.finfo(others.dtype).tiny)
        return cls((others * gone).sum(dim=1, keepdim=True), present)


def _mask(values: Tensor, counts: Tensor | None) -> Tensor:
    return values if counts is None else values.mul_(counts)


def _look_up(table: Tensor, label: Tensor) -> Tensor:
    return table.gather(1, label.squeeze(1)).unsqueeze(1)


def _sum_by_class(values: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Sum (B, 1, N) values by their class, (B, C), in float64, since one after the other."""
    num_rows = len(values)
    offsets = torch.arange(num_rows, device=values.device).view(-1, 1, 1) * num_classes
    bins = label if num_rows == 1 else label + offsets
    sums = torch.bincount(bins.flatten(), values.flatten().double(), num_rows * num_classes)
    return sums.reshape(num_rows, num_classes).to(values.dtype)
