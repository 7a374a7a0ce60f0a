"""Write files whole or not at all, and digest them."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NoReturn

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


def check_free_space(path: Path, needed: int) -> None:
    """Refuse work whose result would not fit on the disk that holds `path`.

    Raises:
        ResourceError: If fewer than `needed` bytes are free.
    """
    if needed > (free := free_space(path.parent)):
        raise _disk_full(path, needed, free)


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
        if needed is not None:
            check_free_space(path, needed)
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    except OSError as error:
        size = temporary.stat().st_size if temporary.exists() else 0
        _raise_explained(error, path, max(needed or 0, size + 1))
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Path, *, needed: int = 0) -> Iterator[None]:
    """Say in plain words why `path`, which a block writes by itself, could not be written.

    Args:
        path: A file or a folder.
        needed: Expected size in bytes, for the message.

    Raises:
        ResourceError: If the disk is full.
        UsageError: If the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        _raise_explained(error, path, max(needed, free_space(path.parent) + 1))


def sweep_temporaries(path: Path) -> None:
    """Remove what `write_atomically` left of `path` in processes that were killed."""
    for temporary in path.parent.glob(f".{glob.escape(path.stem)}.*-*.tmp*"):
        process = temporary.name.removeprefix(f".{path.stem}.").partition("-")[0]
        if process.isdecimal() and not _is_running(int(process)):
            temporary.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return process != os.getpid()


def _raise_explained(error: OSError, path: Path, needed: int) -> NoReturn:
    if error.errno in _DISK_FULL:
        raise _disk_full(path, needed, free_space(path.parent)) from error
    if error.errno in _NOT_WRITABLE:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}); choose another folder or change "
            f"the permissions of {path.parent}"
        ) from error
    raise error


@contextmanager
def write_folder(path: Path, *, marker: str, exist_ok: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `path`, and give it the final name once it is filled.

    On any error it is removed and `path` stays as it was; what a killed process left is swept.

    Args:
        path: The final name.
        marker: Name of the file that tells folders of this kind. A folder that holds other things
            is never replaced.
        exist_ok: Replace a folder of this kind.

    Raises:
        UsageError: If `path` exists and may not be replaced, or cannot be written.
        ResourceError: If the disk is full.
    """
    is_empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not is_empty:
        if not exist_ok:
            raise UsageError(f"{path} exists; choose another folder, or replace it by --exist-ok")
        if not (path / marker).is_file():
            raise UsageError(
                f"{path} holds no {marker}, so that it was not made by this command and is not "
                "replaced; choose another folder"
            )
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{next(_serial)}.tmp")
    former = temporary.with_suffix(".old")
    _sweep_folders(path)
    try:
        with disk_errors(path):
            temporary.mkdir(parents=True)
            yield temporary
            if path.exists():
                path.rename(former)
            temporary.rename(path)
            flush(path.parent)
    finally:
        for folder in (temporary, former):
            shutil.rmtree(folder, ignore_errors=True)


def _sweep_folders(path: Path) -> None:
    for folder in path.parent.glob(f".{glob.escape(path.name)}.*-*.tmp"):
        process = folder.name.removeprefix(f".{path.name}.").partition("-")[0]
        if process.isdecimal() and not _is_running(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _disk_full(path: Path, needed: int, free: int) -> ResourceError:
    return ResourceError(
        f"disk full: {path} needs at least {format_bytes(needed)} and {format_bytes(free)} are "
        "free; make room or choose another folder"
    )


def flush(path: Path) -> None:
    """Have a file or a folder (the names in it) last through a power cut, where the system can."""
    is_windows = os.name == "nt"
    if is_windows and path.is_dir():
        return  # has no way to flush folders
    descriptor = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
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
