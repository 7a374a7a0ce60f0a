"""What the commands print: tables on a terminal, the same as plain text elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from delineate.config.reference import Setting, list_settings, section_description


def print_settings(command: str, sections: Sequence[str]) -> None:
    """Print all settings that are flags of `command`, section by section."""
    console = Console()
    console.print(f"Settings, each a flag of 'delineate {command}' and a key of its YAML file:\n")
    settings = list_settings()
    for section in sections:
        table = Table(
            title=Text(f"{section}: {section_description(section)}", style="bold"),
            title_justify="left",
            box=box.ROUNDED,
            show_header=False,
            expand=True,
        )
        table.add_column(style="cyan", overflow="fold", ratio=2)
        table.add_column(ratio=3)
        for setting in settings:
            if setting.path[0] == section:
                table.add_row(Text(_usage(setting)), _explain(setting))
        console.print(table)


def _usage(setting: Setting) -> str:
    if setting.shape == "mapping":
        return f"{setting.flag}.NAME"
    return setting.flag


def _explain(setting: Setting) -> Text:
    text = Text(setting.description)
    if setting.choices and not setting.description.startswith("One of"):
        text.append(f" One of {', '.join(setting.choices)}.")
    if setting.path[0] == "loss" and setting.path[-1] != "name":
        text.append(f" ({', '.join(setting.components)})", style="dim")
    elif setting.components == ("resunet",):
        text.append(" (resunet)", style="dim")
    text.append(f" [{setting.default_text}]", style="dim")
    return text


def print_info(info: Mapping[str, Any]) -> None:
    """Print what `read_model_info` returned."""
    console = Console()
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in info.items():
        table.add_row(name.replace("_", " "), Text(format_value(value)))
    console.print(table)


def print_evaluation(evaluation: Any) -> None:
    """Print the scores of an evaluation and where its report is."""
    Console().print(evaluation)


def format_value(value: Any) -> str:
    """Return a value of a JSON document as one would write it in a table."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_inline(part)}" for name, part in value.items()) or "none"
    return _inline(value)


def _inline(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_inline(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_inline(part) for part in value) or "none"
    return str(value)
