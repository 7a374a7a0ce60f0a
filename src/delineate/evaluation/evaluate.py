"""Score a model on one split of a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from delineate.config import (
    DataConfig,
    PostprocessingConfig,
    TaskConfig,
    build_settings,
    merge_settings,
)
from delineate.errors import DataError, UsageError
from delineate.evaluation.alerts import find_alerts
from delineate.evaluation.description import (
    describe_model,
    describe_prediction,
    describe_resampling,
    digest_samples,
)
from delineate.evaluation.details import DetailCollector
from delineate.evaluation.examples import predict_examples
from delineate.evaluation.image_counts import save_image_counts
from delineate.evaluation.intervals import score_intervals
from delineate.evaluation.model_card import write_model_card
from delineate.evaluation.own_data import choose_folder, is_own_data
from delineate.evaluation.report import build_report
from delineate.evaluation.result import Evaluation, SplitName
from delineate.evaluation.scoring import (
    LabelledImage,
    ProbabilityPredictor,
    score_samples,
)
from delineate.evaluation.slices import find_slices
from delineate.evaluation.spacing import Spacing, common_unit, read_spacing
from delineate.evaluation.tuning_model import (
    RepeatedPredictor,
    check_split,
    describe_scores,
    tune_model,
)
from delineate.files import write_text
from delineate.model_file import (
    FILE_NAME,
    SegmentationModel,
    find_model_file,
    load_model,
    save_model,
)
from delineate.prediction.quality import QualityEstimator
from delineate.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from delineate.config import Settings
    from delineate.data.cache import ImageCache
    from delineate.data.inventory import Inventory
    from delineate.data.masks import MaskDecoder
    from delineate.prediction.predictor import Predictor
    from delineate.raster_windows import Grid
    from delineate.task import Task

SECTIONS = ("task", "data", "evaluation", "prediction")
"""Sections of settings that an evaluation may be given."""

_DECODING = ("legend", "ignore", "foreground_value", "mask_threshold")


def evaluate(
    model: SegmentationModel | Path | str,
    data: Path | str,
    *,
    split: str = "test",
    out: Path | str | None = None,
    device: str = "auto",
    tune: bool = False,
    objective: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Score a model on one split of a data set; write `metrics.json` and `report.html`.

    The data settings that the model was trained with (patterns, legend, groups, seed of the
    split) are used again, so that a data set without splits of its own is divided as it was for
    training. Thresholds and post-processing are the model's, unless `tune` is asked for: then they
    are chosen on the validation split, and a model file with them is written into the folder of
    the results; the model that was given stays as it is.

    Args:
        model: A model, a model file or a run folder.
        data: A folder, a `data.yaml` or a CSV of paths.
        split: ``train``, ``val`` or ``test``.
        out: Folder for the results; None takes ``evaluation-<split>`` beside the model file, with
            the name of the data set behind it where that is not the one the model was made of.
        device: ``auto``, ``cpu``, ``cuda``, ...
        tune: Whether to choose thresholds, post-processing and temperature; on ``val`` only.
        objective: What tuning is to make best; None takes ``evaluation.tuning.objective``.
        overrides: Settings of the sections `SECTIONS`, as nested dictionaries, over the model's.

    Raises:
        UsageError: If an argument does not fit.
        ModelFileError: If the model file is refused.
        DataError: If images or masks are not usable, do not fit the model, or the split is empty.
    """
    if split not in get_args(SplitName):
        raise UsageError(f"split is {split!r}; choose one of {', '.join(get_args(SplitName))}")
    if tune:
        check_split(split)
    elif objective is not None:
        raise UsageError("an objective is for tuning; give tune=True (--tune) with it")
    data = Path(data)
    given = _check_sections(overrides)
    if objective is not None:
        given = merge_settings(given, {"evaluation": {"tuning": {"objective": objective}}})
    model_path = None if isinstance(model, SegmentationModel) else find_model_file(Path(model))
    if model_path is None and out is None:
        raise UsageError("a model in memory has no folder; say with out where results go")

    from delineate.data.cache import ImageCache
    from delineate.data.inventory import build_inventory, read_data_file
    from delineate.data.resolution import grid_to
    from delineate.prediction.predictor import load_predictor

    loaded = model if isinstance(model, SegmentationModel) else load_model(Path(model))
    own = read_data_file(data)
    _check_task(own["task"], loaded.task, data)
    _check_task(given.get("task", {}), loaded.task, data)
    settings = _settings(loaded, own, given, split)
    inventory = build_inventory(data, settings.data)
    samples = inventory.of(cast(SplitName, split))
    if not samples:
        counts = ", ".join(f"{len(inventory.of(s))} {s}" for s in get_args(SplitName))
        raise DataError(
            f"{data} has no images in its {split} split ({counts}); choose another split or set "
            "data.split"
        )
    decoder = _decoder(loaded, inventory, settings, given)
    predictor = load_predictor(loaded, device=device, **dict(given.get("prediction", {})))
    images = ImageCache(
        samples, decoder, limit_gib=settings.data.cache_gib, description=f"reading {split} images"
    )
    is_own, digest = is_own_data(loaded, data), digest_samples(samples)
    if out is not None:
        folder = Path(out)
    else:
        beside = cast(Path, model_path).parent
        folder = choose_folder(beside, split, data, digest, is_own=is_own)
    spacings = [read_spacing(sample.image) for sample in samples]
    is_native = settings.data.resolution == "native"
    trained_at = None if is_native else loaded.preprocessing.pixel_size
    grids = [grid_to(sample.image, trained_at) for sample in samples]
    groups = [sample.group for sample in samples]
    choices: tuple[str, ...] = ()
    source: ProbabilityPredictor = predictor
    if tune:
        wanted = given.get("prediction", {}).get("postprocessing")
        source = RepeatedPredictor(predictor, settings.evaluation.tuning.memory_mib * 2**20)
        loaded, tuning = tune_model(
            loaded,
            source,
            _labelled(images, spacings, grids),
            groups,
            settings.evaluation.tuning,
            fixed=PostprocessingConfig.model_validate(wanted or {}).model_dump(),
        )
        choices = tuple(tuning.describe())
        predictor = load_predictor(loaded, device=device, **dict(given.get("prediction", {})))
    collector = DetailCollector(
        QualityEstimator.from_reference(loaded.task, loaded.preprocessing, loaded.reference),
        frozenset(loaded.reference.get("images", ())),
    )
    scores = score_samples(
        source,
        track(_labelled(images, spacings, grids), f"evaluating {split} images", total=len(images)),
        loaded.task,
        thresholds=_thresholds(predictor),
        num_bins=settings.evaluation.num_bins,
        postprocess=_postprocess(predictor),
        observe=collector,
    )
    if tune:
        model_path = folder / FILE_NAME
        loaded.metrics = {**loaded.metrics, "validation": describe_scores(scores)}
        save_model(loaded, model_path)
    details = collector.finish()
    intervals = score_intervals([image.counts for image in scores.images], groups)
    evaluation = Evaluation(
        split=cast(SplitName, split),
        data={
            "name": data.resolve().name,
            "digest": digest,
            "unit": common_unit(spacings),
            "is_own": is_own,
            "resampling": describe_resampling(grids, trained_at),
        },
        model=describe_model(loaded, model_path),
        prediction=describe_prediction(predictor),
        scores=scores,
        examples=tuple(predict_examples(scores, images, grids, predictor)),
        folder=folder,
        tuned_model=model_path if tune else None,
        choices=choices,
        intervals=intervals,
        details=details,
        groups=tuple(groups),
        slices=tuple(find_slices(scores, details, groups)),
        alerts=tuple(find_alerts(cast(SplitName, split), scores, details, intervals)),
    )
    write_evaluation(evaluation)
    return evaluation


def write_evaluation(evaluation: Evaluation) -> None:
    """Write `metrics.json` and `report.html` into the evaluation's folder.

    Where that folder lies in a run folder, the model card there gets the new numbers, if they are
    of the data that the model was made of.
    """
    text = json.dumps(
        evaluation.metrics, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False
    )
    write_text(evaluation.metrics_path, text + "\n")
    write_text(evaluation.report_path, build_report(evaluation))
    save_image_counts(
        evaluation.folder, evaluation.split, evaluation.scores.images, evaluation.groups
    )
    is_own = evaluation.data.get("is_own", True)
    if is_own and (evaluation.folder.parent / FILE_NAME).is_file():
        write_model_card(evaluation.folder.parent)


def _check_sections(overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    given = dict(overrides or {})
    foreign = sorted(set(given) - set(SECTIONS))
    if foreign:
        raise UsageError(
            f"evaluate takes settings of {', '.join(SECTIONS)}, not of {', '.join(foreign)}"
        )
    return given


def _check_task(named: Mapping[str, Any], task: Task, data: Path) -> None:
    """Refuse data that says itself to have other classes than the model."""
    wanted = TaskConfig.model_validate(dict(named))
    if wanted.kind not in ("auto", task.kind):
        raise DataError(f"{data} is a {wanted.kind} data set but the model is {task.kind}")
    if wanted.class_names and wanted.class_names != task.class_names:
        raise DataError(
            f"{data} has the classes {', '.join(wanted.class_names)} but the model knows "
            f"{', '.join(task.class_names)}; evaluate it on data with its own classes"
        )


def _settings(
    model: SegmentationModel, own: Mapping[str, Any], given: Mapping[str, Any], split: str
) -> Settings:
    """Lay what the data set says, what the model was trained with and the overrides over it."""
    stored = model.provenance.get("config", {})
    defaults = DataConfig().model_dump(mode="json")
    trained = {k: v for k, v in stored.get("data", {}).items() if v != defaults.get(k)}
    if split == "test":  # of any data, and data.validation names images of the model's own
        trained.pop("validation", None)
    layers = (
        {"data": own["data"]},
        {"data": trained, "evaluation": stored.get("evaluation", {})},
        {name: given[name] for name in ("data", "evaluation") if name in given},
    )
    return build_settings(merge_settings(*layers), "the settings of the evaluation")


def _decoder(
    model: SegmentationModel, inventory: Inventory, settings: Settings, given: Mapping[str, Any]
) -> MaskDecoder:
    """Return the model's own decoder, unless the meaning of the masks is given anew."""
    from delineate.data.masks import MaskDecoder, inspect_masks

    if model.decoder and not set(given.get("data", {})) & set(_DECODING):
        return MaskDecoder.from_dict(model.decoder)
    task = model.task
    wanted = TaskConfig(kind=task.kind, class_names=task.class_names, background=task.background)
    found, decoder = inspect_masks(inventory, settings.data, wanted)
    if (found.kind, found.class_names) != (task.kind, task.class_names):
        raise DataError(
            f"{inventory.root} is {found.kind} with the classes {', '.join(found.class_names)} "
            f"but the model is {task.kind} with {', '.join(task.class_names)}; evaluate it on data "
            "with its own classes"
        )
    return decoder


def _labelled(
    images: ImageCache, spacings: Sequence[Spacing | None], grids: Sequence[Grid | None]
) -> Iterator[LabelledImage]:
    for sample, spacing, grid, (pixels, target, valid) in zip(
        images.samples, spacings, grids, images, strict=True
    ):
        yield LabelledImage(sample.name, pixels, target, valid, spacing and spacing.size, grid)


def _thresholds(predictor: Predictor) -> tuple[float, ...] | None:
    task = predictor.task
    if not task.has_threshold:
        return None
    return tuple(predictor.thresholds or (0.5,) * task.num_classes)


def _postprocess(
    predictor: Predictor,
) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None:
    from delineate.postprocess import postprocess_mask

    task, steps = predictor.task, predictor.postprocessing
    return (lambda mask: postprocess_mask(mask, task, **steps)) if any(steps.values()) else None
