"""Values and counts as words, for all that is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCORES = ("dice", "iou", "precision", "recall")
"""Scores that are printed, best known first."""
NUM_NAMED = 5
"""Images that a warning names; of more their number."""


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_value(value: Any) -> str:
    """Return a value of a JSON document as one would write it in a table."""
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {format_inline(part)}" for name, part in value.items()) or "none"
    return format_inline(value)


def format_number(value: float | None) -> str:
    """Return a score with four digits."""
    return "undefined" if value is None else f"{value:.4f}"


def format_inline(value: Any) -> str:
    """Return a value of a JSON document on one line."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {format_inline(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(format_inline(part) for part in value) or "none"
    return str(value)
