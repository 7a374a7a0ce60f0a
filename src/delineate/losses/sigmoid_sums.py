"""Pixel sums of channels that are each on their own (binary and multilabel tasks)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from delineate.losses.blocks import iterate_blocks, sums_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.losses.blocks import PixelTerm


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
        batch_size, num_classes, num_pixels = logits.shape
        shape = (batch_size * num_classes, num_pixels)
        planes = _Planes.of(logits, positives, valid)
        is_absent = None if absent is None else absent.reshape(-1)
        sums = torch.zeros(3, shape[0], dtype=sums_dtype(logits), device=logits.device)
        for rows, columns in iterate_blocks(*shape, 1, logits.device):
            block = planes.read(rows, columns)
            error = block.mask(block.margin.sigmoid())
            false_positive: Tensor | None = None
            if has_overlap:
                missed = error * block.label
                sums[1, rows] += missed.sum(dim=1)
                false_positive = (error - missed).sum(dim=1)
            if term is not None or is_absent is not None:
                entropy = block.mask(_softplus(block.margin))
                if is_absent is not None:
                    penalty = entropy.sum(dim=1)
                    rest = 0.0 if false_positive is None else false_positive
                    false_positive = torch.where(is_absent[rows], penalty, rest)
                if term is not None:
                    sums[2, rows] += _term_values(term, block, error, entropy).sum(dim=1)
            if false_positive is not None:
                sums[0, rows] += false_positive
        return sums.reshape(3, batch_size, num_classes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient to the logits, (B, C, N), in their type."""
        logits, positives, valid, absent = ctx.saved_tensors
        term: PixelTerm | None = ctx.term
        shape = (logits.shape[0] * logits.shape[1], logits.shape[2])
        planes = _Planes.of(logits, positives, valid)
        is_absent = None if absent is None else absent.reshape(-1, 1)
        weights = grads[0].reshape(3, shape[0], 1)
        gradient = torch.empty(shape, dtype=logits.dtype, device=logits.device)
        for rows, columns in iterate_blocks(*shape, 1, logits.device):
            block = planes.read(rows, columns)
            error = block.margin.sigmoid()
            slope: Tensor | None = None
            if ctx.has_overlap or is_absent is not None:
                slope = error * (1 - error)
                if is_absent is not None:
                    slope = torch.where(is_absent[rows], error, slope)
                slope *= torch.lerp(weights[0, rows], weights[1, rows], block.label)
            if term is not None:
                pixelwise = _term_derivatives(term, block, error).mul_(weights[2, rows])
                slope = pixelwise if slope is None else slope.add_(pixelwise)
            if slope is None:
                slope = torch.zeros_like(error)
            gradient[rows, columns] = block.mask(slope).mul_(block.sign)
        return gradient.reshape(logits.shape), None, None, None, None, None


class _Block(NamedTuple):
    label: Tensor
    """1 where the channel's class is, else 0."""
    sign: Tensor
    """Derivative of the margin to the logit."""
    margin: Tensor
    counts: Tensor | None
    """1 where the pixel counts, else 0; None where all do."""

    def mask(self, values: Tensor) -> Tensor:
        return values if self.counts is None else values.mul_(self.counts)


class _Planes(NamedTuple):
    logits: Tensor
    positives: Tensor
    valid: Tensor | None

    @classmethod
    def of(cls, logits: Tensor, positives: Tensor, valid: Tensor | None) -> _Planes:
        return cls(
            logits.flatten(0, 1),
            positives.flatten(0, 1),
            None if valid is None else valid.flatten(0, 1),
        )

    def read(self, rows: slice, columns: slice) -> _Block:
        logits = self.logits[rows, columns].to(sums_dtype(self.logits))
        label = self.positives[rows, columns].to(logits.dtype)
        counts = None if self.valid is None else self.valid[rows, columns].to(logits.dtype)
        sign = 1 - 2 * label
        return _Block(label, sign, logits * sign, counts)


def _softplus(margin: Tensor) -> Tensor:
    return margin.abs().neg_().exp_().log1p_().add_(margin.clamp(min=0))


def _term_values(term: PixelTerm, block: _Block, error: Tensor, entropy: Tensor) -> Tensor:
    values = term.focus(error, entropy)
    if term.label_smoothing:
        # z_true - mean_k z_k is -m / 2 for the two labels with logits 0 and z.
        values = values - block.mask(block.margin * (term.label_smoothing / 2))
    return _weigh(term, block, values)


def _term_derivatives(term: PixelTerm, block: _Block, error: Tensor) -> Tensor:
    entropy = error if term.gamma == 0 else _softplus(block.margin)
    slopes = term.derivative(error, entropy) - term.label_smoothing / 2
    return _weigh(term, block, slopes)


def _weigh(term: PixelTerm, block: _Block, values: Tensor) -> Tensor:
    if term.positive_weight == term.negative_weight:
        return values if term.positive_weight == 1 else values * term.positive_weight
    weight = block.label * (term.positive_weight - term.negative_weight)
    return weight.add_(term.negative_weight).mul_(values)
