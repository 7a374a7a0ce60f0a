"""What an interrupted prediction left, so that the same command can go on with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from delineate.errors import UsageError
from delineate.files import disk_errors, write_text

_RUN = "run.json"
_FINISHED = "finished.jsonl"


class Unfinished:
    """The folder of a prediction that is under way; it is gone when the prediction is done.

    It appears with the first result or journal, holds what the prediction depends on, a line per
    finished image, and the journals of rasters that are computed by bands.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Take the folder, which need not exist, and what the results depend on."""
        self.folder = folder
        self._identity = json.loads(json.dumps(identity))
        self._finished: dict[str, Any] = {}

    def begin(self, *, resume: bool, exist_ok: bool, is_dry: bool = False) -> None:
        """Settle what happens with an earlier prediction that was interrupted.

        Raises:
            UsageError: If there is one and it is neither to go on nor to be replaced, if there is
                none to go on with, or if it was of another model or other options.
        """
        begun = _read_json(self.folder / _RUN)
        if resume:
            if begun is None:
                raise UsageError(
                    f"there is no interrupted prediction in {self.folder} to go on with; leave "
                    "--resume away to begin one"
                )
            refuse_changes(begun, self._identity, self.folder)
            self._finished = dict(_read_lines(self.folder / _FINISHED))
        elif begun is not None and not exist_ok:
            raise UsageError(
                f"an earlier prediction was interrupted and left its work in {self.folder}; give "
                "--resume to go on with it, or --exist-ok to begin again"
            )
        elif not is_dry:
            self.end()

    def is_finished(self, image: Path) -> bool:
        """Return whether the results of an image are there.

        Raises:
            UsageError: If the image was changed since.
        """
        known = self._finished.get(str(image.resolve()))
        if known is not None:
            refuse_changes(known, file_identity(image), self.folder)
        return known is not None

    def finish(self, image: Path) -> None:
        """Note that the results of an image are there."""
        self.make()
        with disk_errors(self.folder), (self.folder / _FINISHED).open("a") as file:
            file.write(json.dumps([str(image.resolve()), file_identity(image)]) + "\n")

    def make(self) -> None:
        """Make the folder, if it is not there."""
        if not (self.folder / _RUN).exists():
            write_text(self.folder / _RUN, json.dumps(self._identity))

    def end(self) -> None:
        """Remove the folder, that first without which the rest means nothing."""
        if not self.folder.is_dir():
            return
        (self.folder / _RUN).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def unfinished_folder(out: Path, *, is_file: bool) -> Path:
    """Return where the work for the results `out` lies until it is done."""
    return out.with_name(f".{out.name}.unfinished") if is_file else out / ".unfinished"


def file_identity(path: Path) -> dict[str, Any]:
    """Return what tells whether a file was changed, without reading it."""
    status = path.stat()
    return {
        "image": str(path.resolve()),
        "bytes": status.st_size,
        "modified": status.st_mtime_ns,
    }


def refuse_changes(begun: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Refuse to go on with work that depends on other things than it was begun with.

    Raises:
        UsageError: If anything differs; the message names all of it.
    """
    changed = [name for name in {**begun, **now} if begun.get(name) != now.get(name)]
    if changed:
        what = "; ".join(f"{name} was {begun.get(name)}, is {now.get(name)}" for name in changed)
        raise UsageError(
            f"the unfinished work in {where} was begun otherwise ({what}); give the command as it "
            "was, or begin again with --exist-ok instead of --resume"
        )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _read_lines(path: Path) -> list[list[Any]]:
    """Return the values of whole lines; a kill may have cut the last."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]
