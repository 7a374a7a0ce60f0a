"""Counts of several processes, added up.

Everything that is counted over a data set (`ConfusionCounts`, `ProbabilityHistogram`,
`CalibrationCounts`, `ObjectCounts`) is a few int64 arrays whose sums over images, files or
processes are again such counts. So a data set that is spread over processes gives the very numbers
that one process would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from delineate.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Counts(Protocol):
    """What can be added up: int64 arrays by name, and the way back."""

    def as_dict(self) -> dict[str, NDArray[np.int64]]:
        """Return the arrays."""
        ...

    def rebuild(self, arrays: Mapping[str, NDArray[Any]]) -> Any:
        """Return counts with the same settings that hold these arrays."""
        ...


C = TypeVar("C", bound=Counts)


def flatten_counts(counts: Sequence[Counts]) -> NDArray[np.int64]:
    """Return all arrays of several counts in one, (N,): what an all-reduce takes."""
    arrays = [array.ravel() for each in counts for array in each.as_dict().values()]
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int64)


def unflatten_counts(flat: NDArray[np.int64], like: Sequence[C]) -> list[C]:
    """Return counts with the settings of `like` and the arrays that `flatten_counts` joined.

    Raises:
        ShapeError: If there are more or fewer numbers than `like` holds.
    """
    sizes = [sum(array.size for array in each.as_dict().values()) for each in like]
    if sum(sizes) != flat.size:
        raise ShapeError(f"these counts are {sum(sizes)} numbers, got {flat.size}")
    rebuilt, start = [], 0
    for each in like:
        arrays = {}
        for name, array in each.as_dict().items():
            arrays[name] = flat[start : start + array.size].reshape(array.shape)
            start += array.size
        rebuilt.append(each.rebuild(arrays))
    return rebuilt


def sum_over_processes(counts: Sequence[C]) -> list[C]:
    """Return the sums of these counts over all processes of the group, on every process.

    Every process calls this with the same kinds of counts in the same order. Without a process
    group, or in a group of one, the counts come back as they are.
    """
    import torch.distributed

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return list(counts)
    # NCCL sums on the GPU only
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    flat = torch.from_numpy(flatten_counts(counts)).to(device)
    torch.distributed.all_reduce(flat)
    return unflatten_counts(flat.cpu().numpy(), counts)
