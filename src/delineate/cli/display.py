"""What the commands print: tables on a terminal, the same as plain text elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from delineate.config.reference import Setting, list_settings, section_description
from delineate.data.doctor.findings import shorten
from delineate.files import format_bytes
from delineate.progress import format_duration

if TYPE_CHECKING:
    from pathlib import Path

    from delineate.comparison import Comparison
    from delineate.data.doctor.diagnosis import Diagnosis
    from delineate.data.doctor.repair import RepairSummary
    from delineate.data.importers.conversion import ImportSummary
    from delineate.evaluation.result import Evaluation
    from delineate.prediction.estimate import PredictionEstimate
    from delineate.prediction.predict import PredictionSummary
    from delineate.recipes.plan_folder import PlanResult
    from delineate.training.folds.cross_validation import CrossValidation
    from delineate.training.trainer import TrainingResult

SCORES = ("dice", "iou", "precision", "recall")
MAX_VALUE = 60
"""Characters of a setting's value, where values are compared."""
NUM_WARNED = 5
"""Images that a warning names."""
NUM_DIFFERENCES = 8
"""Settings that a comparison names."""


def print_settings(command: str, sections: Sequence[str]) -> None:
    """Print all settings that are flags of `command`, section by section."""
    console = Console()
    console.print(f"Settings, each a flag of 'delineate {command}' and a key of its YAML file:\n")
    settings = list_settings()
    for section in sections:
        table = Table(
            title=Text(f"{section}: {section_description(section)}", style="bold"),
            title_justify="left",
            box=box.ROUNDED,
            show_header=False,
            expand=True,
        )
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(ratio=1)
        for setting in settings:
            if setting.path[0] == section:
                table.add_row(Text(_usage(setting)), _explain(setting))
        console.print(table)


def _usage(setting: Setting) -> str:
    if setting.shape == "mapping":
        return f"{setting.flag}.NAME"
    return setting.flag


def _explain(setting: Setting) -> Text:
    text = Text(setting.description)
    if setting.choices and not setting.description.startswith("One of"):
        text.append(f" One of {', '.join(setting.choices)}.")
    if setting.path[0] == "loss" and setting.path[-1] != "name":
        text.append(f" ({', '.join(setting.components)})", style="dim")
    elif setting.components == ("resunet",):
        text.append(" (resunet)", style="dim")
    text.append(f" [{setting.default_text}]", style="dim")
    return text


def print_training(result: TrainingResult) -> None:
    """Print where a training left its model, and how good it is on the validation split."""
    console = Console(soft_wrap=True)
    pooled = result.validation.get("pooled", {})
    scores = ", ".join(f"{name} {_number(pooled.get(name))}" for name in ("dice", "iou"))
    console.print(
        f"{result.reason}: {result.num_steps} steps in {result.seconds:.0f} s; the best epoch is "
        f"{result.best_epoch}, on the validation split {scores}"
    )
    console.print(f"run    {result.run}\nmodel  {result.model}")
    if result.findings:
        console.print("what stood in its way (plan.md says why):")
    for finding in result.findings:
        advice = replace(finding.advice, rules=()).describe()
        console.print(
            Text.assemble("  ", (f"{finding.name}: ", "bold yellow"), f"{finding.what}. {advice}")
        )


def print_cross_validation(result: CrossValidation) -> None:
    """Print how good the folds are, which labels look wrong, and where everything is."""
    from delineate.comparison import show_interval

    console = Console(soft_wrap=True)
    table = Table(box=box.SIMPLE)
    for heading in ("fold", "images held out", "Dice"):
        table.add_column(heading, justify="left" if heading == "fold" else "right")
    for fold in result.folds:
        table.add_row(Text(str(fold.run)), str(fold.num_images), _number(fold.dice))
    console.print(table)
    console.print(
        f"all {result.validation['num_images']} images, each by the network that has not seen it: "
        f"Dice {show_interval(result.dice)}"
    )
    if result.suspects:
        console.print(f"labels to look at, of {len(result.suspects)} in {result.suspects_path}:")
    for one in result.suspects[:NUM_WARNED]:
        where = f"{one.image}, row {one.row}, column {one.col}, {one.num_pixels} pixels"
        what = f"labelled {one.label}, predicted {one.suggestion} ({one.probability:.2f})"
        console.print(f"  {where}: {what}", markup=False, highlight=False)
    for line in () if result.student is None else result.student.describe():
        console.print(line, markup=False, highlight=False)
    console.print(
        f"run    {result.run}, {result.seconds:.0f} s\nreport {result.report}\n"
        f"model  {result.model}, the mean of {len(result.folds)} networks"
    )


def print_comparison(comparison: Comparison) -> None:
    """Print the scores of runs with their intervals, and what the differences are worth."""
    from delineate.comparison import show_interval

    console = Console(soft_wrap=True)
    table = Table(box=box.SIMPLE)
    for heading in ("run", "Dice", "IoU"):
        table.add_column(heading)
    for run in comparison.runs:
        table.add_row(Text(run.name), show_interval(run.dice), show_interval(run.iou))
    console.print(
        f"{_count(comparison.num_images, 'image')} of the {comparison.split} split in "
        f"{comparison.num_groups} groups"
    )
    console.print(table)
    for run in comparison.runs:
        if run.verdict:
            console.print(Text(run.verdict))
    if comparison.warning:
        console.print(Text(comparison.warning, style="yellow"))
    shown = comparison.differences[:NUM_DIFFERENCES]
    if shown:
        more = len(comparison.differences) - len(shown)
        names = ", ".join(run.name for run in comparison.runs)
        print(f"settings that differ ({names}):")
        for name, values in shown:
            print(f"  {name}: {' | '.join(map(_cut, values))}")
        if more:
            print(f"  and {more} more, in the page that --out FOLDER writes")
    for run in comparison.runs:
        for finding in run.findings:
            print(f"in the way of {run.name}: {finding}")
    if comparison.page is not None:
        console.print(f"page  {comparison.page}")


def _cut(value: str) -> str:
    """Return a value, if need be without its end: lists of images are long."""
    return value if len(value) <= MAX_VALUE else f"{value[: MAX_VALUE - 3]}..."


def print_plan(result: PlanResult) -> None:
    """Print each decision with its reason, and where the plan lies."""
    console = Console(soft_wrap=True)
    for choice in result.choices:
        name, _, reason = choice.partition(": ")
        console.print(Text.assemble((f"{name}: ", "bold"), reason))
    console.print(f"config  {result.config}\nnotes   {result.notes}")


def print_diagnosis(diagnosis: Diagnosis, *, as_json: bool) -> None:
    """Print what the doctor found, as a table or as JSON."""
    if as_json:
        print(json.dumps(diagnosis.to_json(), indent=1))
        return
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    table = Table(box=box.SIMPLE, expand=True)
    table.add_column("", min_width=7)
    table.add_column("finding", min_width=max((len(f.code) for f in diagnosis.findings), default=0))
    table.add_column("files", justify="right", min_width=5)
    table.add_column("what", ratio=1, no_wrap=True, overflow="ellipsis")
    for finding in diagnosis.findings:
        style = "bold red" if finding.severity == "error" else "yellow"
        files = str(len(finding.files) or "–")
        console.print(Text(f"{finding.severity}: {finding.code}", style=style))
        console.print(Text(f"  {shorten(finding.what)}"))
        console.print(Text(f"  Why: {finding.why}", style="dim"))
        console.print(Text(f"  Fix: {shorten(finding.fix)}\n", style="cyan"))
        what = shorten(finding.what).partition("\n")[0]
        table.add_row(Text(finding.severity, style=style), finding.code, files, Text(what))
    if diagnosis.findings:
        Console().print(table)
    num_warnings = len(diagnosis.findings) - len(diagnosis.errors)
    console.print(
        f"{diagnosis.num_files} files of {diagnosis.data} were read: {len(diagnosis.errors)} "
        f"error{'' if len(diagnosis.errors) == 1 else 's'}, {num_warnings} "
        f"warning{'' if num_warnings == 1 else 's'}",
    )
    if diagnosis.out is None:
        console.print("page       not written into the data; name a folder by --out")
    else:
        console.print(f"page       {diagnosis.out / 'doctor.html'}")
    if diagnosis.repaired is not None:
        _print_repair(diagnosis.repaired, console)


def _print_repair(repaired: RepairSummary, console: Console) -> None:
    console.print(f"copy       {repaired.out}, {repaired.num_images} images")
    for kind, number in sorted(repaired.repairs.items()):
        console.print(f"           {kind}: {number} file{'' if number == 1 else 's'}")
    if repaired.dropped:
        names = ", ".join(repaired.dropped[:5]) + (", ..." if len(repaired.dropped) > 5 else "")
        console.print(f"           left out: {len(repaired.dropped)} files ({names})", markup=False)
    if repaired.left:
        console.print(f"           for a person to settle: {', '.join(repaired.left)}")


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the scores of an evaluation and where its report is."""
    metrics = evaluation.metrics
    table = Table(box=box.SIMPLE)
    table.add_column(f"{metrics['split']}, {metrics['num_images']} images")
    for name in SCORES:
        table.add_column(name, justify="right")
    rows = dict(metrics["classes"]) if len(metrics["classes"]) > 1 else {}
    rows |= {"pooled": metrics["pooled"], "mean per image": metrics["per_image"]}
    for name, scores in rows.items():
        table.add_row(name, *(_number(scores.get(score)) for score in SCORES))
    console = Console(soft_wrap=True)
    console.print(table)
    if metrics["threshold"] is not None:
        console.print(f"threshold  {format_value(metrics['threshold'])}")
    for alert in evaluation.alerts:
        console.print(Text(f"warning: {alert}", style="bold yellow"))
    for choice in evaluation.choices:
        console.print(choice, markup=False, highlight=False)
    if metrics["data"].get("resampling"):
        console.print(f"pixels     {metrics['data']['resampling']}", highlight=False)
    if not metrics["data"].get("is_own", True):
        console.print(
            f"data       {metrics['data']['name']} is not what the model was made of: its results "
            "have a folder of their own, and the model card stays as it is",
            markup=False,
            highlight=False,
        )
    if evaluation.tuned_model is not None:
        console.print(f"model      {evaluation.tuned_model}, the one that was given is unchanged")
    console.print(f"metrics    {evaluation.metrics_path}\nreport     {evaluation.report_path}")


def print_import(summary: ImportSummary) -> None:
    """Print what an import wrote, and what it could not keep."""
    console = Console(soft_wrap=True)
    table = Table(box=box.SIMPLE)
    table.add_column("class")
    table.add_column("images", justify="right")
    table.add_column("pixels", justify="right")
    for name, pixels in summary.class_pixels.items():
        table.add_row(Text(name), f"{summary.class_images[name]:,}", f"{pixels:,}")
    if summary.num_void:
        table.add_row("(do not count)", "", f"{summary.num_void:,}")
    console.print(table)
    for title, lines in (
        ("Could not be kept:", summary.notes),
        ("Left out because it is wrong:", summary.skipped),
    ):
        if lines:
            console.print(title)
        for line in lines:
            console.print(f"  {line}", markup=False, highlight=False)
    splits = ", ".join(f"{count} {name}" for name, count in summary.splits.items() if name)
    print(
        f"{_count(summary.num_images, 'image')} of {summary.format}"
        f"{f' ({splits})' if splits else ''} in {summary.seconds:.1f} s: {summary.out}\n"
        f"next: delineate train {summary.out}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_prediction(summary: PredictionSummary, out: Path) -> None:
    """Print how much was predicted and where it is."""
    print(
        f"{_count(summary.num_images, 'image')}, {summary.num_pixels / 1e6:.1f} million pixels, "
        f"{_count(len(summary.files), 'file')} in {summary.seconds:.1f} s: {out}"
    )
    for scene in summary.scenes:
        choice, seams = scene.choice, scene.seams
        side = " x ".join(str(side) for side in choice.tile_size)
        seam = "no tiles overlap"
        if seams.mean is not None:
            seam = f"seam error {seams.mean:.2g} on average, {seams.largest:.2g} at most"
        print(
            f"{scene.image}: {_count(scene.num_tiles, f'{choice.tiling} tile')} of {side} pixels "
            f"({choice.reason}); {seam}"
        )
        if scene.resampling is not None:
            print(f"  {scene.resampling.describe()}")
    if summary.num_unsized and summary.trained_at is not None:
        number = summary.num_unsized
        print(
            f"{_count(number, 'image')} {'does' if number == 1 else 'do'} not tell the size of "
            f"{'its' if number == 1 else 'their'} pixels; taken as the "
            f"{_pixel_size(summary.trained_at)} that the model was trained at"
        )
    _print_qualities(summary)


def _print_qualities(summary: PredictionSummary) -> None:
    """Print how good the masks probably are, and warn of images unlike the training images."""
    expected = [
        (quality.expected_dice, path)
        for path, quality in summary.qualities
        if quality.expected_dice is not None
    ]
    if expected:
        lowest, path = min(expected)
        mean = sum(dice for dice, _ in expected) / len(expected)
        text = f"expected Dice {mean:.2f}"
        if len(expected) > 1:
            text += f" on average, {lowest:.2f} at worst ({path})"
        print(f"{text}; an estimate without the truth")
    strange = [
        (quality.unfamiliarity, path, quality.alarm)
        for path, quality in summary.qualities
        if quality.unfamiliarity is not None and quality.alarm is not None
    ]
    if not strange:
        return
    print(
        f"warning: {len(strange)} of {len(summary.qualities)} images look unlike the training "
        "images; look at their masks before using them"
    )
    for _, path, alarm in sorted(strange, reverse=True)[:NUM_WARNED]:
        print(f"  {path}: {alarm}")
    if len(strange) > NUM_WARNED:
        print(f"  and {len(strange) - NUM_WARNED} more")


def print_estimate(estimate: PredictionEstimate) -> None:
    """Print what a prediction would take."""
    memory = f"{format_bytes(estimate.memory_bytes)} for the largest image"
    if estimate.base_bytes:
        memory += f", above {format_bytes(estimate.base_bytes)} of program, model and a batch"
    lines = {
        "images": f"{estimate.num_images}, {estimate.num_streamed} of them computed by bands",
        "pixels": f"{estimate.num_pixels / 1e6:,.1f} million",
        "tiles": f"{estimate.num_tiles:,}",
        "time": f"about {format_duration(estimate.seconds)}, by the measured time of a tile",
        "memory": memory,
        "disk": f"about {format_bytes(estimate.disk_bytes)}, "
        f"{format_bytes(estimate.free_bytes)} are free",
    }
    for path, choice in estimate.choices.items():
        side = " x ".join(str(side) for side in choice.tile_size)
        lines[path.name] = f"{choice.tiling} tiles of {side} pixels: {choice.reason}"
        if path in estimate.resamplings:
            lines[path.name] += f"; {estimate.resamplings[path].describe()}"
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}")


def print_info(info: Mapping[str, Any]) -> None:
    """Print what `delineate.info` returned."""
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in describe_model(info).items():
        table.add_row(name, Text(value))
    Console().print(table)


def describe_model(info: Mapping[str, Any]) -> dict[str, str]:
    """Return what `delineate info` says, line by line."""
    task, architecture = info["task"], info["architecture"]
    settings = ", ".join(f"{name} {_inline(v)}" for name, v in architecture["settings"].items())
    lines = {
        "model": f"{info['path']}, {info['num_bytes'] / 2**20:.1f} MiB",
        "task": f"{task['kind']}, {len(task['class_names'])} class"
        + ("es" if len(task["class_names"]) > 1 else ""),
        "classes": ", ".join(task["class_names"]),
        "background": task.get("background") or "none declared",
        "architecture": f"{_members(architecture)}{architecture['name']}: {settings}",
        "parameters": f"{info['num_parameters']:,}",
        "input": format_value(_without(info["preprocessing"], "pixel_size")),
        "pixel size": _pixel_size(info["preprocessing"].get("pixel_size")),
        "stride, halo": f"{info['stride']}, {_inline(info['halo'])} pixels",
        "tile size": " x ".join(str(side) for side in info["tile_size"]),
        "thresholds": "argmax" if info["thresholds"] is None else _inline(info["thresholds"]),
        "prediction": format_value(info["prediction"]),
    }
    for split, metrics in info["metrics"].items():
        lines[split] = _scores(metrics, task["class_names"])
    if info["tuning"]:
        lines["tuning"] = _tuning(info["tuning"])
    for name, value in info["provenance"].items():
        if name != "config":
            lines[name.replace("_", " ")] = _inline(value)
    return lines


def _members(architecture: Mapping[str, Any]) -> str:
    number = architecture["num_members"]
    return f"mean of {number} networks, each " if number > 1 else ""


def _without(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def _pixel_size(size: Sequence[float] | None) -> str:
    from delineate.raster_windows import format_pixel_size

    if size is None:
        return "not known; images are taken as they are"
    return format_pixel_size((size[0], size[1]))


def _tuning(tuning: Mapping[str, Any]) -> str:
    """Return what was chosen on validation images, and what it gained there and by proof."""
    rows = [
        f"for {tuning['objective_in_words']}, on {tuning['num_images']} images of "
        f"{tuning['num_groups']} groups"
    ]
    for what in ("threshold", "post-processing", "temperature"):
        proof = tuning["proofs"].get(what)
        if proof is None:
            continue
        gains = (proof["gain"], proof["nested_gain"]["estimate"])
        own, proved = ("undefined" if gain is None else f"{gain:+.4f}" for gain in gains)
        rows.append(
            f"{what} {'taken' if proof['is_taken'] else 'refused'}: gain {own}, "
            f"on images that had no say {proved}"
        )
    return "\n".join(rows)


def _scores(metrics: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Return the pooled scores of a split, and those of its classes where there are several."""
    rows = {f"pooled over {metrics.get('num_images')} images": metrics.get("pooled", {})}
    if len(class_names) > 1:
        rows |= {name: metrics.get("classes", {}).get(name, {}) for name in class_names}
    return "\n".join(
        f"{row}: " + ", ".join(f"{name} {_number(scores.get(name))}" for name in SCORES)
        for row, scores in rows.items()
    )


def format_value(value: Any) -> str:
    """Return a value of a JSON document as one would write it in a table."""
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_inline(part)}" for name, part in value.items()) or "none"
    return _inline(value)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _inline(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_inline(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_inline(part) for part in value) or "none"
    return str(value)
