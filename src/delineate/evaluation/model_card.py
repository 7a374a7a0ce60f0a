"""The model card: README.md of a run folder, for the person who gets the model.

Training writes it; each evaluation that lies in the run folder brings its numbers up to date. What
it says comes from the files of the folder: the model file, the inventory and metrics.json.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from delineate.errors import ModelFileError
from delineate.evaluation.document import MetricsDocument
from delineate.evaluation.slices import PROPERTIES
from delineate.files import digest_file, write_text
from delineate.model_file import FILE_NAME, read_model_info

FILE = "README.md"
VERDICT = "verdict.json"
"""What stood in the way of the training of a run, in its folder."""
MARK = "<!-- model card of delineate -->"
"""First line of a card that may be written anew; any other README.md is left alone."""

_SCORES = ("dice", "iou", "precision", "recall")
_SPLITS = {"test": "Test", "val": "Validation", "train": "Training"}


def write_model_card(run: Path) -> bool:
    """Write the card of a run folder, unless its README.md is somebody's own text.

    Returns:
        Whether it was written.
    """
    path = run / FILE
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        return False
    try:
        model = read_model_info(run)
    except ModelFileError:
        return False
    name, training = run.resolve().name, _read_training(run)
    write_text(path, describe_card(name, model, _count_splits(run), _read_all(run), training))
    return True


def describe_card(
    name: str,
    model: Mapping[str, Any],
    counts: Mapping[str, int],
    evaluations: Sequence[Mapping[str, Any]],
    training: Sequence[str] = (),
) -> str:
    """Return the card as Markdown.

    Args:
        name: Of the run.
        model: The model file's document.
        counts: Images by split; empty where not known.
        evaluations: Documents of `metrics.json`.
        training: What came of it, line by line.
    """
    parts = [
        f"{MARK}\n# {_escape(name)}",
        _summary(model),
        _use(model),
        _data(model, counts, training),
        _numbers(model, evaluations),
        _limits(model, evaluations),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(model: Mapping[str, Any]) -> str:
    task, architecture = model["task"], model["architecture"]
    names = ", ".join(_escape(name) for name in task["class_names"])
    background = f" Background: {_escape(task['background'])}." if task["background"] else ""
    number = architecture.get("num_members", 1)
    network = f"A {architecture['name']}" if number == 1 else f"{number} {architecture['name']}s"
    verb = "segments" if number == 1 else "segment, by the mean of their probabilities,"
    return f"{network} that {verb} {names} ({task['kind']}).{background}"


def _use(model: Mapping[str, Any]) -> str:
    channels, low_high = (
        model["preprocessing"]["in_channels"],
        model["preprocessing"]["value_range"],
    )
    height, width = model["tile_size"]
    thresholds = model["thresholds"]
    choice = (
        "the most probable class of each pixel"
        if thresholds is None and model["task"]["kind"] == "multiclass"
        else f"threshold {', '.join(f'{t:.3f}' for t in thresholds or [0.5])} on the probabilities"
    )
    steps = [
        f"{step.replace('_', ' ')} {size}"
        for step, size in model["prediction"].get("postprocessing", {}).items()
        if size
    ]
    return f"""## Use

    delineate predict {FILE_NAME} IMAGE... --out masks
    delineate info {FILE_NAME}

Images of {channels} channel{"s" if channels > 1 else ""} with values from {low_high[0]:g} to \
{low_high[1]:g}, of any size, in tiles of {height} x {width} pixels; {choice}; post-processing: \
{", ".join(steps) or "none"}."""


def _data(model: Mapping[str, Any], counts: Mapping[str, int], training: Sequence[str]) -> str:
    provenance = model["provenance"]
    found = ", ".join(
        f"{counts[split]} {split}" for split in ("train", "val", "test") if split in counts
    )
    lines = [f"- Images: {found}." if found else "- Images: not recorded."]
    if "data_digest" in provenance:
        lines.append(f"- Digest of names, sizes and splits: `{provenance['data_digest']}`.")
    versions = ", ".join(f"{k} {v}" for k, v in sorted(provenance.get("versions", {}).items()))
    if "seed" in provenance:
        lines.append(f"- Seed {provenance['seed']}; {versions}.")
    return "## Data and training\n\n" + "\n".join([*lines, *(f"- {line}" for line in training)])


def _numbers(model: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> str:
    blocks = ["## Numbers\n\nFrom pooled counts of pixels; in brackets 95 % bootstrap intervals."]
    tested = [metrics for metrics in evaluations if metrics["split"] == "test"]
    if not tested:
        blocks.append(
            f"The test images have not been looked at: `delineate evaluate {FILE_NAME} DATA`."
        )
    order = list(_SPLITS)
    for metrics in sorted(evaluations, key=lambda m: (order.index(m["split"]), m["data"]["name"])):
        title = f"{_SPLITS[metrics['split']]}: {metrics['num_images']} images of "
        intervals = metrics["intervals"]["classes"] if metrics["intervals"] else {}
        alerts = "".join(f"\n\n**{_escape(text)}**" for text in metrics["alerts"])
        blocks.append(
            f"{title}{_escape(metrics['data']['name'])}\n\n"
            f"{_table(metrics['classes'], intervals)}{alerts}"
        )
    validation = model["metrics"].get("validation")
    if validation and not any(metrics["split"] == "val" for metrics in evaluations):
        blocks.append(
            f"Validation: {validation['num_images']} images. They chose the epoch and the "
            "threshold, so these numbers are somewhat better than what new images will get.\n\n"
            f"{_table(validation['classes'], {})}"
        )
    return "\n\n".join(blocks)


def _limits(model: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> str:
    lines = ["- Use it on images like those it was trained on; others give masks just as readily."]
    familiarity = model.get("reference", {}).get("familiarity")
    if familiarity and familiarity["yardstick"] is not None:
        lines[0] += " `predict` warns of images that look unlike them."
    for metrics in evaluations:
        if metrics["split"] != "test":
            continue
        weak = [
            part
            for part in metrics["slices"]
            if part["is_weak"] and part["property"] != "confusion"
        ]
        lines += [
            f"- Weak ({part['score_name']} {part['score']:.3f}, elsewhere {part['rest']:.3f}): "
            f"{_escape(PROPERTIES[part['property']])}, {_escape(part['label'])}."
            for part in sorted(weak, key=lambda part: part["score"] - part["rest"])[:5]
        ]
        found = metrics["expectation"]
        if found and found["correlation"] is not None:
            lines.append(
                "- The Dice that it expects of an image is off by "
                f"{found['mean_error']:.3f} on average (correlation {found['correlation']:.2f})."
            )
    if not any(metrics["split"] == "test" for metrics in evaluations):
        lines.append("- Not yet judged on images that had no part in making it.")
    return "## Limits\n\n" + "\n".join(lines)


def _table(
    classes: Mapping[str, Mapping[str, Any]], intervals: Mapping[str, Mapping[str, Any]]
) -> str:
    rows = ["| class | Dice | IoU | precision | recall |", "|---|---|---|---|---|"]
    for name, scores in classes.items():
        cells = [_cell(scores[score], intervals.get(name, {}).get(score)) for score in _SCORES]
        rows.append(f"| {_escape(name)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(score: float | None, interval: Mapping[str, Any] | None) -> str:
    if score is None:
        return "-"
    if not interval or interval["low"] is None:
        return f"{score:.3f}"
    return f"{score:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


def _escape(text: str) -> str:
    """Keep a name from being read as markup."""
    for sign in "\\`*_[]|<>":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _count_splits(run: Path) -> dict[str, int]:
    path = run / "inventory.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        # An image has a row for each of its masks.
        splits = {row["image"]: row["split"] for row in csv.DictReader(file) if row.get("split")}
    return dict(Counter(splits.values()))


def _read_training(run: Path) -> list[str]:
    """Return how long training was and which epoch was best, as plan.md says it, and a verdict."""
    path = run / "plan.md"
    if not path.is_file():
        return []
    section = path.read_text(encoding="utf-8").partition("## What came of it")[2]
    lines = [line.removeprefix("- ") for line in section.partition("\n## ")[0].splitlines()]
    came = [line for line in lines if line.startswith(("Ended", "Best epoch", "Left out"))]
    return came + [
        f"In its way: {_escape(finding['name'])}: {_escape(finding['what'])}."
        for finding in read_verdict(run)
    ]


def read_verdict(run: Path) -> list[dict[str, Any]]:
    """Return what stood in the way of a run's training; nothing where that was not judged."""
    try:
        document = json.loads((run / VERDICT).read_text(encoding="utf-8"))
        return [finding for finding in document["findings"] if {"name", "what"} <= finding.keys()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _read_all(run: Path) -> list[dict[str, Any]]:
    """Return the evaluations on the model's own data in the run folder, as far as readable."""
    found = []
    for path in sorted(run.glob("*/metrics.json")):
        try:
            document = MetricsDocument.model_validate_json(path.read_bytes())
        except ValueError:
            continue
        found.append(document.model_dump())
    digest = digest_file(run / FILE_NAME)
    return [
        metrics
        for metrics in found
        if metrics["model"]["digest"] == digest and metrics["data"]["is_own"]
    ]
