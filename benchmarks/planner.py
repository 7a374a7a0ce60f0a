r"""Train with the plan and with single rules switched off, and say what each rule is worth.

    python benchmarks/planner.py SETS.yaml --out DIR [--time 150] [--seeds 0,1]

SETS.yaml names data sets, with their path (relative to the file) and the settings about them:

    vessels:
      path: chase_db1
      settings: {data: {mask_suffix: _1stHO, groups: 'Image_(\d+)'}}

Every variant of a set gets the same time and seeds. A variant is one of the rules that apply to
the set switched off (its settings go back to the defaults), or one of the general choices of
`CHOICES` undone. The table has the test Dice of each, with its spread over seeds, and the paired
difference to the plan over the validation images of all seeds with a bootstrap interval: a choice
is shown to help where the interval lies below 0, to harm where it lies above, and "not shown"
otherwise. Runs that are there already are not made again, so a benchmark can be continued.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from delineate.config import Settings, dump_settings, merge_settings
from delineate.evaluation.evaluate import evaluate
from delineate.evaluation.intervals import difference_intervals
from delineate.recipes.planning import make_plan
from delineate.training.trainer import train

CHOICES: dict[str, dict[str, Any]] = {
    "loss: cross-entropy alone": {"loss": {"name": "cross_entropy"}},
    "sampling: no odds for foreground": {"training": {"foreground_odds": 0.0}},
    "augmentation: flips alone": {
        "augmentation": {"spatial": {"warp": 0.0}, "intensity": {"odds": 0, "blur": 0, "noise": 0}}
    },
    "patch size: 128": {"training": {"patch_size": [128, 128]}},
    "width: 16": {"model": {"width": 16}},
}
"""Choices of every plan, undone."""


def defaults_of(settings: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults of exactly what `settings` sets."""
    if "name" in settings:
        return {"name": defaults["name"]}
    return {
        key: defaults_of(value, defaults[key]) if isinstance(value, dict) else defaults[key]
        for key, value in settings.items()
    }


def variants_of(data: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    defaults = dump_settings(Settings())
    off = {
        f"without {decision.name}": defaults_of(decision.settings, defaults)
        for decision in make_plan(data, wishes=settings).decisions
    }
    return {"plan": {}, **off, **CHOICES}


def score(run: Path, data: Path, settings: dict[str, Any], split: str):
    kept = {key: settings[key] for key in ("task", "data") if key in settings}
    return evaluate(run, data, split=split, out=run / split, overrides=kept or None)


def summarise(runs: dict[int, Path], plan: dict[int, Path], data: Path, settings) -> dict[str, Any]:
    test = [score(run, data, settings, "test").metrics["pooled"]["dice"] for run in runs.values()]
    ours, theirs, groups = [], [], []
    for seed, run in runs.items():
        own = score(run, data, settings, "val").scores.images
        planned = score(plan[seed], data, settings, "val").scores.images
        ours += [image.counts for image in own]
        theirs += [image.counts for image in planned]
        # The seeds share the images, which are what is drawn.
        groups += [image.name for image in own]
    difference = difference_intervals(ours, theirs, groups).pooled["dice"]
    verdict = "not shown"
    if difference.excludes_zero:
        verdict = "the plan is better" if difference.high < 0 else "the plan is worse"
    return {
        "test_dice": round(float(np.mean(test)), 4),
        "spread": round(float(np.ptp(test)), 4),
        "difference": [difference.estimate, difference.low, difference.high],
        "verdict": verdict,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--time", type=float, default=150.0, help="seconds a run")
    parser.add_argument("--seeds", default="0,1")
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    sets = yaml.safe_load(args.sets.read_text())
    results: dict[str, dict[str, Any]] = {}
    for name, described in sets.items():
        data = (args.sets.parent / described["path"]).resolve()
        settings = described.get("settings", {})
        plan: dict[int, Path] = {}
        for variant, changes in variants_of(data, settings).items():
            runs = {}
            for seed in seeds:
                slug = "".join(c if c.isalnum() else "-" for c in variant)
                run = args.out / name / f"{slug}-{seed}"
                if not (run / "README.md").exists():  # written last
                    train(
                        data,
                        run=run,
                        time=args.time,
                        seed=seed,
                        exist_ok=True,
                        overrides=merge_settings(settings, changes),
                    )
                runs[seed] = run
            plan = plan or runs
            result = summarise(runs, plan, data, settings)
            results.setdefault(name, {})[variant] = result
            low, high = result["difference"][1:]
            interval = "" if variant == "plan" else f"  {low:+.4f} to {high:+.4f}"
            print(
                f"{name:16} {variant:40} {result['test_dice']:.4f} ± {result['spread'] / 2:.4f}"
                f"{interval}  {'' if variant == 'plan' else result['verdict']}",
                flush=True,
            )
            (args.out / "planner.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
