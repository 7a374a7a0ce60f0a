"""The parts of a training, built from its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from delineate.augmentation import IntensityAugmentation, SpatialAugmentation
from delineate.data.bad_images import TolerantImages
from delineate.data.cache import DecodedSample
from delineate.data.dataset import PatchDataset, build_loader
from delineate.data.sampling import PatchSampler
from delineate.distributed import amp_dtype
from delineate.losses import build_loss
from delineate.models import build_model
from delineate.prediction.engines import torch_engine
from delineate.prediction.predictor import Predictor
from delineate.prediction.views import average_views
from delineate.processes import ALONE, Team
from delineate.randomness import generator_for, seed_everything
from delineate.training.folds.teaching import TaughtImages, mix_losses
from delineate.training.objective import Loss, balanced_class_weights
from delineate.training.optimization import WeightAverage, build_optimizer
from delineate.training.step import Batch, Stepper, choose_memory_format
from delineate.training.validation import Validator

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from delineate.models.encoder_decoder import EncoderDecoder
    from delineate.training.preparation import Preparation


@dataclass(frozen=True)
class Parts:
    """What is trained, and what judges it."""

    network: EncoderDecoder
    """The network that the optimizer changes."""
    average: WeightAverage | None
    loss: Loss
    validator: Validator
    device: torch.device
    amp_dtype: torch.dtype | None
    team: Team = ALONE

    @property
    def final_network(self) -> EncoderDecoder:
        """The network that is validated and saved: the averaged one where there is one."""
        if self.average is None:
            return self.network
        return cast("EncoderDecoder", self.average.network)


def assemble(prep: Preparation, device: torch.device, team: Team = ALONE) -> Parts:
    """Seed the generators and build network, loss and validation.

    Several processes build the same network, and have generators of their own after that.
    """
    settings = prep.settings.training
    precision = amp_dtype(device, settings.amp)
    seed_everything(settings.seed)
    architecture = describe_architecture(prep)
    network = build_model(
        architecture["name"],
        architecture["in_channels"],
        architecture["num_classes"],
        **architecture["settings"],
    )
    network.to(device, memory_format=choose_memory_format(network, device))  # type: ignore[call-overload]
    average = WeightAverage(network, settings.ema_decay) if settings.ema_decay else None
    loss = _build_loss(prep, device)
    prediction = prep.settings.prediction
    predictor = Predictor(
        average_views(
            torch_engine(average.network if average else network, device, precision),
            prep.task,
            prediction.views,
        ),
        prep.task,
        prep.preprocessing,
        tile_size=prediction.tile_size,
        overlap=prediction.overlap,
        blend=prediction.blend,
        batch_size=prediction.batch_size,
        stride=network.stride,
    )
    validator = Validator(
        predictor,
        prep.validation_samples,
        prep.task,
        loss,
        device=device,
        num_bins=prep.settings.evaluation.num_bins,
        memory_bytes=prep.settings.evaluation.tuning.memory_mib * 2**20,
        team=team,
    )
    if not team.is_main:
        seed_everything(int(generator_for(settings.seed, team.rank).integers(2**31)))
    return Parts(network, average, loss, validator, device, precision, team)


def describe_architecture(prep: Preparation) -> dict[str, Any]:
    """Return the network as the model file describes it."""
    settings = prep.settings.model.model_dump()
    return {
        "name": settings.pop("name"),
        "in_channels": prep.preprocessing.in_channels,
        "num_classes": prep.task.num_classes,
        "settings": settings,
    }


def build_stepper(
    prep: Preparation,
    parts: Parts,
    network: EncoderDecoder,
    report: Callable[[str], None] | None = None,
) -> Stepper:
    """Return what makes the optimizer's steps on `network`; `report` is told of what it changes."""
    settings = prep.settings.training
    optimizer = build_optimizer(
        network, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
    )
    loss = parts.loss
    if prep.teaching is not None:
        loss = mix_losses(loss, prep.task, prep.teaching.share)
    return Stepper(
        network,
        loss,
        optimizer,
        device=parts.device,
        amp_dtype=parts.amp_dtype,
        clip_norm=settings.clip_norm,
        team=parts.team,
        report=report,
    )


class PatchSource:
    """The training patches, as the batches of each step of each epoch."""

    def __init__(
        self, prep: Preparation, parts: Parts, steps_per_epoch: int, bad: Iterable[int] = ()
    ) -> None:
        """Take what patches are drawn from; `bad` are positions of images that are left out."""
        settings = prep.settings.training
        team = parts.team
        augmentation = prep.settings.augmentation
        self._accumulation = settings.accumulation
        self._patches_per_step = settings.accumulation * settings.batch_size * team.size
        images: Sequence[DecodedSample] = prep.images
        if prep.teaching is not None:
            size = prep.preprocessing.pixel_size
            images = TaughtImages(images, prep.images, prep.teaching, size)
        if prep.settings.data.on_bad_image == "skip":
            images = TolerantImages(images, bad)
        self._dataset = PatchDataset(
            images,
            PatchSampler(
                prep.images.sizes,
                prep.images.class_pixels,
                foreground_odds=settings.foreground_odds,
            ),
            prep.preprocessing,
            patch_size=settings.patch_size,
            num_patches=steps_per_epoch * self._patches_per_step,
            spatial=SpatialAugmentation(**augmentation.spatial.model_dump()),
            intensity=IntensityAugmentation(**augmentation.intensity.model_dump()),
            seed=settings.seed,
            ignore_index=prep.task.ignore_index,
        )
        self._loader: DataLoader[Batch] = build_loader(
            self._dataset,
            batch_size=settings.batch_size,
            device=parts.device,
            num_workers=prep.settings.data.num_workers,
            timeout=prep.settings.data.worker_timeout,
            team=team,
        )

    def load_epoch(self, epoch: int, first_step: int = 0) -> Iterator[list[Batch]]:
        """Yield the batches of each step from `first_step` on; both are counted from 0."""
        self._dataset.set_epoch(epoch, first_step * self._patches_per_step)
        step: list[Batch] = []
        for batch in self._loader:
            step.append(batch)
            if len(step) == self._accumulation:
                yield step
                step = []


def _build_loss(prep: Preparation, device: torch.device) -> Loss:
    settings = prep.settings.loss.model_dump()
    weights = None
    if prep.settings.training.class_weights == "balanced" and prep.task.kind != "binary":
        weights = balanced_class_weights(prep.images.class_counts).to(device)
    return build_loss(settings.pop("name"), prep.task, class_weights=weights, **settings)
