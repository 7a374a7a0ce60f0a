"""From the fold models and the out-of-fold predictions to one model, tuned and judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.config import Settings, dump_settings
from delineate.data.cache import ImageCache
from delineate.data.resolution import grid_to
from delineate.errors import ModelFileError
from delineate.evaluation.alerts import find_alerts
from delineate.evaluation.description import describe_model, describe_prediction, digest_samples
from delineate.evaluation.details import DetailCollector
from delineate.evaluation.evaluate import write_evaluation
from delineate.evaluation.examples import choose_examples
from delineate.evaluation.image_counts import save_image_counts
from delineate.evaluation.intervals import score_intervals
from delineate.evaluation.report_examples import picture_size, shrink_probs
from delineate.evaluation.result import Evaluation, Example
from delineate.evaluation.scoring import LabelledImage, SplitScores, score_samples
from delineate.evaluation.slices import find_slices
from delineate.evaluation.spacing import common_unit, read_spacing
from delineate.evaluation.tuning import Tuning, tune
from delineate.evaluation.tuning_model import describe_scores
from delineate.evaluation.tuning_predictions import PredictionStore
from delineate.metrics.curves import ProbabilityHistogram
from delineate.model_file import FILE_NAME, SegmentationModel, load_model, save_model
from delineate.models.ensemble import Ensemble
from delineate.postprocess import postprocess_mask
from delineate.prediction.familiarity import learn_familiarity, look_of, remembered
from delineate.prediction.predictor import Predictor, load_predictor
from delineate.prediction.quality import QualityEstimator, fit_calibration
from delineate.progress import track
from delineate.recipes.planning import digest_inventory
from delineate.training.folds.out_of_fold import FOLDER, RecalledImages, read_probs

if TYPE_CHECKING:
    from delineate.data.inventory import Inventory, Sample

ALERT = (
    "Each image was predicted by the one network that had not learned from it. The model averages "
    "all of these networks and has itself not been judged here: the test split will tell."
)


@dataclass(frozen=True)
class Pool:
    """The images of all folds, decoded."""

    run: Path
    """The folder of the cross-validation."""
    name: str
    """Of the data set."""
    samples: Sequence[Sample]
    images: ImageCache
    settings: Settings

    @property
    def groups(self) -> list[str]:
        """The group of each image."""
        return [sample.group for sample in self.samples]

    def labelled(self) -> Iterator[LabelledImage]:
        """Yield the images with their labels."""
        for sample, (pixels, target, valid) in zip(self.samples, self.images, strict=True):
            spacing = read_spacing(sample.image)
            yield LabelledImage(sample.name, pixels, target, valid, spacing and spacing.size)

    def recalled(self) -> RecalledImages:
        """Return the images with their out-of-fold predictions."""
        return RecalledImages(self.run, self.labelled())


def join_models(
    paths: Sequence[Path], settings: Settings, inventory: Inventory
) -> SegmentationModel:
    """Return the fold models as one that averages their probabilities; not yet tuned.

    Args:
        paths: Of the fold models.
        settings: Of all folds.
        inventory: The data set as the settings divide it.

    Raises:
        ModelFileError: If a file is refused, or the models do not fit each other.
    """
    models = [load_model(path) for path in paths]
    first = models[0]
    for path, model in zip(paths, models, strict=True):
        for part in ("task", "preprocessing", "architecture"):
            if getattr(model, part) != getattr(first, part):
                raise ModelFileError(
                    f"{path} and {paths[0]} differ in their {part} and cannot be joined; put the "
                    "models of one cross-validation back, or start a new training"
                )
    networks: list[Any] = [model.network for model in models]
    provenance = {
        **first.provenance,
        "data_digest": digest_inventory(inventory),
        "seed": settings.training.seed,
        "config": dump_settings(settings),
        "folds": len(models),
    }
    return replace(
        first,
        network=Ensemble(networks, first.task.kind).eval(),
        architecture={**first.architecture, "num_members": len(models)},
        thresholds=None,
        prediction=settings.prediction.model_dump(exclude={"tile_size"}),
        metrics={},
        tuning={},
        temperature=1.0,
        provenance=provenance,
        reference={"images": sorted({one for m in models for one in m.reference["images"]})},
    )


def tune_ensemble(model: SegmentationModel, pool: Pool, *, deadline: float | None) -> Tuning:
    """Choose thresholds, post-processing and temperature on all out-of-fold predictions.

    The choice, and what the model remembers of its training images, are put into the model.

    Args:
        model: Of `join_models`.
        pool: The images.
        deadline: When to be done, on `time.monotonic`'s clock; None takes the time it needs.
    """
    evaluation = pool.settings.evaluation
    store = PredictionStore(model.task, memory_bytes=evaluation.tuning.memory_mib * 2**20)
    histogram = ProbabilityHistogram(model.task, evaluation.num_bins)
    images = pool.recalled()
    for image in track(images, "reading predictions", total=len(pool.samples)):
        probs = images.predict_probs(image.pixels)
        store.add(image.name, probs, image.target, image.valid)
        histogram.update(probs, image.target, image.valid)
    tuning = tune(
        store,
        pool.groups,
        evaluation.tuning,
        fixed=pool.settings.prediction.postprocessing.model_dump(),
        deadline=deadline,
    )
    tuning.apply(model)
    model.reference = {
        **model.reference,
        "familiarity": _remember(pool, model),
        "calibration": fit_calibration(histogram),
    }
    return tuning


def judge_ensemble(model: SegmentationModel, pool: Pool, tuning: Tuning) -> Evaluation:
    """Score the out-of-fold predictions, and write the model and the report of them.

    Args:
        model: As `tune_ensemble` left it.
        pool: The images.
        tuning: What was chosen.

    Raises:
        ResourceError: If the disk is full.
    """
    predictor = load_predictor(model, device="cpu")
    collector = DetailCollector(
        QualityEstimator.from_reference(model.task, model.preprocessing, model.reference)
    )
    images = pool.recalled()
    scores = score_samples(
        images,
        track(images, "judging predictions", total=len(pool.samples)),
        model.task,
        thresholds=tuning.thresholds,
        num_bins=pool.settings.evaluation.num_bins,
        postprocess=partial(postprocess_mask, task=model.task, **tuning.postprocessing),
        observe=collector,
    )
    model.metrics = {"validation": describe_scores(scores)}
    path = pool.run / FILE_NAME
    save_model(model, path)
    details = collector.finish()
    intervals = score_intervals([image.counts for image in scores.images], pool.groups)
    evaluation = Evaluation(
        split="val",
        data={
            "name": pool.name,
            "digest": digest_samples(pool.samples),
            "unit": common_unit([read_spacing(sample.image) for sample in pool.samples]),
        },
        model=describe_model(model, path),
        prediction=describe_prediction(predictor),
        scores=scores,
        examples=tuple(_examples(scores, pool, predictor)),
        folder=pool.run / FOLDER,
        choices=tuple(tuning.describe()),
        intervals=intervals,
        details=details,
        groups=tuple(pool.groups),
        slices=tuple(find_slices(scores, details, pool.groups)),
        alerts=(ALERT, *find_alerts("val", scores, details, intervals)),
    )
    write_evaluation(evaluation)
    # For `compare`, which reads the validation counts of a run beside its model.
    save_image_counts(pool.run, "val", scores.images, pool.groups)
    return evaluation


def _remember(pool: Pool, model: SegmentationModel) -> dict[str, Any] | None:
    """Return what the model remembers of the look of its training images."""
    is_native = pool.settings.data.resolution == "native"
    looks, groups = [], []
    for index in remembered(len(pool.samples)):
        sample, (pixels, _, valid) = pool.samples[index], pool.images[index]
        grid = grid_to(sample.image, None if is_native else model.preprocessing.pixel_size)
        if grid is not None:
            pixels, valid = grid.resample_image(pixels, valid)
        look = look_of(pixels, valid, model.preprocessing)
        if look is not None:
            looks.append(look)
            groups.append(sample.group)
    return learn_familiarity(looks, groups).as_dict() if looks else None


def _examples(scores: SplitScores, pool: Pool, predictor: Predictor) -> Iterator[Example]:
    dices = [image.scores["dice"] for image in scores.images]
    chosen = choose_examples(dices)
    size = picture_size(predictor.task, len(chosen))
    for rank, index in chosen:
        pixels, target, _ = pool.images[index]
        name = pool.samples[index].name
        probs = read_probs(pool.run, name)
        mask = predictor.mask(probs)
        yield Example(rank, name, dices[index], pixels, target, mask, shrink_probs(probs, size))
