"""From evidence to findings, and findings as files and words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from delineate.config import Settings, dump_settings, flatten_settings
from delineate.evaluation.advice import Advice
from delineate.evaluation.model_card import VERDICT
from delineate.files import write_text
from delineate.training.verdict.evidence import Evidence
from delineate.training.verdict.rules import SYMPTOMS, Symptom

USUAL_RATE = 1e-3
"""Learning rate that is no longer small."""


@dataclass(frozen=True)
class Finding:
    """One symptom that was seen."""

    name: str
    what: str
    why: str
    advice: Advice
    check: str
    """Line of the guide's debugging list or decision table."""

    def describe(self) -> str:
        """Return it as a paragraph."""
        return f"{self.name}: {self.what}. {self.why} {self.advice.describe()}"


def judge(evidence: Evidence, symptoms: Sequence[Symptom] = SYMPTOMS) -> tuple[Finding, ...]:
    """Return what stood in the way of a training, what explains most first.

    Nothing is advised that is so already.
    """
    findings: list[Finding] = []
    explained: set[str] = set()
    for symptom in symptoms:
        if symptom.name in explained:
            continue
        what = symptom.look(evidence)
        if what is None:
            continue
        explained.update(symptom.explains)
        advice = _fit_advice(symptom.advice, evidence)
        findings.append(Finding(symptom.name, what, symptom.why, advice, symptom.check))
    return tuple(findings)


def describe_findings(findings: Sequence[Finding]) -> list[str]:
    """Return the findings as paragraphs; says so where there are none."""
    if findings:
        return [finding.describe() for finding in findings]
    return [f"Nothing of {', '.join(symptom.name for symptom in SYMPTOMS)}."]


def save_findings(findings: Sequence[Finding], run: Path) -> None:
    """Write the findings of a run into its folder."""
    document = {"findings": [asdict(finding) for finding in findings]}
    write_text(run / VERDICT, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _fit_advice(advice: Advice, evidence: Evidence) -> Advice:
    settings = evidence.settings
    rate, time = settings["training.learning_rate"], settings.get("training.time")
    values = {
        "lower_rate": rate / 10,
        "higher_rate": max(3 * rate, USUAL_RATE),
        "twice_the_time": f": --time {2 * time:.0f}s" if time else "",
    }
    # what depends on the settings moves on from them, whatever they are
    fresh = (flag for flag in advice.flags if "{" in flag or not _is_so(flag, settings))
    return replace(
        advice,
        text=advice.text.format_map(values),
        flags=tuple(flag.format_map(values) for flag in fresh),
    )


def _is_so(flag: str, settings: Mapping[str, Any]) -> bool:
    """Whether the first setting of a flag, such as ``--loss.name dice``, is so already.

    A number is if the setting is as far from its default, or farther, in the same direction.
    """
    option, value = flag.split()[:2]
    name = option.removeprefix("--").replace("-", "_")
    now, default = settings.get(name), flatten_settings(dump_settings(Settings())).get(name)
    try:
        wanted, before = float(value), float(default)  # type: ignore[arg-type]
        return (float(now) - wanted) * (wanted - before) >= 0  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(now).lower() == value.lower()
