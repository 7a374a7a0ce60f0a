"""The whole way on samples that the program draws itself: train, evaluate, predict."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from delineate.data.samples import SampleKind, write_sample
from delineate.errors import UsageError

NEW_IMAGES_SEED = 1
"""Seed of the pictures that training and evaluation never see."""


@dataclass(frozen=True)
class DemoPart:
    """One sample and how a model is trained on it."""

    kind: SampleKind
    about: str
    num_images: int
    size: int
    seconds: float
    settings: dict[str, Any]


@dataclass(frozen=True)
class DemoResult:
    """What one part of the demo made."""

    kind: SampleKind
    model: Path
    report: Path
    pictures: Path
    metrics: dict[str, Any]
    """The document of metrics.json, for the test split."""


PARTS = (
    DemoPart(
        kind="cells",
        about="cells under a fluorescence microscope: uneven light, touching, out of focus",
        num_images=40,
        size=256,
        seconds=55,
        settings={"model": {"width": 16}, "training": {"patch_size": [128, 128]}},
    ),
    DemoPart(
        kind="aerial",
        about="an aerial scene: land, buildings, roads, vegetation, water",
        num_images=32,
        size=256,
        seconds=65,
        settings={"model": {"width": 16}, "training": {"patch_size": [128, 128]}},
    ),
)


def demo(out: Path | str = "demo", parts: tuple[DemoPart, ...] = PARTS) -> list[DemoResult]:
    """Make sample data, train on it for about two minutes, evaluate, predict.

    Args:
        out: Folder for everything; the results of an earlier demo in it are replaced.
        parts: The samples to go through.

    Returns:
        The results, part by part.

    Raises:
        UsageError: If `out` is there and holds something else than an earlier demo.
    """
    out = Path(out)
    console = Console(soft_wrap=True)
    _make_room(out, parts)
    results = [_run_part(part, out / part.kind, console) for part in parts]
    console.rule("what came out")
    for part, result in zip(parts, results, strict=True):
        _print_result(part, result, console)
    _print_next_steps(results[0], console)
    return results


def _make_room(out: Path, parts: tuple[DemoPart, ...]) -> None:
    """Remove an earlier demo, and nothing else."""
    kinds = {part.kind for part in parts}
    if out.is_file() or (out.is_dir() and not {path.name for path in out.iterdir()} <= kinds):
        raise UsageError(f"{out} holds something else than a demo; name another folder by --out")
    for kind in kinds:
        shutil.rmtree(out / kind, ignore_errors=True)


def _run_part(part: DemoPart, folder: Path, console: Console) -> DemoResult:
    from delineate.evaluation.evaluate import evaluate
    from delineate.prediction.predict import predict
    from delineate.training.trainer import train

    console.rule(part.kind)
    data, new = folder / "data", folder / "new"
    write_sample(part.kind, data, part.num_images, part.size)
    write_sample(part.kind, new, 4, part.size, seed=NEW_IMAGES_SEED)
    console.print(f"{part.num_images} images of {part.about}, drawn into {data}")
    result = train(data, run=folder / "run", time=part.seconds, overrides=part.settings)
    report = folder / "evaluation"
    evaluate(result.model, data, split="test", out=report)
    pictures = folder / "predictions"
    predict(result.model, new / "images", out=pictures, save=("mask", "overlay"))
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    return DemoResult(part.kind, result.model, report / "report.html", pictures, metrics)


def _print_result(part: DemoPart, result: DemoResult, console: Console) -> None:
    metrics = result.metrics
    pooled = metrics["pooled"]
    console.print(f"[bold]{result.kind}[/bold]: {part.about}")
    console.print(
        f"  test split   Dice {_number(pooled['dice'])}, IoU {_number(pooled['iou'])} over "
        f"{metrics['num_images']} images"
    )
    if len(metrics["classes"]) > 1:
        names = metrics["task"]["class_names"]
        scores = (f"{name} {_number(metrics['classes'][name]['dice'])}" for name in names)
        console.print(f"  Dice         {', '.join(scores)}")
    if metrics["threshold"] is not None:
        console.print(f"  threshold    {metrics['threshold']:.3f}, tuned on the validation split")
    console.print(f"  report       {result.report}")
    console.print(f"  model        {result.model}")
    console.print(f"  pictures     {result.pictures}")


def _number(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.3f}"


def _print_next_steps(result: DemoResult, console: Console) -> None:
    console.print("\nThe same with your own images/ and masks/ in a folder DATA:")
    console.print("  delineate train DATA --run runs/mine --time 10m")
    console.print("  delineate evaluate runs/mine DATA --out runs/mine/test")
    console.print("  delineate predict runs/mine IMAGES --out masks --save mask,overlay")
    console.print(f"What a model is made of: delineate info {result.model}")
