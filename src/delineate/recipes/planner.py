"""Decide settings by rules, each with its reason and the number that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from delineate.recipes.facts import Facts


@dataclass(frozen=True)
class Rule:
    """One decision: when it is taken, what it sets, and why."""

    name: str
    applies: Callable[[Facts], bool]
    settings: Callable[[Facts], dict[str, Any]]
    reason: str
    """May name the values of `Facts.values` in braces."""
    finding: str
    """What it looks at, where it does not apply; may name values likewise."""
    bound: str
    """When it applies, in words."""


@dataclass(frozen=True)
class Decision:
    """A rule that applied."""

    name: str
    settings: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Unmet:
    """A rule that was looked at and does not apply."""

    name: str
    finding: str
    bound: str


def decide(facts: Facts, rules: Sequence[Rule]) -> list[Decision]:
    """Return the decisions of all rules that apply, in the order of the rules."""
    values = dict(facts.values())
    return [
        Decision(rule.name, rule.settings(facts), rule.reason.format_map(values))
        for rule in rules
        if rule.applies(facts)
    ]


def list_unmet(facts: Facts, rules: Sequence[Rule]) -> list[Unmet]:
    """Return the rules that do not apply, with what was found instead."""
    values = dict(facts.values())
    return [
        Unmet(rule.name, rule.finding.format_map(values), rule.bound)
        for rule in rules
        if not rule.applies(facts)
    ]
