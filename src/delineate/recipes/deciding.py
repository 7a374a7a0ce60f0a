"""From facts, a recipe and wishes to settings: rules first, then what time and memory allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from delineate.config import (
    Settings,
    build_settings,
    dump_settings,
    flatten_settings,
    merge_settings,
)
from delineate.errors import UsageError
from delineate.machine import free_memory
from delineate.processes import count_local_processes
from delineate.recipes.facts import Facts
from delineate.recipes.memory import fit_memory, raise_batch
from delineate.recipes.pace import fit_time
from delineate.recipes.planner import Decision, Unmet, decide, list_unmet
from delineate.recipes.rules import RULES

if TYPE_CHECKING:
    from delineate.recipes.appetite import MemoryNeed

RESERVE = 1 << 29
"""Of free memory, what loading, validation and the report get, in bytes."""


@dataclass(frozen=True)
class Decided:
    """All settings, and why they are so."""

    settings: Settings
    decisions: tuple[Decision, ...]
    unmet: tuple[Unmet, ...]
    """The rules that were looked at and did not apply."""
    memory: str
    """What a step of training takes and what there is, as a sentence."""


def decide_settings(
    facts: Facts,
    *,
    recipe: Mapping[str, Any],
    wanted: Mapping[str, Any],
    need: Callable[[Settings], MemoryNeed],
    room: int | None,
    step_seconds: Callable[[Settings], float],
    num_trainings: int = 1,
    first: Sequence[Decision] = (),
    source: str = "the settings",
) -> Decided:
    """Apply the rules, the recipe and the wishes, and make smaller what time or memory do not hold.

    From weak to strong: the defaults, the rules, the recipe, what time and memory allow, what is
    wanted.

    Args:
        facts: What the rules look at.
        recipe: Settings of the recipe.
        wanted: What the user set.
        need: What settings take in memory.
        room: Bytes that there are for a step; None where that is not known.
        step_seconds: How long a training step of settings takes.
        num_trainings: Trainings that share the time, such as those of the folds.
        first: Decisions that were made before, and come first.
        source: Where the settings come from, for messages.

    Raises:
        ConfigError: If a setting does not fit.
    """
    given = flatten_settings(wanted)
    decisions = [*first, *decide(facts, RULES)]

    def lay(made: Sequence[Decision], forced: Sequence[Decision] = ()) -> Settings:
        layers = [one.settings for one in made], [one.settings for one in forced]
        return build_settings(lay_over(*layers[0], recipe, *layers[1], wanted), source)

    settings = lay(decisions)
    fixed = {*given, *flatten_settings(recipe)}
    paced = fit_time(settings, step_seconds, fixed=fixed, num_trainings=num_trainings)
    settings = lay(decisions, paced)
    is_told = settings.training.memory_gib is not None
    room_name = "are allowed" if is_told else "are free"
    fitting = None
    if facts.wishes.device == "cuda" and room is not None and "training.batch_size" not in given:
        num_pixels = facts.fingerprint.num_pixels
        fitting = raise_batch(settings, need, room, num_pixels=num_pixels, room_name=room_name)
    if fitting is None:
        fitting = fit_memory(settings, need, room, fixed=given, room_name=room_name)
    if fitting.decisions:
        wishes = replace(facts.wishes, batch_size=fitting.settings.training.batch_size)
        facts = replace(facts, wishes=wishes)
        decisions = [*first, *decide(facts, RULES)]
        settings = lay(decisions, [*paced, *fitting.decisions])
    return Decided(
        settings,
        (*decisions, *paced, *fitting.decisions),
        tuple(list_unmet(facts, RULES)),
        fitting.summary,
    )


def find_room(settings: Settings, device: str) -> int | None:
    """Return the bytes that a step of training may take; None where that is not known.

    That is what the settings say, or else what is free: on the CPU without what loading,
    validation and tuning take, and shared by the processes that train on this machine.
    """
    if settings.training.memory_gib is not None:
        return int(settings.training.memory_gib * 2**30)
    free = free_memory(device)
    if free is None or device != "cpu":
        return free
    reserved = RESERVE + settings.evaluation.tuning.memory_mib * 2**20
    return max(0, free // count_local_processes() - reserved)


def name_overruler(
    decision: Decision,
    final: Settings,
    others: Sequence[tuple[str, Mapping[str, Any]]],
) -> str | None:
    """Return what overruled a decision, None where it stands.

    Args:
        decision: The decision.
        final: The settings that came of all.
        others: Names and settings of what may have overruled it, the strongest first.
    """
    found = flatten_settings(dump_settings(final))
    # As settings write it: lists for tuples, and defaults beside what was named.
    meant = flatten_settings(dump_settings(build_settings(decision.settings)))
    named = flatten_settings(decision.settings)
    lost = [name for name in named if name not in found or found[name] != meant[name]]
    if not lost:
        return None
    for name, settings in others:
        there = flatten_settings(settings)
        if any(key in there or f"{key.partition('.')[0]}.name" in there for key in lost):
            return name
    return None


def lay_over(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings; who gives the length of training in one unit takes the other one away.

    Raises:
        UsageError: If one layer gives it in both.
    """
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
