"""Read files from strangers in a process of their own, which may crash, hang or want too much.

What such a file can bring down is that process and the one request it was for. The process has a
limit of memory, writes no file and gives back numbers alone: its answer is a line of JSON and raw
pixels, checked here, and is never unpickled.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from delineate.errors import UnreadableFileError
from delineate.rasters.raster import GeoReference, Raster

if TYPE_CHECKING:
    from types import TracebackType

MEMORY_BYTES = 2**30
"""Memory that decoding one file may take, beside the program's own."""
TIMEOUT = 30.0
"""Seconds that decoding one file may take."""

_MAX_LINE = 2**20
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GDAL_NUM_THREADS")


class UntrustedReader:
    """Reads files as `read_raster` does, in a child process that is started again when it died.

    Calls from several threads wait for each other; make one reader per file that is to be read at
    the same time. Limits of memory hold where the system knows them, which macOS does not.
    """

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES, timeout: float = TIMEOUT) -> None:
        """Start nothing yet: the child comes with the first file.

        Args:
            memory_bytes: That decoding one file may take.
            timeout: Seconds that decoding one file may take.
        """
        self._memory_bytes = memory_bytes
        self._timeout = timeout
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> UntrustedReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child; reading another file starts it again."""
        with self._lock:
            self._end()

    def read(self, path: Path) -> Raster:
        """Read a file whole; see `read_raster`.

        Raises:
            UnreadableFileError: If it is refused as `read_raster` refuses it, or if its decoder
                crashed, took too long or wanted too much memory.
        """
        with self._lock:
            child = self._child or self._start()
            is_late = threading.Event()

            def give_up() -> None:
                is_late.set()
                child.kill()

            timer = threading.Timer(self._timeout, give_up)
            timer.start()
            try:
                return self._ask(child, path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                # Whatever it said or left unsaid, it is not to be asked again.
                child.kill()
                status = child.wait()
                self._end()
                reason = (
                    f"its decoder took longer than {self._timeout:g} s"
                    if is_late.is_set()
                    else f"its decoder ended with status {status}"
                )
                raise UnreadableFileError(
                    f"{path} cannot be read ({reason}); it may be made to do harm, or needs a "
                    "machine with more memory"
                ) from error
            finally:
                timer.cancel()

    def _start(self) -> subprocess.Popen[bytes]:
        self._child = subprocess.Popen(
            # -P: what lies in the working folder is never imported.
            [sys.executable, "-P", "-m", "delineate.rasters.decoding_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | dict.fromkeys(_THREADS, "1"),
        )
        _send(self._child.stdin, {"memory_bytes": self._memory_bytes})
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _ask(self, child: subprocess.Popen[bytes], path: Path) -> Raster:
        _send(child.stdin, {"path": str(path.absolute())})
        answers = child.stdout
        assert answers is not None
        line = answers.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise ValueError("the answer is not whole")
        answer = json.loads(line)
        if "error" in answer:
            raise UnreadableFileError(str(answer["error"]))
        pixels = _receive(answers, answer["shape"], answer["dtype"], self._memory_bytes)
        palette = None
        if answer["palette"] is not None:
            palette = _receive(answers, answer["palette"], "uint8", 3 * 2**16)
        geo = answer["geo"]
        nodata = answer["nodata"]
        spacing = answer["spacing"]
        return Raster(
            pixels,
            palette,
            None if geo is None else GeoReference(geo["crs"], _numbers(geo["transform"], 6)),
            None if nodata is None else float(nodata),
            None if spacing is None else _numbers(spacing, 2),
        )


@contextmanager
def _name_pipe_errors() -> Iterator[None]:
    """Take a closed pipe for what it means, that the child is gone."""
    try:
        yield
    except BrokenPipeError as error:
        raise ValueError("the decoder is gone") from error


def _send(stream: IO[bytes] | None, message: dict[str, Any]) -> None:
    assert stream is not None
    with _name_pipe_errors():
        stream.write(json.dumps(message).encode() + b"\n")
        stream.flush()


def _receive(stream: IO[bytes], shape: list[int], dtype: str, limit: int) -> Any:
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if kind.kind not in "uif" or min(shape) < 1 or not 2 <= len(shape) <= 3 or size > limit:
        raise ValueError("the answer is no image")
    content = bytearray(size)
    view, filled = memoryview(content), 0
    while filled < size:
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise ValueError("the answer is not whole")
        filled += count
    return np.frombuffer(content, kind).reshape(shape)


def _numbers(values: list[float], count: int) -> Any:
    if len(values) != count:
        raise ValueError("the answer has other numbers")
    return tuple(float(value) for value in values)


def read_untrusted(
    path: Path, *, memory_bytes: int = MEMORY_BYTES, timeout: float = TIMEOUT
) -> Raster:
    """Read one file in a process of its own; `UntrustedReader` keeps the process for many.

    Args:
        path: Any file that `read_raster` reads.
        memory_bytes: That decoding it may take.
        timeout: Seconds that it may take, the start of the process included.

    Raises:
        UnreadableFileError: As `UntrustedReader.read`.
    """
    with UntrustedReader(memory_bytes=memory_bytes, timeout=timeout) as reader:
        return reader.read(path)
