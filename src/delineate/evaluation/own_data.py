"""Tell the data set that a model was made of from others, and keep their results apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from delineate.errors import DelineateError

if TYPE_CHECKING:
    from delineate.model_file import SegmentationModel

_METRICS = "metrics.json"


def is_own_data(model: SegmentationModel, data: Path) -> bool:
    """Return whether a data set is the one that a model was made of.

    It is if its files have the names, sizes and splits of those. A model that does not say what it
    was made of takes any data for its own.

    Args:
        model: Knows the digest and the settings of its data.
        data: A folder, a data.yaml or a CSV of paths.
    """
    from delineate.config import build_settings
    from delineate.data.inventory import build_inventory
    from delineate.recipes.planning import digest_inventory

    wanted = model.provenance.get("data_digest")
    if wanted is None:
        return True
    stored = model.provenance.get("config", {}).get("data", {})
    try:
        settings = build_settings({"data": stored}, "the settings of the model's data")
        return bool(digest_inventory(build_inventory(data, settings.data)) == wanted)
    except DelineateError:
        # What the model's own settings cannot read is not its own data.
        return False


def choose_folder(parent: Path, split: str, data: Path, digest: str, *, is_own: bool) -> Path:
    """Return the folder for the results of an evaluation, beside the model.

    The model's own data have ``evaluation-SPLIT``, others ``evaluation-SPLIT-NAME``. Results on
    other data of the same name are never replaced: they are counted from 2 on.

    Args:
        parent: The model's folder.
        split: ``train``, ``val`` or ``test``.
        data: The data set.
        digest: Of the split's names and contents.
        is_own: Whether the model was made of these data.
    """
    plain = parent / f"evaluation-{split}"
    if is_own:
        return plain
    place = data.resolve()
    name = place.parent.name if place.suffix in (".yaml", ".yml") else place.stem
    named = f"{plain.name}-{re.sub(r'[^A-Za-z0-9_.]+', '-', name).strip('-') or 'data'}"
    folder, number = parent / named, 2
    while _digest_of(folder) not in (None, digest):
        folder, number = parent / f"{named}-{number}", number + 1
    return folder


def _digest_of(folder: Path) -> str | None:
    """Return the digest of the data that the results in a folder are of; None without results."""
    try:
        document = json.loads((folder / _METRICS).read_text(encoding="utf-8"))
        return str(document["data"]["digest"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        # Something else of that name; it is left alone.
        return ""
