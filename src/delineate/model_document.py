"""What a model file says of its model: one JSON document, checked before anything is built.

It has sorted keys and no clock in it, so that equal models are equal bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from delineate.config import Fraction, ModelConfig, PredictionConfig
from delineate.errors import DelineateError, ModelFileError
from delineate.preprocessing import Preprocessing
from delineate.task import Task

if TYPE_CHECKING:
    from delineate.model_file import SegmentationModel

FORMAT_VERSION = 3

_MAX_CHANNELS = 2**16
MAX_MEMBERS = 64
"""Networks of an ensemble, at most."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Architecture(_Strict):
    name: str
    in_channels: Annotated[int, Field(ge=1, le=_MAX_CHANNELS)]
    num_classes: Annotated[int, Field(ge=1, le=_MAX_CHANNELS)]
    settings: dict[str, Any]
    num_members: Annotated[int, Field(strict=True, ge=1, le=MAX_MEMBERS)]


class _Familiarity(_Strict):
    looks: Annotated[list[list[float]], Field(min_length=1)]
    yardstick: Annotated[float, Field(gt=0)] | None

    @field_validator("looks")
    @classmethod
    def _check_rows(cls, looks: list[list[float]]) -> list[list[float]]:
        if len({len(look) for look in looks}) != 1:
            raise ValueError("rows of different lengths")
        return looks


class _Reference(_Strict):
    calibration: list[Annotated[list[tuple[Fraction, Fraction]], Field(min_length=1)]] | None = None
    familiarity: _Familiarity | None = None
    images: list[str] = []


class _Document(_Strict):
    format_version: Literal[3]
    task: dict[str, Any]
    preprocessing: dict[str, Any]
    architecture: _Architecture
    stride: int
    halo: int | None
    tile_size: tuple[int, int]
    thresholds: tuple[Fraction, ...] | None
    prediction: dict[str, Any]
    decoder: dict[str, Any]
    temperature: Annotated[float, Field(gt=0)]
    metrics: dict[str, Any]
    tuning: dict[str, Any]
    provenance: dict[str, Any]
    reference: _Reference = _Reference()


def describe_model(model: SegmentationModel) -> dict[str, Any]:
    """Return the document of a model."""
    halo = getattr(model.network, "halo", None)
    document = {
        "format_version": FORMAT_VERSION,
        "task": model.task.as_dict(),
        "preprocessing": model.preprocessing.as_dict(),
        "architecture": {"num_members": 1, **model.architecture},
        "stride": getattr(model.network, "stride", 1),
        "halo": halo,
        "tile_size": model.tile_size,
        "thresholds": model.thresholds,
        "prediction": model.prediction,
        "decoder": model.decoder,
        "temperature": model.temperature,
        "metrics": model.metrics,
        "tuning": model.tuning,
        "provenance": model.provenance,
        "reference": model.reference,
    }
    return cast("dict[str, Any]", _plain(document))


def _plain(value: Any) -> Any:
    """Return plain JSON values; a number that is not finite (an undefined score) becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def check_document(document: dict[str, Any], path: Path) -> None:
    """Refuse a document whose parts are wrong or do not fit each other.

    Raises:
        ModelFileError: If it is; says what is wrong.
    """
    version = document.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has model format {version} and this delineate reads up to "
            f"{FORMAT_VERSION}; install a newer delineate"
        )
    try:
        checked = _Document.model_validate(document)
        task = Task.from_dict(checked.task)
        preprocessing = Preprocessing.from_dict(checked.preprocessing)
        settings = checked.architecture.settings
        TypeAdapter(ModelConfig).validate_python({"name": checked.architecture.name, **settings})
        PredictionConfig.model_validate({"tile_size": checked.tile_size, **checked.prediction})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "its description"
        raise ModelFileError(describe_damage(path, f"{where}: {problem['msg']}")) from error
    except (DelineateError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(describe_damage(path, f"{type(error).__name__}: {error}")) from error
    facts = [
        ("num_classes", checked.architecture.num_classes, task.num_classes, "the task"),
        (
            "in_channels",
            checked.architecture.in_channels,
            preprocessing.in_channels,
            "preprocessing",
        ),
    ]
    if checked.reference.calibration is not None:
        facts.append(
            (
                "number of calibrations",
                len(checked.reference.calibration),
                task.num_classes,
                "the task",
            )
        )
    if checked.thresholds is not None:
        facts.append(
            ("number of thresholds", len(checked.thresholds), task.num_classes, "the task")
        )
        if not task.has_threshold:
            raise ModelFileError(describe_damage(path, "a multiclass model has no thresholds"))
    for name, value, expected, source in facts:
        if value != expected:
            raise ModelFileError(
                describe_damage(path, f"its {name} is {value}, {source} says {expected}")
            )


def describe_damage(path: Path, reason: str) -> str:
    """Return the message of a model file that cannot be used."""
    return f"{path} is not a usable model file ({reason}); get or train it again"


def upgrade_document(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document of an earlier format as one of the present format."""
    if document.get("format_version") == 1:
        document = {**document, "format_version": 2, "temperature": 1.0, "tuning": {}}
    if document.get("format_version") == 2:
        architecture = document.get("architecture")
        if isinstance(architecture, dict):
            architecture = {**architecture, "num_members": 1}
        document = {**document, "format_version": 3, "architecture": architecture}
    return document
