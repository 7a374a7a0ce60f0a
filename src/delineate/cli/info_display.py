"""What `info` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from delineate.cli.words import SCORES, format_inline, format_number, format_value


def print_info(info: Mapping[str, Any]) -> None:
    """Print what `delineate.info` returned."""
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in describe_model(info).items():
        table.add_row(name, Text(value))
    Console().print(table)


def describe_model(info: Mapping[str, Any]) -> dict[str, str]:
    """Return what `delineate info` says, line by line."""
    task, architecture = info["task"], info["architecture"]
    settings = ", ".join(
        f"{name} {format_inline(v)}" for name, v in architecture["settings"].items()
    )
    lines = {
        "model": f"{info['path']}, {info['num_bytes'] / 2**20:.1f} MiB",
        "task": f"{task['kind']}, {len(task['class_names'])} class"
        + ("es" if len(task["class_names"]) > 1 else ""),
        "classes": ", ".join(task["class_names"]),
        "background": task.get("background") or "none declared",
        "architecture": f"{_members(architecture)}{architecture['name']}: {settings}",
        "parameters": f"{info['num_parameters']:,}",
        "input": format_value(_without(info["preprocessing"], "pixel_size")),
        "pixel size": describe_pixel_size(info["preprocessing"].get("pixel_size")),
        "stride, halo": f"{info['stride']}, {format_inline(info['halo'])} pixels",
        "tile size": " x ".join(str(side) for side in info["tile_size"]),
        "thresholds": "argmax" if info["thresholds"] is None else format_inline(info["thresholds"]),
        "prediction": format_value(info["prediction"]),
    }
    for split, metrics in info["metrics"].items():
        lines[split] = _scores(metrics, task["class_names"])
    if info["tuning"]:
        lines["tuning"] = _tuning(info["tuning"])
    for name, value in info["provenance"].items():
        if name != "config":
            lines[name.replace("_", " ")] = format_inline(value)
    return lines


def _members(architecture: Mapping[str, Any]) -> str:
    number = architecture["num_members"]
    return f"mean of {number} networks, each " if number > 1 else ""


def _without(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def describe_pixel_size(size: Sequence[float] | None) -> str:
    """Return the size of pixels that a model was trained at, in words."""
    from delineate.raster_windows import format_pixel_size

    if size is None:
        return "not known; images are taken as they are"
    return format_pixel_size((size[0], size[1]))


def _tuning(tuning: Mapping[str, Any]) -> str:
    """Return what was chosen on validation images, and what it gained there and by proof."""
    rows = [
        f"for {tuning['objective_in_words']}, on {tuning['num_images']} images of "
        f"{tuning['num_groups']} groups"
    ]
    for what in ("threshold", "post-processing", "temperature"):
        proof = tuning["proofs"].get(what)
        if proof is None:
            continue
        gains = (proof["gain"], proof["nested_gain"]["estimate"])
        own, proved = ("undefined" if gain is None else f"{gain:+.4f}" for gain in gains)
        rows.append(
            f"{what} {'taken' if proof['is_taken'] else 'refused'}: gain {own}, "
            f"on images that had no say {proved}"
        )
    return "\n".join(rows)


def _scores(metrics: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Return the pooled scores of a split, and those of its classes where there are several."""
    rows = {f"pooled over {metrics.get('num_images')} images": metrics.get("pooled", {})}
    if len(class_names) > 1:
        rows |= {name: metrics.get("classes", {}).get(name, {}) for name in class_names}
    return "\n".join(
        f"{row}: " + ", ".join(f"{name} {format_number(scores.get(name))}" for name in SCORES)
        for row, scores in rows.items()
    )
