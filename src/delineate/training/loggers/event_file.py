"""A file of events for TensorBoard, written by the thread that trains.

TensorBoard's own writer leaves that to another thread. On a full disk that thread dies with a
traceback, and whoever writes or closes next gets its error.
"""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any


class EventFile:
    """Appends events; where that fails, says so once and writes no more."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        """Begin a file in a folder.

        Args:
            folder: Of the run.
            warn: Told, in a line, that writing has failed.
        """
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        # TensorBoard reads files in the order of their names; one second may see several.
        paths = (folder / f"{name}.{number}" for number in count())
        self._path = next(path for path in paths if not path.exists())
        self._warn = warn
        self._file: io.BufferedWriter | None = None
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            self._give_up(error)
        self._write(file_version="brain.Event:2")

    def drop_from(self, step: int) -> None:
        """Have TensorBoard drop what earlier files hold of this step and of those after it."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._write(step=step, session_log=SessionLog(status=SessionLog.START))

    def add(self, summary: object, step: int = 0) -> None:
        """Write a summary, as the functions of `torch.utils.tensorboard.summary` make them."""
        self._write(step=step, summary=summary)

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, **content: Any) -> None:
        if self._file is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        event = Event(wall_time=time.time(), **content)
        RecordWriter(record).write(event.SerializeToString())
        try:
            self._file.write(record.getvalue())
            self._file.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._warn(
            f"warning: {self._path} cannot be written ({error.strerror}); training goes on without "
            "events for TensorBoard"
        )
        if self._file is not None:
            with suppress(OSError):  # it tries to write the rest once more
                self._file.close()
        self._file = None
