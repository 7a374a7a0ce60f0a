"""Commands about data sets: import, doctor, plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from delineate.cli.display import print_diagnosis, print_import, print_plan
from delineate.cli.flags import Out, Overrides, split_names
from delineate.errors import DataError


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
        classes=split_names(classes),
        ignore=split_names(ignore),
        overlaps=overlaps,
        label_field=label_field,
        crs=crs,
        plane=plane,
        skip_bad=skip_bad,
        exist_ok=exist_ok,
    )
    print_import(summary)


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
