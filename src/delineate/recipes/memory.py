"""Make settings smaller where a step of training does not fit into memory, larger on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from delineate.config import Settings, build_settings, dump_settings, merge_settings
from delineate.recipes.appetite import MemoryNeed
from delineate.recipes.planner import Decision

LARGEST_BATCH = 16
"""Patches of a step on a GPU, at most."""
LARGEST_SHARE = 0.05
"""Share of the training pixels that a raised batch may show at once, at most."""
LEAST_WIDTH = 8
LEAST_PATCH = 64
LEAST_TILE = 256
WORTHWHILE = 0.02
"""Share of a step's memory that a reduction must save to be made."""


@dataclass(frozen=True)
class Reduction:
    """One way to take less memory: what becomes smaller, and why that costs little."""

    name: str
    setting: str
    """Dotted name; what the user or the recipe has set is left alone."""
    shrink: Callable[[Settings], dict[str, Any] | None]
    """The next smaller settings, None where there are none."""
    reason: str
    of_tiles: bool = False
    """Whether prediction takes less by it; else training."""


def _halve_batch(settings: Settings) -> dict[str, Any] | None:
    training = settings.training
    if training.batch_size == 1:
        return None
    size = training.batch_size // 2
    return {
        "training": {
            "batch_size": size,
            "accumulation": -(-training.batch_size * training.accumulation // size),
        }
    }


def _lighten(settings: Settings) -> dict[str, Any] | None:
    if settings.model.upsampling == "bilinear":
        return None
    return {"model": {"upsampling": "bilinear"}}


def _halve_width(settings: Settings) -> dict[str, Any] | None:
    width = settings.model.width // 2
    return None if width < LEAST_WIDTH else {"model": {"width": width}}


def _halve_patch(settings: Settings) -> dict[str, Any] | None:
    sides = [side // 2 for side in settings.training.patch_size]
    return None if min(sides) < LEAST_PATCH else {"training": {"patch_size": sides}}


def _halve_tile_batch(settings: Settings) -> dict[str, Any] | None:
    size = settings.prediction.batch_size // 2
    return {"prediction": {"batch_size": size}} if size else None


def _halve_tile(settings: Settings) -> dict[str, Any] | None:
    sides = [side // 2 for side in settings.prediction.tile_size]
    return None if min(sides) < LEAST_TILE else {"prediction": {"tile_size": sides}}


REDUCTIONS: tuple[Reduction, ...] = (
    Reduction(
        "smaller batches",
        "training.batch_size",
        _halve_batch,
        "gradients of {accumulation} batches of {batch_size} are added up before a step, which "
        "shows as many patches",
    ),
    Reduction(
        "light upsampling",
        "model.upsampling",
        _lighten,
        "interpolation takes the place of transposed convolutions",
    ),
    Reduction("narrower network", "model.width", _halve_width, "{width} channels at the top level"),
    Reduction(
        "smaller patches",
        "training.patch_size",
        _halve_patch,
        "patches of {patch_height} x {patch_width}",
    ),
    Reduction(
        "fewer tiles at once",
        "prediction.batch_size",
        _halve_tile_batch,
        "{tile_batch} at once, with the same masks",
        of_tiles=True,
    ),
    Reduction(
        "smaller tiles",
        "prediction.tile_size",
        _halve_tile,
        "tiles of {tile_height} x {tile_width}",
        of_tiles=True,
    ),
)
"""In the order in which they are made, after the guide's section 13."""


@dataclass(frozen=True)
class Fitting:
    """Settings that fit into memory, what was changed for that, and the numbers."""

    settings: Settings
    decisions: tuple[Decision, ...]
    summary: str
    """What a step takes and what there is, as a sentence."""


def fit_memory(
    settings: Settings,
    need: Callable[[Settings], MemoryNeed],
    room: int | None,
    *,
    fixed: Collection[str] = (),
    room_name: str = "are free",
) -> Fitting:
    """Make settings smaller until a step of training and a batch of tiles fit.

    Args:
        settings: As planned so far.
        need: What settings take.
        room: Bytes that there are for a step; None where that is not known.
        fixed: Dotted names of settings that somebody has chosen.
        room_name: What the room is, after its number.
    """
    decisions: list[Decision] = []
    for of_tiles in (False, True):
        for reduction in REDUCTIONS:
            if (
                room is not None
                and reduction.of_tiles == of_tiles
                and reduction.setting not in fixed
            ):
                settings, made = _reduce(settings, reduction, need, room, room_name)
                decisions += made
    summary = f"{_describe_step(settings)} takes about {_gib(need(settings).step)}"
    if room is None:
        summary += "; how much is free is not known here"
    else:
        summary += f", {_gib(room)} {room_name}"
        if need(settings).step > room:
            summary += ": it will probably not fit, and nothing is left to be made smaller"
    return Fitting(settings, tuple(decisions), summary)


def _reduce(
    settings: Settings,
    reduction: Reduction,
    need: Callable[[Settings], MemoryNeed],
    room: int,
    room_name: str,
) -> tuple[Settings, list[Decision]]:
    """Shrink one thing as far as needed."""

    def amount(of: Settings) -> int:
        return need(of).tiles if reduction.of_tiles else need(of).step

    before, made = settings, {}
    while amount(settings) > room and (change := reduction.shrink(settings)) is not None:
        smaller = _change(settings, change)
        if amount(smaller) > (1 - WORTHWHILE) * amount(settings):
            break
        settings, made = smaller, change
    if not made:
        return settings, []
    what = _describe_tiles(before) if reduction.of_tiles else _describe_step(before)
    reason = (
        f"{what} takes about {_gib(amount(before))}, {_gib(room)} {room_name}: "
        f"{reduction.reason.format_map(_values(settings))}; that takes {_gib(amount(settings))}"
    )
    return settings, [Decision(reduction.name, made, reason)]


def raise_batch(
    settings: Settings,
    need: Callable[[Settings], MemoryNeed],
    room: int,
    *,
    num_pixels: int,
    room_name: str = "are free",
) -> Fitting | None:
    """Return settings with a larger batch for a GPU with room; None where there is no reason.

    A GPU computes some patches in little more time than one. A batch stays under `LARGEST_SHARE`
    of the training pixels, so that an epoch still has steps, as nnU-Net has it
    (https://doi.org/10.1038/s41592-020-01008-z), and under half of what is free.

    Args:
        settings: As planned so far.
        need: What settings take.
        room: Bytes that are free.
        num_pixels: Of the training images.
        room_name: What the room is, after its number.
    """
    first = settings.training.batch_size
    area = settings.training.patch_size[0] * settings.training.patch_size[1]
    best = settings
    while (size := 2 * best.training.batch_size) <= LARGEST_BATCH:
        larger = _change(best, {"training": {"batch_size": size}})
        if size * area > LARGEST_SHARE * num_pixels or need(larger).step > room / 2:
            break
        best = larger
    size = best.training.batch_size
    if size == first:
        return None
    reason = (
        f"{_describe_step(best)} takes about {_gib(need(best).step)} of the {_gib(room)} that "
        f"{room_name} on the GPU, and shows {size * area / num_pixels:.1%} of the training pixels; "
        f"{LARGEST_BATCH} patches and {LARGEST_SHARE:.0%} are the bounds"
    )
    decision = Decision("larger batches", {"training": {"batch_size": size}}, reason)
    summary = (
        f"{_describe_step(best)} takes about {_gib(need(best).step)}, {_gib(room)} {room_name}"
    )
    return Fitting(best, (decision,), summary)


def _change(settings: Settings, change: Mapping[str, Any]) -> Settings:
    return build_settings(merge_settings(dump_settings(settings), change))


def _values(settings: Settings) -> dict[str, object]:
    training, prediction = settings.training, settings.prediction
    return {
        "batch_size": training.batch_size,
        "accumulation": training.accumulation,
        "width": settings.model.width,
        "patch_height": training.patch_size[0],
        "patch_width": training.patch_size[1],
        "tile_batch": prediction.batch_size,
        "tile_height": prediction.tile_size[0],
        "tile_width": prediction.tile_size[1],
    }


def _describe_step(settings: Settings) -> str:
    size = settings.training.batch_size
    patches = "1 patch" if size == 1 else f"{size} patches"
    return (
        "a step of {batch_size} of {patch_height} x {patch_width} pixels, width {width},"
    ).format_map(_values(settings) | {"batch_size": patches})


def _describe_tiles(settings: Settings) -> str:
    size = settings.prediction.batch_size
    tiles = "a tile" if size == 1 else f"{size} tiles at once"
    text = f"predicting {tiles}, of {{tile_height}} x {{tile_width}} pixels,"
    return text.format_map(_values(settings))


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.0f} MiB"
