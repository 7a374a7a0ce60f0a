"""What a checkpoint holds of a training, and how a training goes on from it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.config import (
    Settings,
    build_settings,
    dump_settings,
    flatten_settings,
    merge_settings,
    read_settings,
)
from delineate.data.bad_images import count_tolerable
from delineate.data.memory import DataMemory, ImageFacts, load_memory
from delineate.errors import ConfigError, DataError, UsageError
from delineate.files import write_atomically
from delineate.model_file import FILE_NAME, load_model
from delineate.randomness import restore_rng_state, rng_state
from delineate.recipes.plan_folder import CONFIG
from delineate.training.checkpoint import FOLDER, Checkpoint, find_checkpoint, save_checkpoint
from delineate.training.history import EpochRecord
from delineate.training.length import Length
from delineate.training.loop import Position
from delineate.training.optimization import Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from delineate.training.assembly import Parts
    from delineate.training.preparation import Preparation
    from delineate.training.step import Stepper
    from delineate.training.validation import Validation

BEST = "best.safetensors"
"""The model file of the best epoch, in a checkpoint."""
MEMORY = "data.pt"
"""What a run that tolerates bad images knows of its data, beside the checkpoints and in each."""

FREE_SETTINGS = frozenset(
    {
        "data.cache_gib",
        "data.num_workers",
        "data.worker_timeout",
        "logging.pictures",
        "logging.project",
        "logging.to",
        "prediction.batch_size",
        "training.checkpoint_every",
    }
)
"""Settings that change how fast a training goes on, not what comes of it."""

_NUM_SHOWN = 10


@dataclass(frozen=True)
class Unfinished:
    """A training that was interrupted, as its newest whole checkpoint tells of it."""

    checkpoint: Checkpoint
    settings: Settings
    data: Path
    device: str
    num_processes: int
    elapsed: float
    """Seconds of training before the checkpoint."""
    length: Length
    schedule: Schedule
    position: Position
    records: tuple[EpochRecord, ...]
    contents: dict[str, str]
    """Digest of each training and validation image with its target."""
    left_out: tuple[int, ...] = ()
    """Positions of the training images that were left out as bad."""

    @property
    def has_best(self) -> bool:
        """Whether an epoch was over before the checkpoint."""
        return self.checkpoint.path_of(BEST).exists()

    def load_memory(self) -> DataMemory | None:
        """Return what the run knows of its data; None where it tolerates no bad image."""
        path = self.checkpoint.path_of(MEMORY)
        return load_memory(path) if path.exists() else None


def save_training(
    prep: Preparation,
    parts: Parts,
    stepper: Stepper,
    *,
    position: Position,
    length: Length,
    schedule: Schedule,
    records: Sequence[EpochRecord],
    elapsed: float,
    left_out: Sequence[int] = (),
) -> None:
    """Write a checkpoint of a training between two of its steps.

    All processes call this, and the first one writes.

    Raises:
        ResourceError: If the disk is full.
        UsageError: If the run folder cannot be written to.
    """
    generators = parts.team.gather(rng_state())
    if not parts.team.is_main:
        return
    state = {
        "stepper": stepper.state(),
        "average": None if parts.average is None else parts.average.state(),
        "generators": generators,
    }
    facts = {
        "data": str(prep.data.resolve()),
        "device": parts.device.type,
        "num_processes": parts.team.size,
        "settings": dump_settings(prep.settings),
        "contents": prep.contents(),
        "elapsed": elapsed,
        "length": asdict(length),
        "schedule": asdict(schedule),
        "position": asdict(position),
        "records": [asdict(record) for record in records],
        "left_out": list(left_out),
    }
    files = {BEST: prep.run / FILE_NAME} if position.best_epoch else {}
    if prep.settings.data.on_bad_image == "skip":
        files[MEMORY] = _keep_memory(prep)
    save_checkpoint(prep.run, position.step, state, facts, files)


def _keep_memory(prep: Preparation) -> Path:
    """Return the file of what the run knows of its data, written once."""
    path = prep.run / FOLDER / MEMORY
    if not path.exists():
        data = prep.plan.data
        memory = DataMemory(
            ImageFacts.of(prep.images), data.decoder, data.preprocessing, prep.reference
        )
        memory.save(path)
    return path


def find_unfinished(run: Path, wishes: Mapping[str, Any]) -> Unfinished:
    """Return the training that a run folder holds unfinished.

    Args:
        run: The run folder.
        wishes: Settings given again; only `FREE_SETTINGS` may differ from the run's.

    Raises:
        ConfigError: If settings differ, in the wishes or in the run's config.yaml; shows how.
        DataError: If there is no whole checkpoint.
    """
    checkpoint = find_checkpoint(run)
    facts = checkpoint.facts
    settings = build_settings(facts["settings"], str(checkpoint.folder))
    path = run / CONFIG
    wanted = build_settings(
        merge_settings(read_settings(path) if path.exists() else facts["settings"], wishes),
        f"{path} and the options",
    )
    refuse_changes(settings, wanted, path)
    return Unfinished(
        checkpoint=checkpoint,
        settings=wanted,
        data=Path(facts["data"]),
        device=facts["device"],
        num_processes=facts["num_processes"],
        elapsed=facts["elapsed"],
        length=Length(**facts["length"]),
        schedule=Schedule(**facts["schedule"]),
        position=Position(**facts["position"]),
        records=tuple(EpochRecord(**record) for record in facts["records"]),
        contents=facts["contents"],
        left_out=tuple(facts.get("left_out", ())),
    )


def check_num_processes(unfinished: Unfinished, run: Path, num_processes: int) -> None:
    """Refuse to go on with more or fewer processes, whose steps would be others.

    Raises:
        UsageError: If there are.
    """
    if unfinished.num_processes != num_processes:
        raise UsageError(
            f"the run {run} began with {unfinished.num_processes} processes and cannot go on with "
            f"{num_processes}, as they would draw other batches; start as many "
            f"(torchrun --nproc-per-node={unfinished.num_processes}), or start a new run"
        )


def check_contents(unfinished: Unfinished, prep: Preparation) -> None:
    """Refuse to go on with other data than the training began with.

    Raises:
        DataError: If images or masks were added, removed or changed; names them.
    """
    lost = prep.images.lost
    if len(lost) > count_tolerable(len(prep.images)):
        listed = "".join(f"\n  {reason}" for reason in lost.values())
        raise DataError(
            f"{len(lost)} of {len(prep.images)} training images of the run {prep.run} are damaged "
            f"or changed, more than may be left out; put them back, or start a new run:{listed}"
        )
    refuse_other_data(unfinished.contents, prep.contents(), data=prep.data, run=prep.run)


def refuse_other_data(
    before: Mapping[str, str], now: Mapping[str, str], *, data: Path, run: Path
) -> None:
    """Refuse to go on where images are not those that a run began with.

    Args:
        before: Name of each image to a digest, at the beginning.
        now: The same, now.
        data: Where the images are.
        run: The run folder.

    Raises:
        DataError: If images or masks were added, removed or changed; names them.
    """
    changes = [
        (word, sorted(names))
        for word, names in (
            ("removed", before.keys() - now.keys()),
            ("added", now.keys() - before.keys()),
            ("changed", {name for name in before.keys() & now.keys() if before[name] != now[name]}),
        )
        if names
    ]
    if changes:
        listed = "; ".join(
            f"{len(names)} {word}: {', '.join(names[:_NUM_SHOWN])}"
            f"{', ...' if len(names) > _NUM_SHOWN else ''}"
            for word, names in changes
        )
        raise DataError(
            f"{data} is not what the run {run} began with ({listed}); put the files back, or start "
            "a new run"
        )


def restore_training(
    unfinished: Unfinished, prep: Preparation, parts: Parts, stepper: Stepper
) -> Validation | None:
    """Put everything back to where it was; return the validation of the best epoch until then.

    The best epoch is validated again from its weights, with the same result.
    """
    best: Validation | None = None
    team = parts.team
    weights, state = None, None
    if team.is_main:
        weights = _put_back_model(unfinished, prep.run / FILE_NAME)
        state = unfinished.checkpoint.load_state()
    weights, state = team.share((weights, state))
    assert state is not None  # the first process has read it
    if weights is not None:
        parts.final_network.load_state_dict(weights)
        best = parts.validator.run()
    stepper.restore(state["stepper"])
    if parts.average is not None:
        parts.average.restore(state["average"])
    restore_rng_state(state["generators"][team.rank])
    return best


def _put_back_model(unfinished: Unfinished, model: Path) -> dict[str, Tensor] | None:
    """Make the model file that of the best epoch and return its weights; None without one."""
    if not unfinished.has_best:
        model.unlink(missing_ok=True)
        return None
    with write_atomically(model) as temporary:
        shutil.copyfile(unfinished.checkpoint.path_of(BEST), temporary)
    return load_model(model).network.state_dict()


def refuse_changes(settings: Settings, wanted: Settings, path: Path) -> None:
    """Refuse settings that would make another training than the one to go on with.

    Args:
        settings: What the training began with.
        wanted: What it is to go on with; only `FREE_SETTINGS` may differ.
        path: Of the configuration that they are from, with the options.

    Raises:
        ConfigError: If others differ; shows how.
    """
    before, now = (flatten_settings(dump_settings(each)) for each in (settings, wanted))
    changes = [
        f"{name}: {before.get(name, 'not set')} -> {now.get(name, 'not set')}"
        for name in sorted(before.keys() | now.keys())
        if name not in FREE_SETTINGS and before.get(name) != now.get(name)
    ]
    if changes:
        raise ConfigError(
            f"{path} or the options differ from what the run began with ({'; '.join(changes)}); "
            f"put them back, or start a new run; only {', '.join(sorted(FREE_SETTINGS))} may change"
        )
