"""Make the network narrower where the time given is too short for the planned one to learn.

A step of half the channels takes less than half the time. Few steps leave a network where it
began, whatever its size; what is enough was measured (docs/planning.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from delineate.config import Settings, build_settings, dump_settings, merge_settings
from delineate.distributed import amp_dtype
from delineate.memory import keep_freed_memory
from delineate.progress import format_duration
from delineate.recipes.planner import Decision

if TYPE_CHECKING:
    from delineate.task import Task

ENOUGH_STEPS = 600
"""Steps below which a network of half the width is better after the same time."""
LEAST_WIDTH = 16
TRAINING_SHARE = 0.75
"""Of the time given, what is left for steps by reading, validation and tuning."""
_TIMED_STEPS = 2


def fit_time(
    settings: Settings,
    step_seconds: Callable[[Settings], float],
    *,
    fixed: Collection[str] = (),
    num_trainings: int = 1,
) -> list[Decision]:
    """Return the decision to halve the width, where a time is given that is short for it.

    Args:
        settings: As planned so far.
        step_seconds: What a step of settings takes.
        fixed: Dotted names of settings that somebody has chosen.
        num_trainings: Trainings that share the time, such as those of the folds.
    """
    width, given = settings.model.width, settings.training.time
    if given is None or width < 2 * LEAST_WIDTH or "model.width" in fixed:
        return []
    given /= num_trainings
    seconds = TRAINING_SHARE * given
    num_steps = round(seconds / step_seconds(settings))
    if num_steps >= ENOUGH_STEPS:
        return []
    change = {"model": {"width": width // 2}}
    narrower = build_settings(merge_settings(dump_settings(settings), change))
    num_more = round(seconds / step_seconds(narrower))
    reason = (
        f"{format_duration(given)} make about {num_steps} steps of a network of width {width}, "
        f"fewer than {ENOUGH_STEPS}, and {num_more} of width {width // 2}"
    )
    return [Decision("narrower network for the time", change, reason)]


def measure_step(*, in_channels: int, task: Task, device: str) -> Callable[[Settings], float]:
    """Return what tells the seconds of a training step, computed on noise.

    Args:
        in_channels: Channels of the image.
        task: What the loss is of.
        device: Kind of device: cpu, cuda, mps.
    """
    import torch

    from delineate.losses import build_loss
    from delineate.models import build_model

    where = torch.device(device)

    def seconds(settings: Settings) -> float:
        training = settings.training
        precision = amp_dtype(where, training.amp)
        model, loss = settings.model.model_dump(), settings.loss.model_dump()
        shape = (training.batch_size, *training.patch_size)
        taken = []
        with torch.random.fork_rng(devices=[]), keep_freed_memory():
            network = build_model(model.pop("name"), in_channels, task.num_classes, **model)
            network.to(where, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
            judge = build_loss(loss.pop("name"), task, **loss)
            images = torch.rand(shape[0], in_channels, *shape[1:], device=where)
            images = images.to(memory_format=torch.channels_last)
            is_multilabel = task.kind == "multilabel"
            target_shape = (shape[0], task.num_classes, *shape[1:]) if is_multilabel else shape
            target = torch.randint(0, 2, target_shape, dtype=torch.uint8, device=where)
            for _ in range(1 + _TIMED_STEPS):
                start = time.perf_counter()
                with torch.autocast(where.type, dtype=precision, enabled=precision is not None):
                    heads = network.forward_heads(images)
                judge(heads[0].float(), target, None).backward()  # type: ignore[no-untyped-call]
                if where.type == "cuda":
                    torch.cuda.synchronize()
                taken.append(time.perf_counter() - start)
        return min(taken) * training.accumulation

    return seconds
