"""Runs side by side, image by image."""

from __future__ import annotations

from delineate.comparison.comparing import compare
from delineate.comparison.result import ComparedRun, Comparison, show_interval

__all__ = ["ComparedRun", "Comparison", "compare", "show_interval"]
