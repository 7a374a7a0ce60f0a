"""Write files whole or not at all, and digest them."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from delineate.errors import ResourceError, UsageError

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_serial = count()


def format_bytes(num_bytes: float) -> str:
    """Return a byte count for people, in decimal units (1 kB = 1000 bytes)."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def free_space(path: Path) -> int:
    """Return the bytes free on the disk that holds `path`, which need not exist yet."""
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def write_atomically(path: Path, *, needed: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and give it the final name once it is written.

    The temporary file has the suffix of `path`, as writers choose formats by it. On success it
    is flushed to the disk and renamed over `path`; on any error it is removed and `path` stays
    as it was. The folder is made if it is missing.

    Args:
        path: The final name.
        needed: Expected size in bytes; checked before anything is written.

    Raises:
        ResourceError: If the disk is full, or has fewer than `needed` bytes free.
        UsageError: If the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{next(_serial)}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if needed is not None and needed > (free := free_space(path.parent)):
            raise _disk_full(path, needed, free)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        if error.errno in _DISK_FULL:
            size = temporary.stat().st_size if temporary.exists() else 0
            needs = max(needed or 0, size + 1)
            raise _disk_full(path, needs, free_space(path.parent)) from error
        if error.errno in _NOT_WRITABLE:
            raise UsageError(
                f"{path} cannot be written ({error.strerror}); choose another folder or change "
                f"the permissions of {path.parent}"
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _disk_full(path: Path, needed: int, free: int) -> ResourceError:
    return ResourceError(
        f"disk full: {path} needs at least {format_bytes(needed)} and {format_bytes(free)} are "
        "free; make room or choose another folder"
    )


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can flush folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
