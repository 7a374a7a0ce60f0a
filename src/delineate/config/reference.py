"""The list of all settings, for flags, ``--help`` and the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from delineate.config.reading import sections_in
from delineate.config.schema import Settings
from delineate.config.values import Config

Shape = Literal["value", "switch", "list", "mapping", "document"]


@dataclass(frozen=True)
class Setting:
    """One setting: where it stands, what it may be, what it means."""

    path: tuple[str, ...]
    """Section, subsections and name."""
    annotation: Any
    """Its type."""
    default: Any
    """What it is unless told otherwise; PydanticUndefined where it must be given."""
    description: str
    """What it means."""
    components: tuple[str, ...] = ()
    """The components of the section that have it; empty where the section has no choice."""

    @property
    def dotted(self) -> str:
        """Its name in messages and the documentation, such as ``training.batch_size``."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        """Its name on the command line, such as ``--training.batch-size``."""
        return "--" + self.dotted.replace("_", "-")

    @property
    def shape(self) -> Shape:
        """How it is written on the command line."""
        kinds = {get_origin(part) or part for part in alternatives(self.annotation)}
        if bool in kinds:
            return "switch"
        if dict in kinds:
            return "mapping"
        if tuple in kinds:
            return "document" if sections_in(self.annotation) else "list"
        return "value"

    @property
    def num_values(self) -> int | None:
        """How many values a list has to have; None for any number."""
        for part in alternatives(self.annotation):
            if get_origin(part) is tuple and Ellipsis not in get_args(part):
                return len(get_args(part))
        return None

    @property
    def default_text(self) -> str:
        """The default as it would be written on the command line."""
        if self.default is PydanticUndefined:
            return "required"
        if self.default is None:
            return "none"
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, tuple):
            # Where the number of values is open, spaces would take in what follows.
            between = " " if self.num_values else ","
            return between.join(str(part) for part in self.default) or "none"
        return str(self.default) if self.default != {} else "none"

    @property
    def choices(self) -> tuple[str, ...]:
        """The words it may be; empty where it is not a choice among words."""
        if self.path[-1] == "name" and self.components:
            return self.components
        parts = alternatives(self.annotation)
        words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
        return tuple(str(word) for word in words)


def alternatives(annotation: Any) -> list[Any]:
    """Return the members of a union without their annotations; any other type alone."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Literal, tuple, dict) or not get_args(annotation):
        return [annotation]
    return [found for part in get_args(annotation) for found in alternatives(part)]


def list_settings() -> list[Setting]:
    """Return all settings in the order of the schema; the format's version is none."""
    return [setting for setting in _walk(Settings, ()) if len(setting.path) > 1]


def section_description(name: str) -> str:
    """Return what the section `name` is about."""
    return Settings.model_fields[name].description or ""


def _walk(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        where = (*path, name)
        sections = alternatives(field.annotation)
        if not all(isinstance(part, type) and issubclass(part, Config) for part in sections):
            yield _setting(where, field)
        elif len(sections) == 1:
            yield from _walk(sections[0], where)
        else:
            yield from _components(sections, where, field.default.name)


def _components(
    members: list[type[Config]], path: tuple[str, ...], default: str
) -> Iterator[Setting]:
    """Yield the fields of all members; equal ones once, with the names of those who have them."""
    names = tuple(member.model_fields["name"].default for member in members)
    yield Setting((*path, "name"), str, default, f"One of {', '.join(names)}.", names)
    found: dict[tuple[str, str, str], tuple[FieldInfo, list[str]]] = {}
    for member, component in zip(members, names, strict=True):
        for name, field in member.model_fields.items():
            key = (name, repr(field.default), field.description or "")
            if name != "name":
                found.setdefault(key, (field, []))[1].append(component)
    for (name, _, _), (field, owners) in found.items():
        yield _setting((*path, name), field, tuple(owners))


def _setting(path: tuple[str, ...], field: FieldInfo, components: tuple[str, ...] = ()) -> Setting:
    description = " ".join((field.description or "").split())
    return Setting(path, field.annotation, field.default, description, components)
