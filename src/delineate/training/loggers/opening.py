"""Open the loggers of a run, or say what is missing before any time is spent on training."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from delineate.errors import UsageError
from delineate.training.loggers import TRACKERS
from delineate.training.loggers.beside import LoggerBeside
from delineate.training.loggers.tensorboard_logger import TensorBoardLogger

if TYPE_CHECKING:
    from delineate.training.loggers.logger import Logger, RunFacts


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers whose packages are not installed; unknown names are left to the settings.

    Raises:
        UsageError: If there are any; names the extras.
    """
    missing = {
        name: [module for module in _load(name).modules if find_spec(module) is None]
        for name in names
        if name in TRACKERS
    }
    missing = {name: modules for name, modules in missing.items() if modules}
    if missing:
        modules = ", ".join(module for modules in missing.values() for module in modules)
        raise UsageError(
            f"logging.to names {', '.join(missing)}, which needs {modules}, not installed here; "
            f"run pip install 'delineate[{','.join(missing)}]', or leave it out"
        )


def open_loggers(
    trackers: Sequence[str], facts: RunFacts, warn: Callable[[str], None]
) -> list[Logger]:
    """Return TensorBoard's logger and those of the trackers, started.

    Args:
        trackers: Names in `TRACKERS`.
        facts: Of the run.
        warn: Takes one line when a logger fails; it is left out from then on.

    Raises:
        UsageError: If a tracker's packages are not installed.
    """
    check_trackers(trackers)
    loggers: list[Logger] = [TensorBoardLogger(warn)]
    for name in dict.fromkeys(trackers):
        try:
            # Here and not on the logger's thread: processes that load data are forked soon, and
            # must not be forked from the middle of an import.
            logger: Logger = _load(name)()
        except Exception as error:
            warn(f"warning: {name} cannot be loaded ({error}); training goes on without it")
            continue
        loggers.append(LoggerBeside(name, logger, warn))
    for logger in loggers:
        logger.start(facts)
    return loggers


def _load(name: str) -> Any:
    module, _, attribute = TRACKERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
