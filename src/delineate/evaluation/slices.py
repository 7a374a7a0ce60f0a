"""Where a model fails: its score on parts of the data that have something in common.

A slice is a share of the objects, pixels or images of a split: small objects, thin structures, a
group, a class. Its score is one ratio of sums, like the score of everything else, so the difference
of the two can be resampled over groups of images: a slice is weak if it is worse by `SMALL_GAP`
at least and the interval of that difference excludes zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.evaluation.advice import Advice, find_advice
from delineate.evaluation.bootstrap import Interval, bootstrap
from delineate.evaluation.objects import WIDTHS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.evaluation.details import Details
    from delineate.evaluation.scoring import SplitScores

    FloatArray = NDArray[np.float64]

SMALL_GAP = 0.03
"""Differences of a score below this are not called weak."""
FEWEST = {"objects": 30, "images": 6}
"""Number below which no thirds are made."""
FEWEST_GROUPS = 4
"""Groups of images below which images are resampled one by one."""
FEWEST_DRAWN = 4
"""Groups, or images, below which nothing can be called weak."""
MAX_GROUPS = 30
"""Groups that are listed, the worst ones."""
NUM_RESAMPLES = 500
SMALL_CONFUSION = 0.02
"""Share of a class taken for another below which the pair is not listed."""
LARGE_CONFUSION = 0.1
"""Share from which the pair is called weak."""

PROPERTIES = {
    "size": "Object size",
    "width": "Width of structures",
    "contrast": "Contrast of objects",
    "brightness": "Brightness of images",
    "edge": "Edge of the image",
    "height": "Height in the image",
    "width of image": "Side of the image",
    "group": "Group",
    "class": "Class",
    "confusion": "Confusion",
}
"""Property -> what it is called."""


@dataclass(frozen=True)
class Slice:
    """A part of a split and its score."""

    trait: str
    """One of `PROPERTIES`."""
    label: str
    """Which part: values with units, a zone, a name."""
    unit: str
    """What was counted: objects, images, pixels."""
    count: int
    score_name: str
    """``dice``, ``recall`` (share of true pixels found), or ``share`` (of a class's pixels)."""
    score: float | None
    rest: float | None
    """The same score of everything else."""
    difference: Interval
    """Score less rest."""
    end: str
    """``low`` or ``high`` of an ordered property, else the label."""

    @property
    def is_weak(self) -> bool:
        """Whether it is worse than the rest, by more than chance explains; of a confusion, large.

        Undecided, and so False, with fewer than `FEWEST_DRAWN` groups or images to draw from.
        """
        if self.trait == "confusion":
            return self.score is not None and self.score >= LARGE_CONFUSION
        difference = self.difference
        if difference.estimate is None or difference.high is None:
            return False
        return difference.estimate <= -SMALL_GAP and difference.high < 0

    @property
    def advice(self) -> Advice | None:
        """What addresses it, if it is weak."""
        return find_advice(self.trait, self.end) if self.is_weak else None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        advice = self.advice
        return {
            "property": self.trait,
            "label": self.label,
            "unit": self.unit,
            "count": self.count,
            "score_name": self.score_name,
            "score": self.score,
            "rest": self.rest,
            "difference": {"low": self.difference.low, "high": self.difference.high},
            "is_weak": self.is_weak,
            "rules": [] if advice is None else list(advice.rules),
            "settings": [] if advice is None else list(advice.flags),
        }


def find_slices(scores: SplitScores, details: Details, groups: Sequence[str]) -> list[Slice]:
    """Return all slices of a split, property by property.

    Args:
        scores: Of the split.
        details: What was seen of its images.
        groups: Group of each image; resampled together.
    """
    member = np.unique(np.asarray(groups), return_inverse=True)[1]
    if draws_images(groups):
        member = np.arange(len(groups))
    parts = [
        *_object_slices(details),
        *_width_slices(details),
        *_image_slices(scores, details),
        *_zone_slices(details),
        *_group_slices(scores, groups),
        *_class_slices(scores),
        *_confusion_slices(scores),
    ]
    return [part.compare(member) for part in parts]


def draws_images(groups: Sequence[str]) -> bool:
    """Whether images are drawn one by one, as their groups are too few."""
    return len(set(groups)) < FEWEST_GROUPS


@dataclass(frozen=True)
class _Part:
    """Sums of a slice and of everything else, image by image, (N, 2): score = first / second."""

    trait: str
    label: str
    unit: str
    count: int
    score_name: str
    inside: FloatArray
    outside: FloatArray
    end: str

    def compare(self, member: NDArray[np.intp]) -> Slice:
        """Resample whole groups of images."""
        sums = np.zeros((int(member.max()) + 1, 4))
        np.add.at(sums, member, np.concatenate([self.inside, self.outside], axis=1))
        total = sums.sum(axis=0)
        found = Interval(None, None, None, None)
        if self.trait != "confusion":  # there is no rest of what a class is taken for
            found = bootstrap(sums, _difference, num_resamples=NUM_RESAMPLES)[0]
        if len(sums) < FEWEST_DRAWN:
            found = replace(found, low=None, high=None)
        return Slice(
            self.trait,
            self.label,
            self.unit,
            self.count,
            self.score_name,
            _share(total[0], total[1]),
            _share(total[2], total[3]),
            found,
            self.end,
        )


def _difference(sums: FloatArray) -> FloatArray:
    ratios = np.full((len(sums), 2), np.nan)
    np.divide(sums[:, ::2], sums[:, 1::2], out=ratios, where=sums[:, 1::2] > 0)
    return np.asarray(ratios[:, :1] - ratios[:, 1:])


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None


def _object_slices(details: Details) -> Iterator[_Part]:
    objects, num_images = details.objects, len(details.brightness)
    for name, values, unit in (
        ("size", objects.area, "px"),
        ("contrast", objects.contrast, "sd"),
    ):
        usable = np.isfinite(values)
        for label, end, chosen in _thirds(values, usable, unit, FEWEST["objects"]):
            yield _Part(
                name,
                label,
                "objects",
                int(chosen.sum()),
                "recall",
                _sum_objects(details, chosen, num_images),
                _sum_objects(details, usable & ~chosen, num_images),
                end,
            )


def _sum_objects(details: Details, chosen: NDArray[np.bool_], num_images: int) -> FloatArray:
    objects = details.objects
    image = objects.image[chosen]
    found = np.bincount(image, objects.found[chosen], num_images)
    return np.stack([found, np.bincount(image, objects.area[chosen], num_images)], axis=1)


def _thirds(
    values: FloatArray, usable: NDArray[np.bool_], unit: str, fewest: int
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield label, end and members of each third, by value; nothing if values hardly differ."""
    if usable.sum() < fewest:
        return
    low, high = np.quantile(values[usable], (1 / 3, 2 / 3))
    if low == high:
        return
    yield f"up to {_write(low, unit)}", "low", usable & (values <= low)
    middle = usable & (values > low) & (values <= high)
    yield f"{_write(low)} to {_write(high, unit)}", "middle", middle
    yield f"above {_write(high, unit)}", "high", usable & (values > high)


def _write(value: float, unit: str = "") -> str:
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{number} {unit}".strip()


def _width_slices(details: Details) -> Iterator[_Part]:
    total = details.widths.sum(axis=1)
    bounds = (0, *WIDTHS)
    last = len(WIDTHS)
    for row, lower in enumerate(bounds):
        inside = details.widths[:, row]
        count = int(inside[:, 1].sum())
        if not count:
            continue
        label = (
            f"below {WIDTHS[0]} px"
            if row == 0
            else f"{lower} to {bounds[row + 1] - 1} px"
            if row < last
            else f"{lower} px and more"
        )
        end = "low" if row == 0 else "high" if row == last else "middle"
        yield _Part("width", label, "pixels", count, "recall", inside, total - inside, end)


def _dice_sums(scores: SplitScores) -> FloatArray:
    """Return twice the pixels found, and predicted plus true ones, per image and class."""
    counts = np.asarray([image.counts.class_counts() for image in scores.images], np.float64)
    tp, fp, fn = counts[..., 0], counts[..., 1], counts[..., 2]
    return np.stack([2 * tp, 2 * tp + fp + fn], axis=-1)


def _image_slices(scores: SplitScores, details: Details) -> Iterator[_Part]:
    sums = _dice_sums(scores)[:, list(scores.task.foreground)].sum(axis=1)
    usable = np.ones(len(sums), bool)
    for label, end, chosen in _thirds(details.brightness, usable, "", FEWEST["images"]):
        yield _Part(
            "brightness",
            label,
            "images",
            int(chosen.sum()),
            "dice",
            sums * chosen[:, None],
            sums * ~chosen[:, None],
            end,
        )


def _zone_slices(details: Details) -> Iterator[_Part]:
    totals: dict[str, FloatArray] = {}
    for (name, _), sums in details.zones.items():
        totals[name] = totals.get(name, 0) + sums
    for (name, label), sums in details.zones.items():
        rest = totals[name] - sums
        count = int(sums[:, 1].sum())
        yield _Part(name, label, "pixels", count, "dice", sums, rest, label)


def _group_slices(scores: SplitScores, groups: Sequence[str]) -> Iterator[_Part]:
    names = np.asarray(groups)
    if not 1 < len(set(groups)) < len(groups):
        return
    sums = _dice_sums(scores)[:, list(scores.task.foreground)].sum(axis=1)
    parts = []
    for name in sorted(set(groups)):
        chosen = (names == name)[:, None]
        count = int(chosen.sum())
        parts.append(
            _Part("group", name, "images", count, "dice", sums * chosen, sums * ~chosen, name)
        )
    parts.sort(key=lambda part: part.inside[:, 0].sum() / max(1.0, part.inside[:, 1].sum()))
    yield from parts[:MAX_GROUPS]


def _class_slices(scores: SplitScores) -> Iterator[_Part]:
    foreground = list(scores.task.foreground)
    if len(foreground) < 2:
        return
    sums = _dice_sums(scores)
    total = sums[:, foreground].sum(axis=1)
    for index in foreground:
        name, own = scores.task.class_names[index], sums[:, index]
        count = int(
            sum(
                image.counts.class_counts()[index][0] + image.counts.class_counts()[index][2]
                for image in scores.images
            )
        )
        yield _Part("class", name, "pixels", count, "dice", own, total - own, name)


def _confusion_slices(scores: SplitScores) -> Iterator[_Part]:
    if scores.task.kind != "multiclass":
        return
    matrices = np.stack([image.counts.matrix for image in scores.images]).astype(np.float64)
    names = scores.task.class_names
    total = matrices.sum(axis=0)
    pairs = [
        (float(total[i, j] / total[i].sum()), i, j)
        for i in range(len(names))
        for j in range(len(names))
        if i != j and total[i].sum() > 0
    ]
    for share, i, j in sorted(pairs, reverse=True)[:10]:
        if share < SMALL_CONFUSION:
            break
        inside = np.stack([matrices[:, i, j], matrices[:, i].sum(axis=1)], axis=1)
        label = f"{names[i]} taken for {names[j]}"
        count = int(total[i, j])
        yield _Part("confusion", label, "pixels", count, "share", inside, inside * 0, label)
