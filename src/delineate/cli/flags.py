"""What flags of several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

Out = Annotated[Path | None, Parameter(name=["--out", "-o"])]
"""Folder of results that has a default."""
Overrides = Annotated[dict[str, Any] | None, Parameter(parse=False)]
"""Settings that flags named; the program fills it."""


def split_names(text: str) -> tuple[str, ...]:
    """Return the names in a text that separates them by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
