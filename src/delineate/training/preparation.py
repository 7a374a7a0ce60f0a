"""From data and wishes to everything that the training loop needs."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.config import Settings, dump_settings, merge_settings, read_settings
from delineate.data.fingerprint.fingerprint import FILE_NAME as FINGERPRINT
from delineate.data.fingerprint.fingerprint import load_fingerprint
from delineate.errors import DataError, DelineateError
from delineate.evaluation.scoring import LabelledImage
from delineate.files import write_text
from delineate.prediction.familiarity import (
    learn_familiarity,
    look_of,
    remembered,
)
from delineate.preprocessing import Preprocessing
from delineate.processes import ALONE, Team
from delineate.recipes.plan_folder import NOTES, Notes, write_plan
from delineate.recipes.planning import Plan, make_plan, reopen_plan
from delineate.training.folds.out_of_fold import read_probs
from delineate.training.folds.teaching import Teaching, load_share
from delineate.training.loggers.opening import check_trackers
from delineate.training.run_folder import PREPROCESSING, choose_run_folder, prepare_run_folder

if TYPE_CHECKING:
    from delineate.data.cache import ImageCache
    from delineate.data.inventory import Inventory
    from delineate.data.masks import MaskDecoder
    from delineate.data.memory import DataMemory
    from delineate.task import Task


@dataclass(frozen=True)
class Preparation:
    """All that is settled before the first step."""

    run: Path
    data: Path
    """What training was given: a folder, a data.yaml or a CSV of paths."""
    plan: Plan
    notes: Notes | None
    """plan.md; only the first of several processes writes it."""
    reference: dict[str, Any]
    """What the model remembers of the training images (`SegmentationModel.reference`)."""
    teaching: Teaching | None = None
    """What it learns from other networks, beside the labels."""

    def note(self, heading: str, lines: Sequence[str]) -> None:
        """Add a section of bullet points to plan.md."""
        if self.notes is not None:
            self.notes.add(heading, lines)

    @property
    def settings(self) -> Settings:
        """All settings, as planned."""
        return self.plan.settings

    @property
    def task(self) -> Task:
        """What is to be segmented."""
        return self.plan.data.task

    @property
    def inventory(self) -> Inventory:
        """All samples."""
        return self.plan.data.inventory

    @property
    def decoder(self) -> MaskDecoder:
        """What reads the masks."""
        return self.plan.data.decoder

    @property
    def preprocessing(self) -> Preprocessing:
        """What makes the network's input."""
        return self.plan.preprocessing

    @property
    def images(self) -> ImageCache:
        """The training split."""
        return self.plan.data.images

    def validation_samples(self, team: Team = ALONE) -> Iterator[LabelledImage]:
        """Yield the validation images, whole; of several processes, those that are this one's."""
        cache = self.plan.data.validation_images
        for index in team.turns(len(cache)):
            pixels, target, valid = cache[index]
            grid = self.plan.data.validation_grids[index]
            yield LabelledImage(cache.samples[index].name, pixels, target, valid, grid=grid)

    def contents(self) -> dict[str, str]:
        """Return a digest of each training and validation image with its target."""
        caches = (self.plan.data.images, self.plan.data.validation_images)
        return {
            sample.name: digest
            for cache in caches
            for sample, digest in zip(cache.samples, cache.contents, strict=True)
        }

    def provenance(self) -> dict[str, Any]:
        """Return where a model comes from; without clock or paths, so equal runs give equal."""
        return {
            "versions": {
                "delineate": version("delineate"),
                "torch": version("torch"),
                "python": platform.python_version(),
            },
            "data_digest": self.plan.data_digest,
            "seed": self.settings.training.seed,
            "config": dump_settings(self.settings),
        }


def prepare(
    data: Path,
    *,
    run: Path | None,
    config: Path | None,
    wishes: Mapping[str, Any],
    recipe: str,
    misses_cost_more: bool,
    device: str,
    exist_ok: bool,
    team: Team = ALONE,
) -> Preparation:
    """Read the data, plan the settings and write both into the run folder.

    Of several processes each reads the data, and the first chooses and writes.

    Args:
        data: A folder, a data.yaml or a CSV of paths.
        run: The run folder; None chooses one.
        config: A YAML file of settings.
        wishes: Settings that go over all others.
        recipe: Name or file of a recipe; see `make_plan`.
        misses_cost_more: Whether a missed pixel is worse than a false alarm.
        device: Kind of device.
        exist_ok: Whether the run folder may hold an earlier run.
        team: All processes of the training.

    Raises:
        ConfigError: If a setting is unknown or does not fit.
        DataError: If images or masks are not usable; lists everything found.
        UsageError: If the run folder is taken, or a tracker's package is not installed.
    """
    given = merge_settings(read_settings(config) if config else {}, wishes)
    check_trackers(given.get("logging", {}).get("to") or ())
    if team.is_main:
        run = choose_run_folder(run, data, exist_ok=exist_ok)
    run = team.share(run)
    assert run is not None  # the first process has chosen one
    plan = make_plan(
        data,
        config=config,
        wishes=wishes,
        recipe=recipe,
        misses_cost_more=misses_cost_more,
        device=device,
    )
    plan = replace(plan, settings=team.share(plan.settings))
    notes = None
    if team.is_main:
        prepare_run_folder(run)
        notes = write_plan(plan, run)
    prep = _complete(run, data, plan, notes)
    _check_same_data(prep, team)
    return prep


def reopen(
    run: Path,
    data: Path,
    settings: Settings,
    team: Team = ALONE,
    memory: DataMemory | None = None,
) -> Preparation:
    """Read the data of a run that was interrupted; its plan stands.

    Args:
        run: The run folder.
        data: A folder, a data.yaml or a CSV of paths.
        settings: As planned.
        team: All processes of the training.
        memory: What the run knows of the data, where it may go on without some of them.

    Raises:
        DataError: If images or masks are not usable, or the run's fingerprint is damaged.
        UsageError: If there are no data.
    """
    fingerprint = team.share(load_fingerprint(run / FINGERPRINT) if team.is_main else None)
    assert fingerprint is not None  # the first process has read it
    check_trackers(settings.logging.to)
    plan = reopen_plan(data, settings, fingerprint, memory)
    if (run / PREPROCESSING).exists():
        plan = replace(plan, data=replace(plan.data, preprocessing=load_preprocessing(run)))
    notes = Notes.reopen(run / NOTES) if team.is_main else None
    prep = _complete(run, data, plan, notes, memory)
    share = load_share(run)
    if share is None:
        return prep
    return replace(prep, teaching=Teaching(partial(read_probs, run.parent), share))


def save_preprocessing(run: Path, preprocessing: Preprocessing) -> None:
    """Settle how the images of a run are read, where others than its own have decided it."""
    write_text(run / PREPROCESSING, json.dumps(preprocessing.as_dict(), indent=1) + "\n")


def load_preprocessing(run: Path) -> Preprocessing:
    """Read what `save_preprocessing` wrote.

    Raises:
        DataError: If the file is damaged.
    """
    path = run / PREPROCESSING
    try:
        return Preprocessing.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, DelineateError) as error:
        raise DataError(f"{path} cannot be read ({error}); start the training anew") from error


def _check_same_data(prep: Preparation, team: Team) -> None:
    """Refuse that processes, on machines of their own, have read different data."""
    if team.is_alone:
        return
    contents = prep.contents()
    if team.share(contents) != contents:
        raise DataError(
            f"process {team.rank} has read other images or masks in {prep.data} than process 0; "
            "give all machines the same data"
        )


def _complete(
    run: Path, data: Path, plan: Plan, notes: Notes | None, memory: DataMemory | None = None
) -> Preparation:
    if memory is not None:
        return Preparation(run, data, plan, notes, dict(memory.reference))
    images = plan.data.images
    return Preparation(
        run=run,
        data=data,
        plan=plan,
        notes=notes,
        reference={
            "images": sorted({digest for digest in images.digests if digest is not None}),
            "familiarity": _remember(images, plan.preprocessing),
        },
    )


def _remember(images: ImageCache, preprocessing: Preprocessing) -> dict[str, Any] | None:
    looks, groups = [], []
    for index in remembered(len(images)):
        image = images[index]
        look = look_of(image.pixels, image.valid, preprocessing)
        if look is not None:
            looks.append(look)
            groups.append(images.samples[index].group)
    return learn_familiarity(looks, groups).as_dict() if looks else None
