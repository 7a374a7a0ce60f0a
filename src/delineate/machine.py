"""What this machine has free for a computation: memory of the host, of its control group, of a GPU.

Nothing here is allocated or reserved: it is a look at one moment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 1 << 60
"""Limits from here on are the kernel's way of saying that there is none."""


def free_memory(device: str = "cpu") -> int | None:
    """Return the bytes that a computation on a device may still take; None where nobody tells.

    On the CPU the least of what the host has available, what the control groups (containers) that
    this process lives in leave, and what the limit on its address space leaves.

    Args:
        device: Kind of device: cpu, cuda; of several GPUs torch's current one.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    if device != "cpu":
        return None
    known = [_available(), *_group_rooms(), _address_room()]
    return min((max(0, room) for room in known if room is not None), default=None)


def _available() -> int | None:
    """Return what the host can hand out without swapping."""
    text = _read(Path("/proc/meminfo"))
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _group_rooms(
    groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Yield what each limited control group above this process leaves.

    Of what a group uses, file pages that nobody needs are given back on demand, and do not count.
    Version 2 is one tree of all kinds, version 1 has a tree of memory:
    https://docs.kernel.org/admin-guide/cgroup-v2.html.
    """
    for line in _read(groups).splitlines():
        _, _, rest = line.partition(":")
        kinds, _, place = rest.partition(":")
        if not kinds:
            tree, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            tree = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the place may be one that is seen from outside only.
        folder = tree / place.strip("/")
        for group in (folder, *folder.parents):
            if group.is_relative_to(tree):
                yield from _group_room(group, *names)


def _group_room(group: Path, limit_name: str, usage_name: str, reclaimable: str) -> Iterator[int]:
    limit, usage = _read(group / limit_name).strip(), _read(group / usage_name).strip()
    if not (limit.isdecimal() and usage.isdecimal()) or int(limit) >= _UNLIMITED:
        return
    statistics = dict(
        line.split(maxsplit=1) for line in _read(group / "memory.stat").splitlines() if " " in line
    )
    yield int(limit) - int(usage) + int(statistics.get(reclaimable, 0))


def _address_room() -> int | None:
    """Return what a limit on the address space (`ulimit -v`) leaves."""
    if sys.platform != "linux":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _read(Path("/proc/self/statm")).split()
    if limit == resource.RLIM_INFINITY or not pages:
        return None
    return limit - int(pages[0]) * resource.getpagesize()


def _read(path: Path) -> str:
    """Return a file's text; nothing where there is no such file or it is not ours to read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
