from __future__ import annotations

import os
import signal
from collections.abc import Callable

import numpy as np
import pytest
import torch

from delineate.augmentation import IntensityAugmentation, SpatialAugmentation
from delineate.data.cache import DecodedSample
from delineate.data.dataset import (
    PatchDataset,
    build_loader,
    choose_num_workers,
    count_cores,
    explain_worker_errors,
)
from delineate.data.sampling import PatchSampler, find_class_pixels
from delineate.errors import DataError, ResourceError, ShapeError, UnreadableFileError
from delineate.preprocessing import Preprocessing, measure_preprocessing
from delineate.processes import Team
from delineate.task import Task

CPU = torch.device("cpu")
TASK = Task("multiclass", ("ground", "road", "roof"), background="ground")


def make_images(channels: int = 3, dtype: type = np.uint8) -> list[DecodedSample]:
    rng = np.random.default_rng(0)
    return [
        DecodedSample(
            rng.integers(0, 256, (40 + 10 * i, 60, channels)).astype(dtype),
            rng.integers(0, 3, (40 + 10 * i, 60)).astype(np.uint8),
            None,
        )
        for i in range(3)
    ]


def make_dataset(
    images: list[DecodedSample],
    *,
    prep: Preprocessing | None = None,
    num_patches: int = 12,
    seed: int = 0,
    is_augmented: bool = True,
    patch_size: tuple[int, int] = (32, 24),
) -> PatchDataset:
    rng = np.random.default_rng(0)
    sampler = PatchSampler(
        [image.pixels.shape[:2] for image in images],
        [find_class_pixels(image.target, TASK, rng) for image in images],
    )
    return PatchDataset(
        images,
        sampler,
        prep or measure_preprocessing(image.pixels for image in images),
        patch_size=patch_size,
        num_patches=num_patches,
        spatial=SpatialAugmentation(elastic=0.3) if is_augmented else None,
        intensity=IntensityAugmentation(jpeg=0.3) if is_augmented else None,
        seed=seed,
    )


def load(dataset: PatchDataset, num_workers: int, epochs: int = 2) -> dict[str, torch.Tensor]:
    loader = build_loader(dataset, batch_size=4, device=CPU, num_workers=num_workers)
    batches = []
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        batches += list(loader)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def test_processes_share_the_patches_of_a_joint_batch() -> None:
    dataset = make_dataset(make_images())
    dataset.set_epoch(1, 4)  # the first step was made before
    whole = list(build_loader(dataset, batch_size=4, device=CPU, num_workers=0))
    parts = [
        list(build_loader(dataset, batch_size=2, device=CPU, num_workers=0, team=Team(rank, 2)))
        for rank in range(2)
    ]
    assert len(whole) == 2
    for batch, *shares in zip(whole, *parts, strict=True):
        for name, values in batch.items():
            assert torch.equal(torch.cat([share[name] for share in shares]), values)


def test_the_number_of_workers_changes_nothing() -> None:
    dataset = make_dataset(make_images())
    expected = load(dataset, 0)
    for num_workers in (1, 2):
        for name, values in load(dataset, num_workers).items():
            assert torch.equal(values, expected[name]), name


def test_each_epoch_index_and_seed_has_its_own_patch() -> None:
    images = make_images()
    loaded = [load(make_dataset(images, seed=seed), 0)["image"] for seed in (0, 1)]
    patches = torch.cat(loaded).flatten(1)
    assert len(torch.unique(patches, dim=0)) == len(patches) == 48


def test_batches_have_the_stated_types_and_shapes() -> None:
    dataset = make_dataset(make_images())
    batch = next(iter(build_loader(dataset, batch_size=5, device=CPU, num_workers=0)))
    assert batch["image"].shape == (5, 3, 32, 24)
    assert batch["image"].dtype == torch.float32
    assert batch["target"].shape == (5, 32, 24)
    assert batch["target"].dtype == torch.int64
    assert batch["valid"].shape == (5, 1, 32, 24)
    assert batch["valid"].dtype == torch.bool
    assert torch.equal(batch["target"] == 255, ~batch["valid"][:, 0])


def test_loading_leaves_the_global_generators_alone() -> None:
    dataset = make_dataset(make_images())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(dataset, 1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_patches_without_augmentation_are_windows_of_the_preprocessed_image(
    dtype: type,
) -> None:
    images = make_images(dtype=dtype)[:1]
    dataset = make_dataset(images, is_augmented=False)
    whole = measure_preprocessing([images[0].pixels])(images[0].pixels)
    windows = np.lib.stride_tricks.sliding_window_view(whole, (32, 24), axis=(1, 2))
    for index in range(4):
        patch = dataset[index]
        distances = np.abs(windows - patch["image"].numpy()[:, None, None]).max(axis=(0, 3, 4))
        row, col = np.unravel_index(distances.argmin(), distances.shape)
        assert distances[row, col] == 0
        expected = images[0].target[row : row + 32, col : col + 24]
        np.testing.assert_array_equal(patch["target"], expected)
        assert patch["valid"].all()


def test_bytes_and_floats_are_augmented_alike() -> None:
    images = make_images()
    as_floats = [image._replace(pixels=image.pixels.astype(np.float32)) for image in images]
    prep = Preprocessing(3)
    one, other = (make_dataset(data, prep=prep) for data in (images, as_floats))
    for index in range(12):
        difference = one[index]["image"] - other[index]["image"]
        # Saturation, rounding and JPEG of rounded levels is what differs.
        assert difference.abs().median() < 0.02
        assert torch.equal(one[index]["target"], other[index]["target"])


def test_small_images_are_padded_and_the_padding_does_not_count() -> None:
    images = make_images()[:1]
    dataset = make_dataset(images, is_augmented=False, patch_size=(64, 80))
    patch = dataset[0]
    assert patch["image"].shape == (3, 64, 80)
    assert int(patch["valid"].sum()) == 40 * 60
    assert torch.isfinite(patch["image"]).all()


def test_images_normalised_by_themselves_use_their_whole() -> None:
    images = make_images()[:1]
    prep = Preprocessing(3, kind="image")
    dataset = make_dataset(images, prep=prep, is_augmented=False, patch_size=(40, 60))
    np.testing.assert_array_equal(dataset[0]["image"], prep(images[0].pixels))


def test_mixed_channels_are_converted() -> None:
    images = [make_images(1)[0], make_images(3)[1], make_images(4)[2]]
    dataset = make_dataset(images)
    assert {dataset[index]["image"].shape[0] for index in range(12)} == {3}


def test_an_image_that_does_not_fit_is_refused() -> None:
    dataset = make_dataset(make_images(), prep=Preprocessing(3, dtype="uint16"))
    with pytest.raises(ShapeError, match=r"uint8 pixels .* trained on uint16"):
        dataset[0]


class _Broken(list[DecodedSample]):
    """Images whose decoding goes wrong in the loading process."""

    def __init__(self, images: list[DecodedSample], fail: Callable[[], None]) -> None:
        super().__init__(images)
        self._fail = fail

    def __getitem__(self, index: int) -> DecodedSample:  # type: ignore[override]
        self._fail()
        return super().__getitem__(index)


def _refuse() -> None:
    raise UnreadableFileError("images/07.tif is damaged; replace it")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_row_9_a_bad_file_is_named_in_one_sentence(num_workers: int) -> None:
    dataset = make_dataset(make_images())
    dataset._images = _Broken(make_images(), _refuse)
    with pytest.raises(UnreadableFileError) as caught, explain_worker_errors():
        load(dataset, num_workers)
    assert str(caught.value) == "images/07.tif is damaged; replace it"


def test_row_8_a_killed_worker_does_not_hang_and_names_the_cause() -> None:
    dataset = make_dataset(make_images())
    dataset._images = _Broken(make_images(), _kill)
    message = r"memory .* --data\.num-workers 0"
    with pytest.raises(ResourceError, match=message), explain_worker_errors():
        load(dataset, 1)


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes$"), explain_worker_errors():
        raise RuntimeError("shapes")
    with pytest.raises(DataError, match=r"^plain$"), explain_worker_errors():
        raise DataError("plain")


def test_indices_end_with_the_epoch() -> None:
    dataset = make_dataset(make_images())
    assert len(dataset) == 12
    with pytest.raises(IndexError):
        dataset[12]
    with pytest.raises(IndexError):
        dataset[(3, -1)]
    assert not torch.equal(dataset[(0, 1)]["image"], dataset[(1, 1)]["image"])


def test_workers_follow_the_machine() -> None:
    assert choose_num_workers(CPU, cores=1) == 0
    assert choose_num_workers(CPU, cores=2) == 1
    assert choose_num_workers(torch.device("cuda"), cores=4) == 4
    assert choose_num_workers(torch.device("cuda"), cores=64) == 8
    assert count_cores() >= 1


def test_loaders_are_set_from_the_device() -> None:
    dataset = make_dataset(make_images())
    loader = build_loader(dataset, batch_size=4, device=torch.device("cuda"), num_workers=2)
    assert loader.pin_memory
    assert loader.persistent_workers
    assert loader.prefetch_factor == 4
    plain = build_loader(dataset, batch_size=4, device=CPU, num_workers=0)
    assert not plain.pin_memory
    assert not plain.persistent_workers
