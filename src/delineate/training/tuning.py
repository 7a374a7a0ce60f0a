"""The last part of a training: thresholds, post-processing and temperature of the best epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from delineate.evaluation.tuning import tune
from delineate.evaluation.tuning_model import describe_scores
from delineate.model_file import FILE_NAME, load_model, save_model

if TYPE_CHECKING:
    from delineate.progress import ProgressDisplay
    from delineate.training.preparation import Preparation
    from delineate.training.validation import Validation


def tune_run(
    prep: Preparation,
    best: Validation,
    display: ProgressDisplay,
    *,
    deadline: float | None,
) -> Validation:
    """Choose thresholds and post-processing of the best epoch and write them into the model file.

    Args:
        prep: Data and settings.
        best: The validation of the best epoch, whose weights are in the model file.
        display: Told what was chosen.
        deadline: When to be done, on `time.monotonic`'s clock; None gives the time it takes.

    Returns:
        The same validation, scored with what was chosen.
    """
    display.print("choosing threshold and post-processing")
    tuning = tune(
        best.predictions,
        {sample.name: sample.group for sample in prep.inventory.of("val")},
        prep.settings.evaluation.tuning,
        fixed=prep.settings.prediction.postprocessing.model_dump(),
        deadline=deadline,
    )
    scores = tuning.rescore(best.scores, best.predictions)
    path = prep.run / FILE_NAME
    model = load_model(path)
    tuning.apply(model)
    model.metrics = {**model.metrics, "validation": describe_scores(scores)}
    save_model(model, path)
    lines = tuning.describe()
    for line in lines:
        display.print(line)
    prep.note("Threshold and post-processing", lines)
    return replace(best, scores=scores, postprocessing=tuning.postprocessing, choices=tuple(lines))
