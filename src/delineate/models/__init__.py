"""Networks: the table of architectures and the one function that builds them."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, cast

from delineate.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from delineate.models.encoder_decoder import EncoderDecoder
    from delineate.models.resunet import ResUNet
    from delineate.models.unet import UNet
    from delineate.task import TaskKind

__all__ = ["MODELS", "ResUNet", "UNet", "build_model", "build_network", "name_members"]

# Class names rather than classes: importing this package must not import torch.
MODELS = {
    "unet": "delineate.models.unet.UNet",
    "resunet": "delineate.models.resunet.ResUNet",
}
"""Name of each architecture to the class that builds it."""


def build_model(name: str, in_channels: int, num_classes: int, **settings: Any) -> EncoderDecoder:
    """Return a network with fresh weights, drawn from torch's global generator.

    Args:
        name: A key of `MODELS`.
        in_channels: Channels of the image.
        num_classes: Channels of the logits.
        **settings: Keywords of the class.

    Raises:
        UnknownNameError: If there is no such network, setting or choice.
        UsageError: If a setting is out of its range.
    """
    if name not in MODELS:
        raise UnknownNameError("model", name, list(MODELS))
    network = _load(MODELS[name])
    choices = list(signature(network).parameters)[2:]
    for setting in settings:
        if setting not in choices:
            raise UnknownNameError(f"setting of {name}", setting, choices)
    return cast("EncoderDecoder", network(in_channels, num_classes, **settings))


def build_network(architecture: Mapping[str, Any], kind: TaskKind) -> nn.Module:
    """Return a network, or an ensemble of several, with fresh weights.

    Args:
        architecture: ``name``, ``in_channels``, ``num_classes`` and ``settings`` of `build_model`,
            and ``num_members``, 1 where it is left out.
        kind: What the logits mean; an ensemble averages probabilities.

    Raises:
        UnknownNameError: As `build_model`.
        UsageError: As `build_model`.
    """
    members = [
        build_model(
            architecture["name"],
            architecture["in_channels"],
            architecture["num_classes"],
            **architecture["settings"],
        )
        for _ in range(architecture.get("num_members", 1))
    ]
    if len(members) == 1:
        return members[0]
    from delineate.models.ensemble import Ensemble

    return Ensemble(members, kind)


def name_members(num_members: int) -> list[str]:
    """Return what the names of each network's tensors begin with, in one of so many members."""
    return [""] if num_members == 1 else [f"members.{index}." for index in range(num_members)]


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def __getattr__(name: str) -> Any:
    for path in MODELS.values():
        if path.endswith(f".{name}"):
            return _load(path)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
