"""Losses: the table of their names and the one function that builds them.

Every loss is a function ``f(logits, target, task, valid=None, *, class_weights=None, ...)`` that
returns a scalar, for binary, multiclass and multilabel tasks. It takes logits; the task owns the
activation. Only valid pixels count: those that hold no ignored value and where `valid` is true. A
batch without any has the loss 0 and a gradient of zeros. Sums are float32 or wider under any
autocast, and gradients are finite for all finite logits.

Empty targets. In a ratio of sums, a class that has no positive pixel gives a gradient of about
`smooth` / (sum of p)^2, which is nothing, or, without `smooth`, divides by what little is
predicted. So where the sums of a loss are taken (each image or the batch, as its `reduction`
says), an absent class leaves the ratio and its cell has a cross-entropy in its place::

    -mean(log(1 - P))

over the n valid pixels of the cell, with P = p in binary and multilabel tasks and P the summed
probability of all absent classes of the cell in multiclass ones. Its derivative to the logit of
an absent class is p / n: it neither vanishes where p is 1 nor grows beyond 1 / n.

The bound. On an empty target (no positive of any class; multiclass: all pixels of one class while
others are predicted) each pixel of an absent class with p >= 1/2 has a gradient of at least::

    b x share / n

with n the number of valid pixels in the batch (``image``: in the image, times the number of
images). The factor b is

- 1/2 for dice, tversky, focal_tversky, cl_dice and boundary,
- (1 - label_smoothing) / 2 for cross_entropy,
- (1 - alpha) / 2^(1 + gamma) for focal, without 1 - alpha where alpha is None; multiclass: with
  the weight of the class that is there, alpha, or 1 - alpha for the declared background.

`share` is, in multilabel tasks, the part that the class has of the class weights. In multiclass
tasks it is the part that all absent classes have (of the foreground's weights in cl_dice and
boundary) and 1 for cross_entropy and focal; in binary tasks it is 1. The bounds of focal_dice,
ce_dice and weighted_sum are the sums of their parts', weighted alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from delineate.errors import UnknownNameError

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.losses.boundary import boundary_loss
    from delineate.losses.centreline import cl_dice_loss
    from delineate.losses.combination import ce_dice_loss, focal_dice_loss, weighted_sum_loss
    from delineate.losses.overlap import dice_loss, focal_tversky_loss, tversky_loss
    from delineate.losses.pixelwise import cross_entropy_loss, focal_loss
    from delineate.task import Task

__all__ = [
    "LOSSES",
    "boundary_loss",
    "build_loss",
    "ce_dice_loss",
    "cl_dice_loss",
    "cross_entropy_loss",
    "dice_loss",
    "focal_dice_loss",
    "focal_loss",
    "focal_tversky_loss",
    "tversky_loss",
    "weighted_sum_loss",
]

# Function names rather than functions: importing this package must not import torch.
LOSSES = {
    "dice": "delineate.losses.overlap.dice_loss",
    "focal": "delineate.losses.pixelwise.focal_loss",
    "focal_dice": "delineate.losses.combination.focal_dice_loss",
    "tversky": "delineate.losses.overlap.tversky_loss",
    "focal_tversky": "delineate.losses.overlap.focal_tversky_loss",
    "cross_entropy": "delineate.losses.pixelwise.cross_entropy_loss",
    "ce_dice": "delineate.losses.combination.ce_dice_loss",
    "boundary": "delineate.losses.boundary.boundary_loss",
    "cl_dice": "delineate.losses.centreline.cl_dice_loss",
    "weighted_sum": "delineate.losses.combination.weighted_sum_loss",
}
"""Name of each loss to the function that computes it."""


def build_loss(
    name: str, task: Task, class_weights: Tensor | None = None, **settings: Any
) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """Return a loss for a task, called with (logits, target, valid).

    Args:
        name: A key of `LOSSES`.
        task: The classes.
        class_weights: One per class, (C,). None weighs all alike.
        **settings: Keywords of the function. The `terms` of a weighted sum are mappings, as in
            the settings file: ``{"weight": 0.5, "loss": {"name": "dice", "smooth": 0}}``.

    Raises:
        UnknownNameError: If there is no such loss or setting.
    """
    loss = _configure(name, settings)

    def compute(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        return loss(logits, target, task, valid, class_weights=class_weights)

    return compute


def _configure(name: str, settings: Mapping[str, Any]) -> Callable[..., Tensor]:
    if name not in LOSSES:
        raise UnknownNameError("loss", name, list(LOSSES))
    function = _load(LOSSES[name])
    choices = [
        key
        for key, parameter in signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and key != "class_weights"
    ]
    for key in settings:
        if key not in choices:
            raise UnknownNameError(f"setting of {name}", key, choices)
    keywords = dict(settings)
    if name == "weighted_sum":
        keywords["terms"] = _configure_terms(settings.get("terms", ()))
    return partial(function, **keywords)


def _configure_terms(
    terms: Sequence[Mapping[str, Any]],
) -> list[tuple[float, Callable[..., Tensor]]]:
    configured = []
    for term in terms:
        settings = dict(term["loss"])
        name = settings.pop("name")
        configured.append((float(term.get("weight", 1.0)), _configure(name, settings)))
    return configured


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def __getattr__(name: str) -> Any:
    for path in LOSSES.values():
        if path.endswith(f".{name}"):
            return _load(path)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
