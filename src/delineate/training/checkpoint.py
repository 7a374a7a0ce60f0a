"""Checkpoints: everything that a killed training needs to go on as if nothing had happened.

A checkpoint is a folder `checkpoints/step-<n>/` of files, with `meta.json` written last: the
SHA-256 of each file, and small facts. A folder without a `meta.json` that fits its files is not a
checkpoint. The newest two are kept, so that one that turns out damaged costs one interval.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delineate.errors import DataError
from delineate.files import check_free_space, digest_file, disk_errors, flush, write_text

FOLDER = "checkpoints"
STATE, META = "state.pt", "meta.json"
FORMAT_VERSION = 2
NUM_KEPT = 2

State = dict[str, Any]
"""Nested dictionaries and lists of tensors, numbers, texts and None."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found whole."""

    folder: Path
    step: int
    facts: dict[str, Any]
    """What `save_checkpoint` was given beside the state."""
    damaged: tuple[str, ...]
    """What was wrong with newer ones that had to be passed over, a sentence each."""

    def load_state(self) -> State:
        """Read the state; runs no code from the file."""
        import torch

        state: State = torch.load(self.folder / STATE, map_location="cpu", weights_only=True)
        return state

    def path_of(self, name: str) -> Path:
        """Return the path of one of the other files."""
        return self.folder / name


def save_checkpoint(
    run: Path,
    step: int,
    state: State,
    facts: Mapping[str, Any],
    files: Mapping[str, Path] | None = None,
) -> Path:
    """Write a checkpoint and remove all but the newest two.

    Args:
        run: The run folder.
        step: Steps made so far.
        state: Tensors and numbers; read back with `weights_only=True`.
        facts: What goes into `meta.json`; JSON-ready.
        files: Name in the checkpoint to a file of the run that is kept with it. The files must
            be replaced and never changed in place, since a hard link is made where one can be.

    Raises:
        ResourceError: If the disk is full.
        UsageError: If the folder cannot be written to.
    """
    import torch

    folder = run / FOLDER / f"step-{step}"
    temporary = folder.with_name(f"{folder.name}.tmp")
    needed = count_bytes(state)
    with disk_errors(folder, needed=needed):
        _remove(temporary)
        check_free_space(folder, needed)
        temporary.mkdir(parents=True)
        try:
            try:
                torch.save(state, temporary / STATE)
            except RuntimeError as error:
                # torch's zip writer hides the errno of a full disk behind its own words. A process
                # that loads data may be reported dead anywhere, and here too.
                if "PytorchStreamWriter" not in str(error) and "inline_container" not in str(error):
                    raise
                raise OSError(errno.ENOSPC, "no space left on device") from error
            for name, source in (files or {}).items():
                _link(source, temporary / name)
            digests = {}
            for path in sorted(temporary.iterdir()):
                flush(path)
                digests[path.name] = digest_file(path)
            document = {
                "format_version": FORMAT_VERSION,
                "step": step,
                "facts": dict(facts),
                "sha256": digests,
            }
            write_text(temporary / META, json.dumps(document, indent=1, sort_keys=True))
            _remove(folder)
            temporary.replace(folder)
            flush(folder.parent)
        except BaseException:
            _remove(temporary)
            raise
    for _, old in _find_folders(run)[NUM_KEPT:]:
        _remove(old)
    return folder


def find_checkpoint(run: Path) -> Checkpoint:
    """Return the newest whole checkpoint of a run.

    Raises:
        DataError: If there is none; says what was found.
    """
    damaged: list[str] = []
    for step, folder in _find_folders(run):
        fault = _find_fault(folder)
        if fault is None:
            document = json.loads((folder / META).read_text(encoding="utf-8"))
            return Checkpoint(folder, step, document["facts"], tuple(damaged))
        damaged.append(f"{folder} is not whole: {fault}")
    if damaged:
        raise DataError(
            f"run {run} has no checkpoint that is whole ({'; '.join(damaged)}); start it anew "
            "without --resume, in another folder"
        )
    found = sorted(path.name for path in run.iterdir()) if run.is_dir() else []
    raise DataError(
        f"run {run} has no checkpoint to resume from (it holds {', '.join(found) or 'nothing'}); "
        "name the folder of a training that was interrupted, or start anew without --resume"
    )


def sweep_debris(run: Path) -> None:
    """Remove what a killed process left of checkpoints that it had not finished."""
    for path in (run / FOLDER).glob("step-*.tmp"):
        _remove(path)


def remove_checkpoints(run: Path) -> None:
    """Remove all checkpoints of a run that has ended."""
    _remove(run / FOLDER)


def count_bytes(state: Any) -> int:
    """Return the bytes of all tensors in a state."""
    import torch

    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        return sum(map(count_bytes, state.values()))
    return sum(map(count_bytes, state)) if isinstance(state, list | tuple) else 0


def _find_folders(run: Path) -> list[tuple[int, Path]]:
    """Return the finished checkpoints, whole or not, the newest first."""
    found = []
    for path in (run / FOLDER).glob("step-*"):
        number = path.name.removeprefix("step-")
        if number.isdecimal() and path.is_dir():
            found.append((int(number), path))
    return sorted(found, reverse=True)


def _find_fault(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None."""
    try:
        document = json.loads((folder / META).read_text(encoding="utf-8"))
        digests = dict(document["sha256"])
        version = document["format_version"]
    except FileNotFoundError:
        return f"{META} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{META} cannot be read ({error})"
    if version != FORMAT_VERSION:
        return f"its format version is {version}, this program reads {FORMAT_VERSION}"
    for name, digest in sorted(digests.items()):
        path = folder / name
        if Path(name).name != name or not path.is_file():
            return f"{name} is missing"
        if digest_file(path) != digest:
            return f"{name} has changed since it was written"
    return None if STATE in digests else f"{STATE} is missing"


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
