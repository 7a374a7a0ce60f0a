"""The plan of a training as files: config.yaml, plan.md, fingerprint.json, inventory.csv."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delineate.config import merge_settings, parse_duration, save_settings
from delineate.data.fingerprint.fingerprint import FILE_NAME, save_fingerprint
from delineate.data.fingerprint.page import write_page
from delineate.data.inventory import save_inventory
from delineate.distributed import choose_device
from delineate.errors import UsageError
from delineate.files import write_text
from delineate.recipes.planning import Plan, make_plan

CONFIG, NOTES, INVENTORY = "config.yaml", "plan.md", "inventory.csv"
PAGE = "fingerprint.html"


class Notes:
    """plan.md: why each choice was made; rewritten whenever there is more to say."""

    def __init__(self, path: Path, title: str) -> None:
        self._path = path
        self._text = f"# {title}\n"

    @classmethod
    def reopen(cls, path: Path) -> Notes:
        """Return the notes that are in a file already, to be gone on with."""
        notes = cls(path, path.parent.resolve().name)
        if path.exists():
            notes._text = path.read_text(encoding="utf-8")
        return notes

    def add(self, heading: str, lines: Sequence[str]) -> None:
        """Add a section of bullet points."""
        self._add(heading, "\n".join(f"- {line}" for line in lines))

    def add_table(
        self, heading: str, headings: Sequence[str], rows: Iterable[Sequence[str]]
    ) -> None:
        """Add a section with a table."""
        lines = [headings, ["---"] * len(headings), *rows]
        self._add(heading, "\n".join(f"| {' | '.join(map(_escape, line))} |" for line in lines))

    def _add(self, heading: str, text: str) -> None:
        self._text += f"\n## {heading}\n\n{text}\n"
        write_text(self._path, self._text)


@dataclass(frozen=True)
class PlanResult:
    """What planning ends with."""

    folder: Path
    config: Path
    """The settings, ready for `train --config`."""
    notes: Path
    """plan.md."""
    choices: tuple[str, ...]
    """Each decision with its reason."""


def plan(
    data: Path | str,
    *,
    out: Path | str,
    config: Path | str | None = None,
    recipe: str = "generic",
    misses_cost_more: bool = False,
    time: float | str | None = None,
    epochs: int | None = None,
    device: str = "auto",
    exist_ok: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> PlanResult:
    """Measure a data set and write the settings for it, each choice with its reason.

    Args:
        data: A folder, a data.yaml or a CSV of paths.
        out: Folder for config.yaml, plan.md, fingerprint.json, its page, and inventory.csv.
        config: A YAML file of settings.
        recipe: generic, medical, aerial, thin, defect, or a YAML file of settings.
        misses_cost_more: Whether a missed pixel is worse than a false alarm.
        time: Length of the training in seconds, or as a text such as 10m.
        epochs: Length of the training in epochs, instead of a time.
        device: auto, cpu, cuda, cuda:1, mps.
        exist_ok: Whether to write over an earlier plan.
        overrides: Settings by section; they go over all others.

    Raises:
        ConfigError: If a setting is unknown or does not fit.
        DataError: If the data are not usable.
        UnknownNameError: If there is no such recipe.
        UsageError: If arguments contradict each other or the plan is there already.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the plan")
    if (folder / CONFIG).exists() and not exist_ok:
        raise UsageError(
            f"{folder / CONFIG} is there already; name another folder, or pass exist_ok "
            "(--exist-ok) to write over it"
        )
    made = make_plan(
        Path(data),
        config=None if config is None else Path(config),
        wishes=collect_wishes(overrides, time=time, epochs=epochs),
        recipe=recipe,
        misses_cost_more=misses_cost_more,
        device=choose_device(device).type,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_plan(made, folder).add("Length", made.describe_length())
    return PlanResult(folder, folder / CONFIG, folder / NOTES, tuple(made.describe_choices()))


def write_plan(plan: Plan, folder: Path) -> Notes:
    """Write the files of a plan and return its notes, for more to be added."""
    save_settings(plan.settings, folder / CONFIG)
    save_inventory(plan.data.inventory, folder / INVENTORY)
    save_fingerprint(plan.fingerprint, folder / FILE_NAME)
    write_page(folder / PAGE, plan.fingerprint, f"Fingerprint of {plan.data.inventory.root.name}")
    notes = Notes(folder / NOTES, f"Plan of {folder.resolve().name}")
    notes.add("Data", plan.describe_data())
    notes.add("Choices", plan.describe_choices())
    if plan.unmet:
        rows = [(one.name, one.finding, one.bound) for one in plan.unmet]
        notes.add_table("Looked at, and left alone", ("rule", "what was found", "applies"), rows)
    return notes


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")


def collect_wishes(
    overrides: Mapping[str, Any] | None,
    *,
    time: float | str | None,
    epochs: int | None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Return the overrides with the arguments that are settings laid over them.

    Raises:
        UsageError: If the length is given twice.
    """
    if time is not None and epochs is not None:
        raise UsageError("the length of training is given as epochs or as time, not as both")
    training: dict[str, Any] = {}
    if time is not None:
        training = {"time": parse_duration(time) if isinstance(time, str) else time, "epochs": None}
    if epochs is not None:
        training = {"epochs": epochs, "time": None}
    if seed is not None:
        training["seed"] = seed
    return merge_settings(overrides or {}, {"training": training} if training else {})
