"""From data and wishes to settings: read the data, measure them, apply the rules and the recipe."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from delineate.config import Settings, build_settings, flatten_settings, read_settings
from delineate.data.fingerprint.builder import CLIPPED, build_fingerprint, total_variation
from delineate.data.fingerprint.fingerprint import Fingerprint
from delineate.data.fingerprint.image import measure_image
from delineate.data.fingerprint.store import recall_fingerprint
from delineate.data.inventory import Inventory, read_data_file
from delineate.data.memory import DataMemory
from delineate.data.resolution import Resolution
from delineate.errors import UnknownNameError
from delineate.preprocessing import Preprocessing
from delineate.progress import format_duration, track
from delineate.raster_windows import format_pixel_size
from delineate.recipes.appetite import measure_need
from delineate.recipes.deciding import decide_settings, find_room, lay_over, name_overruler
from delineate.recipes.facts import Facts, Wishes
from delineate.recipes.pace import measure_step
from delineate.recipes.planner import Decision, Unmet
from delineate.recipes.reading import ReadData, check_there, read_data

RECIPES = ("generic", "medical", "aerial", "thin", "defect")
"""The recipes that come with the program, one YAML file each beside this module."""


@dataclass(frozen=True)
class Plan:
    """The settings of a training, with the data that they are for."""

    settings: Settings
    decisions: tuple[Decision, ...]
    recipe: str
    recipe_settings: Mapping[str, Any]
    wanted: Mapping[str, Any]
    """What data.yaml, the configuration file and the flags set."""
    fingerprint: Fingerprint
    data: ReadData
    unmet: tuple[Unmet, ...] = ()
    """The rules that were looked at and did not apply."""
    memory: str = ""
    """What a step of training takes and what there is."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What makes the network's input."""
        made = replace(self.data.preprocessing, kind=self.settings.data.normalisation)
        if not self.settings.data.clip:
            return made
        channels = self.fingerprint.channels
        low, high = (f"{percent:g}" for percent in CLIPPED)
        return made.with_clip(
            [(one.percentiles[low], one.percentiles[high]) for one in channels],
            [one.clipped_mean for one in channels],
            [one.clipped_std for one in channels],
        )

    @property
    def data_digest(self) -> str:
        """Digest of the names, sizes and splits of all files."""
        return self.fingerprint.digest

    def describe_data(self) -> list[str]:
        """Return lines on the data, for plan.md."""
        counts = {name: len(self.data.inventory.of(name)) for name in ("train", "val", "test")}
        splits = ", ".join(f"{count} {name}" for name, count in counts.items())
        shares = ", ".join(
            f"{name} {share:.2%}" for name, share in self.fingerprint.class_shares.items()
        )
        low, high = self.preprocessing.value_range
        return [
            f"Images: {splits}.",
            f"Task: {self.data.task.kind}; classes: {', '.join(self.data.task.class_names)}.",
            f"Share of the training pixels: {shares}.",
            f"Input: {self.preprocessing.in_channels} channels, values from {low:g} to {high:g}.",
            f"Pixels: {self.data.resolution.reason}.",
            f"In memory: {self.data.images.num_cached} of {len(self.data.images)} training images.",
        ]

    def describe_choices(self) -> list[str]:
        """Return lines on what was decided and why, for plan.md."""
        lines = [f"{one.name}: {one.reason}{self._note_overruling(one)}." for one in self.decisions]
        if names := _name_leaves(self.recipe_settings):
            lines.append(f"recipe {self.recipe}: sets {', '.join(names)}.")
        if names := _name_leaves(self.wanted):
            lines.append(f"your settings: {', '.join(names)}.")
        if self.memory:
            lines.append(f"memory: {self.memory}.")
        return lines or ["The defaults; no rule had a reason to depart from them."]

    def describe_length(self) -> list[str]:
        """Return lines on how long training will be, for plan.md."""
        training = self.settings.training
        height, width = training.patch_size
        patches = training.batch_size * training.accumulation
        pixels = sum(height * width for height, width in self.data.images.sizes)
        steps = training.steps_per_epoch or math.ceil(pixels / (height * width * patches))
        epoch = f"{steps} steps of {patches} patches"
        if training.epochs is not None:
            return [f"{training.epochs} epochs of {epoch}: {training.epochs * steps} steps."]
        assert training.time is not None  # one of the two is set, see `lay_over`
        return [
            f"{format_duration(training.time)}, validation, tuning and report included. How many "
            "steps that makes is measured at the start of training, and written down then.",
            f"{epoch} show as many pixels as the training split has.",
        ]

    def _note_overruling(self, decision: Decision) -> str:
        later = self.decisions[self.decisions.index(decision) + 1 :]
        name = name_overruler(
            decision,
            self.settings,
            [
                ("your setting", self.wanted),
                (f"the recipe {self.recipe}", self.recipe_settings),
                *((f"the rule {one.name}", one.settings) for one in reversed(later)),
            ],
        )
        if name is not None:
            return f" (overruled by {name})"
        return ""


def make_plan(
    data: Path,
    *,
    config: Path | None = None,
    wishes: Mapping[str, Any] | None = None,
    recipe: str = "generic",
    misses_cost_more: bool = False,
    device: str = "cpu",
    joins_validation: bool = False,
    num_trainings: int = 1,
) -> Plan:
    """Read and measure a data set and decide all settings.

    What is set comes, from weak to strong, from the defaults, the rules, the recipe, the data's
    own data.yaml, the configuration file and the wishes.

    Args:
        data: A folder, a data.yaml or a CSV of paths.
        config: A YAML file of settings.
        wishes: Settings that go over all others.
        recipe: One of `RECIPES`, or the path of a YAML file of settings.
        misses_cost_more: Whether a missed pixel is worse than a false alarm.
        device: Kind of device: cpu, cuda, mps.
        joins_validation: Whether the images of the validation split are taken for training images
            too, as for cross-validation.
        num_trainings: Trainings that share the time, as the folds of a cross-validation do.

    Raises:
        ConfigError: If a setting is unknown or does not fit.
        DataError: If images or masks are not usable; lists everything found.
        UnknownNameError: If there is no such recipe.
        UsageError: If there are no data.
    """
    check_there(data)
    recipe_settings = read_recipe(recipe)
    wanted = lay_over(read_data_file(data), read_settings(config) if config else {}, wishes or {})
    source = f"{config} and the options" if config else "the settings"
    settings = build_settings(lay_over(recipe_settings, wanted), source)
    read = read_data(data, settings, joins_validation=joins_validation)
    fingerprint = measure_fingerprint(read)
    facts = Facts(
        fingerprint,
        Wishes(
            recipe=recipe,
            misses_cost_more=misses_cost_more,
            device=device,
            batch_size=settings.training.batch_size,
            depth=settings.model.depth,
        ),
    )
    decided = decide_settings(
        facts,
        recipe=recipe_settings,
        wanted=wanted,
        need=measure_need(
            in_channels=read.preprocessing.in_channels,
            num_classes=read.task.num_classes,
            device=device,
        ),
        room=find_room(settings, device),
        step_seconds=measure_step(
            in_channels=read.preprocessing.in_channels, task=read.task, device=device
        ),
        num_trainings=num_trainings,
        first=_decide_resolution(read.resolution),
        source=source,
    )
    return Plan(
        settings=decided.settings,
        decisions=decided.decisions,
        unmet=decided.unmet,
        memory=decided.memory,
        recipe=recipe,
        recipe_settings=recipe_settings,
        wanted=wanted,
        fingerprint=fingerprint,
        data=read,
    )


def _decide_resolution(resolution: Resolution) -> list[Decision]:
    """Return the decision to resample, which comes before all that is measured of the pixels."""
    if not resolution.num_resampled or resolution.pixel_size is None:
        return []
    side = resolution.pixel_size[0]
    reason = (
        f"{resolution.reason}: {resolution.num_resampled} images are brought to "
        f"{format_pixel_size(resolution.pixel_size)} a pixel, and predictions back"
    )
    return [Decision("resampling", {"data": {"resolution": side}}, reason)]


def reopen_plan(
    data: Path, settings: Settings, fingerprint: Fingerprint, memory: DataMemory | None = None
) -> Plan:
    """Read the data of a plan that was made before; nothing is decided anew.

    Args:
        data: A folder, a data.yaml or a CSV of paths.
        settings: As they were decided.
        fingerprint: Of the training images.
        memory: What was measured of the data; what is no longer as it was is tolerated then.

    Raises:
        DataError: If images or masks are not usable; lists everything found.
        UsageError: If there are no data.
    """
    check_there(data)
    return Plan(
        settings=settings,
        decisions=(),
        recipe="generic",
        recipe_settings={},
        wanted={},
        fingerprint=fingerprint,
        data=read_data(data, settings, memory=memory),
    )


def read_recipe(recipe: str) -> dict[str, Any]:
    """Return the settings of a recipe, by its name or the path of its file.

    Raises:
        UnknownNameError: If it is neither the name of a recipe nor a file.
    """
    if recipe in RECIPES:
        return read_settings(Path(__file__).with_name(f"{recipe}.yaml"))
    if Path(recipe).suffix in (".yaml", ".yml"):
        return read_settings(Path(recipe))
    raise UnknownNameError("recipe", recipe, [*RECIPES, "FILE.yaml"])


def measure_fingerprint(read: ReadData) -> Fingerprint:
    """Return the fingerprint of the training images, as it was measured before where it was."""
    digest = digest_inventory(read.inventory)
    return recall_fingerprint(
        read.images,
        in_channels=read.preprocessing.in_channels,
        spacing=read.spacing,
        digest=digest,
        measure=lambda: _measure_images(read, digest),
    )


def _measure_images(read: ReadData, digest: str) -> Fingerprint:
    images, preprocessing = read.images, read.preprocessing
    top, bottom, left, right = (tuple(map(int, side)) for side in images.side_counts)
    measurements = (
        (
            measure_image(
                image.pixels,
                image.target,
                images.task,
                in_channels=preprocessing.in_channels,
                index=index,
            ),
            images.samples[index].group,
        )
        for index, image in enumerate(track(images, "measuring images"))
    )
    return build_fingerprint(
        measurements,
        images.task,
        len(images),
        digest=digest,
        dtype=str(preprocessing.dtype),
        spacing=read.spacing,
        top_bottom_difference=total_variation(top, bottom),
        left_right_difference=total_variation(left, right),
    )


def digest_inventory(inventory: Inventory) -> str:
    """Return a digest of the names, sizes and splits of all files."""
    digest = hashlib.sha256()
    for sample in inventory.samples:
        sizes = [path.stat().st_size for path in (sample.image, *sample.masks)]
        digest.update(f"{sample.name}\t{sample.split}\t{sizes}\n".encode())
    return digest.hexdigest()


def _name_leaves(settings: Mapping[str, Any]) -> list[str]:
    """Return the dotted names of what is set, without the length in the unit that is not used."""
    return [
        name
        for name, value in flatten_settings(settings).items()
        if value is not None or name not in ("training.epochs", "training.time")
    ]
