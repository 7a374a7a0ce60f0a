"""The folder of a run: its name, and the texts that are written into it."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from delineate.errors import UsageError
from delineate.evaluation.image_counts import FILE_NAME as IMAGE_COUNTS
from delineate.evaluation.model_card import VERDICT
from delineate.files import disk_errors
from delineate.model_file import FILE_NAME
from delineate.training.loggers.logger import TRACKING

FOLDS = "folds.json"
"""What a cross-validation has settled; tells its folder from that of a single run."""
PREPROCESSING = "preprocessing.json"
"""How images are read, in the folder of a fold: all folds read them alike."""
TEACHING = "teaching.json"
"""That a run learns from other networks too."""
RESULTS = (
    "results.csv",
    FILE_NAME,
    "report.html",
    "README.md",
    "plan.md",
    IMAGE_COUNTS,
    TRACKING,
    VERDICT,
    FOLDS,
    PREPROCESSING,
    TEACHING,
)
"""Files of an earlier run in the same folder that must not be taken for this run's."""


def is_cross_validation(run: Path) -> bool:
    """Return whether a folder holds a cross-validation rather than a single run."""
    return (run / FOLDS).is_file()


def choose_run_folder(run: Path | None, data: Path, *, exist_ok: bool) -> Path:
    """Return the folder of a run, not made yet: `run`, or the first free runs/<data name>-<n>.

    Raises:
        UsageError: If `run` is there and holds files, unless `exist_ok`.
    """
    if run is None:
        where = data.resolve()
        name = where.parent.name if where.is_file() else where.name
        folders = (Path("runs") / f"{name or 'run'}-{number}" for number in count(1))
        return next(folder for folder in folders if not folder.exists())
    if run.exists() and not run.is_dir():
        raise UsageError(f"run folder {run} is a file; name a folder")
    if run.exists() and not exist_ok and any(run.iterdir()):
        raise UsageError(
            f"run folder {run} is not empty; name another, or pass exist_ok (--exist-ok) to "
            "write over the earlier run"
        )
    return run


def prepare_run_folder(run: Path) -> None:
    """Make the folder, and remove the results of an earlier run."""
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"run folder {run} cannot be made: {error.strerror}") from error
    with disk_errors(run / FILE_NAME):
        for name in RESULTS:
            (run / name).unlink(missing_ok=True)
        for events in run.glob("events.out.tfevents.*"):
            events.unlink()
