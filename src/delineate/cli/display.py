"""What the commands print: tables on a terminal, the same as plain text elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from delineate.cli.words import NUM_NAMED, SCORES, count_of, format_number, format_value
from delineate.config.reference import Setting, list_settings, section_description
from delineate.data.doctor.findings import shorten

if TYPE_CHECKING:
    from delineate.comparison import Comparison
    from delineate.data.doctor.diagnosis import Diagnosis
    from delineate.data.doctor.repair import RepairSummary
    from delineate.data.importers.conversion import ImportSummary
    from delineate.evaluation.result import Evaluation
    from delineate.recipes.plan_folder import PlanResult
    from delineate.training.folds.cross_validation import CrossValidation
    from delineate.training.trainer import TrainingResult

MAX_VALUE = 60
"""Characters of a setting's value, where values are compared."""
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
    scores = ", ".join(f"{name} {format_number(pooled.get(name))}" for name in ("dice", "iou"))
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
        table.add_row(Text(str(fold.run)), str(fold.num_images), format_number(fold.dice))
    console.print(table)
    console.print(
        f"all {result.validation['num_images']} images, each by the network that has not seen it: "
        f"Dice {show_interval(result.dice)}"
    )
    if result.suspects:
        console.print(f"labels to look at, of {len(result.suspects)} in {result.suspects_path}:")
    for one in result.suspects[:NUM_NAMED]:
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
        f"{count_of(comparison.num_images, 'image')} of the {comparison.split} split in "
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
        table.add_row(name, *(format_number(scores.get(score)) for score in SCORES))
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
        f"{count_of(summary.num_images, 'image')} of {summary.format}"
        f"{f' ({splits})' if splits else ''} in {summary.seconds:.1f} s: {summary.out}\n"
        f"next: delineate train {summary.out}"
    )
