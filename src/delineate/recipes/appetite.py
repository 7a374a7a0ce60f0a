"""How much memory a network takes, in a step of training and in use.

The network is run dry: forward, on one small patch, which takes milliseconds. What autograd keeps
of it grows with the pixels, exactly; what is taken beside that was measured (docs/planning.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from delineate.distributed import Precision, amp_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.config import Settings

STEP_FACTOR = 1.6
"""Memory that grows with the pixels, over what autograd keeps: gradients of the largest levels."""
WEIGHTS = 6
"""Copies of the weights: themselves, gradient, two moments of AdamW, average, one in passing."""
STEP_BYTES = {"cpu": 160 << 20, "cuda": 1 << 30}
"""What is taken once: buffers of the convolutions; on a GPU those of its library too."""
PREDICTION_FACTOR = 0.5
"""Memory of predicting a pixel, over what autograd keeps of it in training."""


@dataclass(frozen=True)
class MemoryNeed:
    """What a network takes in training and in use, in bytes."""

    step: int
    """Of training."""
    tiles: int
    """Of predicting a batch of tiles, which validation does."""


@dataclass(frozen=True)
class Appetite:
    """What a network takes, by pixel."""

    kept: float
    """Bytes a pixel that autograd keeps, of images in the precision of the computation."""
    weights: int
    """Bytes of all weights."""

    def need(self, settings: Settings, device: str = "cpu") -> MemoryNeed:
        """Return what settings with this network take."""
        training, prediction = settings.training, settings.prediction
        patch = training.patch_size[0] * training.patch_size[1] * training.batch_size
        tiles = prediction.tile_size[0] * prediction.tile_size[1] * prediction.batch_size
        fixed = STEP_BYTES.get(device, STEP_BYTES["cpu"])
        return MemoryNeed(
            step=int(STEP_FACTOR * self.kept * patch + WEIGHTS * self.weights + fixed),
            tiles=int(PREDICTION_FACTOR * self.kept * tiles + 2 * self.weights + fixed),
        )


def measure_need(
    *, in_channels: int, num_classes: int, device: str
) -> Callable[[Settings], MemoryNeed]:
    """Return what tells the need of settings, each network run dry once.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits.
        device: Kind of device: cpu, cuda, mps.
    """
    known: dict[str, Appetite] = {}

    def need(settings: Settings) -> MemoryNeed:
        value_bytes = _count_bytes(device, settings.training.amp)
        key = f"{value_bytes} {settings.model.model_dump_json()}"
        if key not in known:
            known[key] = measure_appetite(
                settings.model.model_dump(),
                in_channels=in_channels,
                num_classes=num_classes,
                value_bytes=value_bytes,
            )
        return known[key].need(settings, device)

    return need


def measure_appetite(
    model: Mapping[str, Any], *, in_channels: int, num_classes: int, value_bytes: int
) -> Appetite:
    """Run a network dry and return what it takes.

    Args:
        model: Name and settings of the network.
        in_channels: Channels of the image.
        num_classes: Channels of the logits.
        value_bytes: Size of a number in the precision of the computation: 2 or 4.
    """
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    from delineate.models import build_model

    settings = dict(model)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.random.fork_rng(devices=[]):
        network = build_model(settings.pop("name"), in_channels, num_classes, **settings)
        side = 2 * network.stride
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            heads = network.train().forward_heads(torch.zeros(1, in_channels, side, side))
    weights = {
        p.untyped_storage()._cdata: p.untyped_storage().nbytes() for p in network.parameters()
    }
    del heads  # until here the storages live, and their addresses are told apart
    activations = sum(size for address, size in kept.items() if address not in weights)
    return Appetite(activations / side**2 * value_bytes / 4, sum(weights.values()))


def _count_bytes(device: str, amp: Precision) -> int:
    """Return the size of a number in the precision that a device computes in."""
    import torch

    if amp == "auto":
        return 4 if amp_dtype(torch.device(device)) is None else 2
    return 4 if amp == "off" else 2
