"""What a prediction is asked for: settled and checked before anything is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.errors import UsageError
from delineate.files import digest_file
from delineate.model_file import SegmentationModel, find_model_file, read_model_info
from delineate.prediction.outputs import VECTOR_PRODUCTS, Job, names_file, plan_outputs
from delineate.prediction.predictor import Predictor, load_predictor
from delineate.prediction.scene_options import NO_OPTIONS, SceneOptions, check_options
from delineate.prediction.scene_plan import check_names
from delineate.prediction.scene_resolution import SizeComparison, compare_sizes
from delineate.prediction.scenes import is_streamed
from delineate.prediction.tile_choice import TileChoice, choose_tiles, wanted_tiling
from delineate.prediction.unfinished import Unfinished, unfinished_folder

if TYPE_CHECKING:
    import torch

_NO_BEARING = frozenset({"engine", "task", "preprocessing", "estimator"})
"""Fields of a predictor that the digest of the model stands for."""


@dataclass(frozen=True)
class Request:
    """A prediction that may begin."""

    jobs: list[Job]
    """The images and what to write for them."""
    streamed: frozenset[Path]
    """Images that are computed by bands."""
    predictor: Predictor
    """As the model and the user say."""
    tiling: str
    """``auto``, ``blended`` or ``exact``."""
    given: frozenset[str]
    """Settings that the user gave."""
    unfinished: Unfinished
    """Where the work lies until it is done."""
    options: SceneOptions = NO_OPTIONS
    """What is wanted of rasters besides the model's settings."""
    unsized: frozenset[Path] = frozenset()
    """Images that do not tell the size of their pixels, where the model knows its own."""

    def choose_tiles(self, predictor: Predictor) -> TileChoice:
        """Return how a raster that is computed by bands is tiled."""
        return choose_tiles(predictor, self.tiling, self.given)


def prepare_request(
    model: SegmentationModel | Path | str,
    sources: Sequence[Path | str] | Path | str,
    *,
    out: Path,
    save: Sequence[str],
    exist_ok: bool,
    resume: bool,
    device: str,
    threshold: float | Sequence[float] | None,
    settings: Mapping[str, Any],
    options: SceneOptions = NO_OPTIONS,
    is_dry: bool = False,
) -> Request:
    """Check everything that can be checked beforehand; arguments are those of `predict`.

    With `is_dry`, the work of an interrupted prediction is not removed where it would be replaced.

    Raises:
        UsageError: If an argument does not fit the model or the sources, results exist, or there
            is an interrupted prediction that is not to be replaced.
        ModelFileError: If the model file is refused.
        DataError: If a source is missing or holds no image.
    """
    if not isinstance(model, SegmentationModel):
        model = Path(model)
    kind, stored = _describe(model)
    predictor = load_predictor(model, device=device, threshold=threshold, **settings)
    check_options(options, predictor.task, save)
    tiling = wanted_tiling(stored, settings)
    identity = {
        "model": _digest(model),
        "products": sorted(save),
        "tiling": tiling,
        "tile_size_given": "tile_size" in settings,
        **options.identity(),
        **{
            field.name: getattr(predictor, field.name)
            for field in fields(predictor)
            if field.name not in _NO_BEARING
        },
    }
    unfinished = Unfinished(unfinished_folder(out, is_file=names_file(out)), identity)
    unfinished.begin(resume=resume, exist_ok=exist_ok, is_dry=is_dry)
    paths = [sources] if isinstance(sources, Path | str) else list(sources)
    jobs = plan_outputs(
        [Path(path) for path in paths],
        out,
        save,
        is_multilabel=kind == "multilabel",
        exist_ok=exist_ok or resume,
    )
    needs_bands = options.needs_bands or bool(VECTOR_PRODUCTS & set(save))
    others = SizeComparison()
    if not options.vrt:  # which are opened in a way of their own, and by bands in any case
        trained_at = predictor.preprocessing.pixel_size
        others = compare_sizes((job.image for job in jobs), options.resolution, trained_at)
    streamed = frozenset(
        job.image
        for job in jobs
        if needs_bands or job.image in others.different or is_streamed(job.image)
    )
    for job in jobs:
        if job.image in streamed:
            check_names(job)
    return Request(
        jobs,
        streamed,
        predictor,
        tiling,
        frozenset(settings),
        unfinished,
        options,
        others.unknown,
    )


def merge_flags(overrides: Mapping[str, Any] | None, **named: Any) -> dict[str, Any]:
    """Return the settings that the user gave, by name or as overrides; None is not given.

    Raises:
        UsageError: If an override is of another section than ``prediction``.
    """
    given = dict(overrides or {})
    settings = dict(given.pop("prediction", {}))
    if given:
        raise UsageError(
            f"predict takes settings of the section prediction, not of {', '.join(sorted(given))}"
        )
    return settings | {name: value for name, value in named.items() if value is not None}


def _describe(model: SegmentationModel | Path) -> tuple[str, Mapping[str, Any]]:
    """Return the kind of the task and the stored settings of prediction."""
    if isinstance(model, SegmentationModel):
        return model.task.kind, model.prediction
    document = read_model_info(model)
    return str(document["task"]["kind"]), document["prediction"]


def _digest(model: SegmentationModel | Path) -> str:
    if not isinstance(model, SegmentationModel):
        return digest_file(find_model_file(model))
    digest = hashlib.sha256(repr((model.task, model.preprocessing, model.architecture)).encode())
    tensors: dict[str, torch.Tensor] = model.network.state_dict()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
