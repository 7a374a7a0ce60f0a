"""The commands, one per stage; each parses, calls the function of its name, and prints."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import cyclopts
from cyclopts import Parameter

from delineate.cli.display import (
    print_comparison,
    print_cross_validation,
    print_diagnosis,
    print_estimate,
    print_evaluation,
    print_import,
    print_info,
    print_plan,
    print_prediction,
    print_settings,
    print_training,
)
from delineate.cli.setting_flags import split_setting_flags
from delineate.config import Settings
from delineate.errors import DataError, DelineateError, UsageError
from delineate.processes import speaks

Out = Annotated[Path | None, Parameter(name=["--out", "-o"])]
Overrides = Annotated[dict[str, Any] | None, Parameter(parse=False)]

SETTABLE: dict[str, tuple[str, ...]] = {
    "doctor": ("data", "task"),
    "train": tuple(name for name in Settings.model_fields if name != "format_version"),
    "plan": tuple(name for name in Settings.model_fields if name != "format_version"),
    "evaluate": ("task", "data", "evaluation", "prediction"),
    "predict": ("prediction",),
}
"""Command -> the sections of settings that its flags may name."""

app = cyclopts.App(
    name="delineate",
    help="From a folder of images and masks to a trained, evaluated segmentation model.",
    version_flags=["--version"],
    help_flags=["--help", "-h"],
)


@app.command
def demo(*, out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("demo")) -> None:
    """Make sample images, train on them for about two minutes, evaluate and predict.

    Args:
        out: Folder for the samples, the runs and the predictions.
    """
    from delineate.demo import demo as run_demo

    run_demo(out)


@app.command(name="import")
def import_(
    src: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    format: str | None = None,
    images: Path | None = None,
    masks: Path | None = None,
    classes: str = "",
    ignore: str = "",
    overlaps: str = "auto",
    label_field: str | None = None,
    crs: str | None = None,
    plane: str | None = None,
    skip_bad: Annotated[bool, Parameter(negative=())] = False,
    exist_ok: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Convert a data set of another program into images, masks and a data.yaml.

    Reads COCO, YOLO, LabelMe, CVAT, Pascal VOC, Cityscapes, nnU-Net, GeoJSON and GeoPackage over
    rasters, and instance masks; says what it could not keep.

    Args:
        src: The folder of the data set, or its annotation file.
        out: Folder to make.
        format: coco, yolo, labelme, cvat, voc, cityscapes, nnunet, vectors or instances; told by
            the files unless given.
        images: Folder of the images, where they are not below SRC.
        masks: Folder or file of the masks (instances).
        classes: Classes to keep, in the order of their indices, separated by commas; all unless
            given.
        ignore: Classes whose pixels do not count, separated by commas.
        overlaps: What a pixel of several objects becomes: smaller gives it to the smaller object,
            later to the later one, keep writes a band per class, auto does what is usual in the
            format.
        label_field: Property that names the class of vector features.
        crs: Coordinate system of vectors whose file names none, such as EPSG:32616.
        plane: How volumes are sliced: axial, coronal or sagittal; across their widest spacing
            unless given.
        skip_bad: Leave out and list images whose annotation is wrong, instead of stopping.
        exist_ok: Replace what an earlier import wrote.
    """
    from delineate.data.importers.conversion import import_dataset

    summary = import_dataset(
        src,
        out=out,
        format=format,
        images=images,
        masks=masks,
        classes=_names(classes),
        ignore=_names(ignore),
        overlaps=overlaps,
        label_field=label_field,
        crs=crs,
        plane=plane,
        skip_bad=skip_bad,
        exist_ok=exist_ok,
    )
    print_import(summary)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@app.command
def doctor(
    data: Path,
    /,
    *,
    out: Out = None,
    fix: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    overrides: Overrides = None,
) -> None:
    """Read every file of a data set and tell all that is wrong with it, and what settles it.

    Prints the findings, and writes them as a page with pictures (doctor.html) and as JSON
    (findings.json). The folder also keeps the digest of every file (manifest.json), so that the
    next look tells which files changed. Nothing is written into DATA.

    Exits with 3 if an error stands, with 0 if there are warnings only. An error that you looked at
    and do not share is silenced by --data.accept NAME.

    Args:
        data: A folder, a data.yaml or a CSV of paths.
        out: Folder of the results; doctor/NAME unless given.
        fix: Folder for a repaired copy of the data; the original stays as it is.
        json: Print the findings as JSON instead of a table.
        overrides: The settings that flags named.
    """
    from delineate.data.doctor.diagnosis import doctor as run_doctor

    diagnosis = run_doctor(data, out=out, fix=fix, overrides=overrides)
    print_diagnosis(diagnosis, as_json=json)
    if diagnosis.errors:
        number = len(diagnosis.errors)
        raise DataError(
            f"{data} has {number} error{'' if number == 1 else 's'} to settle before a training"
        )


@app.command
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


@app.command
def plan(
    data: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    config: Path | None = None,
    recipe: str = "generic",
    misses_cost_more: Annotated[bool, Parameter(negative=())] = False,
    time: str | None = None,
    epochs: int | None = None,
    device: str = "auto",
    exist_ok: Annotated[bool, Parameter(negative=())] = False,
    overrides: Overrides = None,
) -> None:
    """Measure a data set and write the settings for it, each choice with its reason.

    `train DATA` plans by itself; this is for looking before, and for changing what is planned:
    train DATA --config PLAN/config.yaml.

    Args:
        data: A folder, a data.yaml or a CSV of paths.
        out: Folder for config.yaml, plan.md, fingerprint.json and inventory.csv.
        config: YAML file of settings; flags go over it.
        recipe: generic, medical, aerial, thin, defect, or a YAML file of settings.
        misses_cost_more: Say that a missed pixel is worse than a false alarm.
        time: Length of the training, such as 90s, 10m or 1h30m, validation included.
        epochs: Length of the training in epochs, instead of a time.
        device: auto, cpu, cuda, cuda:1, mps.
        exist_ok: Write over an earlier plan in the same folder.
        overrides: The settings that flags named.
    """
    from delineate.recipes.plan_folder import plan as run_planning

    result = run_planning(
        data,
        out=out,
        config=config,
        recipe=recipe,
        misses_cost_more=misses_cost_more,
        time=time,
        epochs=epochs,
        device=device,
        exist_ok=exist_ok,
        overrides=overrides,
    )
    print_plan(result)


@app.command
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


@app.command
def predict(
    model: Path,
    /,
    *sources: Path,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    tile_size: int | None = None,
    overlap: float | None = None,
    tiling: Literal["auto", "blended", "exact"] | None = None,
    threshold: float | None = None,
    save: str = "mask",
    aoi: Path | None = None,
    bands: str | None = None,
    resolution: float | Literal["native"] | None = None,
    vrt: Annotated[bool, Parameter(negative=())] = False,
    refine: Literal["none", "guided", "crf"] = "none",
    simplify: float | None = None,
    lines_of: str | None = None,
    cog: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    resume: Annotated[bool, Parameter(negative=())] = False,
    exist_ok: Annotated[bool, Parameter(negative=())] = False,
    device: str = "auto",
    overrides: Overrides = None,
) -> None:
    """Segment images and rasters of any size and write their masks.

    Args:
        model: A model file or a run folder.
        sources: Images, or folders of images.
        out: Folder for the results; a file where SOURCE is one image.
        tile_size: Height and width of a tile, in pixels.
        overlap: Share of a tile that it has in common with its neighbour, 0 to below 1.
        tiling: blended averages overlapping tiles; exact gives what the whole image would give,
            where the network is local; auto takes exact where it can.
        threshold: Probability from which a pixel is foreground; the tuned one unless given.
        save: What to write, of mask, prob, overlay, polygons and lines, separated by commas.
            Polygons and centre lines are GeoPackages with a style for QGIS; name --out FILE.geojson
            for GeoJSON.
        aoi: GeoPackage or GeoJSON of polygons; nothing is computed outside of them.
        bands: Bands that the model takes, in its order, by name or number: red,green,blue or 3,2,1.
        resolution: Metres of a pixel that rasters are read at, with the probabilities resampled
            back; that of the training images unless given, native takes rasters as they are.
        vrt: Take SOURCE for a VRT that puts GeoTIFFs together.
        refine: Correct probabilities along the image's edges: guided filter, or dense CRF (of
            classes that exclude each other; window by window, whose borders may show).
        simplify: Farthest that polygons and lines may leave the pixels' outline, in pixels; 0 keeps
            the outline.
        lines_of: Class of which centre lines are traced, where there are several.
        cog: Write rasters as cloud-optimised GeoTIFF.
        dry_run: Print tiles, memory, disk and time that it would take, and write nothing.
        resume: Go on with the same command where it was interrupted.
        exist_ok: Write over results that are there.
        device: auto, cpu, cuda, cuda:1, mps.
        overrides: The settings that flags named.
    """
    from delineate.prediction.predict import predict as run_prediction
    from delineate.prediction.scene_options import SceneOptions

    if not sources:
        raise UsageError("predict needs at least one image or folder after MODEL")
    summary = run_prediction(
        model,
        sources,
        out=out,
        tile_size=tile_size,
        overlap=overlap,
        tiling=tiling,
        threshold=threshold,
        save=_names(save),
        options=SceneOptions(
            bands=_names(bands or ""),
            resolution=resolution,
            aoi=aoi,
            vrt=vrt,
            refine=refine,
            cog=cog,
            simplify=simplify,
            lines_of=lines_of,
        ),
        dry_run=dry_run,
        resume=resume,
        exist_ok=exist_ok,
        device=device,
        overrides=overrides,
    )
    if summary.estimate is None:
        print_prediction(summary, out)
    else:
        print_estimate(summary.estimate)


@app.command
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


@app.command
def info(model: Path, /) -> None:
    """Show what a model is made of, what it was trained on and how good it is.

    Args:
        model: A model file or a run folder.
    """
    from delineate.model_file import info as read_info

    print_info(read_info(model))


def run(tokens: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    A `DelineateError` becomes one sentence on stderr and its own exit code, Ctrl-C 130; anything
    else is a defect of the program and shows its traceback.
    """
    try:
        return _dispatch(list(tokens))
    except DelineateError as error:
        print(f"delineate: {error}", file=sys.stderr)
        return error.exit_code
    except cyclopts.CycloptsError as error:
        print(f"delineate: {' '.join(str(error).split())}", file=sys.stderr)
        return UsageError.exit_code
    except KeyboardInterrupt as interrupt:
        hint = f"; {interrupt}" if interrupt.args else ""
        print(f"delineate: interrupted{hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception:
        traceback.print_exc()
        print(
            "delineate: the lines above show a defect of delineate, not of your data; "
            "please report them together with the command.",
            file=sys.stderr,
        )
        return 1


def _dispatch(tokens: list[str]) -> int:
    command_name = next((token for token in tokens if not token.startswith("-")), None)
    sections = SETTABLE.get(command_name or "", ())
    is_help = any(token in ("--help", "-h") for token in tokens)
    rest, overrides = (tokens, {}) if is_help else split_setting_flags(tokens, sections)
    command, bound, ignored = app.parse_args(rest, exit_on_error=False, print_error=False)
    if "overrides" in ignored:
        bound.arguments["overrides"] = overrides or None
    command(*bound.args, **bound.kwargs)
    if is_help and sections:
        print_settings(cast(str, command_name), sections)
    return 0
