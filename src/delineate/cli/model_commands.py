"""Commands about models: train, evaluate, compare, info, and the demo of them all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from delineate.cli.display import (
    print_comparison,
    print_cross_validation,
    print_evaluation,
    print_training,
)
from delineate.cli.flags import Out, Overrides
from delineate.cli.info_display import print_info
from delineate.errors import UsageError
from delineate.processes import speaks


def demo(*, out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("demo")) -> None:
    """Make sample images, train on them for about two minutes, evaluate and predict.

    Args:
        out: Folder for the samples, the runs and the predictions.
    """
    from delineate.demo import demo as run_demo

    run_demo(out)


def train(
    data: Path | None = None,
    /,
    *,
    run: Path | None = None,
    config: Path | None = None,
    time: str | None = None,
    epochs: int | None = None,
    folds: int | None = None,
    distill: Annotated[bool, Parameter(negative=())] = False,
    seed: int | None = None,
    device: str = "auto",
    recipe: str = "generic",
    misses_cost_more: Annotated[bool, Parameter(negative=())] = False,
    resume: Annotated[bool, Parameter(negative=())] = False,
    exist_ok: Annotated[bool, Parameter(negative=())] = False,
    overrides: Overrides = None,
) -> None:
    """Train a model on a folder of images and masks.

    Any setting may follow as a flag, such as --loss.name focal_dice or --training.batch-size 4.

    Args:
        data: A folder, a data.yaml or a CSV of paths; may be left out with --resume.
        run: Folder that the run is written to; a new one under runs/ unless given.
        config: YAML file of settings; flags go over it.
        time: Length of the training, such as 90s, 10m or 1h30m, validation included; of all folds
            together where there are folds.
        epochs: Length of the training in epochs, instead of a time; of each fold.
        folds: Cross-validation: divide the images but those of the test split into so many folds,
            such as 5; train once without each, in RUN/fold-1 and so on; and join the networks to
            one model. RUN/out-of-fold holds the predictions of all images by networks that have not
            seen them, their report, and the labels that they contradict.
        distill: With folds: train one network more, in RUN/student, that learns from the
            out-of-fold predictions as well as from the labels, and say how it compares.
        seed: Seed of the weights, the patches and the augmentation.
        device: auto, cpu, cuda, cuda:1, mps.
        recipe: generic, medical, aerial, thin, defect, or a YAML file of settings.
        misses_cost_more: Say that a missed pixel is worse than a false alarm.
        resume: Go on with the training in RUN that was interrupted or killed.
        exist_ok: Write over an earlier run in the same folder.
        overrides: The settings that flags named.
    """
    from delineate.training.run_folder import is_cross_validation

    settings: dict[str, Any] = {
        "run": run,
        "config": config,
        "time": time,
        "epochs": epochs,
        "seed": seed,
        "device": device,
        "recipe": recipe,
        "misses_cost_more": misses_cost_more,
        "resume": resume,
        "exist_ok": exist_ok,
        "overrides": overrides,
    }
    if folds is not None or (resume and run is not None and is_cross_validation(run)):
        from delineate.training.folds.cross_validation import cross_validate

        print_cross_validation(cross_validate(data, folds=folds, distill=distill, **settings))
        return
    if distill:
        raise UsageError("--distill learns from the predictions of folds; give --folds with it")
    from delineate.training.trainer import train as run_training

    result = run_training(data, **settings)
    if speaks():
        print_training(result)


def evaluate(
    model: Path,
    data: Path,
    /,
    *,
    split: str = "test",
    tune: Annotated[bool, Parameter(negative=())] = False,
    objective: str | None = None,
    out: Out = None,
    device: str = "auto",
    overrides: Overrides = None,
) -> None:
    """Score a model on one split of a data set; writes metrics.json and report.html.

    With --split val --tune, threshold and post-processing are chosen first, and a model file with
    them is written beside the report; the model that was given stays as it is.

    Args:
        model: A model file or a run folder.
        data: A folder, a data.yaml or a CSV of paths.
        split: train, val or test.
        tune: Choose threshold, post-processing and temperature on the validation split.
        objective: What tuning makes best: dice, dice_per_image, iou, f_beta,
            recall_at_precision, cost or object_f1.
        out: Folder for metrics.json and report.html; evaluation-SPLIT beside the model unless
            given, evaluation-SPLIT-NAME for data that the model was not made of.
        device: auto, cpu, cuda, cuda:1, mps.
        overrides: The settings that flags named.
    """
    from delineate.evaluation.evaluate import evaluate as run_evaluation

    result = run_evaluation(
        model,
        data,
        split=split,
        tune=tune,
        objective=objective,
        out=out,
        device=device,
        overrides=overrides,
    )
    print_evaluation(result)


def compare(
    *runs: Path,
    split: str = "val",
    out: Out = None,
) -> None:
    """Compare runs image by image: is one better than the first, or is it chance?

    Args:
        runs: Run folders, two or more, trained and scored on the same images.
        split: val, or test where each run has been evaluated on it.
        out: Folder for compare.html and compare.json.
    """
    from delineate.comparison import compare as run_comparison

    print_comparison(run_comparison(runs, split=split, out=out))


def info(model: Path, /) -> None:
    """Show what a model is made of, what it was trained on and how good it is.

    Args:
        model: A model file or a run folder.
    """
    from delineate.model_file import info as read_info

    print_info(read_info(model))
