"""Fingerprints kept from command to command, by the content that they were measured of.

They lie in the user's cache folder: $DELINEATE_CACHE, or `delineate` in $XDG_CACHE_HOME or
~/.cache. Nothing there is needed: what is missing, damaged or not writable is measured again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from delineate.data.fingerprint.fingerprint import FORMAT_VERSION, Fingerprint
from delineate.errors import DelineateError
from delineate.files import write_text

if TYPE_CHECKING:
    from delineate.data.cache import ImageCache

MOST_KEPT = 200
"""Fingerprints that are kept; the oldest make room."""


def recall_fingerprint(
    images: ImageCache,
    *,
    in_channels: int,
    spacing: Sequence[float],
    digest: str,
    measure: Callable[[], Fingerprint],
) -> Fingerprint:
    """Return the fingerprint of images, measured only where the same were not measured before.

    Args:
        images: The training split.
        in_channels: Channels that the images are converted to.
        spacing: Sides of the pixels, in metres, which headers say and not the pixels.
        digest: The fingerprint's `digest`, which names files rather than their content.
        measure: Measures them.
    """
    path = cache_folder() / "fingerprints" / f"{_digest(images, in_channels, spacing)}.json"
    kept = _load(path)
    if kept is None:
        kept = measure()
        _save(kept, path)
    return replace(kept, digest=digest)


def cache_folder() -> Path:
    """Return the folder of what may be lost, which need not exist."""
    named = os.environ.get("DELINEATE_CACHE")
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "delineate"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / "delineate"


def _digest(images: ImageCache, in_channels: int, spacing: Sequence[float]) -> str:
    """Return a digest of all that a measurement depends on, this program included."""
    task = images.task
    document = [
        version("delineate"),
        FORMAT_VERSION,
        [task.kind, task.class_names, task.background, task.ignore_index],
        in_channels,
        list(spacing),
        [
            (content, sample.group)
            for content, sample in zip(images.contents, images.samples, strict=True)
        ],
    ]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _load(path: Path) -> Fingerprint | None:
    with suppress(OSError, ValueError, KeyError, TypeError, DelineateError):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["sha256"] == _checksum(document["fingerprint"]):
            return Fingerprint.from_dict(document["fingerprint"])
    return None


def _save(fingerprint: Fingerprint, path: Path) -> None:
    # As it will be read: tuples become lists, which the checksum must not notice.
    document = json.loads(json.dumps(fingerprint.as_dict(), allow_nan=False))
    with suppress(OSError, DelineateError):
        write_text(path, json.dumps({"sha256": _checksum(document), "fingerprint": document}))
        kept = sorted(path.parent.glob("*.json"), key=lambda one: -one.stat().st_mtime)
        for old in kept[MOST_KEPT:]:
            old.unlink(missing_ok=True)


def _checksum(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
