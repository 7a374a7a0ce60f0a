"""From a folder of images and masks to a trained, evaluated segmentation model.

The names below are loaded when they are first used, so that importing the package is quick. The
demo is not among them, its name being that of its module: ``from delineate.demo import demo``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from delineate.comparison import compare as compare
    from delineate.config import Settings as Settings
    from delineate.config import build_settings as build_settings
    from delineate.config import read_settings as read_settings
    from delineate.config import save_settings as save_settings
    from delineate.data.doctor.diagnosis import doctor as doctor
    from delineate.data.importers.conversion import import_dataset as import_dataset
    from delineate.data.samples import write_sample as write_sample
    from delineate.errors import DelineateError as DelineateError
    from delineate.evaluation.evaluate import evaluate as evaluate
    from delineate.losses import build_loss as build_loss
    from delineate.model_file import SegmentationModel as SegmentationModel
    from delineate.model_file import info as info
    from delineate.model_file import load_model as load_model
    from delineate.model_file import save_model as save_model
    from delineate.models import build_model as build_model
    from delineate.prediction.predict import predict as predict
    from delineate.prediction.predictor import Predictor as Predictor
    from delineate.prediction.predictor import load_predictor as load_predictor
    from delineate.recipes.plan_folder import plan as plan
    from delineate.task import Task as Task
    from delineate.training.folds.cross_validation import cross_validate as cross_validate
    from delineate.training.trainer import train as train

__version__ = "0.1.0"

_MODULES = {
    "DelineateError": "delineate.errors",
    "Predictor": "delineate.prediction.predictor",
    "SegmentationModel": "delineate.model_file",
    "Settings": "delineate.config",
    "Task": "delineate.task",
    "build_loss": "delineate.losses",
    "build_model": "delineate.models",
    "build_settings": "delineate.config",
    "compare": "delineate.comparison",
    "cross_validate": "delineate.training.folds.cross_validation",
    "doctor": "delineate.data.doctor.diagnosis",
    "evaluate": "delineate.evaluation.evaluate",
    "import_dataset": "delineate.data.importers.conversion",
    "info": "delineate.model_file",
    "load_model": "delineate.model_file",
    "load_predictor": "delineate.prediction.predictor",
    "plan": "delineate.recipes.plan_folder",
    "predict": "delineate.prediction.predict",
    "read_settings": "delineate.config",
    "save_model": "delineate.model_file",
    "save_settings": "delineate.config",
    "train": "delineate.training.trainer",
    "write_sample": "delineate.data.samples",
}
"""Public name -> the module that defines it."""

__all__ = ["__version__", *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'delineate' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
