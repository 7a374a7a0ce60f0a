"""What a training leaves behind: the model file, its report and its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from delineate.evaluation.examples import choose_examples
from delineate.evaluation.image_counts import save_image_counts
from delineate.evaluation.model_card import write_model_card
from delineate.evaluation.report import build_report
from delineate.evaluation.result import Evaluation, Example
from delineate.evaluation.tuning_model import describe_scores
from delineate.files import digest_file, write_text
from delineate.model_file import FILE_NAME, SegmentationModel, save_model
from delineate.prediction.quality import fit_calibration
from delineate.training.assembly import Parts, describe_architecture

if TYPE_CHECKING:
    from delineate.training.preparation import Preparation
    from delineate.training.validation import Validation


def save_run_model(prep: Preparation, parts: Parts, validation: Validation) -> Path:
    """Write the model file of the run as it is now, with its thresholds and scores."""
    scores = validation.scores
    prediction = prep.settings.prediction.model_dump()
    model = SegmentationModel(
        network=parts.final_network,
        task=prep.task,
        preprocessing=prep.preprocessing,
        architecture=describe_architecture(prep),
        tile_size=prediction.pop("tile_size"),
        thresholds=scores.thresholds,
        prediction=prediction,
        decoder=prep.decoder.as_dict(),
        metrics={"validation": describe_scores(scores)},
        provenance=prep.provenance(),
        reference={**prep.reference, "calibration": fit_calibration(scores.histogram)},
    )
    path = prep.run / FILE_NAME
    save_model(model, path)
    return path


def write_results(prep: Preparation, validation: Validation) -> None:
    """Write the report and the model card of the best epoch."""
    write_text(prep.run / "report.html", build_report(_describe_validation(prep, validation)))
    groups = [sample.group for sample in prep.inventory.of("val")]
    save_image_counts(prep.run, "val", validation.scores.images, groups)
    write_model_card(prep.run)


def _describe_validation(prep: Preparation, validation: Validation) -> Evaluation:
    scores = validation.scores
    dices = [image.scores["dice"] for image in scores.images]
    kept = {image.index: image for image in validation.kept}
    examples = [
        Example(
            rank,
            kept[index].name,
            dices[index],
            kept[index].pixels,
            kept[index].target,
            validation.mask(kept[index]),
            None if prep.task.kind == "multiclass" else kept[index].output,
        )
        for rank, index in choose_examples(dices)
        if index in kept
    ]
    prediction = prep.settings.prediction.model_dump(exclude={"batch_size"})
    prediction["postprocessing"] = validation.postprocessing
    return Evaluation(
        split="val",
        data={"name": prep.inventory.root.name, "digest": prep.provenance()["data_digest"]},
        model={
            "name": prep.run.name,
            "digest": digest_file(prep.run / FILE_NAME),
            "architecture": describe_architecture(prep),
        },
        prediction=prediction,
        scores=scores,
        examples=tuple(examples),
        folder=prep.run,
        choices=validation.choices,
        alerts=(
            "The val split took part in making this model, so these numbers flatter it. Judge it "
            "by the test split.",
        ),
    )
