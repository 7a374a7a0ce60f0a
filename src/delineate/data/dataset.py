"""Training patches for torch: cut, augmented, normalised, and loaded by other processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from delineate.augmentation import IntensityAugmentation, SpatialAugmentation, cut_patch
from delineate.data.bad_images import BadImageError, TolerantImages
from delineate.data.cache import DecodedSample, ImageCache
from delineate.data.sampling import PatchSampler, place_window
from delineate.errors import DataError, DelineateError, ResourceError
from delineate.preprocessing import Preprocessing, convert_channels
from delineate.processes import ALONE, Team, count_local_processes
from delineate.randomness import generator_for

Batch = dict[str, Tensor]
"""image (B, C, h, w) float32, target (B, h, w) or (B, K, h, w) int64, valid (B, 1, h, w) bool;
source (B,) int64, the position of the image that each patch is from. Where bad images are left
out, bad (B, n) int64, the positions of those that were drawn for each patch before, else -1."""

MAX_DRAWS = 100
"""Images that are drawn for a patch, one after the other, where those before are bad."""


_Patch = tuple[NDArray[np.float32], NDArray[Any], NDArray[np.bool_], int]
"""Pixels, target, valid, and the position of the image."""


class PatchDataset(Dataset[Batch]):
    """The patches of an epoch.

    A patch depends on (seed, epoch, index) alone: neither the number of workers nor the order of
    loading changes it. Where its image is bad and may be left out, another is drawn, which depends
    on nothing else either.
    """

    def __init__(
        self,
        images: ImageCache | TolerantImages | Sequence[DecodedSample],
        sampler: PatchSampler,
        preprocessing: Preprocessing,
        *,
        patch_size: tuple[int, int],
        num_patches: int,
        spatial: SpatialAugmentation | None = None,
        intensity: IntensityAugmentation | None = None,
        seed: int = 0,
        ignore_index: int = 255,
    ) -> None:
        """Join images, sampler and augmentation.

        Args:
            images: Decoded images and targets.
            sampler: Draws image and place of each patch.
            preprocessing: From pixels to the network's input.
            patch_size: (height, width) of the patches.
            num_patches: Patches in an epoch.
            spatial: Changes of place; None makes none.
            intensity: Changes of values; None makes none.
            seed: The run's seed.
            ignore_index: The target value that does not count.
        """
        self._images = images
        self._sampler = sampler
        self._preprocessing = preprocessing
        self._patch_size = patch_size
        self._num_patches = num_patches
        self._spatial = spatial
        self._intensity = intensity
        self._seed = seed
        self._ignore_index = ignore_index
        self._of_image: dict[int, Preprocessing] = {}
        self.epoch = 0
        """The epoch whose patches plain indices name."""
        self.first = 0
        """The patch of this epoch that a loader starts with."""

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Say which epoch comes next, and from which patch on; loaders follow."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return self._num_patches

    def __getitem__(self, key: int | tuple[int, int]) -> Batch:
        """Return one patch: `key` is its index in the current epoch, or (epoch, index)."""
        epoch, index = key if isinstance(key, tuple) else (self.epoch, key)
        if not 0 <= index < self._num_patches:
            raise IndexError(index)
        (patch, target, valid, source), bad = self._cut_of_good(epoch, index)
        tensors = {
            "image": torch.from_numpy(patch),
            "target": torch.from_numpy(target.astype(np.int64)),
            "valid": torch.from_numpy(valid[None]),
            "source": torch.tensor(source),
        }
        if isinstance(self._images, TolerantImages):
            filling = [-1] * (self._images.most - len(bad))
            tensors["bad"] = torch.tensor([*bad, *filling], dtype=torch.int64)
        return tensors

    def _cut_of_good(self, epoch: int, index: int) -> tuple[_Patch, list[int]]:
        """Return a patch of the first good image that is drawn, and the bad ones before it."""
        bad: set[int] = set()
        for draw in range(MAX_DRAWS):
            keys = (epoch, index, draw) if draw else (epoch, index)
            try:
                return self._cut(generator_for(self._seed, *keys)), sorted(bad)
            except BadImageError as error:
                bad.add(error.index)
        raise DataError(
            f"{MAX_DRAWS} times in a row an image was drawn for a patch that can no longer be "
            "used, so that most patches would be from it; put the file back"
        )

    def _cut(self, rng: np.random.Generator) -> _Patch:
        draw = self._spatial.draw(rng, self._patch_size) if self._spatial else None
        window_size = draw.window_size(self._patch_size) if draw else self._patch_size
        number, row, col = self._sampler.draw(rng, window_size)
        image = self._images[number]
        height, width = image.pixels.shape[:2]
        patch, target, valid = cut_patch(
            image.pixels,
            image.target,
            place_window((row, col), (height, width), window_size),
            self._patch_size,
            draw,
            ignore_index=self._ignore_index,
        )
        preprocessing = self._of_image.get(number)
        if preprocessing is None:
            preprocessing = self._preprocessing.for_image(image.pixels)
            self._of_image[number] = preprocessing
        patch = np.ascontiguousarray(convert_channels(patch, preprocessing.in_channels))
        if self._intensity is None:
            return preprocessing.normalise_raw(patch), target, valid, number
        is_plain = preprocessing.value_range == (0.0, 255.0) and not preprocessing.clip
        if patch.dtype == np.uint8 and is_plain:
            # 8-bit arithmetic and tables are several times as fast as floats.
            return preprocessing.normalise_raw(self._intensity(patch, rng)), target, valid, number
        scaled = self._intensity(preprocessing.scale(patch), rng)
        return preprocessing.normalise(scaled), target, valid, number


class _EpochSampler(Sampler[tuple[int, int]]):
    """Names the patches of the dataset's current epoch as (epoch, index).

    The epoch travels with the index, so that workers which outlive an epoch need not be told. Of
    each batch of all processes together, a process takes its own part.
    """

    def __init__(self, dataset: PatchDataset, batch_size: int, team: Team) -> None:
        self._dataset = dataset
        self._batch_size = batch_size
        self._team = team

    def __len__(self) -> int:
        return (len(self._dataset) - self._dataset.first) // self._team.size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, first = self._dataset.epoch, self._dataset.first
        for index in range(first, len(self._dataset)):
            if index // self._batch_size % self._team.size == self._team.rank:
                yield epoch, index


def count_cores() -> int:
    """Return how many CPU cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_num_workers(device: torch.device, cores: int | None = None) -> int:
    """Return how many processes should load data.

    Beside a GPU, one per core up to 8. Where the CPU itself trains, a single one that works
    ahead of the training: a patch costs far less than its share of a step. None on one core.
    """
    cores = count_cores() if cores is None else cores
    if device.type != "cpu":
        return min(8, cores)
    return 1 if cores > 1 else 0


def build_loader(
    dataset: PatchDataset,
    *,
    batch_size: int,
    device: torch.device,
    num_workers: int | None = None,
    timeout: float = 0,
    team: Team = ALONE,
) -> DataLoader[Batch]:
    """Return a loader of the dataset's current epoch each time it is iterated.

    Workers persist from epoch to epoch and compute on one thread each; a GPU gets pinned memory.
    OpenCV works on one thread in this process too from now on: forked workers would wait forever
    for the threads of a pool that only their parent has.

    Args:
        dataset: The patches; its `set_epoch` is called between the epochs.
        batch_size: Patches in a batch; the last batch of an epoch may have fewer.
        device: Where the network trains.
        num_workers: Processes that load; None sets it from the machine.
        timeout: Seconds that a batch of theirs is waited for; 0 waits for ever.
        team: Processes that train together. Of each run of `batch_size` x size patches, the first
            `batch_size` go to the first process and so on; the dataset must end with a full run.
    """
    cores = max(1, count_cores() // count_local_processes())
    workers = choose_num_workers(device, cores) if num_workers is None else num_workers
    cv2.setNumThreads(1)
    settings: dict[str, Any] = {}
    if workers:
        settings = {
            "persistent_workers": True,
            "prefetch_factor": 4 if device.type == "cuda" else 2,
            "worker_init_fn": _start_worker,
            "timeout": timeout,
        }
        # Forked workers share the decoded images; others would each get a copy.
        if sys.platform == "linux":
            settings["multiprocessing_context"] = multiprocessing.get_context("fork")
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=_EpochSampler(dataset, batch_size, team),
        num_workers=workers,
        pin_memory=device.type == "cuda",
        # Its own generator: otherwise the loader draws from the network's.
        generator=torch.Generator().manual_seed(0),
        **settings,
    )


@contextmanager
def explain_worker_errors() -> Iterator[None]:
    """Give errors of loading processes the words that they would have had in this one.

    To be laid around the whole loop: torch tells of a killed process by a signal handler, which
    may raise anywhere in it.

    Raises:
        ResourceError: If a process was killed or does not answer.
        DelineateError: If loading a patch raised it.
    """
    try:
        yield
    except DelineateError as error:
        # torch puts the traceback of the process before the message.
        kind = type(error)
        marker = f"{kind.__module__}.{kind.__qualname__}: "
        if marker not in str(error):
            raise
        raise kind(str(error).rpartition(marker)[2].strip()) from error
    except RuntimeError as error:
        if "DataLoader timed out" in str(error):
            raise ResourceError(
                "the processes that load data have sent nothing for "
                f"{str(error).partition(' after ')[2] or 'long'}: a disk or a network drive does "
                "not answer, or they wait for each other; raise data.worker_timeout where reading "
                "is that slow, or load without processes by --data.num-workers 0"
            ) from error
        if "DataLoader worker" not in str(error):
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise ResourceError(
            f"a process that loads data ended ({reason}); memory or shared memory probably ran "
            "out: lower data.cache_gib, enlarge /dev/shm (of a container: --shm-size), or load "
            "without processes by --data.num-workers 0"
        ) from error


def _start_worker(worker: int) -> None:
    del worker  # every draw is seeded by its patch, not by its worker
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
