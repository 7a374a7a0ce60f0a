"""The one deployable file: weights, and everything needed to use them.

A model file is a safetensors file (https://huggingface.co/docs/safetensors) whose metadata has the
single key ``delineate``: a JSON document with sorted keys and no clock in it, so that equal models
are equal bytes. Loading reads numbers only, never code, and checks the document, and each tensor's
name and shape against the architecture, before it makes room for the weights.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from delineate.errors import DelineateError, ModelFileError
from delineate.files import write_atomically
from delineate.model_document import (
    FORMAT_VERSION,
    check_document,
    describe_damage,
    describe_model,
    upgrade_document,
)
from delineate.preprocessing import Preprocessing
from delineate.task import Task

if TYPE_CHECKING:
    import torch

__all__ = [
    "FILE_NAME",
    "FORMAT_VERSION",
    "METADATA_KEY",
    "SegmentationModel",
    "find_model_file",
    "info",
    "load_model",
    "read_model_info",
    "save_model",
]

METADATA_KEY = "delineate"
FILE_NAME = "model.safetensors"
"""The model file of a run folder."""

_MAX_HEADER_BYTES = 16 * 2**20


@dataclass
class SegmentationModel:
    """A network and everything needed to use it."""

    network: torch.nn.Module
    """Normalised images (B, in_channels, H, W) in, logits (B, num_classes, H, W) out."""
    task: Task
    """The classes and what the logits mean."""
    preprocessing: Preprocessing
    """From pixels to what the network takes."""
    architecture: dict[str, Any]
    """``name``, ``in_channels``, ``num_classes`` and ``settings``, of an ensemble ``num_members``
    too, as `build_network` takes them."""
    tile_size: tuple[int, int]
    """Height and width of a tile, in pixels."""
    thresholds: tuple[float, ...] | None = None
    """One per class, on probabilities; None is 0.5, or the argmax where multiclass."""
    prediction: dict[str, Any] = field(default_factory=dict)
    """Other fields of `PredictionConfig`: overlap, blend, batch_size, postprocessing."""
    decoder: dict[str, Any] = field(default_factory=dict)
    """What the values in the masks mean, as `MaskDecoder.as_dict` says it."""
    temperature: float = 1.0
    """What logits are divided by where probabilities are to be calibrated; thresholds are on the
    probabilities as they come, so masks do not depend on it."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Scores on the validation split."""
    tuning: dict[str, Any] = field(default_factory=dict)
    """How thresholds, post-processing and temperature were chosen, as `Tuning.as_dict` says it."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Where the weights come from: versions, data digest, seed, configuration."""
    reference: dict[str, Any] = field(default_factory=dict)
    """What new images are compared with, each part optional: ``calibration`` (probability to
    frequency), ``familiarity`` (the look of training images) and ``images`` (their digests)."""


def save_model(model: SegmentationModel, path: Path) -> None:
    """Write a model file, whole or not at all.

    Raises:
        ModelFileError: If the weights are not finite or the parts do not fit each other.
        ResourceError: If the disk is full.
    """
    from safetensors.torch import save

    document = describe_model(model)
    check_document(document, path)
    tensors = {
        name: (tensor.float() if tensor.is_floating_point() else tensor)
        .detach()
        .cpu()
        .contiguous()
        .clone()
        for name, tensor in model.network.state_dict().items()
    }
    _check_finite(tensors, path)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    content = save(tensors, metadata={METADATA_KEY: text})
    with write_atomically(path, needed=len(content)) as temporary:
        temporary.write_bytes(content)


def read_model_info(path: Path) -> dict[str, Any]:
    """Return the document of a model file or run folder, without reading the weights.

    Raises:
        ModelFileError: If the file is missing, damaged or not a model file of this program.
    """
    path = find_model_file(path)
    document, _, _ = _read_header(path)
    check_document(document, path)
    return document


def info(model: Path | str) -> dict[str, Any]:
    """Return what a model is made of, without loading its weights: what `delineate info` shows.

    Args:
        model: A model file or a run folder.

    Returns:
        The model file's document (task, architecture, preprocessing, thresholds, metrics,
        provenance, ...) with its ``path``, its size as ``num_bytes`` and ``num_parameters``.

    Raises:
        ModelFileError: If the file is missing, damaged or not a model file of this program.
    """
    path = find_model_file(Path(model))
    document = read_model_info(path)
    _, tensors, num_bytes = _read_header(path)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    num_parameters = sum(
        math.prod(shape) for name, (_, shape) in tensors.items() if not name.endswith(buffers)
    )
    return {
        "path": str(path),
        "num_bytes": num_bytes,
        "num_parameters": num_parameters,
        **document,
    }


def load_model(path: Path, device: torch.device | str = "cpu") -> SegmentationModel:
    """Load a model from a model file or run folder, its network in evaluation mode.

    Raises:
        ModelFileError: If the file is missing, damaged, foreign, or its weights do not fit the
            architecture it names.
    """
    import safetensors
    from safetensors.torch import load

    path = find_model_file(path)
    document, shapes, num_bytes = _read_header(path)
    check_document(document, path)
    task = Task.from_dict(document["task"])
    network = _plan_network(document["architecture"], task, shapes, path)
    content = path.read_bytes()
    if len(content) != num_bytes:
        raise ModelFileError(f"{path} changed while it was read; try again")
    try:
        tensors = load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ModelFileError(describe_damage(path, str(error))) from error
    _check_finite(tensors, path)
    network.load_state_dict(tensors, strict=True, assign=True)
    assert not any(t.is_meta for t in chain(network.parameters(), network.buffers()))
    return SegmentationModel(
        network=network.to(device).eval(),
        task=task,
        preprocessing=Preprocessing.from_dict(document["preprocessing"]),
        architecture=document["architecture"],
        tile_size=cast("tuple[int, int]", tuple(document["tile_size"])),
        thresholds=None if document["thresholds"] is None else tuple(document["thresholds"]),
        prediction=document["prediction"],
        decoder=document["decoder"],
        temperature=document["temperature"],
        metrics=document["metrics"],
        tuning=document["tuning"],
        provenance=document["provenance"],
        reference=document.get("reference", {}),
    )


def find_model_file(path: Path) -> Path:
    """Return the model file that `path` is, or holds if it is a run folder.

    Raises:
        ModelFileError: If there is none.
    """
    if path.is_dir():
        if not (path / FILE_NAME).is_file():
            raise ModelFileError(
                f"{path} is a folder without {FILE_NAME}; name a run folder whose training has "
                "saved a model, or a model file"
            )
        return path / FILE_NAME
    if not path.is_file():
        raise ModelFileError(f"there is no model at {path}; name a model file or a run folder")
    return path


def _read_header(path: Path) -> tuple[dict[str, Any], dict[str, tuple[str, list[int]]], int]:
    """Return the document, each tensor's dtype and shape, and the size of the whole file."""
    try:
        num_bytes = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > min(_MAX_HEADER_BYTES, num_bytes - 8):
                _refuse_foreign(prefix, path)
                raise ModelFileError(
                    describe_damage(path, "it is truncated or no safetensors file")
                )
            content = file.read(length)
            if not content.startswith(b"{"):
                _refuse_foreign(prefix, path)
            header = json.loads(content, parse_constant=_refuse_constant)
        text = header.pop("__metadata__", {}).get(METADATA_KEY)
        if text is None:
            raise ModelFileError(
                f"{path} holds weights but no description of a delineate model; only files that "
                "delineate saved can be used"
            )
        document = json.loads(text, parse_constant=_refuse_constant)
        if not isinstance(document, dict):
            raise ModelFileError(describe_damage(path, "its description is not a JSON object"))
        shapes = {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()}
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if 8 + length + end != num_bytes:
            raise ModelFileError(
                describe_damage(
                    path, f"it has {num_bytes} bytes and should have {8 + length + end}"
                )
            )
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ModelFileError(describe_damage(path, "its header is damaged")) from error
    return upgrade_document(document), shapes, num_bytes


def _refuse_foreign(prefix: bytes, path: Path) -> None:
    """Say so if what is no safetensors file begins like an archive or a pickle.

    The length of a header may begin with the same bytes, so this is for other files only.
    """
    if prefix.startswith((b"PK", b"\x80")):
        raise ModelFileError(
            f"{path} is a PyTorch archive or a pickle, which could run code when loaded; only "
            "model.safetensors files that delineate saved are loaded"
        )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _plan_network(
    architecture: dict[str, Any],
    task: Task,
    shapes: dict[str, tuple[str, list[int]]],
    path: Path,
) -> torch.nn.Module:
    """Build the network without memory for its weights, and compare its tensors with the file's."""
    import torch

    from delineate.models import build_network, name_members

    num_members = architecture["num_members"]
    try:
        with torch.device("meta"):
            network = build_network({**architecture, "num_members": 1}, task.kind)
    except (DelineateError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(describe_damage(path, f"its architecture: {error}")) from error
    expected = {
        f"{prefix}{name}": ("F32" if tensor.is_floating_point() else "I64", list(tensor.shape))
        for prefix in name_members(num_members)
        for name, tensor in network.state_dict().items()
    }
    if expected != shapes:
        name = min(name for name in expected | shapes if expected.get(name) != shapes.get(name))
        raise ModelFileError(
            describe_damage(
                path,
                f"tensor {name} is {_say(shapes.get(name))} and the architecture has "
                f"{_say(expected.get(name))}",
            )
        )
    if num_members == 1:
        return network
    # Only now that the file has the tensors of so many: building them takes its time.
    with torch.device("meta"):
        return build_network(architecture, task.kind)


def _say(entry: tuple[str, list[int]] | None) -> str:
    return "absent" if entry is None else f"{entry[0]} {entry[1]}"


def _check_finite(tensors: dict[str, torch.Tensor], path: Path) -> None:
    for name, tensor in sorted(tensors.items()):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelFileError(f"{path}: tensor {name} holds values that are not finite")
