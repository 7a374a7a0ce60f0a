"""From data and wishes to everything that the training loop needs."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.config import (
    Settings,
    build_settings,
    dump_settings,
    merge_settings,
    read_settings,
    save_settings,
)
from delineate.data.cache import ImageCache
from delineate.data.fingerprint.fingerprint import FILE_NAME as FINGERPRINT
from delineate.data.fingerprint.fingerprint import (
    Fingerprint,
    build_fingerprint,
    save_fingerprint,
    total_variation,
)
from delineate.data.fingerprint.image import measure_image
from delineate.data.image_digest import digest_pixels
from delineate.data.inventory import Inventory, build_inventory, read_data_file, save_inventory
from delineate.data.masks import MaskDecoder, inspect_masks
from delineate.errors import DataError, UsageError
from delineate.evaluation.scoring import LabelledImage
from delineate.prediction.familiarity import (
    Familiarity,
    learn_familiarity,
    look_windows,
    measure_look,
    remembered,
)
from delineate.preprocessing import Preprocessing, measure_preprocessing
from delineate.progress import track
from delineate.recipes.facts import Facts, Wishes
from delineate.recipes.planner import Decision, decide
from delineate.recipes.rules import RULES
from delineate.training.run_folder import Notes, choose_run_folder, prepare_run_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task


@dataclass(frozen=True)
class Preparation:
    """All that is settled before the first step."""

    run: Path
    settings: Settings
    task: Task
    inventory: Inventory
    decoder: MaskDecoder
    preprocessing: Preprocessing
    images: ImageCache
    """The training split."""
    validation_images: ImageCache
    notes: Notes
    reference: dict[str, Any]
    """What the model remembers of the training images (`SegmentationModel.reference`)."""

    def validation_samples(self) -> Iterator[LabelledImage]:
        """Yield the validation images, whole."""
        cache = self.validation_images
        for sample, (pixels, target, valid) in zip(cache.samples, cache, strict=True):
            yield LabelledImage(sample.name, pixels, target, valid)

    def provenance(self) -> dict[str, Any]:
        """Return where a model comes from; without clock or paths, so equal runs give equal."""
        return {
            "versions": {
                "delineate": version("delineate"),
                "torch": version("torch"),
                "python": platform.python_version(),
            },
            "data_digest": _digest_inventory(self.inventory),
            "seed": self.settings.training.seed,
            "config": dump_settings(self.settings),
        }


def prepare(
    data: Path,
    *,
    run: Path | None,
    config: Path | None,
    wishes: Mapping[str, Any],
    exist_ok: bool,
) -> Preparation:
    """Read the data, plan the settings and write both into the run folder.

    What is set comes, from weak to strong, from the defaults, the plan, the data's own data.yaml,
    the configuration file and the wishes.

    Args:
        data: A folder, a data.yaml or a CSV of paths.
        run: The run folder; None chooses one.
        config: A YAML file of settings.
        wishes: Settings that go over all others.
        exist_ok: Whether the run folder may hold an earlier run.

    Raises:
        ConfigError: If a setting is unknown or does not fit.
        DataError: If images or masks are not usable; lists everything found.
        UsageError: If the run folder is taken.
    """
    if not data.exists():
        raise UsageError(f"data {data} is not there; give a folder, a data.yaml or a CSV of paths")
    run = choose_run_folder(run, data, exist_ok=exist_ok)
    layers = [read_data_file(data), read_settings(config) if config else {}, dict(wishes)]
    wanted = _merge(*layers)
    settings = build_settings(wanted, _name_sources(config))
    inventory = build_inventory(data, settings.data)
    for split in ("train", "val"):
        if not inventory.of(split):
            raise DataError(
                f"{data} has no images in its {split} split; training needs both train and val: "
                "add images or change data.split"
            )
    task, decoder = inspect_masks(inventory, settings.data, settings.task)
    limit = settings.data.cache_gib
    images = ImageCache(inventory.of("train"), decoder, limit_gib=0.75 * limit)
    validation_images = ImageCache(
        inventory.of("val"),
        decoder,
        limit_gib=0.25 * limit,
        description="reading validation images",
    )
    digests: list[str] = []
    preprocessing = measure_preprocessing(_noting_digests(images.images(), digests))
    fingerprint = _measure_fingerprint(inventory, images, preprocessing)
    wishes_of_plan = Wishes(batch_size=settings.training.batch_size)
    decisions = decide(Facts(fingerprint, wishes_of_plan), RULES)
    settings = build_settings(
        _merge(*(decision.settings for decision in decisions), *layers), _name_sources(config)
    )
    preprocessing = replace(preprocessing, kind=settings.data.normalisation)
    prepare_run_folder(run)
    save_settings(settings, run / "config.yaml")
    save_inventory(inventory, run / "inventory.csv")
    save_fingerprint(fingerprint, run / FINGERPRINT)
    notes = Notes(run / "plan.md", f"Plan of {run.name}")
    notes.add("Data", _describe_data(inventory, task, images, preprocessing))
    notes.add("Choices", _describe_decisions(decisions, wanted))
    return Preparation(
        run=run,
        settings=settings,
        task=task,
        inventory=inventory,
        decoder=decoder,
        preprocessing=preprocessing,
        images=images,
        validation_images=validation_images,
        notes=notes,
        reference={
            "images": sorted(set(digests)),
            "familiarity": _remember(images, preprocessing).as_dict(),
        },
    )


def _noting_digests(images: Iterator[NDArray[Any]], digests: list[str]) -> Iterator[NDArray[Any]]:
    for pixels in images:
        digest = digest_pixels(pixels)
        if digest is not None:
            digests.append(digest)
        yield pixels


def _remember(images: ImageCache, preprocessing: Preprocessing) -> Familiarity:
    looks, groups = [], []
    for index in remembered(len(images)):
        pixels = images[index].pixels
        windows = [pixels[window] for window in look_windows(*pixels.shape[:2])]
        looks.append(measure_look(windows, preprocessing))
        groups.append(images.samples[index].group)
    return learn_familiarity(looks, groups)


def _measure_fingerprint(
    inventory: Inventory, images: ImageCache, preprocessing: Preprocessing
) -> Fingerprint:
    top, bottom, left, right = (tuple(map(int, side)) for side in images.side_counts)
    samples = inventory.of("train")
    measurements = (
        measure_image(
            image.pixels,
            image.target,
            images.task,
            in_channels=preprocessing.in_channels,
            index=index,
        )
        for index, image in enumerate(track(images, "measuring images"))
    )
    return build_fingerprint(
        measurements,
        images.task,
        len(samples),
        digest=_digest_inventory(inventory),
        dtype=str(preprocessing.dtype),
        num_groups=len({sample.group for sample in samples}),
        top_bottom_difference=total_variation(top, bottom),
        left_right_difference=total_variation(left, right),
    )


def _merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings; who gives the length of training in one unit takes the other one away."""
    explicit = []
    for layer in layers:
        training = layer.get("training")
        training = training if isinstance(training, Mapping) else {}
        if training.get("time") is not None and training.get("epochs") is not None:
            raise UsageError("the length of training is given as epochs or as time, not as both")
        if training.get("time") is not None:
            layer = merge_settings(layer, {"training": {"epochs": None}})
        elif training.get("epochs") is not None:
            layer = merge_settings(layer, {"training": {"time": None}})
        explicit.append(layer)
    return merge_settings(*explicit)


def _name_sources(config: Path | None) -> str:
    return f"{config} and the options" if config else "the settings"


def _describe_data(
    inventory: Inventory, task: Task, images: ImageCache, preprocessing: Preprocessing
) -> list[str]:
    splits = ", ".join(f"{len(inventory.of(name))} {name}" for name in ("train", "val", "test"))
    names = task.class_names if task.kind != "binary" else ("background", *task.class_names)
    total = max(1, images.num_valid_pixels)
    shares = ", ".join(
        f"{name} {100 * int(pixels) / total:.2f} %"
        for name, pixels in zip(names, images.class_counts, strict=True)
    )
    return [
        f"Images: {splits}.",
        f"Task: {task.kind}; classes: {', '.join(task.class_names)}.",
        f"Share of the training pixels: {shares}.",
        f"Input: {preprocessing.in_channels} channels, values from "
        f"{preprocessing.value_range[0]:g} to {preprocessing.value_range[1]:g}.",
        f"In memory: {images.num_cached} of {len(images)} training images.",
    ]


def _describe_decisions(decisions: list[Decision], wanted: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{decision.name}: {decision.reason}"
        f"{' (overruled by your setting)' if _is_overruled(decision.settings, wanted) else ''}."
        for decision in decisions
    ]
    return lines or ["The defaults; no rule had a reason to depart from them."]


def _is_overruled(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return any(
        key in wanted
        and (
            _is_overruled(value, wanted[key])
            if isinstance(value, Mapping) and isinstance(wanted[key], Mapping)
            else value != wanted[key]
        )
        for key, value in settings.items()
    )


def _digest_inventory(inventory: Inventory) -> str:
    """Return a digest of the names, sizes and splits of all files."""
    digest = hashlib.sha256()
    for sample in inventory.samples:
        sizes = [path.stat().st_size for path in (sample.image, *sample.masks)]
        digest.update(f"{sample.name}\t{sample.split}\t{sizes}\n".encode())
    return digest.hexdigest()
