"""Any setting as a flag: ``--loss.gamma 3`` becomes ``{"loss": {"gamma": "3"}}``.

Values stay strings unless the schema cannot tell them from text itself; the one validation of all
settings converts them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

import yaml

from delineate.config import Settings
from delineate.config.reference import Setting, alternatives, list_settings
from delineate.errors import UsageError

_FLAG = re.compile(r"--(?P<path>[\w-]+\.[^=]+)(?:=(?P<value>.*))?", re.DOTALL)
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def split_setting_flags(
    tokens: Sequence[str], sections: Collection[str] | None = None
) -> tuple[list[str], dict[str, Any]]:
    """Separate flags that name a setting from the rest of a command line.

    A list takes its values one after another, separated by commas, or by repeating the flag; a
    switch may stand alone, or as ``--section.no-name``.

    Args:
        tokens: The command line, without the program's name.
        sections: Sections that may be set; None allows all.

    Returns:
        The other tokens, and the settings as nested dictionaries.

    Raises:
        UsageError: If a flag names no setting, or lacks a value.
    """
    allowed = set(Settings.model_fields if sections is None else sections)
    settings = {s.dotted: s for s in list_settings() if s.path[0] in allowed}
    rest: list[str] = []
    overrides: dict[str, Any] = {}
    queue = list(tokens)
    while queue:
        token = queue.pop(0)
        if token == "--":
            return [*rest, token, *queue], overrides
        match = _FLAG.fullmatch(token)
        if match is None:
            rest.append(token)
            continue
        setting, key = _find_setting(match["path"], settings)
        values = [] if match["value"] is None else [match["value"]]
        if key == "no":
            _store(overrides, setting.path, False)
            continue
        if not values:
            values = _take_values(token, setting, queue)
        _read(setting, key, values, overrides, token)
    return rest, overrides


def _find_setting(path: str, settings: dict[str, Setting]) -> tuple[Setting, str | None]:
    """Return the setting that a flag names, with the key of a mapping or "no" for a switch."""
    *parents, last = path.split(".")
    name = ".".join([*parents, last]).replace("-", "_")
    if name in settings and settings[name].shape != "mapping":
        return settings[name], None
    for dotted, setting in settings.items():
        if setting.shape == "mapping" and name.startswith(f"{dotted}."):
            return setting, path[len(dotted) + 1 :]
    positive = ".".join([*parents, last.replace("-", "_").removeprefix("no_")]).replace("-", "_")
    if positive in settings and settings[positive].shape == "switch":
        return settings[positive], "no"
    if name in settings:
        raise UsageError(f"{settings[name].flag} needs a name: {settings[name].flag}.NAME VALUE")
    choices = {setting.flag: setting for setting in settings.values()}
    close = get_close_matches(f"--{name.replace('_', '-')}", choices, n=1)
    hint = f"Did you mean {close[0]}?" if close else "'delineate train --help' lists all settings."
    raise UsageError(f"Unknown option --{path}. {hint}")


def _take_values(token: str, setting: Setting, queue: list[str]) -> list[str]:
    """Take a flag's values from the tokens that follow it."""
    if setting.shape == "switch":
        has_value = bool(queue) and queue[0].lower() in _TRUE + _FALSE
        return [queue.pop(0)] if has_value else ["true"]
    if not queue or queue[0].startswith("--"):
        raise UsageError(f"{token} needs a value: {setting.description}")
    values = [queue.pop(0)]
    wanted = setting.num_values or 1
    while "," not in values[0] and len(values) < wanted and queue and not queue[0].startswith("--"):
        values.append(queue.pop(0))
    return values


def _read(
    setting: Setting, key: str | None, values: list[str], overrides: dict[str, Any], token: str
) -> None:
    """Convert what only the annotation can tell, and store it."""
    convert = _converter(setting)
    if setting.shape == "document":
        _store(overrides, setting.path, _read_document(values[0], token))
    elif setting.shape == "mapping":
        parts: list[Any] = [convert(part) for part in values[0].split(",")]
        _store(overrides, (*setting.path, str(key)), parts[0] if len(parts) == 1 else parts)
    elif setting.shape == "list":
        parts = [convert(part) for value in values for part in value.split(",") if part]
        number = setting.num_values
        if number and len(parts) != number and values != ["none"]:
            example = " ".join([parts[0]] * number if parts else ["VALUE"] * number)
            raise UsageError(
                f"{token} takes {number} values, such as {token} {example}; got {len(parts)}"
            )
        is_none = values == ["none"] and type(None) in alternatives(setting.annotation)
        _store(overrides, setting.path, None if is_none else parts, extend=not number)
    else:
        _store(overrides, setting.path, convert(values[0]))


def _converter(setting: Setting) -> Callable[[str], Any]:
    """Return what turns digits into integers and 'none' into None, where the type asks for it."""
    leaves = _leaves(setting.annotation)
    is_optional = type(None) in leaves
    wants_int = int in leaves and str in leaves

    def convert(text: str) -> Any:
        if is_optional and setting.shape == "value" and text.lower() == "none":
            return None
        is_number = re.fullmatch(r"-?\d+", text) is not None
        if is_number and (wants_int or int(text) in leaves):
            return int(text)
        return text

    return convert


def _leaves(annotation: Any) -> list[Any]:
    """Return every type and literal value that an annotation is made of."""
    found: list[Any] = []
    for part in alternatives(annotation):
        if get_origin(part) is Literal:
            found.extend(get_args(part))
        elif get_args(part):
            found.extend(leaf for inner in get_args(part) for leaf in _leaves(inner))
        else:
            found.append(part)
    return found


def _read_document(text: str, token: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{token} takes YAML such as '[{{weight: 1}}]': {reason}") from None


def _store(
    overrides: dict[str, Any], path: tuple[str, ...], value: Any, *, extend: bool = False
) -> None:
    """Put a value into nested dictionaries; `extend` adds to a list that is there already."""
    *parents, last = path
    for name in parents:
        overrides = overrides.setdefault(name, {})
    if extend and isinstance(overrides.get(last), list) and isinstance(value, list):
        value = overrides[last] + value
    overrides[last] = value
