"""Several processes that train one model: `torchrun` starts them, one per device or core.

A `Team` is all that the rest of the program knows of it. A team of one does nothing, so that code
for many is the code for one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, cast

from delineate.distributed import choose_device
from delineate.errors import DelineateError, ResourceError, UsageError

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others, such as for the first to write the results."""

_FIRST_CAUSE = "first cause"
_teams = count()


@dataclass(frozen=True)
class Team:
    """The processes of this training; alone unless `join_team` found more."""

    rank: int = 0
    size: int = 1

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress for all."""
        return self.rank == 0

    def share(self, value: T) -> T:
        """Return the first process's value on every process; others' values do not count."""
        if self.is_alone:
            return value
        import torch.distributed

        values: list[Any] = [value if self.is_main else None]
        torch.distributed.broadcast_object_list(values, src=0)
        return cast(T, values[0])

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank, on the first; elsewhere an empty list."""
        if self.is_alone:
            return [value]
        import torch.distributed

        values: list[Any] | None = [None] * self.size if self.is_main else None
        torch.distributed.gather_object(value, values, dst=0)
        return values or []

    def join(self, values: Sequence[T]) -> list[T]:
        """Return what was dealt out in turns, value i to process i % size, whole and in order."""
        if self.is_alone:
            return list(values)
        import torch.distributed

        hands: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(hands, list(values))
        count = sum(len(hand) for hand in hands)
        return [hands[index % self.size][index // self.size] for index in range(count)]

    def most(self, number: int) -> int:
        """Return the largest of the processes' numbers."""
        if self.is_alone:
            return number
        import torch

        largest = torch.tensor(number)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        return int(largest)

    def agree(self, is_so: bool) -> bool:
        """Return whether it is so on every process."""
        return not self.most(not is_so)

    def turns(self, count: int) -> range:
        """Return which of `count` things are this process's, dealt out in turns."""
        return range(self.rank, count, self.size)


ALONE = Team()


def speaks() -> bool:
    """Return whether this process prints: the only one, or the first that torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


def count_restarts() -> int:
    """Return how often torchrun has started these processes anew after one had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def count_processes() -> int:
    """Return how many processes torchrun has started for this training, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def count_local_processes() -> int:
    """Return how many processes of this training share the machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def join_team(device: str = "auto") -> Iterator[Team]:
    """Join the processes that torchrun has started together with this one; leave them after.

    Where one fails, all leave with its error: it puts the error down where the others, who notice
    that it is gone, find it.

    Args:
        device: What `choose_team_device` will be asked for.

    Raises:
        DelineateError: The first error of any process.
        ResourceError: If a process is gone without a word.
    """
    if count_processes() == 1:
        yield ALONE
        return
    import torch.distributed
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

    shared, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    # torchrun's store outlives its restarts: nothing that an earlier team left must be read.
    store = PrefixStore(f"delineate {count_restarts()} {next(_teams)}", shared)
    team = Team(rank, size)
    try:
        with _leaving_together(store, team):
            is_on_gpu = choose_team_device(device, team).type == "cuda"
            torch.distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if is_on_gpu else "gloo",
                store=PrefixStore("group", store),
                rank=rank,
                world_size=size,
                timeout=TIMEOUT,
            )
            yield team
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def choose_team_device(name: str, team: Team) -> torch.device:
    """Return the device of this process: each of several on a machine has a GPU of its own.

    Raises:
        UsageError: If there are more processes than GPUs, or they are to share one.
    """
    import torch

    device = choose_device(name)
    if team.is_alone or device.type == "cpu":
        return device
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if device.type != "cuda" or device.index is not None:
        raise UsageError(
            f"{team.size} processes cannot share the device {name}; leave --device out, or start "
            "one process"
        )
    if index >= count:
        raise UsageError(
            f"process {index} of this machine has no GPU, there are {count}; start as many "
            "processes as GPUs (torchrun --nproc-per-node=gpu), or give --device cpu"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


@contextmanager
def _leaving_together(store: Store, team: Team) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # A collective fails where another process is gone; all else is this one's own.
        cause = _first_cause(store, team, None if _is_broken_connection(error) else error)
        if cause is error:
            raise
        raise cause from error


def _is_broken_connection(error: Exception) -> bool:
    import torch.distributed

    if isinstance(error, torch.distributed.DistError):
        return True
    is_plain = type(error) is RuntimeError
    return is_plain and ("gloo" in str(error).lower() or "Connection" in str(error))


def _first_cause(store: Store, team: Team, error: Exception | None) -> Exception:
    """Return the error that the first process to fail put down; `error` where it is this one's."""
    try:
        if error is not None:
            is_known = isinstance(error, DelineateError)
            note = {
                "rank": team.rank,
                "exit_code": getattr(error, "exit_code", 1),
                "message": str(error) if is_known else f"{type(error).__name__}: {error}",
            }
            found = store.compare_set(_FIRST_CAUSE, "", json.dumps(note))
        else:
            # Whoever broke the connection may still be about to write.
            store.wait([_FIRST_CAUSE], timedelta(seconds=2))
            found = store.get(_FIRST_CAUSE)
        note = json.loads(found)
    except (RuntimeError, ValueError):
        note = None
    if note is None:
        return error or ResourceError(
            f"another of the {team.size} processes of this training is gone without a word "
            "(killed, or out of memory); go on with --resume, or let torchrun do it "
            "(--max-restarts)"
        )
    if note["rank"] == team.rank and error is not None:
        return error
    follower = DelineateError(f"process {note['rank']} of {team.size} ended: {note['message']}")
    follower.exit_code = note["exit_code"]
    return follower
