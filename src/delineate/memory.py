"""How the C library hands out memory while a network computes on a CPU."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt(3), from glibc's malloc.h, and their defaults.
_TRIM_THRESHOLD, _DEFAULT_TRIM = -1, 128 * 1024
_MMAP_MAX, _DEFAULT_MMAPS = -4, 65536


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep freed memory for the next step instead of giving it back, while the block runs.

    By default glibc maps each large tensor afresh and unmaps it when it is freed, so that the
    system clears the same pages again and again: a third of a U-Net's training step, a fifth of a
    tile's prediction. Elsewhere than on glibc nothing is changed.
    """
    library = _find_glibc()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _DEFAULT_MMAPS)
        library.mallopt(_TRIM_THRESHOLD, _DEFAULT_TRIM)
        library.malloc_trim(0)


def release_freed_memory() -> None:
    """Give back now what `keep_freed_memory` keeps, for others than the C library to take."""
    library = _find_glibc()
    if library is not None:
        library.malloc_trim(0)


def _find_glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    has_all = all(hasattr(library, name) for name in ("gnu_get_libc_version", "malloc_trim"))
    return library if has_all else None
