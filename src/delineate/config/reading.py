"""Settings from YAML and dictionaries: read, laid over each other, validated once, written."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from delineate.config.schema import Settings
from delineate.config.values import Config
from delineate.errors import ConfigError, UnreadableFileError

COMPONENTS = ("model", "loss")
"""Sections that hold one of several components, told apart by their `name`."""


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings that a YAML file names, not yet validated.

    Raises:
        UnreadableFileError: If the file is missing or is not YAML.
        ConfigError: If it holds something other than sections of settings.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UnreadableFileError(f"settings file {path} cannot be read: {reason}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise ConfigError(f"{path} holds a {kind} but should hold sections such as 'training:'")
    return document


def merge_settings(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layers laid over each other, the last one on top.

    Sections are merged key by key; lists and the legend are replaced whole. A layer that names
    another component (``loss.name``, ``model.name``) drops what the layers below it set for the
    former one, except the fields that both inherit from the same class.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for section, values in layer.items():
            below = merged.get(section)
            if not isinstance(values, Mapping) or not isinstance(below, dict):
                merged[section] = dict(values) if isinstance(values, Mapping) else values
            elif section in COMPONENTS:
                merged[section] = _merge_component(section, below, values)
            else:
                merged[section] = _merge_mapping(below, values)
    return merged


def build_settings(values: Mapping[str, Any], source: str = "the settings") -> Settings:
    """Validate settings; what is not named takes its default.

    Args:
        values: Sections, such as `read_settings` or `merge_settings` return.
        source: Where they come from, for the message.

    Raises:
        ConfigError: If a setting is unknown or has a wrong value; one message names them all.
    """
    document = dict(values)
    for section in COMPONENTS:
        component = document.get(section)
        if isinstance(component, Mapping) and "name" not in component:
            document[section] = {"name": default_component(section), **component}
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        problems = dict.fromkeys(_describe(problem) for problem in error.errors())
        raise ConfigError(f"{source}: {'; '.join(problems)}") from None


def dump_settings(settings: Config) -> dict[str, Any]:
    """Return plain dicts, lists, strings and numbers, ready for YAML or JSON."""
    return settings.model_dump(mode="json")


def flatten_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by their dotted names, such as ``loss.gamma``."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def save_settings(settings: Settings, path: Path) -> None:
    """Write the settings as YAML."""
    path.write_text(
        yaml.safe_dump(dump_settings(settings), sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )


def component_choices(section: str) -> dict[str, type[Config]]:
    """Return the components that `section` may hold, by name."""
    members = get_args(Settings.model_fields[section].annotation)
    return {member.model_fields["name"].default: member for member in members}


def default_component(section: str) -> str:
    """Return the name of the component that `section` holds unless told otherwise."""
    return str(Settings.model_fields[section].default.name)


def _merge_component(
    section: str, below: dict[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    choices, default = component_choices(section), default_component(section)
    former = choices.get(below.get("name", default))
    wanted = choices.get(values.get("name", below.get("name", default)))
    if former is None or wanted is None or former is wanted:
        return {**below, **values}
    shared = {
        name
        for ancestor in former.__mro__
        if ancestor in wanted.__mro__ and issubclass(ancestor, Config)
        for name in ancestor.model_fields
    }
    return {key: value for key, value in below.items() if key in shared} | dict(values)


def _merge_mapping(below: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in values.items():
        former = merged.get(key)
        if isinstance(value, Mapping) and isinstance(former, dict) and key != "legend":
            merged[key] = _merge_mapping(former, value)
        else:
            merged[key] = value
    return merged


def _describe(problem: Any) -> str:
    """Return one of pydantic's problems as what is and what should be."""
    location = [str(part) for part in problem["loc"]]
    tags = [
        index
        for index, part in enumerate(location)
        if index and location[index - 1] in COMPONENTS and part in _component_names()
    ]
    where = ".".join(part for index, part in enumerate(location) if index not in tags)
    kind = problem["type"]
    if kind == "extra_forbidden":
        siblings = _fields_at(location[:-1])
        close = get_close_matches(location[-1], siblings, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(siblings)}"
        owner = f" of {location[tags[-1]]!r}" if tags else ""
        return f"unknown setting {where!r}{owner}; {hint}"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "union_tag_invalid":
        name, choices = problem["ctx"]["tag"], problem["ctx"]["expected_tags"].replace("'", "")
        close = get_close_matches(name, choices.split(", "), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown {where} {name!r}; {hint}Choose one of {choices}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where} is {problem['input']!r}: {message[:1].lower()}{message[1:]}"


def _component_names() -> set[str]:
    return {name for section in COMPONENTS for name in component_choices(section)}


def _fields_at(location: list[str]) -> list[str]:
    """Return the names of the fields of the section that pydantic's `location` points to."""
    models: list[type[Config]] = [Settings]
    for part in location:
        named = [
            m for m in models if "name" in m.model_fields and part == m.model_fields["name"].default
        ]
        inner = [
            found
            for model in models
            if part in model.model_fields
            for found in sections_in(model.model_fields[part].annotation)
        ]
        models = named or inner or models
    return sorted({name for model in models for name in model.model_fields})


def sections_in(annotation: Any) -> list[type[Config]]:
    """Return the sections that a field of this annotation may hold, directly or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [found for part in get_args(annotation) for found in sections_in(part)]
