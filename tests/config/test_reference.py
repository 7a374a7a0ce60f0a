from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from delineate.config import component_choices
from delineate.config.reference import list_settings
from delineate.models import MODELS


def test_every_setting_says_what_it_means() -> None:
    for setting in list_settings():
        assert setting.description.endswith((".", "]")), setting.dotted
        assert len(setting.description) < 120, setting.dotted


def test_flags_are_unique_per_component() -> None:
    seen = [(s.flag, owner) for s in list_settings() for owner in s.components or ("",)]
    assert len(seen) == len(set(seen))


def test_shapes_of_some_settings() -> None:
    shapes = {setting.dotted: (setting.shape, setting.num_values) for setting in list_settings()}
    assert shapes["training.patch_size"] == ("list", 2)
    assert shapes["data.ignore"] == ("list", None)
    assert shapes["data.legend"] == ("mapping", None)
    assert shapes["loss.terms"] == ("document", None)
    assert shapes["model.preactivation"] == ("switch", None)
    assert shapes["training.learning_rate"] == ("value", None)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_model_settings_are_the_constructor_keywords(name: str) -> None:
    module, _, class_name = MODELS[name].rpartition(".")
    constructor = getattr(import_module(module), class_name)
    keywords = {
        keyword: parameter.default
        for keyword, parameter in inspect.signature(constructor).parameters.items()
        if keyword not in ("in_channels", "num_classes")
    }
    fields = component_choices("model")[name].model_fields
    assert keywords == {key: field.default for key, field in fields.items() if key != "name"}
